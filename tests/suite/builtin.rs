//! `flock` as a builtin of bash: what a script sees of it, in every bash that there is (see [`in_every_bash`]).
//!
//! The compliance suite's own cases run through the builtin too, with `FLOCK_THROUGH_BUILTIN=1`; here is what the
//! program has nothing of.

mod fair;
mod function;
mod handing_over;
mod scripts;
mod shell;
mod storm;
mod terminal;
mod waiting;
mod window;

use test_support::builtin::for_each_bash;

/// For scripts: `held FILE` says whether somebody holds a lock on it, asked by the program.
const HELD: &str = "held() { bin/flock -n \"$1\" true && echo free || echo held; }\n";

#[test]
fn a_descriptor_is_locked_without_any_program() {
    for_each_bash(|env| {
        // Neither the one in PATH nor the builtin's own.
        env.install_script("bin/is-held", "#!/bin/sh\nexec ../ours -n \"$1\" true\n");
        std::fs::rename(env.file("bin/flock"), env.file("ours")).expect("it is there");
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
fn every_option_of_the_descriptor_form_does_what_it_does_in_the_program() {
    for_each_bash(|env| {
        // What others can do then: lock it exclusively, or shared.
        let others = "bin/flock -n l true; echo $?; bin/flock -ns l true; echo $?";
        for (call, wanted) in [
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
            env.run_with_builtin(format!("exec 8>l 9>l; {call}; echo $?; {others}"))
                .assert_stdout(wanted);
        }
        for (call, wanted) in [
            ("flock --fcntl 8", "0\n1\n1\n1\n"),
            ("flock --fcntl -s 8", "0\n1\n1\n0\n"),
            ("flock --start 10 --length 10 8", "0\n1\n0\n1\n"),
            ("flock --start 0 --length 5 8", "0\n1\n1\n0\n"),
        ] {
            let others = "bin/flock -n --fcntl l true; echo $?
                bin/flock -n --start 0 --length 5 l true; echo $?
                bin/flock -ns --start 10 --length 5 l true; echo $?";
            env.run_with_builtin(format!("exec 8<>l; {call}; echo $?; {others}"))
                .assert_stdout(wanted);
        }
    });
}

#[test]
fn what_it_says_is_what_the_program_says() {
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
            let said = |flock: &str| {
                let call = call.replacen("flock", flock, 1);
                let script = format!("exec 8>l 9>l; flock 9; {call}; echo $?");
                let said = env.run_with_builtin(script);
                (
                    said.stdout_text(),
                    nobody_in_particular(&said.stderr_text()),
                )
            };
            assert_eq!(said("flock"), said("command -p env flock"), "{call}");
        }
    });
}

/// Without the number and the age of whoever is in the way.
fn nobody_in_particular(said: &str) -> String {
    let line = |line: &str| match line.split_once("held by ") {
        Some((ahead, _)) => format!("{ahead}held by somebody\n"),
        None => format!("{line}\n"),
    };
    said.lines().map(line).collect()
}

#[test]
fn verbose_tells_its_story_in_the_shells_output() {
    for_each_bash(|env| {
        let outcome = env.run_with_builtin("exec 8>l; echo before; flock --verbose 8; echo after");
        let out = outcome.assert_status(0).stdout_text();
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!((lines[0], lines[2], lines.len()), ("before", "after", 3));
        assert!(lines[1].starts_with("flock: getting lock took "), "{out}");
    });
}

#[test]
fn a_full_disk_under_standard_output_is_a_failure() {
    for_each_bash(|env| {
        env.run_with_builtin(
            "exec 8>l; flock --verbose 8 >/dev/full; echo $?; flock -V >/dev/full; echo $?",
        )
        .assert_stderr(&"flock: write error: No space left on device\n".repeat(2))
        .assert_stdout("1\n1\n");
    });
}

#[test]
fn its_output_can_be_redirected_and_captured() {
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
fn help_shows_what_the_program_shows() {
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
fn it_can_be_taken_away_and_enabled_again() {
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
