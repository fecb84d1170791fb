//! The fair queue: a free lock, a lock held by another process, and the wait for a predecessor.

use super::record;
use libc::{SIGCONT, SIGSTOP};
use models::queue::{Client, Queue};
use test_support::TestEnv;
use test_support::locks::{tickets, waiter_count};
use test_support::procfs::is_stopped;
use test_support::system_calls::{Call, SystemCall, assert_explained};
use test_support::wait_until;

/// The first offset of tickets.
const TICKETS: u64 = 1 << 62;

/// The check whether the queue has stalled, if the lock is free.
const PROBED: [Call; 3] = [
    ("poll", "timeout"),
    ("flock(LOCK_NB)", "ok"),
    ("flock(LOCK_UN)", ""),
];

/// The first in the queue tries the lock of the ticket's description, and that of its own.
const REFUSED_TWICE: [Call; 2] = [("flock(LOCK_NB)", "EAGAIN"); 2];

/// Names the calls that concern the queue. A search consists of several calls, and so does the check
/// of an owner.
fn calls_on_queue(recorded: &[SystemCall]) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let (mut found, mut is_marked, mut was_set) = (None, false, false);
    let mut ticket = String::from("none");
    let (mut sentinel, mut comm) = (String::from("none"), String::from("none"));
    for call in recorded {
        let has = |text: &str| call.args.contains(text);
        let start = call
            .value("l_start")
            .and_then(|start| start.parse().ok())
            .unwrap_or(0_u64);
        let is_ticket = start >= TICKETS && call.name.starts_with("fcntl");
        let is_looked_at =
            calls.last().is_some_and(|(name, _)| *name == "pidfd_open") || calls.ends_with(&PROBED);
        // What is counted then is one step of the model.
        let is_counting = calls.len() > PROBED.len()
            && calls[..calls.len() - 1].ends_with(&PROBED)
            && calls.last() == Some(&("look", "ticket"));
        if is_ticket && has("F_OFD_GETLK") && is_counting {
            continue;
        }
        if is_ticket && has("F_OFD_GETLK") && !was_set {
            if is_looked_at {
                calls.push(("look", if has("F_RDLCK") { "ticket" } else { "none" }));
            } else {
                found = Some(found.unwrap_or(false) | has("F_RDLCK"));
            }
            continue;
        }
        was_set = was_set && (has("LOCK_UN") || has("F_OFD_GETLK"));
        if was_set {
            was_set = call.name == "flock";
            continue;
        }
        if let Some(found) = found.take() {
            calls.push(("search", if found { "ticket" } else { "none" }));
        }
        calls.push(match &*call.name {
            "open" | "openat" if has("/comm\"") => {
                comm.clone_from(&call.result);
                continue;
            }
            // The owner's state, the second thing that is read about it.
            "open" | "openat" if has("/stat\"") && has("/proc/") => {
                if calls.last() == Some(&("search", "ticket")) && is_marked {
                    ("read", "waiting")
                } else {
                    continue;
                }
            }
            "open" | "openat" if has("/proc/self/fd/") => {
                ticket.clone_from(&call.result);
                ("open", "")
            }
            "fork" => break,
            "clone" if has("SIGCHLD") => break,
            "clone" => {
                sentinel = format!("{},", call.result);
                ("clone", "")
            }
            "fcntl" | "fcntl64" if has("F_OFD_SETLK") => {
                (is_marked, was_set) = (true, true);
                ("fcntl(F_OFD_SETLK)", "")
            }
            "pidfd_open" if call.args.starts_with(&sentinel) => continue,
            "pidfd_open" => ("pidfd_open", "running"),
            "poll" | "ppoll" | "ppoll_time64" if has("tv_sec=0, tv_nsec=0") => continue,
            "poll" | "ppoll" | "ppoll_time64" => (
                "poll",
                if call.result == "0" {
                    "timeout"
                } else {
                    "exit"
                },
            ),
            "flock" if has("LOCK_UN") => ("flock(LOCK_UN)", ""),
            // Before it blocks, it tries, a third time.
            "flock" if has("LOCK_NB") && calls.ends_with(&REFUSED_TWICE) => continue,
            "flock" if has("LOCK_NB") => (
                "flock(LOCK_NB)",
                if call.result == "0" { "ok" } else { "EAGAIN" },
            ),
            "flock" => ("flock", "ok"),
            "kill" => ("kill", ""),
            "close" if calls.last() == Some(&("flock(LOCK_NB)", "ok")) && call.args == ticket => {
                ("close", "")
            }
            _ => continue,
        });
    }
    calls
}

