//! Locks of the other kind, which belong to an open file description and may be on a part of the file.

use crate::lab::Lab;

/// A lab, if the program under test has them: an older reference does not.
fn lab() -> Option<Lab> {
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
fn whoever_waits_for_an_fcntl_lock_gets_it_when_it_is_free() {
    let Some(lab) = lab() else { return };
    lab.teach_queued();
    lab.sh("exec 8<>l; flock --fcntl 8
        flock --fcntl l echo in 8>&- & flock --fcntl -w 100 l echo in 8>&- & flock --start 5 l echo in 8>&- &
        queued l 3; echo out; flock -u --fcntl 8; wait")
        .expect_out("out\nin\nin\nin\n")
        .expect_err("");
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

/// The first and last byte of the lock that these options take, as the kernel lists them.
fn range(lab: &Lab, options: &[&str]) -> String {
    let mut args = options.to_vec();
    args.extend([
        "l",
        "sh",
        "-c",
        "grep OFDLCK /proc/locks | grep :$(stat -c %i l)' '",
    ]);
    let listed = lab.run(args).expect_code(0).expect_err("").out();
    let words: Vec<_> = listed.split_whitespace().rev().take(2).collect();
    format!("{} {}", words[1], words[0])
}

#[test]
fn a_range_is_counted_in_bytes_in_decimal_hexadecimal_or_octal_and_with_suffixes() {
    let lab = Lab::new();
    if !lab.offers("--start") {
        return;
    }
    for (word, bytes) in [
        ("10", 10_u64),
        ("0x10", 16),
        ("010", 8),
        ("1K", 1 << 10),
        ("1KiB", 1 << 10),
        ("1KB", 1000),
        ("3M", 3 << 20),
        ("3MiB", 3 << 20),
        ("3MB", 3_000_000),
        ("2G", 2 << 30),
        ("2GiB", 2 << 30),
        ("2GB", 2_000_000_000),
        ("1T", 1 << 40),
        ("1TB", 1_000_000_000_000),
        ("0x10K", 16 << 10),
    ] {
        assert_eq!(
            range(&lab, &["--start", word]),
            format!("{bytes} EOF"),
            "--start {word}"
        );
        assert_eq!(
            range(&lab, &["--length", word]),
            format!("0 {}", bytes - 1),
            "--length {word}"
        );
        let both = range(&lab, &["--start=5", &format!("--length={word}")]);
        assert_eq!(both, format!("5 {}", bytes + 4), "{word}");
    }
}

#[test]
fn a_length_of_0_reaches_to_the_end_and_so_does_none() {
    let lab = Lab::new();
    if !lab.offers("--length") {
        return;
    }
    for options in [
        &["--fcntl"][..],
        &["--length=0"],
        &["--start=0"],
        &["--start=0", "--length", "0"],
    ] {
        assert_eq!(range(&lab, options), "0 EOF", "{options:?}");
    }
    assert_eq!(range(&lab, &["--start=7", "--length=0"]), "7 EOF");
}

#[test]
fn only_ranges_that_overlap_are_in_each_others_way() {
    let lab = Lab::new();
    if !lab.offers("--start") {
        return;
    }
    for (held, wanted, status) in [
        ("--start 0 --length 10", "--start 10 --length 10", 0),
        ("--start 0 --length 10", "--start 9 --length 1", 1),
        ("--start 10 --length 10", "--start 0 --length 10", 0),
        ("--start 10 --length 10", "--start 0 --length 11", 1),
        ("--start 10", "--length 10", 0),
        ("--start 10", "--start 1G --length 1", 1),
        ("--fcntl", "--start 5 --length 1", 1),
        ("--length 1KB", "--start 1000", 0),
        ("--length 1K", "--start 1000", 1),
        ("-s --length 10", "-s --start 5", 0),
        ("-s --length 10", "-x --start 5", 1),
        // Locks of the other kind are not seen at all.
        ("--length 10", "-x", 0),
    ] {
        lab.sh(format!("flock {held} l flock -n {wanted} l true; echo $?"))
            .expect_out(&format!("{status}\n"))
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
