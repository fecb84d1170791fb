//! `flock` as a bash builtin, as scripts see it, in every bash that is available (see
//! [`for_each_bash`]).
//!
//! With `FLOCK_THROUGH_BUILTIN=1` the rest of the suite runs through the builtin, too. These
//! modules test what is different in a builtin.

mod close_on_exec;
mod fair;
mod function;
mod handing_over;
mod program_path;
mod remote;
mod scripts;
mod shell;
mod storm;
mod terminal;
mod waiting;
mod window;

use rstest::rstest;
use test_support::builtin::for_each_bash;
use test_support::process::{ExitReason, Process};

/// For scripts: `held FILE` prints whether the program finds FILE locked.
const HELD: &str = "held() { bin/flock -n \"$1\" true && echo free || echo held; }\n";

/// Runs a script after [`HELD`] in every bash, and asserts that it prints this and succeeds.
#[track_caller]
fn assert_script(script: &str, stdout: &str) {
    for_each_bash(|env| {
        let outcome = env.run_with_builtin(format!("{HELD}{script}"));
        outcome.assert_all(0, stdout, "");
    });
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
        .assert_all(0, "0\n1\n1\n0\n0\n1\n", "");
    });
}

#[test]
fn descriptor_options_work_as_in_the_program() {
    for_each_bash(|env| {
        // Whether another process can lock it then: exclusively, shared.
        let others = "bin/flock -n l true; echo $?; bin/flock -ns l true; echo $?";
        let fcntl_others = "bin/flock -n --fcntl l true; echo $?
            bin/flock -n --start 0 --length 5 l true; echo $?
            bin/flock -ns --start 10 --length 5 l true; echo $?";
        for (others, call, expected) in [
            (others, "flock 8", "0\n1\n1\n"),
            (others, "flock -x 8", "0\n1\n1\n"),
            (others, "flock -e 8", "0\n1\n1\n"),
            (others, "flock --exclusive 8", "0\n1\n1\n"),
            (others, "flock -s 8", "0\n1\n0\n"),
            (others, "flock --shared 8", "0\n1\n0\n"),
            (others, "flock -sx ' +08'", "0\n1\n1\n"),
            (others, "flock 8; flock -u 8", "0\n0\n0\n"),
            (others, "flock 8; flock --unlock 8", "0\n0\n0\n"),
            (others, "flock --fd 8 true", "0\n1\n1\n"),
            (others, "flock -s 9; flock -n 8", "1\n1\n0\n"),
            (others, "flock -s 9; flock --nonblock 8", "1\n1\n0\n"),
            (others, "flock -s 9; flock -nE 42 8", "42\n1\n0\n"),
            (others, "flock -s 9; flock -w 0.01 -E 43 8", "43\n1\n0\n"),
            (others, "flock -s 9; flock --timeout=10ms 8", "1\n1\n0\n"),
            (others, "flock -s 9; flock -ns 8", "0\n1\n0\n"),
            (fcntl_others, "flock --fcntl 8", "0\n1\n1\n1\n"),
            (fcntl_others, "flock --fcntl -s 8", "0\n1\n1\n0\n"),
            (
                fcntl_others,
                "flock --start 10 --length 10 8",
                "0\n1\n0\n1\n",
            ),
            (fcntl_others, "flock --start 0 --length 5 8", "0\n1\n1\n0\n"),
        ] {
            println!("{call}");
            env.run_with_builtin(format!("exec 8<>l 9>l; {call}; echo $?; {others}"))
                .assert_all(0, expected, "");
        }
    });
}

#[rstest]
fn messages_match_the_program(
    #[values(
        "",
        "zz",
        "9x",
        "--nonsense 8",
        "-w -1 8",
        "-w 8",
        "-E 256 8",
        "77",
        "-n 8",
        "-n --verbose 8",
        "-w 0.01 --verbose 8",
        "-h",
        "--help",
        "-V",
        "--version",
        "--fcntl --start x 8"
    )]
    args: &str,
) {
    for_each_bash(|env| {
        let output = |flock: &str| {
            let script = format!("exec 8>l 9>l; flock 9; {flock} {args}; echo $?");
            let outcome = env.run_with_builtin(script);
            (outcome.stdout_text(), mask_holder(&outcome.stderr_text()))
        };
        assert_eq!(output("flock"), output("command -p env flock"));
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
        .assert_status(0)
        .assert_stdout("1\n1\n")
        .assert_stderr(&"flock: write error: No space left on device\n".repeat(2));
    });
}

#[test]
fn output_can_be_redirected_and_captured() {
    assert_script(
        "v=$(flock -V); [ \"$v\" = \"$(bin/flock -V)\" ]; echo $?
         flock -V >out; cmp out <(bin/flock -V); echo $?
         flock -V | cmp - out; echo $?
         flock zz 2>err; echo $?; cmp err <(bin/flock zz 2>&1); echo $?",
        "0\n0\n0\n64\n0\n",
    );
}

#[test]
fn help_builtin_prints_the_programs_help() {
    for_each_bash(|env| {
        let help = env.run_with_builtin("help flock").assert_stderr("");
        let help = help.assert_status(0).stdout_text();
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
    assert_script(
        "exec 8>l; type -t flock; flock 8
         enable -d flock; echo $?; type -t flock; flock -n 8; echo $?
         enable -f bin/lib/bash/flock flock; echo $?; type -t flock; flock -n 8; echo $?
         enable -n flock; type -t flock; enable flock; type -t flock",
        "builtin\n0\nfile\n0\n0\nbuiltin\n0\nfile\nbuiltin\n",
    );
}
