//! `--fcntl`, `--start` and `--length`: locks of open file descriptions, also on a part of a file.

use test_support::locks::{assert_lock_count, waiter_count};
use test_support::process::ExitReason;
use test_support::{Outcome, TestEnv, wait_until};

/// Returns a test environment, unless the program under test is a util-linux without `--fcntl`.
fn test_env() -> Option<TestEnv> {
    let env = TestEnv::new();
    env.supports_option("--fcntl").then_some(env)
}

/// Returns an option for each kind of lock: `-x`, the default, for flock(2), and `--fcntl`.
pub fn lock_kinds(env: &TestEnv) -> &'static [&'static str] {
    if env.supports_option("--fcntl") {
        &["-x", "--fcntl"]
    } else {
        &["-x"]
    }
}

/// Asserts that the file has a single lock, an exclusive one of its holder's open file description.
#[track_caller]
fn assert_range(env: &TestEnv, options: &[&str], first: &str, last: &str) {
    let holder = env.hold(options, "l");
    let locks = assert_lock_count(env.file("l"), 1);
    let (lock, (start, end)) = (&locks[0], &locks[0].range);
    assert_eq!((&lock.kind[..], &lock.mode[..]), ("OFDLCK", "WRITE"));
    assert_eq!((&start[..], &end[..]), (first, last), "{options:?}");
    holder.release();
}

#[test]
fn an_fcntl_lock_belongs_to_the_open_file_description() {
    let Some(env) = test_env() else { return };
    // A lock of the process would end with flock or when any descriptor of the file is closed, and
    // a child could not release it.
    env.sh(
        "exec 8<>l 9<>l; flock --fcntl 8; : <l; exec 9>&-; flock --fcntl -n l true; echo $?
            (flock --fcntl -u 8); flock --fcntl -n l true; echo $?",
    )
    .assert_all(0, "1\n0\n", "");
}

#[test]
fn an_fcntl_lock_times_out_and_reports_conflicts() {
    let Some(env) = test_env() else { return };
    for (options, status) in [("-n", 1), ("-nE9", 9), ("-w.01", 1), ("-sw.01 -E9", 9)] {
        env.sh(format!("flock --fcntl l flock --fcntl {options} l true"))
            .assert_all(status, "", "");
    }
}

#[test]
fn flock_and_fcntl_locks_do_not_conflict() {
    let Some(env) = test_env() else { return };
    env.run(["l", "flock", "--fcntl", "-n", "l", "true"])
        .assert_status(0);
    env.run(["--fcntl", "l", "flock", "-n", "l", "true"])
        .assert_status(0);
}

#[test]
fn an_fcntl_lock_needs_a_descriptor_with_that_access() {
    let Some(env) = test_env() else { return };
    for (open, mode, status) in [
        ("8<l", "-x", 65),
        ("8>l", "-s", 65),
        ("8<l", "-s", 0),
        ("8>l", "-x", 0),
        ("8<l", "-u", 0),
        ("8>l", "-u", 0),
    ] {
        let outcome = env
            .sh(format!(": >l; exec {open}; flock --fcntl {mode} 8"))
            .assert_status(status)
            .assert_stdout("");
        let stderr = outcome.stderr_text();
        // A hint may follow.
        let is_reported = stderr.starts_with("flock: 8: Bad file descriptor");
        assert_eq!(
            (is_reported, stderr.is_empty()),
            (status != 0, status == 0),
            "{stderr}"
        );
    }
}

#[track_caller]
fn assert_cannot_open(outcome: Outcome, message: &str, reason: &str) {
    let stderr = outcome.assert_status(66).assert_stdout("").stderr_text();
    let is_reported = stderr.starts_with(message) && stderr.contains(reason);
    assert!(is_reported, "{stderr}");
}

#[test]
fn an_exclusive_fcntl_lock_needs_a_writable_file() {
    let Some(env) = test_env() else { return };
    let script = "rm -f l; : >l; chmod 444 l; exec flock --fcntl FORM l echo ran";
    let Some(exclusive) = env.unprivileged(&script.replace("FORM", "-x")) else {
        return;
    };
    let message = "flock: cannot open lock file l: Permission denied";
    assert_cannot_open(env.run_command(exclusive), message, "--fcntl");
    let shared = env.unprivileged(&script.replace("FORM", "-s"));
    env.run_command(shared.expect("as before"))
        .assert_all(0, "ran\n", "");
}

