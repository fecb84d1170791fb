//! What is said, where, and with which status.

use std::os::unix::fs::symlink;

use test_support::{TestEnv, differs_from_util_linux, is_installed, os_string};

/// Descriptor 5 becomes a pipe that nobody reads, and nobody ever will.
const NOBODY_READS: &str = "mkfifo p; exec 4<>p 5>p 4<&-; ";

#[test]
fn every_error_has_its_status_and_its_message() {
    let env = TestEnv::new();
    env.sh("mkdir d; : >plain; printf '#!/no/such/interpreter\\n' >script; chmod +x script")
        .assert_status(0);
    for (args, status, message) in [
        ("99", 65, "99: Bad file descriptor"),
        ("-u 99", 65, "99: Bad file descriptor"),
        ("-n -s 99", 65, "99: Bad file descriptor"),
        ("-w 1 99", 65, "99: Bad file descriptor"),
        (
            "no/such true",
            66,
            "cannot open lock file no/such: No such file or directory",
        ),
        (
            "plain/l true",
            66,
            "cannot open lock file plain/l: Not a directory",
        ),
        (
            "l nosuch",
            69,
            "failed to execute nosuch: No such file or directory",
        ),
        (
            "l ./nosuch -n",
            69,
            "failed to execute ./nosuch: No such file or directory",
        ),
        (
            "l ./plain",
            69,
            "failed to execute ./plain: Permission denied",
        ),
        ("l ./d", 69, "failed to execute ./d: Permission denied"),
        (
            "l ./script",
            69,
            "failed to execute ./script: No such file or directory",
        ),
        (
            "-F l nosuch",
            69,
            "failed to execute nosuch: No such file or directory",
        ),
        (
            "-o l nosuch",
            69,
            "failed to execute nosuch: No such file or directory",
        ),
    ] {
        let outcome = env
            .sh(format!("exec flock {args}"))
            .assert_status(status)
            .assert_stdout("");
        // Behind it there may be a hint.
        let said = outcome.stderr_text();
        assert!(
            said.starts_with(&format!("flock: {message}")),
            "{args}: {said}"
        );
        assert_eq!(said.lines().count(), 1, "{args}: {said}");
        assert!(!said.contains("os error"), "{args}: {said}");
    }
}

#[test]
fn the_reason_for_a_failed_execution_does_not_depend_on_the_lock_file() {
    let env = TestEnv::new();
    env.sh("mkdir d; : >plain; : >l; ln -s loop loop")
        .assert_status(0);
    let long = "x".repeat(256);
    for (command, reason) in [
        ("nosuch", "No such file or directory"),
        ("./d/nosuch", "No such file or directory"),
        ("./plain", "Permission denied"),
        ("./d", "Permission denied"),
        ("plain/x", "Not a directory"),
        ("./loop", "Too many levels of symbolic links"),
        (&format!("./{long}"), "File name too long"),
    ] {
        for file in ["l", "new"] {
            env.run([file, command])
                .assert_status(69)
                .assert_stderr(&format!("flock: failed to execute {command}: {reason}\n"));
        }
    }
}

#[test]
fn a_plain_reason_has_nothing_behind_it() {
    let env = TestEnv::new();
    env.run(["99"])
        .assert_status(65)
        .assert_stderr("flock: 99: Bad file descriptor\n");
    env.run(["no/such", "true"])
        .assert_status(66)
        .assert_stderr("flock: cannot open lock file no/such: No such file or directory\n");
}

#[test]
fn a_word_of_a_usage_error_is_named_in_its_first_line() {
    let env = TestEnv::new();
    for (args, named) in [
        (&["--bogus"][..], "--bogus"),
        (&["-w", "soon", "l", "true"], "soon"),
        (&["-E", "much", "l", "true"], "much"),
        (&["nineteen"], "nineteen"),
        (&["l", "-c"], "-c"),
    ] {
        let said = env
            .run(args)
            .assert_status(64)
            .assert_stdout("")
            .stderr_text();
        let first = said.lines().next().expect("a line");
        assert!(first.starts_with("flock: "), "{said}");
        assert!(first.contains(named), "{said}");
    }
}

