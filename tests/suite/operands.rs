//! What the operands mean: a path and a command, a path and `-c`, or a descriptor.

use test_support::TestEnv;

#[test]
fn the_first_of_two_operands_is_a_path_even_if_it_is_a_number() {
    let env = TestEnv::new();
    // Were it the descriptor, `l` would be locked and `8` would not be made.
    env.sh("exec 7<>l 8<>l; flock 8 flock -n 7; echo $?; flock 8 flock -n 8 true; echo $?")
        .assert_stdout("0\n1\n")
        .assert_stderr("");
    assert_eq!(env.file_names(), ["8", "l"]);
}

#[test]
fn a_command_runs_under_the_lock_and_the_lock_ends_with_it() {
    let env = TestEnv::new();
    env.sh("flock l flock -n l echo two; echo $?; flock -n l echo one; echo $?")
        .assert_stdout("1\none\n0\n")
        .assert_stderr("");
}

#[test]
fn shared_locks_go_together_and_with_no_exclusive_one() {
    let env = TestEnv::new();
    for (held, wanted, status) in [
        ("-s", "-s", 0),
        ("-s", "-x", 1),
        ("-x", "-s", 1),
        ("-x", "-x", 1),
    ] {
        env.run([held, "l", "flock", "-n", wanted, "l", "true"])
            .assert_status(status)
            .assert_stderr("");
    }
}

#[test]
fn unlocking_a_path_waits_for_nobody_and_frees_nobody_elses_lock() {
    let env = TestEnv::new();
    env.sh("flock l flock -u l sh -c 'echo ran; flock -n l true; echo $?'")
        .assert_status(0)
        .assert_stdout("ran\n1\n")
        .assert_stderr("");
}

#[test]
fn one_operand_is_a_descriptor_whose_lock_outlives_flock() {
    let env = TestEnv::new();
    env.sh("exec 8<>l; flock 8; echo $?; flock -n l true; echo $?; flock -u 8; flock -n l true; echo $?")
        .assert_stdout("0\n1\n0\n")
        .assert_stderr("");
}

#[test]
fn one_operand_is_never_a_path() {
    let env = TestEnv::new();
    env.sh(
        ": >l; : >d; flock l; echo $?; flock ./l; echo $?; flock new; echo $?; flock .; echo $?",
    )
    .assert_stdout("64\n64\n64\n64\n");
    assert_eq!(env.file_names(), ["d", "l"]);
}

#[test]
fn no_operand_is_a_usage_error() {
    let env = TestEnv::new();
    for args in [&[][..], &["-n"], &["-x", "--"], &["-u"], &["--verbose"]] {
        let outcome = env.run(args).assert_status(64).assert_stdout("");
        assert!(outcome.stderr_text().starts_with("flock: "), "{outcome:?}");
    }
}

#[test]
fn the_command_gets_its_arguments_untouched() {
    let env = TestEnv::new();
    let args = [
        "l", "printf", "[%s]", "", "a b", "*", "$HOME", "--", "-n", "l", "\\", "'", "\n",
    ];
    env.run(args)
        .assert_status(0)
        .assert_stdout("[][a b][*][$HOME][--][-n][l][\\]['][\n]")
        .assert_stderr("");
}

#[test]
fn an_option_behind_the_file_is_a_command_to_execute() {
    let env = TestEnv::new();
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
        env.run(["l", option, "echo", "ran"])
            .assert_status(69)
            .assert_stdout("")
            .assert_stderr(&format!(
                "flock: failed to execute {option}: No such file or directory\n"
            ));
    }
}

#[test]
fn a_command_that_is_called_like_an_option_runs() {
    let env = TestEnv::new();
    env.install_script("bin/-n", "#!/bin/sh\necho dash n: \"$@\"\n");
    env.run(["l", "-n", "-c", "x"])
        .assert_status(0)
        .assert_stdout("dash n: -c x\n");
}

#[test]
fn dash_c_in_second_place_runs_its_one_argument_by_the_shell() {
    let env = TestEnv::new();
    for word in ["-c", "--command"] {
        env.run([
            "l",
            word,
            "echo a  'b  c' | tr a-c d-f; flock -n l true; echo $? $#",
        ])
        .assert_status(0)
        .assert_stdout("d e  f\n1 0\n")
        .assert_stderr("");
        env.run(["l", word, "exit 42"]).assert_status(42);
        env.run(["l", word, ""]).assert_status(0).assert_stdout("");
        env.run(["-n", "--", "l", word, "echo ran"])
            .assert_status(0)
            .assert_stdout("ran\n");
    }
}

