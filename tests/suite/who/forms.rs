//! The forms of the call and of the output, and the status.

use rstest::rstest;
use serde_json::json;

use super::{assert_fields, start_holding_script, start_script, who_rows};
use crate::usage_errors::assert_misuse;
use test_support::process::ExitReason;
use test_support::{TestEnv, can_unshare};

#[test]
fn table_has_headings_and_a_line_for_each_process() {
    let env = TestEnv::new();
    let holder = env.hold(&["-F"], "f");
    let outcome = env.run(["--who", "f"]).assert_status(0).assert_stderr("");
    let table = outcome.stdout_text();
    let lines: Vec<&str> = table.lines().collect();
    let [headings, row] = [lines[0], lines[1]].map(|line| Vec::from_iter(line.split_whitespace()));
    assert_eq!(
        headings,
        ["ROLE", "LOCK", "MODE", "PID", "USER", "TIME", "COMMAND"]
    );
    assert_eq!(row[..3], ["holder", "FLOCK", "exclusive"]);
    assert_eq!(row[3], holder.pid().to_string());
    assert!(row[5].ends_with('s'), "{table}");
    let command = "sh -c echo held; read x; exit 0\n";
    assert!(table.ends_with(command), "{table}");
    for (heading, cell) in [("MODE", "exclusive"), ("COMMAND", "sh -c")] {
        assert_eq!(lines[0].find(heading), lines[1].find(cell), "{table}");
    }
}

#[test]
fn several_files_get_a_file_column() {
    let env = TestEnv::new();
    let (_f, _g) = (env.hold(&["-F"], "f"), env.hold(&["-F"], "g"));
    env.sh(": >free");
    let outcome = env.run(["--who", "f", "free", "g"]).assert_status(0);
    let table = outcome.stdout_text();
    let firsts: Vec<_> = table.lines().map(|line| line.split(' ').next()).collect();
    assert_eq!(firsts, [Some("FILE"), Some("f"), Some("g")], "{table}");
    let rows = who_rows(&env, &["f", "free", "g"]);
    let files: Vec<_> = rows.iter().map(|row| row["file"].as_str()).collect();
    assert_eq!(files, [Some("f"), Some("g")]);
    env.run(["--who", "free", "f"]).assert_status(0);
}

#[test]
fn missing_file_is_reported_and_not_created() {
    let env = TestEnv::new();
    let message = "flock: cannot open lock file nothing: No such file or directory\n";
    env.run(["--who", "nothing"]).assert_all(66, "", message);
    assert!(env.file_names().is_empty());
    // The other files are looked at.
    let holder = env.hold(&["-F"], "f");
    env.run(["--who", "--pids", "nothing", "f"])
        .assert_status(66)
        .assert_stdout(&format!("{}\n", holder.pid()))
        .assert_stderr(message);
}

#[rstest]
#[case::not_a_directory(
    ": >f; flock --who f/g",
    "cannot open lock file f/g: Not a directory",
    66
)]
#[case::closed_descriptor("flock --who --fd 77", "77: Bad file descriptor", 65)]
#[case::number_is_a_file(
    "exec 8>>f; flock --who 8; exit",
    "cannot open lock file 8: No such file or directory: for a descriptor, use flock --who --fd NUMBER",
    66
)]
#[case::after_the_first_file_all_are_files(
    ": >f; flock --who f --json",
    "cannot open lock file --json: No such file or directory",
    66
)]
fn unusable_file_is_an_error(#[case] call: &str, #[case] message: &str, #[case] status: i32) {
    TestEnv::new()
        .sh(call)
        .assert_all(status, "", &format!("flock: {message}\n"));
}

