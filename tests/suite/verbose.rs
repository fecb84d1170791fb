//! The output of `--verbose`.

use std::os::unix::fs::symlink;
use std::time::Instant;

use rstest::rstest;
use test_support::{TestEnv, differs_from_util_linux, os_string};

/// Parses the line that reports how long it took to get the lock, in seconds with six decimals.
fn parse_time(line: &str) -> Option<f64> {
    let seconds = line
        .strip_prefix("flock: getting lock took ")?
        .strip_suffix(" seconds")?;
    let (whole, fraction) = seconds.split_once('.')?;
    let is_decimal = [whole, fraction]
        .concat()
        .bytes()
        .all(|byte| byte.is_ascii_digit());
    (is_decimal && fraction.len() == 6).then(|| seconds.parse().ok())?
}

/// Whether the line reports a holder, which util-linux does not do.
fn is_holder_line(line: &str) -> bool {
    line.contains(": held by ")
}

/// Returns the output of a script that succeeds without a message.
#[track_caller]
fn stdout_of(env: &TestEnv, script: &str) -> String {
    let outcome = env.sh(script).assert_status(0).assert_stderr("");
    outcome.stdout_text()
}

/// Asserts the output of a verbose `flock` whose command prints `ran`.
#[track_caller]
fn assert_verbose_log(lines: &[&str], command: &str) {
    let [time, executing, output] = lines else {
        panic!("not three lines: {lines:?}")
    };
    assert!(parse_time(time).is_some(), "{lines:?}");
    assert_eq!(*executing, format!("flock: executing {command}"));
    assert_eq!(*output, "ran");
}

#[rstest]
#[case("--verbose l echo ran", "echo")]
#[case("--verbose -o l echo ran", "echo")]
#[case("--verbose -w 9 l -c 'echo ran'", "/bin/sh")]
fn the_time_and_the_command_are_printed_on_stdout(#[case] args: &str, #[case] command: &str) {
    let stdout = stdout_of(&TestEnv::new(), &format!("flock {args}"));
    // In any order: util-linux's lines are buffered when stdout is a pipe.
    let mut lines: Vec<_> = stdout.lines().collect();
    lines.sort_by_key(|line| (*line == "ran", line.contains("executing")));
    assert_verbose_log(&lines, command);
}

#[rstest]
fn both_lines_precede_the_output_of_the_command(
    #[values("-x", "-o", "-F", "--no-fork", "-w 9")] option: &str,
    #[values(("echo ran", "echo"), ("-c 'echo ran'", "/bin/sh"))] (form, command): (&str, &str),
) {
    differs_from_util_linux("its lines are buffered, and lost with -F", |env| {
        let stdout = stdout_of(env, &format!("flock --verbose {option} l {form}"));
        assert_verbose_log(&stdout.lines().collect::<Vec<_>>(), command);
    });
}

#[test]
fn both_lines_precede_the_output_in_a_file() {
    differs_from_util_linux("its lines are buffered", |env| {
        let file = stdout_of(env, "flock --verbose l echo ran >all; cat all");
        assert_verbose_log(&file.lines().collect::<Vec<_>>(), "echo");
    });
}

#[test]
fn for_a_descriptor_only_the_time_is_printed() {
    let stdout = stdout_of(&TestEnv::new(), "exec 8<>l; flock --verbose 8");
    assert!(parse_time(stdout.trim_end()).is_some(), "{stdout}");
}

#[rstest]
#[case("-n", "failed to get lock")]
#[case("-w 0", "failed to get lock")]
#[case("-w .01", "timeout while waiting to get lock")]
fn a_conflict_or_a_timeout_is_reported_on_stderr(#[case] options: &str, #[case] message: &str) {
    let stderr = TestEnv::new()
        .sh(format!(
            "exec 8<>l 7<>l; flock 8
             flock --verbose {options} l echo ran; flock {options} --verbose 7"
        ))
        .assert_status(1)
        .assert_stdout("")
        .stderr_text();
    let lines = stderr.lines().filter(|line| !is_holder_line(line));
    assert_eq!(Vec::from_iter(lines), [&*format!("flock: {message}"); 2]);
}

#[test]
fn a_command_that_is_not_utf_8_is_printed_unchanged() {
    let env = TestEnv::new();
    symlink("/bin/true", env.file(os_string(b"bin/t\xff"))).expect("a command");
    let args = ["--verbose".into(), "l".into(), os_string(b"t\xff")];
    let stdout = env.run(args).assert_status(0).stdout;
    let is_printed = stdout.ends_with(b"\nflock: executing t\xff\n");
    assert!(is_printed, "{}", stdout.escape_ascii());
}

#[test]
fn the_lock_is_released_if_stdout_is_full() {
    differs_from_util_linux("the status is 1, and the lock is held", |env| {
        env.sh("exec 8<>l; flock --verbose 8 >/dev/full; echo $?; flock -n l true; echo $?")
            .assert_stdout("1\n0\n");
    });
}

#[test]
fn the_printed_time_is_the_time_waited() {
    let env = TestEnv::new();
    env.install_queued_script();
    let start = Instant::now();
    // The lock is released after three ticks of the kernel's clock, at least 20 ms.
    let outcome = env
        .sh(
            "exec 9<>l; flock 9; flock --verbose l true 9>&- & queued l 1
            read last idle </proc/uptime; ticks=0
            until [ $ticks = 3 ]; do
                read now idle </proc/uptime; [ $now = $last ] || ticks=$((ticks + 1)); last=$now
            done
            flock -u 9; wait",
        )
        .assert_status(0);
    let stderr = outcome.stderr_text();
    assert!(stderr.lines().all(is_holder_line), "{stderr}");
    let stdout = outcome.stdout_text();
    let time = stdout.lines().next().and_then(parse_time).expect("a time");
    let elapsed = start.elapsed().as_secs_f64();
    assert!((0.02..=elapsed).contains(&time), "{stdout}");
}
