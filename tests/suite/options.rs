//! Every form of every option, and which of several wins.

use crate::refusals::offered;
use test_support::TestEnv;

/// Descriptors 7 and 8 are two open file descriptions of the file `l`; `held` tells by 8 how 7 is locked.
const TWO: &str = "exec 7<>l 8<>l
held() {
    if flock -n -x 8; then echo free; elif flock -n -s 8; then echo shared; else echo exclusive; fi
    flock -u 8
}
";

/// Runs the same line for every form (`$1`, split at blanks: a list of words), and expects `wanted` of each.
#[track_caller]
fn each_form(env: &TestEnv, setup: &str, line: &str, wanted: &str, forms: &[&str]) {
    for form in forms {
        let script = format!("{setup}\n{}", line.replace("FORM", form));
        let outcome = env.sh(&script);
        assert_eq!(
            outcome.stdout_text().trim_end(),
            wanted,
            "{form}: {outcome:?}"
        );
        assert_eq!(outcome.stderr_text(), "", "{form}");
    }
}

#[test]
fn every_spelling_of_a_mode_takes_that_mode() {
    let env = TestEnv::new();
    for (mode, forms) in [
        ("shared", &["-s", "--shared", "--sh"][..]),
        ("exclusive", &["", "-x", "-e", "--exclusive", "--excl"]),
        ("free", &["-u", "--unlock", "--un", "-nu", "-un"]),
    ] {
        // From a shared lock every mode is a change but shared, which is not the default.
        let line = "flock -s 7; flock FORM 7; held";
        each_form(&env, TWO, line, mode, forms);
    }
}

#[test]
fn of_shared_exclusive_and_unlock_the_last_one_wins() {
    let env = TestEnv::new();
    for (mode, forms) in [
        (
            "shared",
            &["-xs", "-us", "-x -u -s", "--unlock --shared"][..],
        ),
        ("exclusive", &["-sx", "-se", "-s -ux", "-su --exclusive"]),
        ("free", &["-sxu", "-s --unlock", "-x -u", "-eu"]),
    ] {
        each_form(&env, TWO, "flock -s 7; flock FORM 7; held", mode, forms);
    }
}

#[test]
fn every_spelling_of_nonblock_and_of_a_timeout_gives_up() {
    let env = TestEnv::new();
    // Any of these that went unheard would wait for ever.
    let forms = [
        "-n",
        "--nonblock",
        "--nonblocking",
        "--nb",
        "--non",
        "-xn",
        "-ns",
        "-w0",
        "-w 0",
        "-w.01",
        "-w .01",
        "--timeout=.01",
        "--timeout .01",
        "--wait=.01",
        "--wait .01",
        "--w .01",
        "--t=.01",
        "-xw.01",
        "-sw .01",
    ];
    each_form(
        &env,
        TWO,
        "flock 7 || exit; flock FORM 8; echo $?",
        "1",
        &forms,
    );
}

#[test]
fn nonblock_beats_a_timeout_in_either_order() {
    let env = TestEnv::new();
    let forms = ["-n -w 9999", "-w 9999 -n", "-nw9999", "--wait=9999 --nb"];
    each_form(
        &env,
        TWO,
        "flock 7 || exit; flock FORM 8; echo $?",
        "1",
        &forms,
    );
}

#[test]
fn of_several_timeouts_the_last_one_wins() {
    let env = TestEnv::new();
    let forms = ["-w 9999 -w .01", "--timeout 9999 --wait .01", "-w9999 -w0"];
    each_form(
        &env,
        TWO,
        "flock 7 || exit; flock FORM 8; echo $?",
        "1",
        &forms,
    );
}

#[test]
fn every_spelling_of_the_conflict_exit_code_is_the_status_of_a_conflict() {
    let env = TestEnv::new();
    let forms = [
        "-nE5",
        "-nE 5",
        "-n -E5",
        "-E 5 -n",
        "-E5 -w.01",
        "--nb --conflict-exit-code 5",
        "--nb --conflict-exit-code=5",
        "-n --co 5",
        "-n --co=5",
        "-nE9 -E5",
        "-w.01 -E5",
    ];
    each_form(
        &env,
        TWO,
        "flock 7 || exit; flock FORM 8; echo $?",
        "5",
        &forms,
    );
}

#[test]
fn every_spelling_of_close_keeps_the_lock_from_the_command() {
    let env = TestEnv::new();
    let look = "for f in /proc/$$/fd/*; do [ $f -ef l ] && echo inherited; done; echo looked";
    let line = format!("flock FORM l sh -c '{look}'");
    each_form(
        &env,
        "",
        &line,
        "looked",
        &["-o", "--close", "--cl", "-xo", "-on"],
    );
    each_form(&env, "", &line, "inherited\nlooked", &["", "-x"]);
}

#[test]
fn every_spelling_of_no_fork_runs_the_command_in_the_same_process() {
    let env = TestEnv::new();
    let line = "sh -c 'echo $$; exec flock FORM l sh -c \"echo \\$\\$\"' | uniq | wc -l";
    each_form(
        &env,
        "",
        line,
        "1",
        &["-F", "--no-fork", "--no-", "-xF", "-nF"],
    );
    each_form(&env, "", line, "2", &["", "-n"]);
}

#[test]
fn every_spelling_of_verbose_speaks() {
    let env = TestEnv::new();
    for form in ["--verbose", "--verb"] {
        let said = env.run([form, "l", "true"]).assert_status(0).stdout_text();
        assert!(said.contains("getting lock took"), "{form}: {said}");
    }
}

