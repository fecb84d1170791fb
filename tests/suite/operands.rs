//! What the operands mean: a path and a command, a path and `-c`, or a descriptor.

use test_support::Lab;

#[test]
fn the_first_of_two_operands_is_a_path_even_if_it_is_a_number() {
    let lab = Lab::new();
    // Were it the descriptor, `l` would be locked and `8` would not be made.
    lab.sh("exec 7<>l 8<>l; flock 8 flock -n 7; echo $?; flock 8 flock -n 8 true; echo $?")
        .expect_out("0\n1\n")
        .expect_err("");
    assert_eq!(lab.names(), ["8", "l"]);
}

#[test]
fn a_command_runs_under_the_lock_and_the_lock_ends_with_it() {
    let lab = Lab::new();
    lab.sh("flock l flock -n l echo two; echo $?; flock -n l echo one; echo $?")
        .expect_out("1\none\n0\n")
        .expect_err("");
}

#[test]
fn shared_locks_go_together_and_with_no_exclusive_one() {
    let lab = Lab::new();
    for (held, wanted, status) in [
        ("-s", "-s", 0),
        ("-s", "-x", 1),
        ("-x", "-s", 1),
        ("-x", "-x", 1),
    ] {
        lab.run([held, "l", "flock", "-n", wanted, "l", "true"])
            .expect_code(status)
            .expect_err("");
    }
}

#[test]
fn unlocking_a_path_waits_for_nobody_and_frees_nobody_elses_lock() {
    let lab = Lab::new();
    lab.sh("flock l flock -u l sh -c 'echo ran; flock -n l true; echo $?'")
        .expect_code(0)
        .expect_out("ran\n1\n")
        .expect_err("");
}

#[test]
fn one_operand_is_a_descriptor_whose_lock_outlives_flock() {
    let lab = Lab::new();
    lab.sh("exec 8<>l; flock 8; echo $?; flock -n l true; echo $?; flock -u 8; flock -n l true; echo $?")
        .expect_out("0\n1\n0\n")
        .expect_err("");
}

#[test]
fn one_operand_is_never_a_path() {
    let lab = Lab::new();
    lab.sh(
        ": >l; : >d; flock l; echo $?; flock ./l; echo $?; flock new; echo $?; flock .; echo $?",
    )
    .expect_out("64\n64\n64\n64\n");
    assert_eq!(lab.names(), ["d", "l"]);
}

#[test]
fn no_operand_is_a_usage_error() {
    let lab = Lab::new();
    for args in [&[][..], &["-n"], &["-x", "--"], &["-u"], &["--verbose"]] {
        let outcome = lab.run(args).expect_code(64).expect_out("");
        assert!(outcome.err().starts_with("flock: "), "{outcome:?}");
    }
}

#[test]
fn the_command_gets_its_arguments_untouched() {
    let lab = Lab::new();
    let args = [
        "l", "printf", "[%s]", "", "a b", "*", "$HOME", "--", "-n", "l", "\\", "'", "\n",
    ];
    lab.run(args)
        .expect_code(0)
        .expect_out("[][a b][*][$HOME][--][-n][l][\\]['][\n]")
        .expect_err("");
}

#[test]
fn an_option_behind_the_file_is_a_command_to_execute() {
    let lab = Lab::new();
    for option in [
        "-n",
        "--",
        "-x",
        "--help",
        "--verbose",
        "-w",
        "-cecho ran",
        "--command=echo ran",
        "-C",
        "--comm",
    ] {
        lab.run(["l", option, "echo", "ran"])
            .expect_code(69)
            .expect_out("")
            .expect_err(&format!(
                "flock: failed to execute {option}: No such file or directory\n"
            ));
    }
}

#[test]
fn a_command_that_is_called_like_an_option_runs() {
    let lab = Lab::new();
    lab.program("bin/-n", "#!/bin/sh\necho dash n: \"$@\"\n");
    lab.run(["l", "-n", "-c", "x"])
        .expect_code(0)
        .expect_out("dash n: -c x\n");
}

#[test]
fn dash_c_in_second_place_runs_its_one_argument_by_the_shell() {
    let lab = Lab::new();
    for word in ["-c", "--command"] {
        lab.run([
            "l",
            word,
            "echo a  'b  c' | tr a-c d-f; flock -n l true; echo $? $#",
        ])
        .expect_code(0)
        .expect_out("d e  f\n1 0\n")
        .expect_err("");
        lab.run(["l", word, "exit 42"]).expect_code(42);
        lab.run(["l", word, ""]).expect_code(0).expect_out("");
        lab.run(["-n", "--", "l", word, "echo ran"])
            .expect_code(0)
            .expect_out("ran\n");
    }
}

