//! How it is asked, how it is answered, and by which status.

use std::fs::File;
use std::process::Stdio;

use super::{WHY, start_holding_script, start_script, who_rows};
use test_support::process::ExitReason;
use test_support::{TestEnv, can_unshare, differs_from_util_linux};

#[test]
fn the_table_has_a_line_for_each_below_a_line_of_headings() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["-F"], "f");
        let outcome = env.run(["--who", "f"]).assert_stderr("").assert_status(0);
        let table = outcome.stdout_text();
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
    differs_from_util_linux(WHY, |env| {
        let _holder = env.hold(&["-F"], "f");
        let row = &who_rows(env, &["f"])[0];
        let user = env.sh("id -un").stdout_text();
        assert_eq!(row["user"].as_str(), Some(user.trim()));
        assert_eq!(row["uid"], rustix::process::geteuid().as_raw());
    });
}

#[test]
fn of_several_files_each_line_says_which() {
    differs_from_util_linux(WHY, |env| {
        let (_f, _g) = (env.hold(&["-F"], "f"), env.hold(&["-F"], "g"));
        env.sh(": >free");
        let table = env
            .run(["--who", "f", "free", "g"])
            .assert_status(0)
            .stdout_text();
        let firsts: Vec<_> = table.lines().map(|line| line.split(' ').next()).collect();
        assert_eq!(firsts, [Some("FILE"), Some("f"), Some("g")], "{table}");
        let rows = who_rows(env, &["f", "free", "g"]);
        assert_eq!(
            (&rows[0]["file"], &rows[1]["file"]),
            (&"f".into(), &"g".into())
        );
        env.run(["--who", "free", "f"]).assert_status(0);
    });
}

#[test]
fn a_file_that_is_not_there_is_not_made_and_the_others_are_looked_at() {
    differs_from_util_linux(WHY, |env| {
        let message = "flock: cannot open lock file nothing: No such file or directory\n";
        env.run(["--who", "nothing"])
            .assert_stdout("")
            .assert_stderr(message)
            .assert_status(66);
        assert!(env.file_names().is_empty());
        let holder = env.hold(&["-F"], "f");
        env.run(["--who", "--pids", "nothing", "f"])
            .assert_stdout(&format!("{}\n", holder.pid()))
            .assert_stderr(message)
            .assert_status(66);
        env.run(["--who", "f/g"])
            .assert_stderr("flock: cannot open lock file f/g: Not a directory\n")
            .assert_status(66);
    });
}

#[test]
fn a_closed_descriptor_is_no_descriptor() {
    differs_from_util_linux(WHY, |env| {
        env.run(["--who", "--fd", "77"])
            .assert_stdout("")
            .assert_stderr("flock: 77: Bad file descriptor\n")
            .assert_status(65);
    });
}

#[test]
fn a_number_is_a_file_and_who_meant_a_descriptor_is_told_how() {
    differs_from_util_linux(WHY, |env| {
        env.sh("exec 8>>f; flock --who 8; exit")
            .assert_stderr(
                "flock: cannot open lock file 8: No such file or directory: for a descriptor, use flock --who --fd NUMBER\n",
            )
            .assert_status(66);
        env.sh(": >8; flock --who 8")
            .assert_stderr("")
            .assert_status(1);
    });
}

