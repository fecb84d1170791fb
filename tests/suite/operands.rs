//! The forms of a call: a path and a command, a path and `-c`, or a descriptor.

use rstest::rstest;
use test_support::TestEnv;

use crate::usage_errors::assert_usage_error;

#[test]
fn the_first_of_two_operands_is_a_path_even_if_a_number() {
    let env = TestEnv::new();
    // If it were the descriptor, `l` would be locked and `8` would not be created.
    env.sh("exec 7<>l 8<>l; flock 8 flock -n 7; echo $?; flock 8 flock -n 8 true; echo $?")
        .assert_all(0, "0\n1\n", "");
    assert_eq!(env.file_names(), ["8", "l"]);
}

#[rstest]
#[case::by_a_command_until_it_exits(
    "flock l flock -n l echo two; echo $?; flock -n l echo one; echo $?",
    "1\none\n0\n"
)]
#[case::on_a_descriptor_until_unlocked(
    "exec 8<>l; flock 8; echo $?; flock -n l true; echo $?
     flock -u 8; flock -n l true; echo $?",
    "0\n1\n0\n"
)]
fn the_lock_is_held(#[case] script: &str, #[case] stdout: &str) {
    TestEnv::new().sh(script).assert_all(0, stdout, "");
}

#[test]
fn a_single_operand_is_never_a_path() {
    let env = TestEnv::new();
    env.sh(": >l");
    for operand in ["l", "./l", "new", "."] {
        assert_usage_error(env.run([operand]), operand);
    }
    assert_eq!(env.file_names(), ["l"]);
}

#[test]
fn a_closed_descriptor_cannot_be_locked() {
    let env = TestEnv::new();
    for args in ["99", "-u 99", "-n -s 99", "-w 1 99", "2147483647"] {
        let descriptor = args.rsplit(' ').next().expect("a descriptor");
        let message = format!("flock: {descriptor}: Bad file descriptor\n");
        env.run(args.split(' ')).assert_all(65, "", &message);
    }
}

#[test]
fn a_missing_operand_is_a_usage_error() {
    let env = TestEnv::new();
    for args in [&["-n"][..], &["-x", "--"], &["-u"], &["--verbose"], &[]] {
        let stderr = assert_usage_error(env.run(args), "");
        let hint = "\nTry 'flock --help' for more information.\n";
        assert!(stderr.ends_with(hint) || !args.is_empty(), "{stderr}");
    }
}

#[rstest]
fn an_option_after_the_file_is_the_command(
    #[values(
        "-n",
        "--",
        "-x",
        "--help",
        "--verbose",
        "-w",
        "-cecho ran",
        "--command=echo ran",
        "-C",
        "--comm"
    )]
    option: &str,
) {
    let message = format!("flock: failed to execute {option}: No such file or directory");
    let outcome = TestEnv::new().run(["l", option, "echo", "ran"]);
    let stderr = outcome.assert_status(69).assert_stdout("").stderr_text();
    // A hint may follow.
    assert!(stderr.starts_with(&message), "{stderr}");
}

#[test]
fn a_command_may_be_called_like_an_option() {
    let env = TestEnv::new();
    env.install_script("bin/-n", "#!/bin/sh\necho dash n: \"$@\"\n");
    env.run(["l", "-n", "-c", "x"])
        .assert_all(0, "dash n: -c x\n", "");
}

#[test]
fn dash_c_after_the_file_runs_a_shell_command_line() {
    let env = TestEnv::new();
    for option in ["-c", "--command"] {
        let line = "echo a  'b  c' | tr a-c d-f; flock -n l true; echo $? $#";
        env.run(["l", option, line])
            .assert_all(0, "d e  f\n1 0\n", "");
        env.run(["l", option, "exit 42"]).assert_status(42);
        env.run(["l", option, ""]).assert_all(0, "", "");
        env.run(["-n", "--", "l", option, "echo ran"])
            .assert_all(0, "ran\n", "");
    }
}

#[test]
fn dash_c_takes_exactly_one_argument() {
    let env = TestEnv::new();
    for args in [
        "-c",
        "--command",
        "-c true more",
        "--command echo ran",
        "-c -c true",
        "-c -- true",
    ] {
        let args: Vec<&str> = args.split(' ').collect();
        assert_usage_error(env.run(["l"].iter().chain(&args)), args[0]);
    }
    assert!(env.file_names().is_empty(), "{:?}", env.file_names());
}

#[test]
fn dash_c_runs_the_shell_of_the_environment() {
    let env = TestEnv::new();
    env.install_script("mine", "#!/bin/sh\nprintf '<%s>' mine \"$@\"\n");
    let absolute = env.file("mine").display().to_string();
    // The last one is found in PATH.
    for shell in [&absolute, "./mine", "mine"] {
        env.sh(format!(
            "PATH=$PWD:$PATH; SHELL={shell} flock l -c 'echo ran'"
        ))
        .assert_all(0, "<mine><-c><echo ran>", "");
    }
    env.sh("SHELL=/no/such/shell flock l -c 'echo ran'")
        .assert_status(69)
        .assert_stdout("")
        .assert_stderr("flock: failed to execute /no/such/shell: No such file or directory\n");
}

#[test]
fn dash_c_runs_bin_sh_if_shell_is_unset_or_empty() {
    let env = TestEnv::new();
    let script = "flock l -c 'readlink /proc/$$/exe; echo $0'; readlink -f /bin/sh";
    for change in ["unset SHELL", "export SHELL="] {
        let outcome = env.sh(format!("{change}; {script}")).assert_stderr("");
        let stdout = outcome.assert_status(0).stdout_text();
        let lines: Vec<_> = stdout.lines().collect();
        assert_eq!(lines, [lines[2], "/bin/sh", lines[2]], "{change}");
    }
}

#[test]
fn a_single_dash_is_an_operand() {
    let env = TestEnv::new();
    env.run(["-", "echo", "ran"]).assert_all(0, "ran\n", "");
    assert_eq!(env.file_names(), ["-"]);
    assert_usage_error(env.run(["-"]), "-");
}