#[test]
fn dash_c_takes_exactly_one_argument() {
    let lab = Lab::new();
    for args in [
        &["l", "-c"][..],
        &["l", "--command"],
        &["l", "-c", "echo ran", "more"],
        &["l", "--command", "echo", "ran"],
        &["l", "-c", "-c", "echo ran"],
        &["l", "-c", "--", "echo ran"],
    ] {
        let outcome = lab.run(args).expect_code(64).expect_out("");
        assert!(outcome.err().starts_with("flock: "), "{outcome:?}");
        assert!(outcome.err().contains(args[1]), "{outcome:?}");
    }
    assert!(lab.names().is_empty(), "{:?}", lab.names());
}

#[test]
fn dash_c_in_first_place_is_an_unknown_option() {
    let lab = Lab::new();
    for args in [
        &["-c", "echo ran"][..],
        &["-c", "echo ran", "l"],
        &["-c", "l", "echo", "ran"],
        &["-nc", "echo ran"],
    ] {
        let outcome = lab.run(args).expect_code(64).expect_out("");
        assert!(outcome.err().starts_with("flock: "), "{outcome:?}");
        assert!(
            outcome.err().contains("'c'") || outcome.err().contains("-c"),
            "{outcome:?}"
        );
    }
    assert!(lab.names().is_empty(), "{:?}", lab.names());
}

#[test]
fn dash_c_further_back_is_an_argument_of_the_command() {
    let lab = Lab::new();
    lab.run(["l", "sh", "-c", "echo \"$0\"", "ran"])
        .expect_code(0)
        .expect_out("ran\n");
    lab.run(["l", "echo", "-c", "--command"])
        .expect_code(0)
        .expect_out("-c --command\n");
}

#[test]
fn dash_c_uses_the_shell_of_the_environment() {
    let lab = Lab::new();
    lab.program("mine", "#!/bin/sh\nprintf '<%s>' mine \"$@\"\n");
    for shell in [
        lab.file("mine").into_os_string(),
        "./mine".into(),
        "mine".into(),
    ] {
        let mut command = lab.flock(["l", "-c", "echo ran"]);
        // The last one is looked for in PATH.
        command.env("SHELL", &shell).env(
            "PATH",
            format!("{}:{}", lab.path().display(), lab.file("bin").display()),
        );
        lab.finish(command)
            .expect_code(0)
            .expect_out("<mine><-c><echo ran>")
            .expect_err("");
    }
}

#[test]
fn without_a_shell_in_the_environment_dash_c_uses_bin_sh() {
    let lab = Lab::new();
    let script = "flock l -c 'readlink /proc/$$/exe; echo $0'; readlink -f /bin/sh";
    for change in ["unset SHELL", "export SHELL="] {
        let said = lab
            .sh(format!("{change}; {script}"))
            .expect_code(0)
            .expect_err("")
            .out();
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines.len(), 3, "{change}: {said}");
        assert_eq!(lines[0], lines[2], "{change}");
        assert_eq!(lines[1], "/bin/sh", "{change}");
    }
}

#[test]
fn a_shell_that_is_not_there_is_a_failed_execution() {
    let lab = Lab::new();
    lab.sh(": >l; SHELL=/no/such/shell flock l -c 'echo ran'")
        .expect_code(69)
        .expect_out("")
        .expect_err("flock: failed to execute /no/such/shell: No such file or directory\n");
}

#[test]
fn an_empty_path_cannot_be_opened_and_an_empty_command_cannot_be_executed() {
    let lab = Lab::new();
    lab.run(["", "echo", "ran"])
        .expect_code(66)
        .expect_out("")
        .expect_err("flock: cannot open lock file : No such file or directory\n");
    lab.run(["l", "", "echo", "ran"])
        .expect_code(69)
        .expect_out("")
        .expect_err("flock: failed to execute : No such file or directory\n");
}

#[test]
fn a_single_dash_is_an_operand() {
    let lab = Lab::new();
    lab.run(["-", "echo", "ran"])
        .expect_code(0)
        .expect_out("ran\n");
    assert_eq!(lab.names(), ["-"]);
    lab.run(["-"]).expect_code(64).expect_out("");
}
