//! The values that options and the descriptor take, and those that they refuse.

use std::time::{Duration, Instant};

use test_support::{Outcome, TestEnv, differs_from_util_linux, is_installed};

/// Neither a number nor anything else that a value may be, whatever the option.
const NO_NUMBERS: &[&str] = &[
    "", " ", "x", "8x", "8 ", "0x8", "8.0", "1e1", "-", "+", "++8", "8,",
];

/// The same, and numbers that no `int` holds; the second is 8 to who loses the upper half.
const NO_DESCRIPTORS: &[&str] = &["2147483648", "4294967304", "99999999999999999999"];

/// A refused value: 64, a message that names it, and no file made.
#[track_caller]
fn assert_refused(env: &TestEnv, outcome: Outcome, value: &str) {
    let outcome = outcome.assert_status(64).assert_stdout("");
    let said = outcome.stderr_text();
    assert!(said.starts_with("flock: "), "{value:?}: {said}");
    assert!(said.contains(value), "{value:?}: {said}");
    assert!(
        env.file_names().is_empty(),
        "{value:?}: {:?}",
        env.file_names()
    );
}

#[test]
fn a_descriptor_may_have_leading_blanks_a_plus_and_zeros() {
    let env = TestEnv::new();
    for word in [
        "8",
        " 8",
        "\t8",
        "+8",
        "08",
        "00000000000000000000008",
        " +08",
    ] {
        env.sh(format!(
            "exec 7<>l 8<>l; flock '{word}' && flock -n 7; echo $?"
        ))
        .assert_stdout("1\n")
        .assert_stderr("");
    }
}

#[test]
fn a_word_that_is_no_number_up_to_int_max_is_no_descriptor_and_no_path() {
    let env = TestEnv::new();
    for word in NO_NUMBERS.iter().chain(NO_DESCRIPTORS) {
        let outcome = env.sh(format!("exec 8</; flock -n '{word}'"));
        assert_refused(&env, outcome, word);
    }
}

#[test]
fn a_negative_descriptor_is_refused() {
    let env = TestEnv::new();
    // Whether as no number or as no descriptor is nobody's business.
    let outcome = env.run(["--", "-1"]);
    assert!([64, 65].contains(&outcome.code()), "{outcome:?}");
    assert!(outcome.stderr_text().starts_with("flock: "), "{outcome:?}");
    assert!(outcome.stderr_text().contains("-1"), "{outcome:?}");
}

#[test]
fn int_max_is_a_descriptor_that_is_not_open() {
    let outcome = TestEnv::new()
        .run(["2147483647"])
        .assert_status(65)
        .assert_stdout("");
    assert!(
        outcome
            .stderr_text()
            .starts_with("flock: 2147483647: Bad file descriptor"),
        "{outcome:?}"
    );
}

#[test]
fn a_descriptor_above_the_soft_limit_is_locked_if_it_is_open() {
    if !is_installed("bash") {
        return;
    }
    let env = TestEnv::new();
    // Not dash: it knows descriptors of one digit only.
    let above = "exec 800<>l; ulimit -Sn 64; flock FORM || exit; (flock -n l true); echo $?";
    env.bash(above.replace("FORM", "800"))
        .assert_stdout("1\n")
        .assert_stderr("");
    if env.supports_option("--fd") {
        let inside = "exec 800<>l; ulimit -Sn 64; flock --fd 800 flock -n l true; echo $?";
        env.bash(inside).assert_stdout("1\n").assert_stderr("");
    }
}

#[test]
fn a_conflict_exit_code_may_have_leading_blanks_a_plus_and_zeros() {
    let env = TestEnv::new();
    for (word, status) in [
        ("7", 7),
        (" 7", 7),
        ("\t7", 7),
        ("+7", 7),
        ("007", 7),
        (" +07", 7),
        ("0", 0),
        ("255", 255),
    ] {
        env.run(["l", "flock", "-n", "-E", word, "l", "true"])
            .assert_status(status)
            .assert_stderr("");
    }
}

#[test]
fn a_conflict_exit_code_beyond_255_or_below_0_or_no_number_is_refused() {
    let env = TestEnv::new();
    let beyond = ["256", "-1", "4294967303"];
    for word in NO_NUMBERS.iter().chain(NO_DESCRIPTORS) {
        assert_refused(&env, env.run(["-E", word, "l", "true"]), word);
    }
    for word in beyond {
        // The message may give the range instead of the word.
        assert_refused(&env, env.run(["-E", word, "l", "true"]), "");
    }
}

#[test]
fn a_timeout_may_be_a_fraction() {
    let env = TestEnv::new();
    for word in [
        "0.01", ".01", "1e-2", "1E-2", "0", "0.", "0.0", "00.01", "0.000001", "+.01", " .01",
    ] {
        env.run(["l", "flock", "-w", word, "l", "true"])
            .assert_status(1)
            .assert_stderr("");
    }
}