#[test]
fn fcntl_start_and_length_each_take_the_other_kind_of_lock() {
    let env = TestEnv::new();
    if !env.supports_option("--fcntl") {
        return;
    }
    // The two kinds do not see each other, so the plain one inside is granted and the same kind is not.
    let line = "flock FORM l sh -c 'flock -n l true; echo $?; flock -n --fcntl l true; echo $?'";
    let forms = [
        "--fcntl",
        "--fc",
        "--start=0",
        "--start 0",
        "--st=0",
        "--length=0",
        "--length 1",
        "--l=1",
        "-x --fcntl",
        "--fcntl --start=0 --length=1",
    ];
    each_form(&env, "", line, "0\n1", &forms);
}

#[test]
fn with_fd_all_operands_are_a_command_that_runs_under_the_descriptors_lock() {
    let env = TestEnv::new();
    if !env.supports_option("--fd") {
        return;
    }
    let inside = "flock FORM sh -c 'flock -n 7; echo $?; echo got \"$@\"' sh -n l";
    each_form(
        &env,
        TWO,
        inside,
        "1\ngot -n l",
        &["--fd 8", "--fd=8", "-x --fd 8", "--fd=+08 -n"],
    );
    let conflict = "flock 7; flock FORM echo ran; echo $?";
    each_form(
        &env,
        TWO,
        conflict,
        "5",
        &["-nE5 --fd 8", "--fd=8 -E5 -w.01"],
    );
    let look = "flock FORM sh -c '[ -e /proc/$$/fd/8 ] && echo inherited; echo looked'";
    each_form(&env, TWO, look, "looked", &["-o --fd 8", "--fd=8 --close"]);
}

#[test]
fn with_fd_the_first_operand_is_no_path_even_if_it_is_a_number() {
    let env = TestEnv::new();
    if !env.supports_option("--fd") {
        return;
    }
    env.install_script("bin/8", "#!/bin/sh\necho eight \"$@\"\n");
    env.sh("exec 8>l; flock --fd 8 8 -n")
        .assert_status(0)
        .assert_stdout("eight -n\n");
    assert!(!env.file("8").exists());
}

#[test]
fn a_bad_value_for_fd_is_refused_and_a_closed_descriptor_is_a_failed_lock() {
    let env = TestEnv::new();
    if !env.supports_option("--fd") {
        return;
    }
    let closed = env
        .run(["--fd", "99", "echo", "ran"])
        .assert_status(65)
        .assert_stdout("");
    assert!(
        closed
            .stderr_text()
            .starts_with("flock: 99: Bad file descriptor"),
        "{closed:?}"
    );
    for word in ["x", "8x", "0x8", "4294967304"] {
        let refused = env
            .run(["--fd", word, "echo", "ran"])
            .assert_status(64)
            .assert_stdout("");
        assert!(refused.stderr_text().starts_with("flock: "), "{refused:?}");
        assert!(refused.stderr_text().contains(word), "{refused:?}");
    }
}

#[test]
fn help_and_version_go_to_stdout_with_status_0() {
    let env = TestEnv::new();
    for form in ["-h", "--help", "--h", "-xh", "-nh"] {
        let help = env
            .run([form])
            .assert_status(0)
            .assert_stderr("")
            .stdout_text();
        for (name, ..) in offered(&env) {
            // One spelling of each is enough in the help.
            let spelling = !["nonblocking", "nb", "wait"].contains(&name);
            assert!(
                !spelling || help.contains(&format!("--{name}")),
                "{form}: {name}: {help}"
            );
        }
    }
    for form in ["-V", "--version", "--vers", "-nV"] {
        let version = env
            .run([form])
            .assert_status(0)
            .assert_stderr("")
            .stdout_text();
        assert!(version.starts_with("flock "), "{form}: {version}");
        assert_eq!(version.lines().count(), 1, "{form}: {version}");
    }
}

#[test]
fn what_follows_help_or_version_is_not_looked_at() {
    let env = TestEnv::new();
    let help = env.run(["--help"]).stdout_text();
    let version = env.run(["--version"]).stdout_text();
    for args in [
        ["--help", "--bogus"],
        ["-h", "-w"],
        ["-hz", "l"],
        ["--help", "-V"],
        ["-E5", "--help"],
        ["--help", "--timeout=x"],
    ] {
        env.run(args)
            .assert_status(0)
            .assert_stdout(&help)
            .assert_stderr("");
    }
    for args in [
        ["--version", "--bogus"],
        ["-V", "-w"],
        ["-Vz", "l"],
        ["-V", "--help"],
    ] {
        env.run(args)
            .assert_status(0)
            .assert_stdout(&version)
            .assert_stderr("");
    }
}

#[test]
fn the_scan_for_options_stops_at_the_first_operand() {
    let env = TestEnv::new();
    let args = [
        "l", "printf", "<%s>", "-n", "--help", "--", "-V", "--bogus", "-c", "-w",
    ];
    env.run(args)
        .assert_status(0)
        .assert_stdout("<-n><--help><--><-V><--bogus><-c><-w>");
}

#[test]
fn two_dashes_before_the_file_end_the_options() {
    let env = TestEnv::new();
    for (args, file) in [
        (&["--", "-n", "echo", "ran"][..], "-n"),
        (&["-x", "--", "--help", "echo", "ran"], "--help"),
        (&["--", "--", "echo", "ran"], "--"),
        (&["--", "-c", "echo", "ran"], "-c"),
        (&["-n", "--", "l", "-c", "echo ran"], "l"),
    ] {
        env.run(args)
            .assert_status(0)
            .assert_stdout("ran\n")
            .assert_stderr("");
        assert!(env.file(file).exists(), "{file}");
    }
    each_form(
        &env,
        TWO,
        "flock FORM; held() { flock -n 8; echo $?; }; held",
        "1",
        &["-- 7", "-s -x -- 7"],
    );
}
