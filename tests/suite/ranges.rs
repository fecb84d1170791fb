//! Sections 1 and 3: open-file-description locks (`--fcntl`) and byte ranges.

use crate::lab::kernel::{locks_on, waiters};
use crate::lab::live::End;
use crate::lab::{Lab, wait_until};

/// A lab whose program has `--fcntl`, which an old reference has not.
fn lab_with_ranges() -> Option<Lab> {
    let lab = Lab::new();
    (lab.offers("--fcntl") && lab.offers("--start") && lab.offers("--length")).then_some(lab)
}

#[test]
fn shared_and_exclusive_mean_the_same_for_fcntl_locks() {
    let Some(lab) = lab_with_ranges() else { return };
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
    let Some(lab) = lab_with_ranges() else { return };
    lab.run(["l", "flock", "--fcntl", "-n", "l", "true"])
        .expect_code(0);
    lab.run(["--fcntl", "l", "flock", "-n", "l", "true"])
        .expect_code(0);
}

#[test]
fn an_fcntl_lock_is_one_of_the_open_file_description() {
    let Some(lab) = lab_with_ranges() else { return };
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
    let Some(lab) = lab_with_ranges() else { return };
    lab.sh("mkfifo end; exec 8>l; flock --fcntl 8
            read x <end & exec 8>&-
            flock --fcntl -n l true; echo $?
            echo >end; wait; flock --fcntl -n l true; echo $?")
        .expect_out("1\n0\n");
}

#[test]
fn ranges_conflict_where_they_meet_and_nowhere_else() {
    let Some(lab) = lab_with_ranges() else { return };
    for (held, asked, status) in [
        (["0", "10"], ["10", "10"], 0),
        (["0", "10"], ["9", "1"], 1),
        (["10", "10"], ["0", "10"], 0),
        (["10", "10"], ["0", "11"], 1),
        (["10", "10"], ["19", "100"], 1),
        (["10", "10"], ["20", "100"], 0),
        (["0", "1"], ["1", "1"], 0),
        // Nothing is the end of the file, and beyond.
        (["0", "0"], ["1000000000000", "1"], 1),
        (["100", "0"], ["99", "1"], 0),
        (["100", "0"], ["100", "0"], 1),
        (["0", "1K"], ["0x3ff", "1"], 1),
        (["0", "1K"], ["0x400", "1"], 0),
        (["0", "1KB"], ["1000", "1"], 0),
        (["010", "1"], ["8", "1"], 1),
    ] {
        let [start, length] = held;
        let [asked_start, asked_length] = asked;
        lab.run([
            "--start",
            start,
            "--length",
            length,
            "l", //
            "flock",
            "-n",
            "--start",
            asked_start,
            "--length",
            asked_length,
            "l",
            "true",
        ])
        .expect_code(status);
        // Two readers never conflict, wherever they are.
        lab.run([
            "-s",
            "--start",
            start,
            "--length",
            length,
            "l", //
            "flock",
            "-ns",
            "--start",
            asked_start,
            "--length",
            asked_length,
            "l",
            "true",
        ])
        .expect_code(0);
    }
}

#[test]
fn either_end_alone_makes_it_an_fcntl_lock_over_the_rest() {
    let Some(lab) = lab_with_ranges() else { return };
    for (option, range) in [
        ("--start=16", ("16", "EOF")),
        ("--start=0x10", ("16", "EOF")),
        ("--start=1MiB", ("1048576", "EOF")),
        ("--length=16", ("0", "15")),
        ("--length=2KB", ("0", "1999")),
        ("--length=0", ("0", "EOF")),
    ] {
        let holder = lab.hold(&[option], "l");
        let held = locks_on(lab.file("l"));
        let [lock] = &held[..] else {
            panic!("one lock: {held:?}")
        };
        assert_eq!(lock.kind, "OFDLCK", "{option}");
        assert_eq!((&lock.range.0[..], &lock.range.1[..]), range, "{option}");
        holder.let_go();
    }
}

#[test]
fn a_part_of_a_range_is_unlocked_or_converted_alone() {
    let Some(lab) = lab_with_ranges() else { return };
    lab.sh(
        "exec 8<>l; flock --fcntl 8; flock -u --start 10 --length 10 8
            for range in '0 10' '10 10' '20 10'; do
                set -- $range; flock -n --start $1 --length $2 l true; echo $?
            done
            flock -s --start 0 --length 5 8
            flock -ns --start 0 --length 5 l true; echo $?
            flock -ns --start 5 --length 5 l true; echo $?",
    )
    .expect_out("1\n0\n1\n0\n1\n");
}

#[test]
fn a_waiter_for_a_range_sleeps_in_the_kernel() {
    for how in ["-x", "-w1000"] {
        let Some(lab) = lab_with_ranges() else { return };
        let holder = lab.hold(&["--start=5", "--length=5"], "l");
        let mut waiter = lab.start_flock([how, "--length=6", "l", "echo", "mine"]);
        wait_until("it waits", || waiters(lab.file("l")) == 1);
        holder.let_go();
        waiter.hears("mine");
        assert_eq!(waiter.end(), End::Exited(0));
    }
}

#[test]
fn a_timeout_for_a_range_fires_however_short() {
    let Some(lab) = lab_with_ranges() else { return };
    let script = "exec 8<>l; i=0; while [ $i -lt 50 ]; do i=$((i + 1))
        flock -w 0.000001 --fcntl l true; [ $? -eq 1 ] || exit 9
        flock -w 0.00005 -E 42 -s --start 7 8; [ $? -eq 42 ] || exit 9
    done";
    lab.run(["--fcntl", "l", "sh", "-c", script]).expect_code(0);
}

#[test]
fn the_command_keeps_an_fcntl_lock_when_flock_is_killed() {
    let Some(lab) = lab_with_ranges() else { return };
    let mut flock = lab.hold(&["--fcntl"], "l");
    flock.murder();
    lab.run(["--fcntl", "-n", "l", "true"]).expect_code(1);
    flock.hush();
    lab.run(["--fcntl", "l", "true"]).expect_code(0);
}