#[test]
fn no_arguments_at_all_lead_to_the_help() {
    let said = TestEnv::new()
        .sh("exec flock")
        .assert_status(64)
        .assert_stdout("")
        .stderr_text();
    assert!(said.starts_with("flock: "), "{said}");
    assert!(
        said.ends_with("\nTry 'flock --help' for more information.\n"),
        "{said}"
    );
}

#[test]
fn a_fork_that_fails_is_a_lack_of_resources() {
    let env = TestEnv::new();
    let fork = "inject=?clone,?clone3,?fork,?vfork:error=EAGAIN";
    let Some(command) = env.with_fault_injection("", fork, &["l", "echo", "ran"]) else {
        return;
    };
    let outcome = env.run_command(command).assert_status(71).assert_stdout("");
    let said = outcome.stderr_text();
    assert!(said.starts_with("flock: "), "{said}");
    assert!(
        said.contains("fork") && said.contains("Resource temporarily unavailable"),
        "{said}"
    );
}

#[test]
fn a_conflict_and_a_timeout_are_silent() {
    let env = TestEnv::new();
    for options in ["-n", "-w .01", "-nE9", "-sn", "-xw.01"] {
        let status = if options.contains('9') { 9 } else { 1 };
        env.sh(format!(
            "exec 8<>l; flock 8; flock {options} l echo ran; echo $?; exec 7<>l; flock {options} 7"
        ))
        .assert_status(status)
        .assert_stdout(&format!("{status}\n"))
        .assert_stderr("");
    }
}

#[test]
fn a_full_stdout_is_status_1_and_a_message() {
    let env = TestEnv::new();
    for args in ["--help", "--version", "--verbose l true", "--verbose 8"] {
        env.sh(format!("exec 8<>l; flock {args} >/dev/full"))
            .assert_status(1)
            .assert_stderr("flock: write error: No space left on device\n");
    }
}

#[test]
fn a_stdout_that_nobody_reads_is_silence() {
    let env = TestEnv::new();
    for setup in ["", "trap '' PIPE; "] {
        for args in ["--help", "--version", "--verbose l true", "--verbose 8"] {
            let outcome = env
                .sh(format!(
                    "rm -f p; exec 8<>l; {NOBODY_READS}{setup}exec flock {args} >&5"
                ))
                .assert_stdout("")
                .assert_stderr("");
            // Whether the signal ends it (141) is the caller's choice; a panic (101, 134) is nobody's.
            assert!([0, 1, 141].contains(&outcome.code()), "{args}: {outcome:?}");
        }
    }
}

#[test]
fn a_closed_stdout_that_is_not_needed_is_not_missed() {
    let env = TestEnv::new();
    env.sh("exec 8<>l; flock 8 >&-; echo $?; flock -n l true >&-; echo $?; flock -u 8 >&-; flock l sh -c 'exit 7' >&-; echo $?")
        .assert_stdout("0\n1\n7\n")
        .assert_stderr("");
}

#[test]
fn a_closed_stdout_that_is_needed_is_status_1_and_a_message() {
    for args in ["--help", "--version", "--verbose 8"] {
        differs_from_util_linux(
            "the reference takes it for a reader who does not care",
            |env| {
                env.sh(format!("exec 8<>l; flock {args} >&-"))
                    .assert_status(1)
                    .assert_stderr("flock: write error: Bad file descriptor\n");
            },
        );
    }
}

#[test]
fn a_closed_stderr_changes_no_status_and_nothing_is_written_elsewhere() {
    let env = TestEnv::new();
    // The lock file must not become the new standard error.
    env.sh(
        "echo kept >l; flock l nosuch 2>&-; echo $?; flock l sh -c 'exit 7' 2>&-; echo $?; cat l",
    )
    .assert_stdout("69\n7\nkept\n");
    differs_from_util_linux("the reference turns every status into 1", |env| {
        env.sh(
            "flock 99 2>&-; echo $?; flock no/such true 2>&-; echo $?; flock --bogus 2>&-; echo $?",
        )
        .assert_stdout("65\n66\n64\n");
    });
}

