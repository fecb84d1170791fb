//! How it is asked, how it is answered, and by which status.

use std::fs::File;
use std::process::Stdio;

use super::{WHY, asked, script_that_holds, talking};
use test_support::process::End;
use test_support::{Lab, departure, may_unshare};

#[test]
fn the_table_has_a_line_for_each_below_a_line_of_headings() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["-F"], "f");
        let outcome = lab.run(["--who", "f"]).expect_err("").expect_code(0);
        let table = outcome.out();
        let lines: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let head = ["ROLE", "LOCK", "MODE", "PID", "USER", "TIME", "COMMAND"];
        assert_eq!(lines[0], head);
        assert_eq!(lines[1][..3], ["holder", "FLOCK", "exclusive"]);
        assert_eq!(lines[1][3], holder.pid().to_string());
        assert!(lines[1][5].ends_with('s'), "{table}");
        assert!(
            table.contains("sh -c echo held; read x; exit 0\n"),
            "{table}"
        );
        let starts = |line: &str, word: &str| line.find(word).expect("it is there");
        let rows: Vec<&str> = table.lines().collect();
        assert_eq!(
            starts(rows[0], "MODE"),
            starts(rows[1], "exclusive"),
            "{table}"
        );
        assert_eq!(
            starts(rows[0], "COMMAND"),
            starts(rows[1], "sh -c"),
            "{table}"
        );
    });
}

#[test]
fn the_user_has_a_name() {
    departure(WHY, |lab| {
        let _holder = lab.hold(&["-F"], "f");
        let row = &asked(lab, &["f"])[0];
        let user = lab.sh("id -un").out();
        assert_eq!(row["user"].as_str(), Some(user.trim()));
        assert_eq!(row["uid"], rustix::process::geteuid().as_raw());
    });
}

#[test]
fn of_several_files_each_line_says_which() {
    departure(WHY, |lab| {
        let (_f, _g) = (lab.hold(&["-F"], "f"), lab.hold(&["-F"], "g"));
        lab.sh(": >free");
        let table = lab.run(["--who", "f", "free", "g"]).expect_code(0).out();
        let firsts: Vec<_> = table.lines().map(|line| line.split(' ').next()).collect();
        assert_eq!(firsts, [Some("FILE"), Some("f"), Some("g")], "{table}");
        let rows = asked(lab, &["f", "free", "g"]);
        assert_eq!(
            (&rows[0]["file"], &rows[1]["file"]),
            (&"f".into(), &"g".into())
        );
        lab.run(["--who", "free", "f"]).expect_code(0);
    });
}

#[test]
fn a_file_that_is_not_there_is_not_made_and_the_others_are_looked_at() {
    departure(WHY, |lab| {
        let message = "flock: cannot open lock file nothing: No such file or directory\n";
        lab.run(["--who", "nothing"])
            .expect_out("")
            .expect_err(message)
            .expect_code(66);
        assert!(lab.names().is_empty());
        let holder = lab.hold(&["-F"], "f");
        lab.run(["--who", "--pids", "nothing", "f"])
            .expect_out(&format!("{}\n", holder.pid()))
            .expect_err(message)
            .expect_code(66);
        lab.run(["--who", "f/g"])
            .expect_err("flock: cannot open lock file f/g: Not a directory\n")
            .expect_code(66);
    });
}

#[test]
fn a_closed_descriptor_is_no_descriptor() {
    departure(WHY, |lab| {
        lab.run(["--who", "--fd", "77"])
            .expect_out("")
            .expect_err("flock: 77: Bad file descriptor\n")
            .expect_code(65);
    });
}

#[test]
fn a_number_is_a_file_and_who_meant_a_descriptor_is_told_how() {
    departure(WHY, |lab| {
        lab.sh("exec 8>>f; flock --who 8; exit")
            .expect_err(
                "flock: cannot open lock file 8: No such file or directory: for a descriptor write flock --who --fd NUMBER\n",
            )
            .expect_code(66);
        lab.sh(": >8; flock --who 8").expect_err("").expect_code(1);
    });
}

