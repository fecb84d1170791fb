//! Requests of several processes for the lock of one descriptor, which they share with the test.

use std::fs::File;
use std::process::Command;

use crate::queue::{assert_served, spawn_waiting_holder};
use libc::{SIGCONT, SIGSTOP};
use test_support::locks::waiter_count;
use test_support::pre_exec::CommandPreExecExt;
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{children_of, is_stopped};
use test_support::{TestEnv, wait_until};

/// Opens `l`.
fn open(env: &TestEnv) -> File {
    File::create(env.file("l")).expect("a file")
}

/// Starts a command that has a descriptor as number 8.
fn start_with(env: &TestEnv, mut command: Command, file: &File) -> Process {
    command.with_fd(8, file);
    env.start(command)
}

/// Acquires the lock of a descriptor without the queue.
#[track_caller]
fn acquire_plainly(env: &TestEnv, file: &File) {
    let mut process = start_with(env, env.flock(["8"]), file);
    assert_eq!(process.wait(), ExitReason::Exited(0));
}

#[test]
fn lock_acquired_before_the_wait_is_noticed() {
    let env = &TestEnv::new();
    if env.with_fault_injection("", "trace=none", &[]).is_none() {
        return;
    }
    // It stops when it has found the lock held, and starts its sentinel.
    let mut command = env.command("strace");
    command.args([
        "-o",
        "log",
        "-e",
        "inject=?clone,?clone3:signal=STOP:when=1",
    ]);
    command.args(["flock", "--fair", "8"]);
    let file = open(env);
    let holder = env.hold(&[], "l");
    let mut waiter = start_with(env, command, &file);
    let log = env.file("log");
    let has_stopped = || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("stopped by"));
    wait_until("it stops", has_stopped);
    let pid = children_of(waiter.pid())[0];
    holder.release();
    acquire_plainly(env, &file);
    send_signal(pid, SIGCONT);
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

/// No system call tells the waiter, so it looks from time to time.
#[test]
fn lock_acquired_during_the_wait_is_noticed() {
    let env = &TestEnv::new();
    let file = open(env);
    let holder = env.hold(&[], "l");
    let mut waiter = start_with(env, env.flock(["--fair", "8"]), &file);
    wait_until("it waits", || waiter_count(env.file("l")) == 1);
    // It would be served before a process without a ticket.
    waiter.signal(SIGSTOP);
    waiter.wait_stopped();
    holder.release();
    acquire_plainly(env, &file);
    waiter.signal(SIGCONT);
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[test]
fn lock_acquired_during_the_wait_counts_at_its_end() {
    let env = &TestEnv::new();
    let file = open(env);
    // It must not time out before it is stopped.
    for seconds in ["1", "4", "16"] {
        let holder = env.hold(&[], "l");
        let mut waiter = start_with(env, env.flock(["--fair", "-w", seconds, "8"]), &file);
        wait_until("it waits", || {
            waiter_count(env.file("l")) == 1 || waiter.has_exited()
        });
        waiter.signal(SIGSTOP);
        wait_until("it stops", || {
            is_stopped(waiter.pid()) || waiter.has_exited()
        });
        let is_waiting = is_stopped(waiter.pid());
        holder.release();
        if is_waiting {
            acquire_plainly(env, &file);
            waiter.signal(SIGCONT);
            assert_eq!(waiter.wait(), ExitReason::Exited(0));
            return;
        }
        waiter.signal(SIGCONT);
        waiter.wait();
    }
}

#[test]
fn lock_that_is_lost_before_it_is_tried_is_waited_for() {
    let env = &TestEnv::new();
    let inject = "inject=flock:error=EAGAIN:when=1";
    let Some(command) = env.with_fault_injection_into("flock", "", inject, &["--fair", "8"]) else {
        return;
    };
    let file = open(env);
    acquire_plainly(env, &file);
    let outsider = spawn_waiting_holder(env, &["--fair"]);
    let mut waiter = start_with(env, command, &file);
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
    drop(file);
    assert_served(outsider);
}
