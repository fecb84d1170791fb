//! `flock` as a bash builtin, as scripts see it, in every bash that is available (see
//! [`for_each_bash`]).
//!
//! With `FLOCK_THROUGH_BUILTIN=1` the rest of the suite runs through the builtin, too. These
//! modules test what is different in a builtin.

mod fair;
mod function;
mod handing_over;
mod scripts;
mod shell;
mod storm;
mod terminal;
mod waiting;
mod window;

use test_support::TestEnv;
use test_support::builtin::for_each_bash;
use test_support::process::{ExitReason, Process};

const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";

/// For scripts: `held FILE` prints whether the program finds FILE locked.
const HELD: &str = "held() { bin/flock -n \"$1\" true && echo free || echo held; }\n";

/// Runs each script after [`HELD`], and asserts its output.
#[track_caller]
fn assert_scripts(env: &TestEnv, scripts: &[(&str, &str)]) {
    for (script, expected) in scripts {
        println!("{script}");
        env.run_with_builtin(format!("{HELD}{script}"))
            .assert_stderr("")
            .assert_stdout(expected);
    }
}

/// Returns a script that opens `l` as descriptor 8, executes `before` and `wait`, prints `over` and
/// the status, and executes `after`. The function `got`, for which it may wait, prints `got`.
fn wait_script(before: &str, wait: &str, after: &str) -> String {
    format!("got() {{ echo got; }}\nexec 8<>l\n{before}\n{wait}\necho over $?\n{after}")
}