#[test]
fn dash_c_takes_exactly_one_argument() {
    let env = TestEnv::new();
    for args in [
        &["l", "-c"][..],
        &["l", "--command"],
        &["l", "-c", "echo ran", "more"],
        &["l", "--command", "echo", "ran"],
        &["l", "-c", "-c", "echo ran"],
        &["l", "-c", "--", "echo ran"],
    ] {
        let outcome = env.run(args).assert_status(64).assert_stdout("");
        assert!(outcome.stderr_text().starts_with("flock: "), "{outcome:?}");
        assert!(outcome.stderr_text().contains(args[1]), "{outcome:?}");
    }
    assert!(env.file_names().is_empty(), "{:?}", env.file_names());
}

#[test]
fn dash_c_in_first_place_is_an_unknown_option() {
    let env = TestEnv::new();
    for args in [
        &["-c", "echo ran"][..],
        &["-c", "echo ran", "l"],
        &["-c", "l", "echo", "ran"],
        &["-nc", "echo ran"],
    ] {
        let outcome = env.run(args).assert_status(64).assert_stdout("");
        assert!(outcome.stderr_text().starts_with("flock: "), "{outcome:?}");
        assert!(
            outcome.stderr_text().contains("'c'") || outcome.stderr_text().contains("-c"),
            "{outcome:?}"
        );
    }
    assert!(env.file_names().is_empty(), "{:?}", env.file_names());
}

#[test]
fn dash_c_further_back_is_an_argument_of_the_command() {
    let env = TestEnv::new();
    env.run(["l", "sh", "-c", "echo \"$0\"", "ran"])
        .assert_status(0)
        .assert_stdout("ran\n");
    env.run(["l", "echo", "-c", "--command"])
        .assert_status(0)
        .assert_stdout("-c --command\n");
}

#[test]
fn dash_c_uses_the_shell_of_the_environment() {
    let env = TestEnv::new();
    env.install_script("mine", "#!/bin/sh\nprintf '<%s>' mine \"$@\"\n");
    for shell in [
        env.file("mine").into_os_string(),
        "./mine".into(),
        "mine".into(),
    ] {
        let mut command = env.flock(["l", "-c", "echo ran"]);
        // The last one is looked for in PATH.
        command.env("SHELL", &shell).env(
            "PATH",
            format!("{}:{}", env.path().display(), env.file("bin").display()),
        );
        env.run_command(command)
            .assert_status(0)
            .assert_stdout("<mine><-c><echo ran>")
            .assert_stderr("");
    }
}

#[test]
fn without_a_shell_in_the_environment_dash_c_uses_bin_sh() {
    let env = TestEnv::new();
    let script = "flock l -c 'readlink /proc/$$/exe; echo $0'; readlink -f /bin/sh";
    for change in ["unset SHELL", "export SHELL="] {
        let said = env
            .sh(format!("{change}; {script}"))
            .assert_status(0)
            .assert_stderr("")
            .stdout_text();
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines.len(), 3, "{change}: {said}");
        assert_eq!(lines[0], lines[2], "{change}");
        assert_eq!(lines[1], "/bin/sh", "{change}");
    }
}

#[test]
fn a_shell_that_is_not_there_is_a_failed_execution() {
    let env = TestEnv::new();
    env.sh(": >l; SHELL=/no/such/shell flock l -c 'echo ran'")
        .assert_status(69)
        .assert_stdout("")
        .assert_stderr("flock: failed to execute /no/such/shell: No such file or directory\n");
}

#[test]
fn an_empty_path_cannot_be_opened_and_an_empty_command_cannot_be_executed() {
    let env = TestEnv::new();
    env.run(["", "echo", "ran"])
        .assert_status(66)
        .assert_stdout("")
        .assert_stderr("flock: cannot open lock file : No such file or directory\n");
    env.run(["l", "", "echo", "ran"])
        .assert_status(69)
        .assert_stdout("")
        .assert_stderr("flock: failed to execute : No such file or directory\n");
}

#[test]
fn a_single_dash_is_an_operand() {
    let env = TestEnv::new();
    env.run(["-", "echo", "ran"])
        .assert_status(0)
        .assert_stdout("ran\n");
    assert_eq!(env.file_names(), ["-"]);
    env.run(["-"]).assert_status(64).assert_stdout("");
}