#[test]
fn words_that_ask_for_nothing_are_refused() {
    differs_from_util_linux(WHY, |env| {
        for (words, message) in [
            (
                &["--who"][..],
                "--who requires files or a descriptor: flock --who FILE... or flock --who --fd NUMBER",
            ),
            (
                &["--who", "--fd", "8", "f"],
                "--who takes either files or --fd NUMBER, not both",
            ),
            (
                &["--json", "f", "true"],
                "--json requires --who: flock --who --json FILE...",
            ),
            (
                &["--pids", "8"],
                "--pids requires --who: flock --who --pids FILE...",
            ),
            (
                &["--who", "--json", "--pids", "f"],
                "the --json and --pids options are incompatible",
            ),
            (
                &["-n", "--who", "f"],
                "--nonblock cannot be used with --who",
            ),
            (&["--wh", "f"], "unrecognized option '--wh'"),
            (&["--who", "--jso", "f"], "unrecognized option '--jso'"),
            (&["--who=f"], "option '--who' doesn't allow an argument"),
        ] {
            env.run(words)
                .assert_stdout("")
                .assert_status(64)
                .assert_stderr(&format!(
                    "flock: {message}\nTry 'flock --help' for more information.\n"
                ));
        }
        assert!(env.file_names().is_empty());
    });
}

#[test]
fn behind_the_first_file_all_words_are_files() {
    differs_from_util_linux(WHY, |env| {
        env.sh(": >f; flock --who f --json")
            .assert_stderr("flock: cannot open lock file --json: No such file or directory\n")
            .assert_status(66);
    });
}

#[test]
fn nobody_is_an_empty_array_of_json() {
    differs_from_util_linux(WHY, |env| {
        env.sh(": >f; flock --who --json f")
            .assert_stdout("[]\n")
            .assert_status(1);
    });
}

#[test]
fn json_tells_how_long_and_since_when() {
    differs_from_util_linux(WHY, |env| {
        let _holder = env.hold(&["-F"], "f");
        let row = &who_rows(env, &["f"])[0];
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
    differs_from_util_linux(WHY, |env| {
        let _holder = start_holding_script(env);
        env.sh("flock --who f >/dev/full")
            .assert_stderr("flock: write error: No space left on device\n")
            .assert_status(1);
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        drop(reader);
        let mut command = env.flock(["--who", "f"]);
        let status = command
            .stdout(Stdio::from(writer))
            .stderr(Stdio::from(File::create(env.file("err")).expect("a file")));
        let status = status.status().expect("it starts");
        assert_eq!(status.code(), Some(0));
        assert_eq!(std::fs::read(env.file("err")).expect("a file"), b"");
    });
}

#[test]
fn the_file_is_not_touched() {
    differs_from_util_linux(WHY, |env| {
        env.sh("mkfifo p; flock --who p; echo $?")
            .assert_stdout("1\n");
        let script = ": >f; chmod 000 f; flock --who f; echo $?";
        if let Some(command) = env.unprivileged(script) {
            env.run_command(command)
                .assert_stderr("")
                .assert_stdout("1\n");
        }
    });
}

#[test]
fn no_lock_is_taken_to_find_out() {
    let env = TestEnv::without_builtin();
    let _holder = env.hold(&[], "f");
    let ask = ["--who", "--pids", "f"];
    if let Some(command) = env.with_fault_injection("f", "inject=flock:signal=KILL", &ask) {
        let outcome = env.run_command(command).assert_stderr("").assert_status(0);
        assert_eq!(outcome.stdout_text().lines().count(), 2);
    }
}

#[test]
fn the_toggle_ends_what_runs_and_nothing_else() {
    differs_from_util_linux(WHY, |env| {
        let script =
            "exec 8>>f; flock -n 8 || kill $(flock --who --pids --fd 8); echo goes on; read x";
        let mut first = start_script(env, script, "goes on");
        let mut second = start_script(env, script, "goes on");
        assert_eq!(first.wait(), ExitReason::Signaled(libc::SIGTERM));
        second.close_stdin();
        assert_eq!(
            second.wait(),
            ExitReason::Exited(1),
            "it has read to the end"
        );
    });
}

#[test]
fn without_proc_nothing_can_be_told() {
    let env = TestEnv::new();
    if can_unshare(&env, "-rm") {
        differs_from_util_linux(WHY, |env| {
            env.sh(": >f; unshare -rm sh -c 'mount -t tmpfs none /proc; exec flock --who f'")
                .assert_stdout("")
                .assert_status(65);
        });
    }
}
