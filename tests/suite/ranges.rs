//! Section 1, `--start` and `--length`: locks on a part of a file.

use crate::fcntl::test_env;
use test_support::locks::{locks_on, waiter_count};
use test_support::process::ExitReason;
use test_support::{TestEnv, wait_until};

/// The first and last byte of the lock that these options take, as the kernel lists them.
fn range(env: &TestEnv, options: &[&str]) -> String {
    let mut args = options.to_vec();
    args.extend([
        "l",
        "sh",
        "-c",
        "grep OFDLCK /proc/locks | grep :$(stat -c %i l)' '",
    ]);
    let listed = env
        .run(args)
        .assert_status(0)
        .assert_stderr("")
        .stdout_text();
    let words: Vec<_> = listed.split_whitespace().rev().take(2).collect();
    format!("{} {}", words[1], words[0])
}

#[test]
fn a_range_is_counted_in_bytes_in_decimal_hexadecimal_or_octal_and_with_suffixes() {
    let env = TestEnv::new();
    if !env.supports_option("--start") {
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
            range(&env, &["--start", word]),
            format!("{bytes} EOF"),
            "--start {word}"
        );
        assert_eq!(
            range(&env, &["--length", word]),
            format!("0 {}", bytes - 1),
            "--length {word}"
        );
        let both = range(&env, &["--start=5", &format!("--length={word}")]);
        assert_eq!(both, format!("5 {}", bytes + 4), "{word}");
    }
}

#[test]
fn a_length_of_0_reaches_to_the_end_and_so_does_none() {
    let env = TestEnv::new();
    if !env.supports_option("--length") {
        return;
    }
    for options in [
        &["--fcntl"][..],
        &["--length=0"],
        &["--start=0"],
        &["--start=0", "--length", "0"],
    ] {
        assert_eq!(range(&env, options), "0 EOF", "{options:?}");
    }
    assert_eq!(range(&env, &["--start=7", "--length=0"]), "7 EOF");
}

#[test]
fn ranges_conflict_where_they_meet_and_nowhere_else() {
    let Some(env) = test_env() else { return };
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
        env.run([
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
        .assert_status(status);
        // Two readers never conflict, wherever they are.
        env.run([
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
        .assert_status(0);
    }
}

#[test]
fn either_end_alone_makes_it_an_fcntl_lock_over_the_rest() {
    let Some(env) = test_env() else { return };
    for (option, range) in [
        ("--start=16", ("16", "EOF")),
        ("--start=0x10", ("16", "EOF")),
        ("--start=1MiB", ("1048576", "EOF")),
        ("--length=16", ("0", "15")),
        ("--length=2KB", ("0", "1999")),
        ("--length=0", ("0", "EOF")),
    ] {
        let holder = env.hold(&[option], "l");
        let held = locks_on(env.file("l"));
        let [lock] = &held[..] else {
            panic!("one lock: {held:?}")
        };
        assert_eq!(lock.kind, "OFDLCK", "{option}");
        assert_eq!((&lock.range.0[..], &lock.range.1[..]), range, "{option}");
        holder.release();
    }
}

#[test]
fn a_part_of_a_range_is_unlocked_or_converted_alone() {
    let Some(env) = test_env() else { return };
    env.sh(
        "exec 8<>l; flock --fcntl 8; flock -u --start 10 --length 10 8
            for range in '0 10' '10 10' '20 10'; do
                set -- $range; flock -n --start $1 --length $2 l true; echo $?
            done
            flock -s --start 0 --length 5 8
            flock -ns --start 0 --length 5 l true; echo $?
            flock -ns --start 5 --length 5 l true; echo $?",
    )
    .assert_stdout("1\n0\n1\n0\n1\n");
}

#[test]
fn a_waiter_for_a_range_sleeps_in_the_kernel() {
    for how in ["-x", "-w1000"] {
        let Some(env) = test_env() else { return };
        let holder = env.hold(&["--start=5", "--length=5"], "l");
        let mut waiter = env.start_flock([how, "--length=6", "l", "echo", "mine"]);
        wait_until("it waits", || waiter_count(env.file("l")) == 1);
        holder.release();
        waiter.expect_line("mine");
        assert_eq!(waiter.wait(), ExitReason::Exited(0));
    }
}

#[test]
fn a_timeout_for_a_range_fires_however_short() {
    let Some(env) = test_env() else { return };
    let script = "exec 8<>l; i=0; while [ $i -lt 50 ]; do i=$((i + 1))
        flock -w 0.000001 --fcntl l true; [ $? -eq 1 ] || exit 9
        flock -w 0.00005 -E 42 -s --start 7 8; [ $? -eq 42 ] || exit 9
    done";
    env.run(["--fcntl", "l", "sh", "-c", script])
        .assert_status(0);
}