#[test]
fn words_that_ask_for_nothing_are_refused() {
    departure(WHY, |lab| {
        for (words, message) in [
            (
                &["--who"][..],
                "--who requires files or a descriptor: flock --who FILE... or flock --who --fd NUMBER",
            ),
            (
                &["--who", "--fd", "8", "f"],
                "--who is for files or for --fd NUMBER, not for both",
            ),
            (
                &["--json", "f", "true"],
                "--json is for --who: flock --who --json FILE...",
            ),
            (
                &["--pids", "8"],
                "--pids is for --who: flock --who --pids FILE...",
            ),
            (
                &["--who", "--json", "--pids", "f"],
                "the --json and --pids options are incompatible",
            ),
            (
                &["-n", "--who", "f"],
                "the --nonblock option is for taking a lock, and not with --who",
            ),
            (&["--wh", "f"], "unrecognized option '--wh'"),
            (&["--who", "--jso", "f"], "unrecognized option '--jso'"),
            (&["--who=f"], "option '--who' doesn't allow an argument"),
        ] {
            lab.run(words)
                .expect_out("")
                .expect_code(64)
                .expect_err(&format!(
                    "flock: {message}\nTry 'flock --help' for more information.\n"
                ));
        }
        assert!(lab.names().is_empty());
    });
}

#[test]
fn behind_the_first_file_all_words_are_files() {
    departure(WHY, |lab| {
        lab.sh(": >f; flock --who f --json")
            .expect_err("flock: cannot open lock file --json: No such file or directory\n")
            .expect_code(66);
    });
}

#[test]
fn nobody_is_an_empty_array_of_json() {
    departure(WHY, |lab| {
        lab.sh(": >f; flock --who --json f")
            .expect_out("[]\n")
            .expect_code(1);
    });
}

#[test]
fn json_tells_how_long_and_since_when() {
    departure(WHY, |lab| {
        let _holder = lab.hold(&["-F"], "f");
        let row = &asked(lab, &["f"])[0];
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.expect("after 1970").as_secs();
        let number = |name: &str| row[name].as_u64().expect("a number");
        assert!(number("seconds") < 600, "{row}");
        let since = number("since") + number("seconds");
        assert!(since.abs_diff(now) < 60, "{row} {now}");
        assert_eq!(
            (&row["since_of"], &row["verified"]),
            (&"process".into(), &true.into())
        );
        assert_eq!(row["name"], "sh");
        assert_eq!(row["command"][1], "-c");
    });
}

#[test]
fn a_full_stdout_is_a_failure_and_a_closed_pipe_is_none() {
    departure(WHY, |lab| {
        let _holder = script_that_holds(lab);
        lab.sh("flock --who f >/dev/full")
            .expect_err("flock: write error: No space left on device\n")
            .expect_code(1);
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        drop(reader);
        let mut command = lab.flock(["--who", "f"]);
        let status = command
            .stdout(Stdio::from(writer))
            .stderr(Stdio::from(File::create(lab.file("err")).expect("a file")));
        let status = status.status().expect("it starts");
        assert_eq!(status.code(), Some(0));
        assert_eq!(std::fs::read(lab.file("err")).expect("a file"), b"");
    });
}

#[test]
fn the_file_is_not_touched() {
    departure(WHY, |lab| {
        lab.sh("mkfifo p; flock --who p; echo $?").expect_out("1\n");
        let script = ": >f; chmod 000 f; flock --who f; echo $?";
        if let Some(command) = lab.powerless(script) {
            lab.finish(command).expect_err("").expect_out("1\n");
        }
    });
}

#[test]
fn no_lock_is_taken_to_find_out() {
    let lab = Lab::direct();
    let _holder = lab.hold(&[], "f");
    let ask = ["--who", "--pids", "f"];
    if let Some(command) = lab.injected("f", "inject=flock:signal=KILL", &ask) {
        let outcome = lab.finish(command).expect_err("").expect_code(0);
        assert_eq!(outcome.out().lines().count(), 2);
    }
}

#[test]
fn the_toggle_ends_what_runs_and_nothing_else() {
    departure(WHY, |lab| {
        let script =
            "exec 8>>f; flock -n 8 || kill $(flock --who --pids --fd 8); echo goes on; read x";
        let mut first = talking(lab, script, "goes on");
        let mut second = talking(lab, script, "goes on");
        assert_eq!(first.end(), End::Killed(libc::SIGTERM));
        second.hush();
        assert_eq!(second.end(), End::Exited(1), "it has read to the end");
    });
}

#[test]
fn without_proc_nothing_can_be_told() {
    let lab = Lab::new();
    if may_unshare(&lab, "-rm") {
        departure(WHY, |lab| {
            lab.sh(": >f; unshare -rm sh -c 'mount -t tmpfs none /proc; exec flock --who f'")
                .expect_out("")
                .expect_code(65);
        });
    }
}
