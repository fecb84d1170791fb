//! `--queue N`: at most N processes wait, and no process is refused while fewer than N wait.
//!
//! Every process can see the places of those that wait: locked bytes of the lock file, far beyond
//! any data (`test_support::locks::place_count`).

mod others;
mod storm;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rstest::rstest;
use test_support::builtin::for_each_bash;
use test_support::locks::{assert_unlocked, place_count};
use test_support::process::{ExitReason, Process};
use test_support::{TestEnv, wait_until};

use crate::queue::{HOLD, assert_served};
use crate::usage_errors::assert_misuse;

/// Starts `flock` on the file `l`, which is held, and returns when it has a place.
#[track_caller]
fn spawn_waiter(env: &TestEnv, options: &[&str]) -> Process {
    let before = place_count(env.file("l"));
    let mut waiter = env.start(env.flock(options.iter().chain(&HOLD)));
    waiter.wait_alive_until("it has a place", || place_count(env.file("l")) > before);
    waiter
}

#[track_caller]
fn assert_places(env: &TestEnv, count: usize) {
    wait_until(&format!("{count} processes wait"), || {
        place_count(env.file("l")) == count
    });
}

/// Asserts that a caller is refused at once.
#[track_caller]
fn assert_refused(env: &TestEnv, options: &[&str]) {
    let args = [options, &["l", "echo", "ran"]].concat();
    env.run(args).assert_all(1, "", "");
}

#[rstest]
fn as_many_processes_wait_as_permitted(
    #[values(&[][..], &["--fair"], &["--slots", "1"], &["-s"], &["-o"])] order: &[&str],
    #[values("0", "1", "3")] limit: &str,
) {
    let env = &TestEnv::new();
    let slots = order.first() == Some(&"--slots");
    let holder = env.hold(if slots { order } else { &[] }, "l");
    let options = [&["--queue", limit][..], order].concat();
    let count = limit.parse().expect("a number");
    let mut waiters = Vec::new();
    for _ in 0..count {
        waiters.push(spawn_waiter(env, &options));
    }
    for _ in 0..3 {
        assert_refused(env, &options);
    }
    env.run([&options[..], &["-E42", "-w1h", "l", "true"]].concat())
        .assert_all(42, "", "");
    assert_places(env, count);
    holder.release();
    // Without --fair, the order is not defined.
    waiters.iter_mut().for_each(Process::close_stdin);
    for mut waiter in waiters {
        assert_eq!(waiter.wait(), ExitReason::Exited(0));
        waiter.expect_line("held");
    }
    assert_unlocked(env.file("l"));
}

#[rstest]
fn a_free_lock_is_taken_whatever_the_limit(
    #[values("0", "1", "4294967295")] limit: &str,
    #[values(&[][..], &["--fair"], &["--slots", "2"], &["-s"], &["-n"], &["-w5"])]
    options: &[&str],
) {
    let env = TestEnv::new();
    let args = [&["--queue", limit][..], options, &["l", "echo", "ran"]].concat();
    env.run(args).assert_all(0, "ran\n", "");
    assert_unlocked(env.file("l"));
}

#[test]
fn one_that_is_served_waits_no_more() {
    let env = &TestEnv::new();
    let holder = env.hold(&[], "l");
    let mut first = spawn_waiter(env, &["--queue", "1"]);
    assert_refused(env, &["--queue", "1"]);
    holder.release();
    first.expect_line("held");
    assert_places(env, 0);
    let second = spawn_waiter(env, &["--queue", "1"]);
    assert_refused(env, &["--queue", "1"]);
    first.release();
    assert_served(second);
}

#[rstest]
fn one_that_is_killed_waits_no_more(#[values("--fair", "-x")] order: &str) {
    let env = &TestEnv::new();
    let holder = env.hold(&[], "l");
    let mut killed = spawn_waiter(env, &["--queue", "1", order]);
    assert_refused(env, &["--queue", "1", order]);
    killed.kill();
    assert_places(env, 0);
    let waiter = spawn_waiter(env, &["--queue", "1", order]);
    holder.release();
    assert_served(waiter);
}

#[rstest]
fn one_that_gives_up_waits_no_more(#[values("--fair", "-x")] order: &str) {
    let env = &TestEnv::new();
    let _holder = env.hold(&[], "l");
    for _ in 0..2 {
        // If the first were still counted, the second would be refused with 1.
        env.run(["--queue", "1", order, "-w0.05", "-E3", "l", "true"])
            .assert_all(3, "", "");
        assert_places(env, 0);
    }
    let waiter = spawn_waiter(env, &["--queue", "1", order]);
    drop(waiter);
}

#[test]
fn callers_count_against_limits_of_their_own() {
    let env = &TestEnv::new();
    let _holder = env.hold(&[], "l");
    let _waiters: Vec<_> = (0..3)
        .map(|_| spawn_waiter(env, &["--queue", "3"]))
        .collect();
    for limit in ["0", "1", "2", "3"] {
        assert_refused(env, &["--queue", limit]);
    }
    drop(spawn_waiter(env, &["--queue", "4"]));
}