#[test]
fn a_timeout_may_be_a_human_duration() {
    for word in ["10ms", "1us", "0s", "1ms 10us", "2ms1us"] {
        differs_from_util_linux("-w takes seconds only", |env| {
            env.run(["l", "flock", "-w", word, "l", "true"])
                .assert_status(1)
                .assert_stderr("");
        });
    }
}

#[test]
fn a_timeout_is_not_over_before_its_time() {
    let env = TestEnv::new();
    let takes = |word: &str, least: u64| {
        let start = Instant::now();
        env.run(["l", "flock", "-w", word, "l", "true"])
            .assert_status(1)
            .assert_stderr("");
        let took = start.elapsed();
        assert!(
            took >= Duration::from_millis(least),
            "-w {word} took {took:?}"
        );
    };
    takes("0.2", 200);
    takes("20e-2", 200);
    if !env.is_reference() {
        takes("200ms", 200);
        takes("0s 150ms", 150);
    }
}

/// Waits under each of these timeouts until they are all in the queue, and only then releases the lock.
fn each_waits_for_its_turn(env: &TestEnv, words: &[&str]) {
    for word in words {
        env.run(["-w", word, "l", "true"]).assert_status(0);
    }
    env.install_queued_script();
    let waiters: String = words
        .iter()
        .map(|word| format!("flock -s -w '{word}' l echo in 7>&- & "))
        .collect();
    let script = format!(
        "exec 7<>l; flock 7; {waiters} queued l {}; flock -u 7; wait",
        words.len()
    );
    env.sh(script)
        .assert_stdout(&"in\n".repeat(words.len()))
        .assert_stderr("");
}

#[test]
fn a_long_timeout_leaves_time_to_get_the_lock() {
    each_waits_for_its_turn(&TestEnv::new(), &["1e2", "100.", "100", "99.5", "1e9"]);
}

#[test]
fn a_long_human_timeout_leaves_time_to_get_the_lock() {
    differs_from_util_linux("-w takes seconds only", |env| {
        each_waits_for_its_turn(env, &["1m30s", "2h", "60000ms", "1day", "1h 1m 1s"]);
    });
}

#[test]
fn a_timeout_that_is_no_time_is_refused_before_any_file_is_made() {
    let env = TestEnv::new();
    for word in [
        "", " ", "x", "1x", "1 x", "ms", ".", "+", "-", "e1", "1e", "--", "1,5",
    ] {
        assert_refused(&env, env.run(["-w", word, "l", "true"]), word);
    }
}

#[test]
fn a_timeout_that_is_negative_endless_or_not_a_number_is_refused_before_any_file_is_made() {
    for word in [
        "-1", "-0.5", "nan", "NaN", "inf", "infinity", "-inf", "1e400",
    ] {
        differs_from_util_linux("only the timer is refused, after the file is made", |env| {
            assert_refused(env, env.run(["-w", word, "l", "true"]), word);
        });
    }
    // util-linux 2.38.1 takes these for some finite time.
    let env = TestEnv::new();
    if !env.is_reference() {
        for word in [
            "1e30",
            "99999999999999999999",
            "99999999999999999999h",
            "-1s",
            "-0h 1s",
        ] {
            assert_refused(&env, env.run(["-w", word, "l", "true"]), word);
        }
    }
}

#[test]
fn the_decimal_sign_of_a_timeout_is_a_point_in_every_locale() {
    let scratch = TestEnv::new();
    let mut make = scratch.command("localedef");
    make.args(["-i", "de_DE", "-f", "UTF-8", "./de_DE.UTF-8"]);
    // The sources of locales are a package of their own.
    let sources = std::path::Path::new("/usr/share/i18n/locales/de_DE").exists();
    if !is_installed("localedef") || !sources || scratch.run_command(make).code() > 1 {
        return;
    }
    let german = |env: &TestEnv, word: &str| {
        let mut command = env.flock(["l", "flock", "-w", word, "l", "true"]);
        command
            .env("LOCPATH", scratch.path())
            .env("LC_ALL", "de_DE.UTF-8");
        env.run_command(command)
    };
    differs_from_util_linux("the locale's decimal sign is asked for", |env| {
        german(env, "0.01").assert_status(1).assert_stderr("");
    });
    differs_from_util_linux("the locale's decimal sign is taken", |env| {
        german(env, "0,01").assert_status(64);
    });
}

#[test]
fn a_start_or_length_that_is_no_size_is_refused_before_any_file_is_made() {
    let env = TestEnv::new();
    if !env.supports_option("--start") {
        return;
    }
    for option in ["--start", "--length"] {
        for word in [
            "",
            "x",
            "K",
            "1X",
            "1KiBB",
            "1 x",
            "-1",
            "99999999999999999999999",
        ] {
            assert_refused(&env, env.run([option, word, "l", "true"]), word);
        }
    }
}
