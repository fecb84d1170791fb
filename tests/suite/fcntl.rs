//! Section 1, `--fcntl`: locks of open file descriptions.

use test_support::Lab;
use test_support::locks::locks_on;

/// A lab, if the program under test has them: an older reference does not.
pub fn lab() -> Option<Lab> {
    let lab = Lab::new();
    lab.offers("--fcntl").then_some(lab)
}

#[test]
fn an_fcntl_lock_on_a_descriptor_outlives_flock_and_every_other_descriptor_of_the_file() {
    let Some(lab) = lab() else { return };
    // One that belonged to the process would be gone with flock, or when anybody closes the file.
    lab.sh("exec 8<>l; flock --fcntl 8; : <l; flock -n --fcntl l true; echo $?; flock --fcntl -u 8; flock -n --fcntl l true; echo $?")
        .expect_out("1\n0\n")
        .expect_err("");
}

#[test]
fn an_fcntl_lock_conflicts_times_out_and_is_shared_like_any_other() {
    let Some(lab) = lab() else { return };
    for (held, wanted, status) in [
        ("-x", "-n", 1),
        ("-x", "-n -E 9", 9),
        ("-x", "-w .01", 1),
        ("-x", "-s -w .01 -E 9", 9),
        ("-s", "-n", 1),
        ("-s", "-s -n", 0),
        ("-s", "-s", 0),
    ] {
        lab.sh(format!(
            "flock --fcntl {held} l flock --fcntl {wanted} l true; echo $?"
        ))
        .expect_out(&format!("{status}\n"))
        .expect_err("");
    }
}

#[test]
fn an_fcntl_lock_needs_a_descriptor_that_is_open_for_it() {
    let Some(lab) = lab() else { return };
    for (open, mode) in [("8<l", "-x"), ("8>l", "-s")] {
        let outcome = lab
            .sh(format!(": >l; exec {open}; flock --fcntl {mode} 8"))
            .expect_code(65)
            .expect_out("");
        assert!(
            outcome.err().starts_with("flock: 8: Bad file descriptor"),
            "{outcome:?}"
        );
    }
    for (open, mode) in [("8<l", "-s"), ("8>l", "-x"), ("8<l", "-u"), ("8>l", "-u")] {
        lab.sh(format!(": >l; exec {open}; flock --fcntl {mode} 8"))
            .expect_code(0)
            .expect_err("");
    }
}

#[test]
fn an_exclusive_fcntl_lock_needs_a_file_that_may_be_written() {
    let lab = Lab::new();
    if !lab.offers("--fcntl") {
        return;
    }
    let script = "rm -f l; : >l; chmod 444 l; exec flock --fcntl FORM l echo ran";
    let Some(exclusive) = lab.powerless(&script.replace("FORM", "-x")) else {
        return;
    };
    let outcome = lab.finish(exclusive).expect_code(66).expect_out("");
    let said = outcome.err();
    assert!(
        said.starts_with("flock: cannot open lock file l: Permission denied"),
        "{said}"
    );
    assert!(
        said.contains("--fcntl"),
        "the reason is the kind of lock: {said}"
    );
    let shared = lab
        .powerless(&script.replace("FORM", "-s"))
        .expect("as before");
    lab.finish(shared)
        .expect_code(0)
        .expect_out("ran\n")
        .expect_err("");
}

#[test]
fn an_exclusive_fcntl_lock_on_a_directory_is_refused_as_such() {
    let lab = Lab::new();
    if !lab.offers("--fcntl") {
        return;
    }
    let outcome = lab
        .run(["--fcntl", "bin", "echo", "ran"])
        .expect_code(66)
        .expect_out("");
    assert!(
        outcome
            .err()
            .starts_with("flock: cannot open lock file bin: "),
        "{outcome:?}"
    );
    assert!(outcome.err().contains("directory"), "{outcome:?}");
    lab.run(["--fcntl", "-s", "bin", "echo", "ran"])
        .expect_code(0)
        .expect_out("ran\n")
        .expect_err("");
}

#[test]
fn an_fcntl_lock_makes_a_missing_file_and_leaves_an_existing_one_alone() {
    let lab = Lab::new();
    if !lab.offers("--fcntl") {
        return;
    }
    for mode in ["-x", "-s"] {
        lab.sh(format!("rm -f l; umask 027; flock --fcntl {mode} l true; stat -c %a l; echo kept >l; flock --fcntl {mode} l cat l"))
            .expect_out("640\nkept\n")
            .expect_err("");
    }
}

#[test]
fn shared_and_exclusive_mean_the_same_for_fcntl_locks() {
    let Some(lab) = lab() else { return };
    for (held, asked, status) in [
        ("-s", "-s", 0),
        ("-s", "-x", 1),
        ("-x", "-s", 1),
        ("-x", "-x", 1),
    ] {
        lab.run([
            "--fcntl", held, "l", "flock", "--fcntl", "-n", asked, "l", "true",
        ])
        .expect_code(status);
        lab.sh(format!(
            "exec 8<>l 9<>l; flock --fcntl {held} 8 || exit 9; flock --fcntl -n {asked} 9"
        ))
        .expect_code(status);
    }
}

#[test]
fn flock_and_fcntl_locks_do_not_see_each_other() {
    let Some(lab) = lab() else { return };
    lab.run(["l", "flock", "--fcntl", "-n", "l", "true"])
        .expect_code(0);
    lab.run(["--fcntl", "l", "flock", "-n", "l", "true"])
        .expect_code(0);
}

#[test]
fn an_fcntl_lock_is_one_of_the_open_file_description() {
    let Some(lab) = lab() else { return };
    let holder = lab.hold(&["--fcntl"], "l");
    let held = locks_on(lab.file("l"));
    let [lock] = &held[..] else {
        panic!("one lock: {held:?}")
    };
    assert_eq!((&lock.kind[..], &lock.mode[..]), ("OFDLCK", "WRITE"));
    assert_eq!((&lock.range.0[..], &lock.range.1[..]), ("0", "EOF"));
    holder.let_go();

    // A process's own lock would go with any descriptor of the file, and would not reach a child.
    lab.sh(
        "exec 8<>l 9<>l; flock --fcntl 8; exec 9>&-; flock --fcntl -n l true; echo $?
            (flock --fcntl -u 8); flock --fcntl -n l true; echo $?",
    )
    .expect_out("1\n0\n");
}

#[test]
fn a_background_child_keeps_an_fcntl_lock() {
    let Some(lab) = lab() else { return };
    lab.sh("mkfifo end; exec 8>l; flock --fcntl 8
            read x <end & exec 8>&-
            flock --fcntl -n l true; echo $?
            echo >end; wait; flock --fcntl -n l true; echo $?")
        .expect_out("1\n0\n");
}

#[test]
fn the_command_keeps_an_fcntl_lock_when_flock_is_killed() {
    let Some(lab) = lab() else { return };
    let mut flock = lab.hold(&["--fcntl"], "l");
    flock.murder();
    lab.run(["--fcntl", "-n", "l", "true"]).expect_code(1);
    flock.hush();
    lab.run(["--fcntl", "l", "true"]).expect_code(0);
}