#[test]
fn a_stopped_waiter_keeps_its_place() {
    let env = &TestEnv::new();
    let holder = env.hold(&[], "l");
    let waiter = spawn_waiter(env, &["--queue", "1"]);
    waiter.signal(libc::SIGSTOP);
    assert_refused(env, &["--queue", "1"]);
    waiter.signal(libc::SIGCONT);
    holder.release();
    assert_served(waiter);
}

#[test]
fn a_descriptor_has_a_bounded_queue() {
    let env = &TestEnv::new();
    let holder = env.hold(&[], "l");
    let script = "exec 8>>l; flock --queue 1 8 && echo held; read x; flock -u 8; exit 0";
    let mut waiter = env.start(env.sh_command(script));
    waiter.wait_alive_until("it has a place", || place_count(env.file("l")) == 1);
    env.sh("exec 8>>l; flock --queue 1 8; echo $?; flock -u --queue 1 8; echo $?")
        .assert_all(0, "1\n0\n", "");
    holder.release();
    assert_served(waiter);
}

#[test]
fn the_builtin_has_a_bounded_queue() {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        let waiter = spawn_waiter(env, &["--queue", "1"]);
        env.run_with_builtin(
            "exec 8>>l; flock --queue 1 8; echo $?; f() { echo ran; }; flock --queue 1 l f; echo $?
             flock --queue 2 -w 0.05 -E3 8; echo $?",
        )
        .assert_stdout("1\n1\n3\n");
        holder.release();
        assert_served(waiter);
        env.run_with_builtin(
            "f() { echo ran; }; flock --queue 1 l f; exec 8>>l; flock --queue 0 8",
        )
        .assert_all(0, "ran\n", "");
    });
}

#[test]
fn verbose_says_why_it_does_not_wait() {
    let env = &TestEnv::new();
    let _holder = env.hold(&[], "l");
    let outcome = env.run(["--verbose", "--queue", "0", "l", "true"]);
    let stderr = outcome.assert_status(1).stderr_text();
    let reason = "flock: failed to get lock: enough processes wait for it\n";
    assert!(stderr.starts_with(reason), "{stderr}");
}

#[test]
fn places_are_not_listed() {
    let env = &TestEnv::new();
    let _holder = env.hold(&[], "l");
    let _waiter = spawn_waiter(env, &["--queue", "1"]);
    let table = env.run(["--who", "l"]).assert_status(0).stdout_text();
    assert!(!table.contains("OFD"), "{table}");
    assert_eq!(table.matches("waiter").count(), 1, "{table}");
}

#[test]
fn invalid_combinations_are_usage_errors() {
    for value in ["-1", "x", "", "4294967296"] {
        let message = format!("invalid number of waiters: '{value}' (expected a number from 0 on)");
        assert_misuse(&["--queue", value, "l", "true"], &message);
    }
    for (args, message) in [
        (
            &["--queue", "1", "--fcntl", "l", "true"][..],
            "--queue cannot be used with --fcntl, --start or --length; nest two calls: \
             flock --queue N OTHER-FILE flock ... FILE COMMAND",
        ),
        (
            &["--queue", "1", "--also", "m", "l", "true"],
            "--queue cannot be used with --also; nest two calls: \
             flock --queue N OTHER-FILE flock ... FILE COMMAND",
        ),
        (
            &["--who", "--queue", "1", "l"],
            "--who cannot be used with --queue",
        ),
    ] {
        assert_misuse(args, message);
    }
}

/// Asserts that the file `l` cannot have a bounded queue, whether or not it is locked.
#[track_caller]
fn assert_unsupported(env: &TestEnv, reason: &str) {
    let message = format!("flock: l: --queue is not supported: {reason}\n");
    for script in ["flock --queue 1 l true", "flock l flock --queue 1 l true"] {
        let Some(command) = env.unprivileged(script) else {
            return;
        };
        env.run_command(command).assert_all(65, "", &message);
    }
}

#[test]
fn a_file_that_cannot_be_opened_for_writing_has_none() {
    let env = &TestEnv::new();
    fs::create_dir(env.file("l")).expect("a directory");
    assert_unsupported(env, "a directory cannot be opened for writing");
    fs::remove_dir(env.file("l")).expect("it is empty");
    fs::write(env.file("l"), "").expect("a file");
    let chmod = |mode| fs::set_permissions(env.file("l"), fs::Permissions::from_mode(mode));
    chmod(0o444).expect("its mode");
    assert_unsupported(env, "the file cannot be opened for writing");
    chmod(0o755).expect("its mode");
    env.run(["--queue", "1", "l", "true"]).assert_all(0, "", "");
    fs::write(env.file("l"), "exit\n").expect("a script");
    let reason = "an executable file cannot be executed while it is open for writing";
    assert_unsupported(env, reason);
}
