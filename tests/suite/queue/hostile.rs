//! Markers that other programs set. Every process that can read the file can do that.

use std::fs;

use libc::SIGSTOP;
use rstest::rstest;
use test_support::TestEnv;
use test_support::process::Process;
use test_support::procfs::children_of;

use super::{FAIR, ONE_SLOT};

/// A search that examines each of this many markers takes ten seconds.
const MANY: i64 = 10_000;

/// Asserts that a call has this status and takes little CPU time.
#[track_caller]
fn assert_quick(env: &TestEnv, args: &str, status: i32) {
    env.sh(format!("ulimit -t 2; exec flock {args} l true"))
        .assert_all(status, "", "");
}

/// Starts a process that sets markers which name a sentinel of its own, and stops it.
#[track_caller]
fn stopped_owner_of_tickets(env: &TestEnv, count: i64) -> Process {
    let mut owner = env.start_lock_holder("tickets", 0, count, "l");
    owner.expect_line("held");
    owner.signal(SIGSTOP);
    owner.wait_stopped();
    owner
}

#[rstest]
fn many_tickets_of_a_stopped_owner_delay_no_call(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    env.sh(": >l").assert_status(0);
    let _owner = stopped_owner_of_tickets(env, MANY);
    assert_quick(env, &format!("{queue} -n"), 0);
    assert_quick(env, &format!("{queue} -w1000"), 0);
    let _holder = env.hold(&[], "l");
    assert_quick(env, &format!("{queue} -n"), 1);
    assert_quick(env, &format!("{queue} -w0.1"), 1);
}

#[rstest]
fn tickets_that_name_no_sentinel_are_ignored(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let namespace = fs::read_link("/proc/self/ns/pid").expect("a namespace");
    if namespace.as_os_str() != "pid:[4026531836]" || !fs::exists("/proc/1").expect("/proc") {
        println!("skipped: sentinels of other PID namespaces are not visible");
        return;
    }
    let env = &TestEnv::new();
    env.sh(": >l").assert_status(0);
    // Process 1, this process, and none.
    for pid in [1, std::process::id().into(), (1 << 22) - 1] {
        let mut other = env.start_lock_holder("tickets", pid, 3, "l");
        other.expect_line("held");
        env.run([queue, "-n", "l", "true"]).assert_all(0, "", "");
        env.run([queue, "-w1000", "l", "true"])
            .assert_all(0, "", "");
        other.release();
    }
}

#[rstest]
fn tickets_with_another_waiters_sentinel_are_ignored(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    env.sh(": >l; : >m").assert_status(0);
    let mut owner = env.start_lock_holder("tickets", 0, 1, "m");
    owner.expect_line("held");
    let sentinel = children_of(owner.pid())[0];
    let mut other = env.start_lock_holder("tickets", sentinel.into(), 3, "l");
    other.expect_line("held");
    env.run([queue, "-n", "l", "true"]).assert_all(0, "", "");
    env.run([queue, "-w1000", "l", "true"])
        .assert_all(0, "", "");
}

/// Reading all of its locks takes many seconds.
#[rstest]
fn locks_of_a_supposed_owner_delay_no_call(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    env.sh(": >l").assert_status(0);
    let _stranger = env.start_stranger("slow-owner", 10_000, "l");
    // Whether a place counts that could not be examined in time does not matter.
    let outcome = env.sh(format!("ulimit -t 2; exec flock {queue} -n l true"));
    assert!(outcome.code() <= 1, "{outcome:?}");
    assert_quick(env, "-n", 0);
}

/// A process that sets a marker takes a place in the queue.
#[rstest]
fn ticket_that_names_a_sentinel_counts(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    env.sh(": >l").assert_status(0);
    let mut other = env.start_lock_holder("tickets", 0, 1, "l");
    other.expect_line("held");
    env.run([queue, "-n", "l", "true"]).assert_all(1, "", "");
    other.release();
    env.run([queue, "-n", "l", "true"]).assert_all(0, "", "");
}
