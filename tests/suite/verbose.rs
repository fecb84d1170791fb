//! What `--verbose` tells, and where.

use std::os::unix::fs::symlink;
use std::time::Instant;

use test_support::{TestEnv, differs_from_util_linux, os_string};

/// Whether this line says how long it took, to the microsecond.
fn shows_time(line: &str) -> bool {
    let number = line
        .strip_prefix("flock: getting lock took ")
        .and_then(|rest| rest.strip_suffix(" seconds"))
        .and_then(|number| number.split_once('.'));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    number.is_some_and(|(whole, parts)| digits(whole) && digits(parts) && parts.len() == 6)
}

/// Whether this line says who is in the way, which the reference does not.
fn shows_holder(line: &str) -> bool {
    line.contains(": held by ")
}

/// What a verbose call is to say, line by line.
#[track_caller]
fn assert_verbose_log(lines: &[&str], command: &str) {
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(shows_time(lines[0]), "{lines:?}");
    assert_eq!(lines[1], format!("flock: executing {command}"), "{lines:?}");
    assert_eq!(lines[2], "ran", "{lines:?}");
}

/// Calls, and the command that each will name.
const CALLS: &[(&str, &str)] = &[
    ("--verbose l echo ran", "echo"),
    ("--verbose -o l echo ran", "echo"),
    ("--verbose -w 9 l -c 'echo ran'", "/bin/sh"),
];

#[test]
fn verbose_tells_on_stdout_how_long_it_took_and_what_is_run() {
    let env = TestEnv::new();
    for (args, command) in CALLS {
        let said = env
            .sh(format!("exec flock {args}"))
            .assert_status(0)
            .assert_stderr("")
            .stdout_text();
        // In whatever order: the reference buffers its own lines when they go into a pipe.
        let mut lines: Vec<_> = said.lines().collect();
        lines.sort_by_key(|line| (*line == "ran", line.contains("executing")));
        assert_verbose_log(&lines, command);
    }
}

#[test]
fn verbose_lines_come_before_the_output_of_the_command() {
    for (args, command) in CALLS.iter().chain(&[("--verbose -F l echo ran", "echo")]) {
        differs_from_util_linux(
            "its own lines are in a buffer while the command writes, with -F for ever",
            |env| {
                let said = env
                    .sh(format!("exec flock {args}"))
                    .assert_status(0)
                    .assert_stderr("")
                    .stdout_text();
                assert_verbose_log(&said.lines().collect::<Vec<_>>(), command);
            },
        );
    }
}

#[test]
fn a_verbose_conflict_and_a_verbose_timeout_are_told_apart_on_stderr() {
    let env = TestEnv::new();
    for (options, said) in [
        ("-n", "failed to get lock"),
        ("-w 0", "failed to get lock"),
        ("-w .01", "timeout while waiting to get lock"),
    ] {
        let outcome = env.sh(format!("exec 8<>l 7<>l; flock 8; flock --verbose {options} l echo ran; flock {options} --verbose 7"))
            .assert_status(1)
            .assert_stdout("");
        let err = outcome.stderr_text();
        let lines: Vec<&str> = err.lines().filter(|line| !shows_holder(line)).collect();
        assert_eq!(lines, [&*format!("flock: {said}"); 2]);
    }
}

#[test]
fn verbose_on_a_descriptor_tells_the_time_only() {
    let said = TestEnv::new()
        .sh("exec 8<>l; flock --verbose 8")
        .assert_status(0)
        .assert_stderr("")
        .stdout_text();
    assert!(shows_time(said.trim_end()), "{said}");
}

#[test]
fn a_verbose_command_that_is_not_utf_8_is_echoed_as_it_came() {
    let env = TestEnv::new();
    symlink("/bin/true", env.file(os_string(b"bin/t\xff"))).expect("a command");
    let args = ["--verbose".into(), "l".into(), os_string(b"t\xff")];
    let said = env.run(args).assert_status(0).stdout;
    assert!(
        said.ends_with(b"\nflock: executing t\xff\n"),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

#[test]
fn whoever_is_told_1_for_a_full_stdout_does_not_have_the_lock() {
    differs_from_util_linux("the status is 1 and the lock is there", |env| {
        env.sh("exec 8<>l; flock --verbose 8 >/dev/full; echo $?; flock -n l true; echo $?")
            .assert_stdout("1\n0\n");
    });
}

#[test]
fn the_time_that_is_told_is_the_time_that_was_waited() {
    let env = TestEnv::new();
    env.install_queued_script();
    let start = Instant::now();
    // The kernel's clock ticks three times, which takes no less than two hundredths of a second.
    let said = env
        .sh(
            "exec 9<>l; flock 9; flock --verbose l true 9>&- & queued l 1
            read last idle </proc/uptime; ticks=0
            until [ $ticks = 3 ]; do
                read now idle </proc/uptime; [ $now = $last ] || ticks=$((ticks + 1)); last=$now
            done
            flock -u 9; wait",
        )
        .assert_status(0);
    let err = said.stderr_text();
    assert!(err.lines().all(shows_holder), "{err}");
    let said = said.stdout_text();
    let line = said.lines().next().expect("a line");
    assert!(shows_time(line), "{said}");
    let told = line
        .split(' ')
        .nth(4)
        .and_then(|number| number.parse::<f64>().ok());
    let told = told.expect("seconds");
    assert!(
        told >= 0.02 && told <= start.elapsed().as_secs_f64(),
        "{said}"
    );
}
