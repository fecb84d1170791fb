//! The values that options and the descriptor accept, and those that they reject.

use std::path::Path;
use std::time::{Duration, Instant};

use rstest::rstest;
use test_support::{Outcome, TestEnv, differs_from_util_linux, is_installed};

use crate::usage_errors::assert_usage_error;

/// Asserts that the value is reported and that no file was created.
#[track_caller]
fn assert_rejected(env: &TestEnv, outcome: Outcome, value: &str) {
    assert_usage_error(outcome, value);
    let files = env.file_names();
    assert!(files.is_empty(), "{value:?}: {files:?}");
}

/// Runs a command with this timeout while the file is locked.
fn time_out(env: &TestEnv, value: &str) -> Outcome {
    env.run(["l", "flock", "-w", value, "l", "true"])
}

#[rstest]
fn a_descriptor_may_have_blanks_a_plus_and_zeros(
    #[values("8", " 8", "\t8", "+8", "08", "00000000000000000000008", " +08")] value: &str,
) {
    TestEnv::new()
        .sh(format!(
            "exec 7<>l 8<>l; flock '{value}' && flock -n 7; echo $?"
        ))
        .assert_all(0, "1\n", "");
}

/// 4294967304 would be 8, if only the lower 32 bits were read.
#[rstest]
fn a_descriptor_or_an_exit_code_is_a_decimal_number(
    #[values(
        "",
        " ",
        "x",
        "8x",
        "8 ",
        "0x8",
        "8.0",
        "1e1",
        "-",
        "+",
        "++8",
        "8,",
        "2147483648",
        "4294967304",
        "99999999999999999999"
    )]
    value: &str,
) {
    let env = TestEnv::new();
    let descriptor = env.sh(format!("exec 8</; flock -n '{value}'"));
    assert_rejected(&env, descriptor, value);
    assert_rejected(&env, env.run(["-E", value, "l", "true"]), value);
}

#[test]
fn a_negative_descriptor_is_rejected() {
    let outcome = TestEnv::new().run(["--", "-1"]);
    // Either as not a number or as not open.
    assert!([64, 65].contains(&outcome.code()), "{outcome:?}");
    assert!(outcome.stderr_text().starts_with("flock: "), "{outcome:?}");
    assert!(outcome.stderr_text().contains("-1"), "{outcome:?}");
}

#[test]
fn a_descriptor_above_the_soft_limit_can_be_locked() {
    if !is_installed("bash") {
        return;
    }
    let env = TestEnv::new();
    // With bash, as dash only supports descriptors of one digit.
    let script = "exec 800<>l; ulimit -Sn 64; flock FORM || exit; (flock -n l true); echo $?";
    env.bash(script.replace("FORM", "800"))
        .assert_all(0, "1\n", "");
    if env.supports_option("--fd") {
        let script = "exec 800<>l; ulimit -Sn 64; flock --fd 800 flock -n l true; echo $?";
        env.bash(script).assert_all(0, "1\n", "");
    }
}

#[rstest]
fn an_exit_code_may_have_blanks_a_plus_and_zeros(
    #[values(
        ("7", 7), (" 7", 7), ("\t7", 7), ("+7", 7), ("007", 7), (" +07", 7), ("0", 0), ("255", 255)
    )]
    (value, status): (&str, i32),
) {
    TestEnv::new()
        .run(["l", "flock", "-n", "-E", value, "l", "true"])
        .assert_all(status, "", "");
}

#[test]
fn an_exit_code_is_a_number_up_to_255() {
    let env = TestEnv::new();
    for value in ["256", "-1", "4294967303"] {
        // The message may contain the valid range instead of the value.
        assert_rejected(&env, env.run(["-E", value, "l", "true"]), "");
    }
}

#[test]
fn a_timeout_may_be_a_fraction() {
    let env = TestEnv::new();
    for value in [
        "0.01", ".01", "1e-2", "1E-2", "0", "0.", "0.0", "00.01", "0.000001", "+.01", " .01",
    ] {
        time_out(&env, value).assert_all(1, "", "");
    }
}

#[test]
fn a_timeout_may_have_units() {
    for value in ["10ms", "0s", "0.01s", "0m 10ms", "1 millisecond"] {
        differs_from_util_linux("-w takes seconds only", |env| {
            time_out(env, value).assert_all(1, "", "");
        });
    }
}

#[test]
fn a_timeout_does_not_end_early() {
    let env = TestEnv::new();
    for (value, milliseconds) in [
        ("0.1", 100),
        ("10e-2", 100),
        ("100ms", 100),
        ("0s 80ms", 80),
    ] {
        if env.is_reference() && value.contains('m') {
            continue;
        }
        let start = Instant::now();
        time_out(&env, value).assert_all(1, "", "");
        let elapsed = start.elapsed();
        let minimum = Duration::from_millis(milliseconds);
        assert!(elapsed >= minimum, "-w {value}: {elapsed:?}");
    }
}

