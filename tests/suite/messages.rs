//! What is said, where, and with which status.

use std::os::unix::fs::symlink;

use test_support::{Lab, departure, installed, word};

/// Descriptor 5 becomes a pipe that nobody reads, and nobody ever will.
const NOBODY_READS: &str = "mkfifo p; exec 4<>p 5>p 4<&-; ";

#[test]
fn every_error_has_its_status_and_its_message() {
    let lab = Lab::new();
    lab.sh("mkdir d; : >plain; printf '#!/no/such/interpreter\\n' >script; chmod +x script")
        .expect_code(0);
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
        let outcome = lab
            .sh(format!("exec flock {args}"))
            .expect_code(status)
            .expect_out("");
        // Behind it there may be a hint.
        let said = outcome.err();
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
    let lab = Lab::new();
    lab.sh("mkdir d; : >plain; : >l; ln -s loop loop")
        .expect_code(0);
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
            lab.run([file, command])
                .expect_code(69)
                .expect_err(&format!("flock: failed to execute {command}: {reason}\n"));
        }
    }
}

#[test]
fn a_plain_reason_has_nothing_behind_it() {
    let lab = Lab::new();
    lab.run(["99"])
        .expect_code(65)
        .expect_err("flock: 99: Bad file descriptor\n");
    lab.run(["no/such", "true"])
        .expect_code(66)
        .expect_err("flock: cannot open lock file no/such: No such file or directory\n");
}

#[test]
fn a_word_of_a_usage_error_is_named_in_its_first_line() {
    let lab = Lab::new();
    for (args, named) in [
        (&["--bogus"][..], "--bogus"),
        (&["-w", "soon", "l", "true"], "soon"),
        (&["-E", "much", "l", "true"], "much"),
        (&["nineteen"], "nineteen"),
        (&["l", "-c"], "-c"),
    ] {
        let said = lab.run(args).expect_code(64).expect_out("").err();
        let first = said.lines().next().expect("a line");
        assert!(first.starts_with("flock: "), "{said}");
        assert!(first.contains(named), "{said}");
    }
}

#[test]
fn no_arguments_at_all_lead_to_the_help() {
    let said = Lab::new()
        .sh("exec flock")
        .expect_code(64)
        .expect_out("")
        .err();
    assert!(said.starts_with("flock: "), "{said}");
    assert!(
        said.ends_with("\nTry 'flock --help' for more information.\n"),
        "{said}"
    );
}

#[test]
fn a_fork_that_fails_is_a_lack_of_resources() {
    let lab = Lab::new();
    let fork = "inject=?clone,?clone3,?fork,?vfork:error=EAGAIN";
    let Some(command) = lab.injected("", fork, &["l", "echo", "ran"]) else {
        return;
    };
    let outcome = lab.finish(command).expect_code(71).expect_out("");
    let said = outcome.err();
    assert!(said.starts_with("flock: "), "{said}");
    assert!(
        said.contains("fork") && said.contains("Resource temporarily unavailable"),
        "{said}"
    );
}

#[test]
fn a_conflict_and_a_timeout_are_silent() {
    let lab = Lab::new();
    for options in ["-n", "-w .01", "-nE9", "-sn", "-xw.01"] {
        let status = if options.contains('9') { 9 } else { 1 };
        lab.sh(format!(
            "exec 8<>l; flock 8; flock {options} l echo ran; echo $?; exec 7<>l; flock {options} 7"
        ))
        .expect_code(status)
        .expect_out(&format!("{status}\n"))
        .expect_err("");
    }
}

#[test]
fn a_full_stdout_is_status_1_and_a_message() {
    let lab = Lab::new();
    for args in ["--help", "--version", "--verbose l true", "--verbose 8"] {
        lab.sh(format!("exec 8<>l; flock {args} >/dev/full"))
            .expect_code(1)
            .expect_err("flock: write error: No space left on device\n");
    }
}

#[test]
fn a_stdout_that_nobody_reads_is_silence() {
    let lab = Lab::new();
    for setup in ["", "trap '' PIPE; "] {
        for args in ["--help", "--version", "--verbose l true", "--verbose 8"] {
            let outcome = lab
                .sh(format!(
                    "rm -f p; exec 8<>l; {NOBODY_READS}{setup}exec flock {args} >&5"
                ))
                .expect_out("")
                .expect_err("");
            // Whether the signal ends it (141) is the caller's choice; a panic (101, 134) is nobody's.
            assert!([0, 1, 141].contains(&outcome.code()), "{args}: {outcome:?}");
        }
    }
}