/// Asserts that a shell with a [`wait_script`] acquires the lock, prints nothing else and succeeds.
#[track_caller]
fn assert_acquires(waiter: &mut Process) {
    let output = waiter.expect("over 0\n");
    assert!(
        ["over 0\n", "got\nover 0\n"].contains(&&output[..]),
        "{output}"
    );
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[test]
fn descriptor_form_needs_no_program() {
    for_each_bash(|env| {
        // Neither the one in PATH nor the one beside the builtin.
        std::fs::rename(env.file("bin/flock"), env.file("ours")).expect("it exists");
        env.run_with_builtin(
            "PATH=/nowhere; exec 8>l 9>l
             flock 8; echo $?; flock -n 9; echo $?; ./ours -n l /bin/true; echo $?
             flock -u 8; echo $?; flock -n 9; echo $?; ./ours -n l /bin/true; echo $?",
        )
        .assert_stderr("")
        .assert_stdout("0\n1\n1\n0\n0\n1\n");
    });
}

#[test]
fn descriptor_options_work_as_in_the_program() {
    for_each_bash(|env| {
        // Whether another process can lock it then: exclusively, shared.
        let others = "bin/flock -n l true; echo $?; bin/flock -ns l true; echo $?";
        for (call, expected) in [
            ("flock 8", "0\n1\n1\n"),
            ("flock -x 8", "0\n1\n1\n"),
            ("flock -e 8", "0\n1\n1\n"),
            ("flock --exclusive 8", "0\n1\n1\n"),
            ("flock -s 8", "0\n1\n0\n"),
            ("flock --shared 8", "0\n1\n0\n"),
            ("flock -sx ' +08'", "0\n1\n1\n"),
            ("flock 8; flock -u 8", "0\n0\n0\n"),
            ("flock 8; flock --unlock 8", "0\n0\n0\n"),
            ("flock --fd 8 true", "0\n1\n1\n"),
            ("flock -s 9; flock -n 8", "1\n1\n0\n"),
            ("flock -s 9; flock --nonblock 8", "1\n1\n0\n"),
            ("flock -s 9; flock -nE 42 8", "42\n1\n0\n"),
            ("flock -s 9; flock -w 0.01 -E 43 8", "43\n1\n0\n"),
            ("flock -s 9; flock --timeout=10ms 8", "1\n1\n0\n"),
            ("flock -s 9; flock -ns 8", "0\n1\n0\n"),
        ] {
            println!("{call}");
            env.run_with_builtin(format!("exec 8>l 9>l; {call}; echo $?; {others}"))
                .assert_stdout(expected);
        }
        let others = "bin/flock -n --fcntl l true; echo $?
            bin/flock -n --start 0 --length 5 l true; echo $?
            bin/flock -ns --start 10 --length 5 l true; echo $?";
        for (call, expected) in [
            ("flock --fcntl 8", "0\n1\n1\n1\n"),
            ("flock --fcntl -s 8", "0\n1\n1\n0\n"),
            ("flock --start 10 --length 10 8", "0\n1\n0\n1\n"),
            ("flock --start 0 --length 5 8", "0\n1\n1\n0\n"),
        ] {
            println!("{call}");
            env.run_with_builtin(format!("exec 8<>l; {call}; echo $?; {others}"))
                .assert_stdout(expected);
        }
    });
}

#[test]
fn messages_match_the_program() {
    for_each_bash(|env| {
        for call in [
            "flock",
            "flock zz",
            "flock 9x",
            "flock --nonsense 8",
            "flock -w -1 8",
            "flock -w 8",
            "flock -E 256 8",
            "flock 77",
            "flock -n 8",
            "flock -n --verbose 8",
            "flock -w 0.01 --verbose 8",
            "flock -h",
            "flock --help",
            "flock -V",
            "flock --version",
            "flock --fcntl --start x 8",
        ] {
            let output = |flock: &str| {
                let call = call.replacen("flock", flock, 1);
                let script = format!("exec 8>l 9>l; flock 9; {call}; echo $?");
                let outcome = env.run_with_builtin(script);
                (outcome.stdout_text(), mask_holder(&outcome.stderr_text()))
            };
            assert_eq!(output("flock"), output("command -p env flock"), "{call}");
        }
    });
}

/// Replaces the pid and the age of the holder.
fn mask_holder(messages: &str) -> String {
    let mask = |line: &str| match line.split_once("held by ") {
        Some((before, _)) => format!("{before}held by HOLDER\n"),
        None => format!("{line}\n"),
    };
    messages.lines().map(mask).collect()
}

#[test]
fn verbose_report_goes_to_the_shells_stdout() {
    for_each_bash(|env| {
        let outcome = env.run_with_builtin("exec 8>l; echo before; flock --verbose 8; echo after");
        let out = outcome.assert_status(0).stdout_text();
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!((lines[0], lines[2], lines.len()), ("before", "after", 3));
        assert!(lines[1].starts_with("flock: getting lock took "), "{out}");
    });
}

#[test]
fn full_disk_under_stdout_is_an_error() {
    for_each_bash(|env| {
        env.run_with_builtin(
            "exec 8>l; flock --verbose 8 >/dev/full; echo $?; flock -V >/dev/full; echo $?",
        )
        .assert_stderr(&"flock: write error: No space left on device\n".repeat(2))
        .assert_stdout("1\n1\n");
    });
}

#[test]
fn output_can_be_redirected_and_captured() {
    for_each_bash(|env| {
        env.run_with_builtin(
            "v=$(flock -V); [ \"$v\" = \"$(bin/flock -V)\" ]; echo $?
             flock -V >out; cmp out <(bin/flock -V); echo $?
             flock -V | cmp - out; echo $?
             flock zz 2>err; echo $?; cmp err <(bin/flock zz 2>&1); echo $?",
        )
        .assert_stdout("0\n0\n0\n64\n0\n");
    });
}

#[test]
fn help_builtin_prints_the_programs_help() {
    for_each_bash(|env| {
        let help = env
            .run_with_builtin("help flock")
            .assert_status(0)
            .assert_stderr("")
            .stdout_text();
        let program = env.run(["--help"]).stdout_text();
        assert!(program.lines().count() > 10);
        for line in program.lines() {
            assert!(help.contains(line.trim()), "{line}\n{help}");
        }
        env.run_with_builtin("help -s flock")
            .assert_stdout("flock: flock [OPTION]... NUMBER | FILE COMMAND [ARGUMENT]...\n");
        env.run_with_builtin("help -d flock").assert_status(0);
    });
}

#[test]
fn builtin_can_be_unloaded_disabled_and_reloaded() {
    for_each_bash(|env| {
        env.run_with_builtin(
            "exec 8>l; type -t flock; flock 8
             enable -d flock; echo $?; type -t flock; flock -n 8; echo $?
             enable -f bin/lib/bash/flock flock; echo $?; type -t flock; flock -n 8; echo $?
             enable -n flock; type -t flock; enable flock; type -t flock",
        )
        .assert_stderr("")
        .assert_stdout("builtin\n0\nfile\n0\n0\nbuiltin\n0\nfile\nbuiltin\n");
    });
}
