//! Messages and output: where they go, how they begin, and what happens if they cannot be written.

use std::os::unix::fs::symlink;

use rstest::rstest;
use test_support::{TestEnv, differs_from_util_linux, is_installed, os_string};

/// Calls that write to stdout, if descriptor 8 is open.
const WRITING_CALLS: [&str; 4] = ["--help", "--version", "--verbose l true", "--verbose 8"];

#[test]
fn a_full_stdout_is_an_error() {
    let env = TestEnv::new();
    for args in WRITING_CALLS {
        env.sh(format!("exec 8<>l; flock {args} >/dev/full"))
            .assert_all(1, "", "flock: write error: No space left on device\n");
    }
}

#[test]
fn a_broken_pipe_is_not_reported() {
    let env = TestEnv::new();
    for setup in ["", "trap '' PIPE; "] {
        for args in WRITING_CALLS {
            // Descriptor 5 becomes a pipe without a reader.
            let outcome = env
                .sh(format!(
                    "rm -f p; mkfifo p; exec 8<>l 4<>p 5>p 4<&-; {setup}exec flock {args} >&5"
                ))
                .assert_stdout("")
                .assert_stderr("");
            // The caller may let SIGPIPE kill it (141). A panic (101 or 134) is never right.
            assert!([0, 1, 141].contains(&outcome.code()), "{args}: {outcome:?}");
        }
    }
}

#[test]
fn a_closed_stdout_does_not_matter_without_output() {
    let env = TestEnv::new();
    env.sh(
        "exec 8<>l; flock 8 >&-; echo $?; flock -n l true >&-; echo $?
         flock -u 8 >&-; flock l sh -c 'exit 7' >&-; echo $?",
    )
    .assert_all(0, "0\n1\n7\n", "");
}

#[rstest]
fn a_closed_stdout_is_an_error_if_there_is_output(
    #[values("--help", "--version", "--verbose 8")] args: &str,
) {
    differs_from_util_linux("it ignores EBADF, as it does EPIPE", |env| {
        env.sh(format!("exec 8<>l; flock {args} >&-"))
            .assert_status(1)
            .assert_stdout("")
            .assert_stderr("flock: write error: Bad file descriptor\n");
    });
}

#[test]
fn a_closed_stderr_changes_neither_status_nor_lock_file() {
    let env = TestEnv::new();
    // The lock file must not become stderr.
    env.sh(
        "echo kept >l; flock l nosuch 2>&-; echo $?; flock l sh -c 'exit 7' 2>&-; echo $?; cat l",
    )
    .assert_stdout("69\n7\nkept\n");
    differs_from_util_linux("every status becomes 1", |env| {
        env.sh(
            "flock 99 2>&-; echo $?; flock no/such true 2>&-; echo $?; flock --bogus 2>&-; echo $?",
        )
        .assert_stdout("65\n66\n64\n");
    });
}

#[rstest]
#[case::path(
    b"no\xe9/\xff caf\xe9|true",
    66,
    b"flock: cannot open lock file no\xe9/\xff caf\xe9: No such file or directory"
)]
#[case::directory(b"no\xe9/l|true", 66, b"no\xe9")]
#[case::command(
    b"l|\xff caf\xe9",
    69,
    b"flock: failed to execute \xff caf\xe9: No such file or directory"
)]
#[case::descriptor(b"\xff\xfe", 64, b"\xff\xfe")]
#[case::timeout(b"-w|1\xff|l|true", 64, b"1\xff")]
#[case::exit_code(b"-E|1\xff|l|true", 64, b"1\xff")]
#[case::long_option(
    b"--\xff caf\xe9",
    64,
    b"flock: unrecognized option '--\xff caf\xe9'\n"
)]
#[case::short_option(b"-n\xff", 64, b"flock: invalid option -- '\xff'\n")]
fn arguments_that_are_not_utf_8_are_reported_unchanged(
    #[case] args: &[u8],
    #[case] status: i32,
    #[case] expected: &[u8],
) {
    let args = args.split(|byte| *byte == b'|').map(os_string);
    let stderr = TestEnv::new().run(args).assert_status(status).stderr;
    let is_reported = stderr.windows(expected.len()).any(|part| part == expected);
    assert!(is_reported, "{}", stderr.escape_ascii());
}

#[test]
fn paths_and_arguments_need_not_be_utf_8() {
    let env = TestEnv::new();
    let path = os_string(b"l\xff\xfe");
    for command in [
        &[&b"printf"[..], b"%s", b"\xff\xfe"][..],
        &[b"-c", b"printf %s \xff\xfe"],
    ] {
        let command = command.iter().map(|arg| os_string(arg));
        let outcome = env.run([path.clone()].into_iter().chain(command));
        let stdout = outcome.assert_status(0).assert_stderr("").stdout;
        assert_eq!(stdout, b"\xff\xfe");
    }
    assert_eq!(env.file_names(), [path]);
}

#[rstest]
#[case("mutex", "mutex")]
#[case("bin/mutex", "mutex")]
#[case("./bin/flock", "flock")]
fn messages_begin_with_the_name_of_the_program(#[case] program: &str, #[case] name: &str) {
    let env = TestEnv::new();
    symlink("flock", env.file("bin/mutex")).expect("a link");
    env.sh(format!("{program} 99"))
        .assert_status(65)
        .assert_stdout("")
        .assert_stderr(&format!("{name}: 99: Bad file descriptor\n"));
    let verbose = env.sh(format!("{program} --verbose l true"));
    let stdout = verbose.assert_status(0).stdout_text();
    let executing = format!("\n{name}: executing true\n");
    assert!(stdout.ends_with(&executing), "{stdout}");
    let misuse = env.sh(format!("{program} --bogus"));
    let stderr = misuse.assert_status(64).stderr_text();
    let hint = format!("\nTry '{name} --help' for more information.\n");
    assert!(stderr.ends_with(&hint), "{stderr}");
}

#[test]
fn the_name_of_the_program_is_argument_0() {
    if is_installed("bash") {
        TestEnv::new()
            .bash("exec -a queue flock 99")
            .assert_status(65)
            .assert_stdout("")
            .assert_stderr("queue: 99: Bad file descriptor\n");
    }
}