#[test]
fn a_closed_stdout_that_is_not_needed_is_not_missed() {
    let lab = Lab::new();
    lab.sh("exec 8<>l; flock 8 >&-; echo $?; flock -n l true >&-; echo $?; flock -u 8 >&-; flock l sh -c 'exit 7' >&-; echo $?")
        .expect_out("0\n1\n7\n")
        .expect_err("");
}

#[test]
fn a_closed_stdout_that_is_needed_is_status_1_and_a_message() {
    for args in ["--help", "--version", "--verbose 8"] {
        departure(
            "the reference takes it for a reader who does not care",
            |lab| {
                lab.sh(format!("exec 8<>l; flock {args} >&-"))
                    .expect_code(1)
                    .expect_err("flock: write error: Bad file descriptor\n");
            },
        );
    }
}

#[test]
fn a_closed_stderr_changes_no_status_and_nothing_is_written_elsewhere() {
    let lab = Lab::new();
    // The lock file must not become the new standard error.
    lab.sh(
        "echo kept >l; flock l nosuch 2>&-; echo $?; flock l sh -c 'exit 7' 2>&-; echo $?; cat l",
    )
    .expect_out("69\n7\nkept\n");
    departure("the reference turns every status into 1", |lab| {
        lab.sh(
            "flock 99 2>&-; echo $?; flock no/such true 2>&-; echo $?; flock --bogus 2>&-; echo $?",
        )
        .expect_out("65\n66\n64\n");
    });
}

/// Asserts the status, and that these bytes are in what was said.
#[track_caller]
fn expect_echo<const N: usize>(args: [&[u8]; N], status: i32, wanted: &[u8]) {
    let outcome = Lab::new().run(args.map(word)).expect_code(status);
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
    expect_echo([b"no/\xff caf\xe9", b"true"], 66, &path);
    let command = [b"flock: failed to execute \xff caf\xe9: ", missing].concat();
    expect_echo([b"l", b"\xff caf\xe9"], 69, &command);
    expect_echo([b"\xff\xfe"], 64, b"\xff\xfe");
    expect_echo([b"-w", b"1\xff", b"l", b"true"], 64, b"1\xff");
    expect_echo([b"-E", b"1\xff", b"l", b"true"], 64, b"1\xff");
}

#[test]
fn unknown_options_that_are_not_utf_8_are_echoed_as_they_came() {
    expect_echo(
        [b"--\xff caf\xe9"],
        64,
        b"flock: unrecognized option '--\xff caf\xe9'\n",
    );
    expect_echo([b"-n\xff"], 64, b"flock: invalid option -- '\xff'\n");
}

#[test]
fn a_path_and_arguments_that_are_not_utf_8_reach_the_file_and_the_command() {
    let lab = Lab::new();
    let strange = word(b"l\xff\xfe");
    let args = [
        strange.as_os_str(),
        "printf".as_ref(),
        "%s".as_ref(),
        strange.as_os_str(),
    ];
    assert_eq!(
        lab.run(args).expect_code(0).expect_err("").stdout,
        b"l\xff\xfe"
    );
    assert_eq!(lab.names(), [strange.as_os_str()]);
    let args = [strange.as_os_str(), "-c".as_ref(), &word(b"printf %s \xff")];
    assert_eq!(lab.run(args).expect_code(0).expect_err("").stdout, b"\xff");
}

#[test]
fn messages_begin_with_the_name_it_was_called_by() {
    let lab = Lab::new();
    symlink("flock", lab.file("bin/mutex")).expect("another name");
    for (call, name) in [
        ("mutex", "mutex"),
        ("bin/mutex", "mutex"),
        ("./bin/flock", "flock"),
    ] {
        lab.sh(format!("{call} 99"))
            .expect_code(65)
            .expect_err(&format!("{name}: 99: Bad file descriptor\n"));
        let said = lab
            .sh(format!("{call} --verbose l true"))
            .expect_code(0)
            .out();
        assert!(
            said.ends_with(&format!("\n{name}: executing true\n")),
            "{said}"
        );
        let said = lab.sh(format!("{call} --bogus")).expect_code(64).err();
        assert!(
            said.ends_with(&format!("\nTry '{name} --help' for more information.\n")),
            "{said}"
        );
    }
}

#[test]
fn the_name_it_was_called_by_need_not_be_its_files() {
    if !installed("bash") {
        return;
    }
    let lab = Lab::new();
    lab.bash("exec -a queue flock 99")
        .expect_code(65)
        .expect_err("queue: 99: Bad file descriptor\n");
}