/// Starts a waiter with each of these timeouts, and releases the lock when all are waiting.
fn assert_waiters_get_the_lock(env: &TestEnv, timeouts: &[&str]) {
    for timeout in timeouts {
        env.run(["-w", timeout, "l", "true"]).assert_status(0);
    }
    env.install_queued_script();
    let waiters: String = timeouts
        .iter()
        .map(|timeout| format!("flock -s -w '{timeout}' l echo locked 7>&- & "))
        .collect();
    let count = timeouts.len();
    env.sh(format!(
        "exec 7<>l; flock 7; {waiters} queued l {count}; flock -u 7; wait"
    ))
    .assert_all(0, &"locked\n".repeat(count), "");
}

#[test]
fn a_long_timeout_leaves_time_to_wait() {
    assert_waiters_get_the_lock(&TestEnv::new(), &["1e2", "100.", "100", "99.5", "1e9"]);
}

#[test]
fn a_long_timeout_with_units_leaves_time_to_wait() {
    differs_from_util_linux("-w takes seconds only", |env| {
        assert_waiters_get_the_lock(env, &["1m30s", "2h", "60000ms", "1day", "1h 1m 1s"]);
    });
}

#[test]
fn a_malformed_timeout_is_rejected() {
    let env = TestEnv::new();
    for value in [
        "", " ", "x", "1x", "1 x", "ms", ".", "+", "-", "e1", "1e", "--", "1,5",
    ] {
        assert_rejected(&env, env.run(["-w", value, "l", "true"]), value);
    }
}

#[rstest]
fn a_negative_or_infinite_timeout_is_rejected(
    #[values("-1", "-0.5", "nan", "NaN", "inf", "infinity", "-inf", "1e400")] value: &str,
) {
    differs_from_util_linux("only the timer fails, after the file is created", |env| {
        assert_rejected(env, env.run(["-w", value, "l", "true"]), value);
    });
}

#[test]
fn a_timeout_with_another_unit_is_rejected() {
    differs_from_util_linux("it does not say what is expected", |env| {
        for value in ["5M", "5months", "1w", "1y", "5S", "1us"] {
            let outcome = env.run(["-w", value, "l", "true"]).assert_status(64);
            let expected = "expected seconds, e.g. 5 or 0.5, or a duration with the units ms, s, \
                            m, h or d, e.g. 1m30s";
            let message = format!("flock: invalid timeout value: '{value}' ({expected})\n");
            let stderr = outcome.stderr_text();
            assert!(stderr.starts_with(&message), "{stderr}");
            assert!(env.file_names().is_empty());
        }
    });
}

#[rstest]
#[case::negative_zero(&["-w", "-0"])]
#[case::hexadecimal(&["-w", "0x10"])]
#[case::overridden(&["-w", "-1", "-w", "1"])]
fn an_odd_timeout_is_rejected(#[case] options: &[&str]) {
    differs_from_util_linux("it accepts them", |env| {
        let outcome = env.run(options.iter().chain(&["l", "true"]));
        assert_rejected(env, outcome, options[1]);
    });
}

#[rstest]
fn waiting_forever_is_explained(#[values("-1", "inf")] value: &str) {
    differs_from_util_linux("only the timer fails, after the file is created", |env| {
        let outcome = env.run(["-w", value, "l", "true"]);
        assert_usage_error(outcome, "leave -w out");
    });
}

#[rstest]
fn a_timeout_out_of_range_is_rejected(
    #[values(
        "1e30",
        "99999999999999999999",
        "99999999999999999999h",
        "-1s",
        "-0h 1s"
    )]
    value: &str,
) {
    let env = TestEnv::new();
    // util-linux 2.38.1 accepts these, as some finite time.
    if !env.is_reference() {
        assert_rejected(&env, env.run(["-w", value, "l", "true"]), value);
    }
}

#[test]
fn the_decimal_point_does_not_depend_on_the_locale() {
    let locales = TestEnv::new();
    let mut localedef = locales.command("localedef");
    localedef.args(["-i", "de_DE", "-f", "UTF-8", "./de_DE.UTF-8"]);
    // Some systems do not have the sources of the locales.
    let has_sources = Path::new("/usr/share/i18n/locales/de_DE").exists();
    if !is_installed("localedef") || !has_sources || locales.run_command(localedef).code() > 1 {
        return;
    }
    for (value, status) in [("0.01", 1), ("0,01", 64)] {
        differs_from_util_linux("it uses the decimal point of the locale", |env| {
            let mut command = env.flock(["l", "flock", "-w", value, "l", "true"]);
            command
                .env("LOCPATH", locales.path())
                .env("LC_ALL", "de_DE.UTF-8");
            env.run_command(command).assert_status(status);
        });
    }
}

#[rstest]
fn a_malformed_start_or_length_is_rejected(
    #[values("--start", "--length")] option: &str,
    #[values("", "x", "K", "1X", "1KiBB", "1 x", "-1", "99999999999999999999999")] value: &str,
) {
    let env = TestEnv::new();
    if env.supports_option("--start") {
        assert_rejected(&env, env.run([option, value, "l", "true"]), value);
    }
}