#[rstest]
#[case::pids_of_all_locks(
    &["--who", "--pids"],
    "--pids requires files or a descriptor: flock --who --pids FILE... or flock --who --pids --fd NUMBER",
)]
#[case::watch_alone(&["--watch", "8"], "--watch requires --who: flock --who --watch [FILE]...")]
#[case::watch_json(
    &["--who", "--watch", "--json"],
    "the --json and --watch options are incompatible",
)]
#[case::watch_pids(
    &["--who", "--watch", "--pids", "f"],
    "the --pids and --watch options are incompatible",
)]
#[case::abbreviated_watch(&["--who", "--wat"], "unrecognized option '--wat'")]
#[case::descriptor_and_file(
    &["--who", "--fd", "8", "f"],
    "--who takes either files or --fd NUMBER, not both",
)]
#[case::json_alone(&["--json", "f", "true"], "--json requires --who: flock --who --json [FILE]...")]
#[case::pids_alone(&["--pids", "8"], "--pids requires --who: flock --who --pids FILE...")]
#[case::json_and_pids(
    &["--who", "--json", "--pids", "f"],
    "the --json and --pids options are incompatible",
)]
#[case::lock_option(&["-n", "--who", "f"], "--who cannot be used with --nonblock")]
#[case::abbreviated(&["--wh", "f"], "unrecognized option '--wh'")]
#[case::abbreviated_json(&["--who", "--jso", "f"], "unrecognized option '--jso'")]
#[case::argument(&["--who=f"], "option '--who' doesn't allow an argument")]
fn usage_errors(#[case] args: &[&str], #[case] message: &str) {
    assert_misuse(args, message);
}

#[rstest]
#[case::plain(": >f; flock --who f", "")]
#[case::json(": >f; flock --who --json f", "[]\n")]
#[case::pids(": >f; flock --who --pids f", "")]
#[case::number_is_a_file(": >8; flock --who 8", "")]
fn status_is_1_if_the_lock_is_free(#[case] call: &str, #[case] stdout: &str) {
    TestEnv::new().sh(call).assert_all(1, stdout, "");
}

#[test]
fn json_has_times_the_user_and_the_command() {
    let env = TestEnv::new();
    let _holder = env.hold(&["-F"], "f");
    let row = &who_rows(&env, &["f"])[0];
    let user = env.sh("id -un").stdout_text();
    assert_fields(
        row,
        &json!({
            "since_of": "process",
            "verified": true,
            "user": user.trim(),
            "uid": rustix::process::geteuid().as_raw(),
            "name": "sh",
        }),
    );
    assert_eq!(row["command"][1], "-c");
    let number = |name: &str| row[name].as_u64().expect("a number");
    assert!(number("seconds") < 600, "{row}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs();
    let sum = number("since") + number("seconds");
    assert!(sum.abs_diff(now) < 60, "{row} {now}");
}

#[test]
fn full_stdout_is_an_error_but_a_closed_pipe_is_not() {
    let env = TestEnv::new();
    let _holder = start_holding_script(&env);
    env.sh("flock --who f >/dev/full")
        .assert_status(1)
        .assert_stdout("")
        .assert_stderr("flock: write error: No space left on device\n");
    // Descriptor 5 becomes a pipe without a reader.
    env.sh("mkfifo p; exec 4<>p 5>p 4<&-; exec flock --who f >&5")
        .assert_all(0, "", "");
}

#[test]
fn file_is_not_opened() {
    let env = TestEnv::new();
    env.sh("mkfifo p; flock --who p; echo $?")
        .assert_stdout("1\n");
    let script = ": >f; chmod 000 f; flock --who f; echo $?";
    if let Some(command) = env.unprivileged(script) {
        env.run_command(command).assert_all(0, "1\n", "");
    }
}

#[test]
fn lock_is_not_acquired() {
    let env = TestEnv::without_builtin();
    let _holder = env.hold(&[], "f");
    let args = ["--who", "--pids", "f"];
    if let Some(command) = env.with_fault_injection("f", "inject=flock:signal=KILL", &args) {
        let outcome = env.run_command(command).assert_status(0).assert_stderr("");
        assert_eq!(outcome.stdout_text().lines().count(), 2);
    }
}

#[test]
fn toggle_script_kills_only_the_running_one() {
    let env = TestEnv::new();
    let script = "exec 8>>f; flock -n 8 || kill $(flock --who --pids --fd 8); echo running; read x";
    let mut first = start_script(&env, script, "running");
    let mut second = start_script(&env, script, "running");
    assert_eq!(first.wait(), ExitReason::Signaled(libc::SIGTERM));
    second.close_stdin();
    // The status of `read` at the end of the file.
    assert_eq!(second.wait(), ExitReason::Exited(1));
}

#[test]
fn missing_proc_is_an_error() {
    let env = TestEnv::new();
    if can_unshare(&env, "-rm") {
        env.sh(": >f; unshare -rm sh -c 'mount -t tmpfs none /proc; exec flock --who f'")
            .assert_status(65)
            .assert_stdout("")
            .assert_stderr(
                "flock: cannot list lock holders: /proc/self/fdinfo/3: No such file or directory\n",
            );
    }
}
