//! Every form of every option, and which of several wins.

use crate::refusals::offered;
use test_support::Lab;

/// Descriptors 7 and 8 are two open file descriptions of the file `l`; `held` tells by 8 how 7 is locked.
const TWO: &str = "exec 7<>l 8<>l
held() {
    if flock -n -x 8; then echo free; elif flock -n -s 8; then echo shared; else echo exclusive; fi
    flock -u 8
}
";

/// Runs the same line for every form (`$1`, split at blanks: a list of words), and expects `wanted` of each.
#[track_caller]
fn each_form(lab: &Lab, setup: &str, line: &str, wanted: &str, forms: &[&str]) {
    for form in forms {
        let script = format!("{setup}\n{}", line.replace("FORM", form));
        let outcome = lab.sh(&script);
        assert_eq!(outcome.out().trim_end(), wanted, "{form}: {outcome:?}");
        assert_eq!(outcome.err(), "", "{form}");
    }
}

#[test]
fn every_spelling_of_a_mode_takes_that_mode() {
    let lab = Lab::new();
    for (mode, forms) in [
        ("shared", &["-s", "--shared", "--sh"][..]),
        ("exclusive", &["", "-x", "-e", "--exclusive", "--excl"]),
        ("free", &["-u", "--unlock", "--un", "-nu", "-un"]),
    ] {
        // From a shared lock every mode is a change but shared, which is not the default.
        let line = "flock -s 7; flock FORM 7; held";
        each_form(&lab, TWO, line, mode, forms);
    }
}

#[test]
fn of_shared_exclusive_and_unlock_the_last_one_wins() {
    let lab = Lab::new();
    for (mode, forms) in [
        (
            "shared",
            &["-xs", "-us", "-x -u -s", "--unlock --shared"][..],
        ),
        ("exclusive", &["-sx", "-se", "-s -ux", "-su --exclusive"]),
        ("free", &["-sxu", "-s --unlock", "-x -u", "-eu"]),
    ] {
        each_form(&lab, TWO, "flock -s 7; flock FORM 7; held", mode, forms);
    }
}

#[test]
fn every_spelling_of_nonblock_and_of_a_timeout_gives_up() {
    let lab = Lab::new();
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
        &lab,
        TWO,
        "flock 7 || exit; flock FORM 8; echo $?",
        "1",
        &forms,
    );
}

#[test]
fn nonblock_beats_a_timeout_in_either_order() {
    let lab = Lab::new();
    let forms = ["-n -w 9999", "-w 9999 -n", "-nw9999", "--wait=9999 --nb"];
    each_form(
        &lab,
        TWO,
        "flock 7 || exit; flock FORM 8; echo $?",
        "1",
        &forms,
    );
}

#[test]
fn of_several_timeouts_the_last_one_wins() {
    let lab = Lab::new();
    let forms = ["-w 9999 -w .01", "--timeout 9999 --wait .01", "-w9999 -w0"];
    each_form(
        &lab,
        TWO,
        "flock 7 || exit; flock FORM 8; echo $?",
        "1",
        &forms,
    );
}

#[test]
fn every_spelling_of_the_conflict_exit_code_is_the_status_of_a_conflict() {
    let lab = Lab::new();
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
        &lab,
        TWO,
        "flock 7 || exit; flock FORM 8; echo $?",
        "5",
        &forms,
    );
}

#[test]
fn every_spelling_of_close_keeps_the_lock_from_the_command() {
    let lab = Lab::new();
    let look = "for f in /proc/$$/fd/*; do [ $f -ef l ] && echo inherited; done; echo looked";
    let line = format!("flock FORM l sh -c '{look}'");
    each_form(
        &lab,
        "",
        &line,
        "looked",
        &["-o", "--close", "--cl", "-xo", "-on"],
    );
    each_form(&lab, "", &line, "inherited\nlooked", &["", "-x"]);
}

#[test]
fn every_spelling_of_no_fork_runs_the_command_in_the_same_process() {
    let lab = Lab::new();
    let line = "sh -c 'echo $$; exec flock FORM l sh -c \"echo \\$\\$\"' | uniq | wc -l";
    each_form(
        &lab,
        "",
        line,
        "1",
        &["-F", "--no-fork", "--no-", "-xF", "-nF"],
    );
    each_form(&lab, "", line, "2", &["", "-n"]);
}

#[test]
fn every_spelling_of_verbose_speaks() {
    let lab = Lab::new();
    for form in ["--verbose", "--verb"] {
        let said = lab.run([form, "l", "true"]).expect_code(0).out();
        assert!(said.contains("getting lock took"), "{form}: {said}");
    }
}