#[test]
fn a_directory_cannot_have_an_exclusive_fcntl_lock() {
    let Some(env) = test_env() else { return };
    // The directory itself can be opened.
    let outcome = env.run(["--fcntl", "bin", "echo", "ran"]);
    let stderr = outcome.assert_status(65).assert_stdout("").stderr_text();
    // util-linux reports `Bad file descriptor`.
    let hint = "Is a directory: an exclusive --fcntl lock requires a writable file\n";
    let expected = format!("flock: bin: {hint}");
    assert!(stderr == expected || env.is_reference(), "{stderr}");
    // Nothing is there that could be opened.
    env.run(["--fcntl", "no/", "echo", "ran"]).assert_status(66);
    env.run(["--fcntl", "-s", "bin", "echo", "ran"])
        .assert_all(0, "ran\n", "");
}

#[test]
fn fcntl_creates_files_and_keeps_their_content() {
    let Some(env) = test_env() else { return };
    for mode in ["-x", "-s"] {
        env.sh(format!(
            "rm -f l; umask 027; flock --fcntl {mode} l true; stat -c %a l
             echo kept >l; flock --fcntl {mode} l cat l"
        ))
        .assert_all(0, "640\nkept\n", "");
    }
}

#[test]
fn offsets_and_lengths_may_have_prefixes_and_units() {
    let Some(env) = test_env() else { return };
    for (value, bytes) in [
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
        assert_range(&env, &["--start", value], &bytes.to_string(), "EOF");
        assert_range(&env, &["--length", value], "0", &(bytes - 1).to_string());
        let length = format!("--length={value}");
        assert_range(&env, &["--start=5", &length], "5", &(bytes + 4).to_string());
    }
}

#[test]
fn the_default_range_and_a_length_of_0_reach_the_end() {
    let Some(env) = test_env() else { return };
    for options in ["--fcntl", "--length=0", "--start=0", "--start=0 --length=0"] {
        assert_range(&env, &Vec::from_iter(options.split(' ')), "0", "EOF");
    }
    assert_range(&env, &["--start=7", "--length=0"], "7", "EOF");
}

#[test]
fn ranges_conflict_only_if_they_overlap() {
    let Some(env) = test_env() else { return };
    // Starts and lengths of the two ranges.
    for (held, requested, status) in [
        (["0", "10"], ["10", "10"], 0),
        (["0", "10"], ["9", "1"], 1),
        (["10", "10"], ["0", "10"], 0),
        (["10", "10"], ["0", "11"], 1),
        (["10", "10"], ["19", "100"], 1),
        (["10", "10"], ["20", "100"], 0),
        (["0", "1"], ["1", "1"], 0),
        // A length of 0 extends beyond the end of the file.
        (["0", "0"], ["1000000000000", "1"], 1),
        (["100", "0"], ["99", "1"], 0),
        (["100", "0"], ["100", "0"], 1),
        (["0", "1K"], ["0x3ff", "1"], 1),
        (["0", "1K"], ["0x400", "1"], 0),
        (["0", "1KB"], ["1000", "1"], 0),
        (["010", "1"], ["8", "1"], 1),
    ] {
        let [held, requested] =
            [held, requested].map(|[start, length]| format!("--start {start} --length {length}"));
        // Two shared locks never conflict.
        env.sh(format!(
            "flock {held} l flock -n {requested} l true; echo $?
             flock -s {held} l flock -ns {requested} l true; echo $?"
        ))
        .assert_all(0, &format!("{status}\n0\n"), "");
    }
}

#[test]
fn a_part_of_a_range_can_be_unlocked_or_converted() {
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
fn a_waiter_for_a_range_blocks_in_the_kernel() {
    let Some(env) = test_env() else { return };
    for wait in ["-x", "-w1000"] {
        let holder = env.hold(&["--start=5", "--length=5"], "l");
        let mut waiter = env.start_flock([wait, "--length=6", "l", "echo", "locked"]);
        wait_until("it waits", || waiter_count(env.file("l")) == 1);
        holder.release();
        waiter.expect_line("locked");
        assert_eq!(waiter.wait(), ExitReason::Exited(0));
    }
}