fn explain(calls: &[Call]) -> Result<(), usize> {
    let queue = Queue {
        stops: false,
        timers: false,
        ..Queue::new(&[Client::Writer, Client::Writer, Client::Plain])
    };
    queue.explain(calls)
}

#[test]
fn a_free_fair_lock_is_a_path_of_the_model() {
    let env = &TestEnv::new();
    if let Some(calls) = record(env, &["--fair", "l", "true"], calls_on_queue) {
        assert_eq!(calls.len(), 2, "{calls:?}");
        assert_explained(&calls, explain);
    }
}

#[test]
fn the_first_in_the_queue_is_a_path_of_the_model() {
    let env = &TestEnv::new();
    let holder = env.hold(&[], "l");
    let Some(command) = env.with_recording("flock", ["--fair", "l", "true"]) else {
        return holder.release();
    };
    let mut waiter = env.start(command);
    wait_until("it waits", || waiter_count(env.file("l")) == 1);
    holder.release();
    waiter.wait();
    let calls = calls_on_queue(&env.recorded_calls());
    assert_eq!(calls.len(), 14, "{calls:?}");
    assert_explained(&calls, explain);
}

#[test]
fn the_second_in_the_queue_is_a_path_of_the_model() {
    let env = &TestEnv::new();
    let holder = env.hold(&[], "l");
    let mut first = env.start_flock(["--fair", "l", "true"]);
    wait_until("it queues", || tickets(env.file("l")).len() == 1);
    let Some(command) = env.with_recording("flock", ["--fair", "l", "true"]) else {
        holder.release();
        return first.release();
    };
    let mut second = env.start(command);
    wait_until("it queues", || tickets(env.file("l")).len() == 2);
    holder.release();
    first.wait();
    second.wait();
    let calls = calls_on_queue(&env.recorded_calls());
    // On a slow machine it may come too late to sleep, or check whether the queue has stalled. What
    // it then reads about the other process is not compared.
    if !calls.contains(&("poll", "exit")) || calls.contains(&("poll", "timeout")) {
        return;
    }
    assert!(calls.len() >= 11, "{calls:?}");
    assert_explained(&calls, explain);
}

#[test]
fn passing_a_stopped_waiter_is_a_path_of_the_model() {
    let env = &TestEnv::new();
    let holder = env.hold(&[], "l");
    let mut first = env.start_flock(["--fair", "l", "true"]);
    wait_until("it queues", || tickets(env.file("l")).len() == 1);
    let Some(command) = env.with_recording("flock", ["--fair", "l", "true"]) else {
        holder.release();
        return first.release();
    };
    let mut second = env.start(command);
    wait_until("it queues", || tickets(env.file("l")).len() == 2);
    let looked_again = ("look", "ticket");
    wait_until("it is about to sleep", || {
        calls_on_queue(&env.recorded_calls()).contains(&looked_again)
    });
    first.signal(SIGSTOP);
    wait_until("it stops", || is_stopped(first.pid()));
    holder.release();
    second.wait();
    first.signal(SIGCONT);
    first.wait();
    let calls = calls_on_queue(&env.recorded_calls());
    assert!(
        calls.ends_with(&[
            ("flock(LOCK_UN)", ""),
            ("flock(LOCK_NB)", "ok"),
            ("close", ""),
            ("kill", "")
        ]),
        "{calls:?}"
    );
    assert!(calls.windows(3).any(|calls| *calls == PROBED), "{calls:?}");
    let queue = Queue {
        arrivals: Some(3),
        ..Queue::new(&[Client::Writer, Client::Writer, Client::Plain])
    };
    assert_explained(&calls, |calls| queue.explain(calls));
}