#[test]
fn fcntl_start_and_length_each_take_the_other_kind_of_lock() {
    let lab = Lab::new();
    if !lab.offers("--fcntl") {
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
    each_form(&lab, "", line, "0\n1", &forms);
}

#[test]
fn with_fd_all_operands_are_a_command_that_runs_under_the_descriptors_lock() {
    let lab = Lab::new();
    if !lab.offers("--fd") {
        return;
    }
    let inside = "flock FORM sh -c 'flock -n 7; echo $?; echo got \"$@\"' sh -n l";
    each_form(
        &lab,
        TWO,
        inside,
        "1\ngot -n l",
        &["--fd 8", "--fd=8", "-x --fd 8", "--fd=+08 -n"],
    );
    let conflict = "flock 7; flock FORM echo ran; echo $?";
    each_form(
        &lab,
        TWO,
        conflict,
        "5",
        &["-nE5 --fd 8", "--fd=8 -E5 -w.01"],
    );
    let look = "flock FORM sh -c '[ -e /proc/$$/fd/8 ] && echo inherited; echo looked'";
    each_form(&lab, TWO, look, "looked", &["-o --fd 8", "--fd=8 --close"]);
}

#[test]
fn with_fd_the_first_operand_is_no_path_even_if_it_is_a_number() {
    let lab = Lab::new();
    if !lab.offers("--fd") {
        return;
    }
    lab.program("bin/8", "#!/bin/sh\necho eight \"$@\"\n");
    lab.sh("exec 8>l; flock --fd 8 8 -n")
        .expect_code(0)
        .expect_out("eight -n\n");
    assert!(!lab.file("8").exists());
}

#[test]
fn a_bad_value_for_fd_is_refused_and_a_closed_descriptor_is_a_failed_lock() {
    let lab = Lab::new();
    if !lab.offers("--fd") {
        return;
    }
    let closed = lab
        .run(["--fd", "99", "echo", "ran"])
        .expect_code(65)
        .expect_out("");
    assert!(
        closed.err().starts_with("flock: 99: Bad file descriptor"),
        "{closed:?}"
    );
    for word in ["x", "8x", "0x8", "4294967304"] {
        let refused = lab
            .run(["--fd", word, "echo", "ran"])
            .expect_code(64)
            .expect_out("");
        assert!(refused.err().starts_with("flock: "), "{refused:?}");
        assert!(refused.err().contains(word), "{refused:?}");
    }
}

#[test]
fn help_and_version_go_to_stdout_with_status_0() {
    let lab = Lab::new();
    for form in ["-h", "--help", "--h", "-xh", "-nh"] {
        let help = lab.run([form]).expect_code(0).expect_err("").out();
        for (name, ..) in offered(&lab) {
            // One spelling of each is enough in the help.
            let spelling = !["nonblocking", "nb", "wait"].contains(&name);
            assert!(
                !spelling || help.contains(&format!("--{name}")),
                "{form}: {name}: {help}"
            );
        }
    }
    for form in ["-V", "--version", "--vers", "-nV"] {
        let version = lab.run([form]).expect_code(0).expect_err("").out();
        assert!(version.starts_with("flock "), "{form}: {version}");
        assert_eq!(version.lines().count(), 1, "{form}: {version}");
    }
}

#[test]
fn what_follows_help_or_version_is_not_looked_at() {
    let lab = Lab::new();
    let help = lab.run(["--help"]).out();
    let version = lab.run(["--version"]).out();
    for args in [
        ["--help", "--bogus"],
        ["-h", "-w"],
        ["-hz", "l"],
        ["--help", "-V"],
        ["-E5", "--help"],
        ["--help", "--timeout=x"],
    ] {
        lab.run(args)
            .expect_code(0)
            .expect_out(&help)
            .expect_err("");
    }
    for args in [
        ["--version", "--bogus"],
        ["-V", "-w"],
        ["-Vz", "l"],
        ["-V", "--help"],
    ] {
        lab.run(args)
            .expect_code(0)
            .expect_out(&version)
            .expect_err("");
    }
}

#[test]
fn the_scan_for_options_stops_at_the_first_operand() {
    let lab = Lab::new();
    let args = [
        "l", "printf", "<%s>", "-n", "--help", "--", "-V", "--bogus", "-c", "-w",
    ];
    lab.run(args)
        .expect_code(0)
        .expect_out("<-n><--help><--><-V><--bogus><-c><-w>");
}

#[test]
fn two_dashes_before_the_file_end_the_options() {
    let lab = Lab::new();
    for (args, file) in [
        (&["--", "-n", "echo", "ran"][..], "-n"),
        (&["-x", "--", "--help", "echo", "ran"], "--help"),
        (&["--", "--", "echo", "ran"], "--"),
        (&["--", "-c", "echo", "ran"], "-c"),
        (&["-n", "--", "l", "-c", "echo ran"], "l"),
    ] {
        lab.run(args)
            .expect_code(0)
            .expect_out("ran\n")
            .expect_err("");
        assert!(lab.file(file).exists(), "{file}");
    }
    each_form(
        &lab,
        TWO,
        "flock FORM; held() { flock -n 8; echo $?; }; held",
        "1",
        &["-- 7", "-s -x -- 7"],
    );
}