/// Asserts the status, and that these bytes are in what was said.
#[track_caller]
fn assert_echo<const N: usize>(args: [&[u8]; N], status: i32, wanted: &[u8]) {
    let outcome = TestEnv::new()
        .run(args.map(os_string))
        .assert_status(status);
    let said = &outcome.stderr;
    let echoed = said.windows(wanted.len()).any(|part| part == wanted);
    assert!(
        echoed,
        "{} is not in {}",
        wanted.escape_ascii(),
        said.escape_ascii()
    );
}

#[test]
fn names_and_values_that_are_not_utf_8_are_echoed_as_they_came() {
    let missing = "No such file or directory\n".as_bytes();
    let path = [b"flock: cannot open lock file no/\xff caf\xe9: ", missing].concat();
    assert_echo([b"no/\xff caf\xe9", b"true"], 66, &path);
    let command = [b"flock: failed to execute \xff caf\xe9: ", missing].concat();
    assert_echo([b"l", b"\xff caf\xe9"], 69, &command);
    assert_echo([b"\xff\xfe"], 64, b"\xff\xfe");
    assert_echo([b"-w", b"1\xff", b"l", b"true"], 64, b"1\xff");
    assert_echo([b"-E", b"1\xff", b"l", b"true"], 64, b"1\xff");
}

#[test]
fn unknown_options_that_are_not_utf_8_are_echoed_as_they_came() {
    assert_echo(
        [b"--\xff caf\xe9"],
        64,
        b"flock: unrecognized option '--\xff caf\xe9'\n",
    );
    assert_echo([b"-n\xff"], 64, b"flock: invalid option -- '\xff'\n");
}

#[test]
fn a_path_and_arguments_that_are_not_utf_8_reach_the_file_and_the_command() {
    let env = TestEnv::new();
    let strange = os_string(b"l\xff\xfe");
    let args = [
        strange.as_os_str(),
        "printf".as_ref(),
        "%s".as_ref(),
        strange.as_os_str(),
    ];
    assert_eq!(
        env.run(args).assert_status(0).assert_stderr("").stdout,
        b"l\xff\xfe"
    );
    assert_eq!(env.file_names(), [strange.as_os_str()]);
    let args = [
        strange.as_os_str(),
        "-c".as_ref(),
        &os_string(b"printf %s \xff"),
    ];
    assert_eq!(
        env.run(args).assert_status(0).assert_stderr("").stdout,
        b"\xff"
    );
}

#[test]
fn messages_begin_with_the_name_it_was_called_by() {
    let env = TestEnv::new();
    symlink("flock", env.file("bin/mutex")).expect("another name");
    for (call, name) in [
        ("mutex", "mutex"),
        ("bin/mutex", "mutex"),
        ("./bin/flock", "flock"),
    ] {
        env.sh(format!("{call} 99"))
            .assert_status(65)
            .assert_stderr(&format!("{name}: 99: Bad file descriptor\n"));
        let said = env
            .sh(format!("{call} --verbose l true"))
            .assert_status(0)
            .stdout_text();
        assert!(
            said.ends_with(&format!("\n{name}: executing true\n")),
            "{said}"
        );
        let said = env
            .sh(format!("{call} --bogus"))
            .assert_status(64)
            .stderr_text();
        assert!(
            said.ends_with(&format!("\nTry '{name} --help' for more information.\n")),
            "{said}"
        );
    }
}

#[test]
fn the_name_it_was_called_by_need_not_be_its_files() {
    if !is_installed("bash") {
        return;
    }
    let env = TestEnv::new();
    env.bash("exec -a queue flock 99")
        .assert_status(65)
        .assert_stderr("queue: 99: Bad file descriptor\n");
}
