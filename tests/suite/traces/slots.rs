//! Slots: counted and taken under the lock, and the wait for a holder.

use super::record;
use models::slots::SlotsModel;
use test_support::TestEnv;
use test_support::locks::tickets;
use test_support::system_calls::{Call, SystemCall, assert_explained};
use test_support::wait_until;

/// The first offset of slots, and that of tickets.
const SLOTS: u64 = 1 << 61;
const TICKETS: u64 = 1 << 62;

/// Names the calls that count, take and await slots. Those of the queue are left out.
fn calls_on_slots(recorded: &[SystemCall], limit: usize) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    // The slots that are being counted, the marker that was just set, and the ticket's sentinel.
    let (mut count, mut is_ticket_set, mut sentinel) = (None, false, String::new());
    for call in recorded {
        let has = |text: &str| call.args.contains(text);
        let start = call
            .value("l_start")
            .and_then(|start| start.parse().ok())
            .unwrap_or(0);
        let is_slot = (SLOTS + 1..TICKETS).contains(&start);
        let is_looked_at = calls.last().is_some_and(|(name, _)| *name == "pidfd_open");
        let is_counting = call.name.starts_with("fcntl") && has("F_OFD_GETLK") && !is_looked_at;
        if is_counting && (is_slot || start == SLOTS && !has("l_len=1,")) {
            *count.get_or_insert(0) += usize::from(has("F_RDLCK"));
            continue;
        }
        if let Some(found) = count.take() {
            calls.push(("count", if found < limit { "free" } else { "full" }));
        }
        let was_ticket_set = std::mem::take(&mut is_ticket_set);
        calls.push(match &*call.name {
            "flock" if has("LOCK_UN") && was_ticket_set => continue,
            "flock" if has("LOCK_UN") => ("flock(LOCK_UN)", ""),
            "flock" if call.result == "0" => ("flock", "ok"),
            "fcntl" | "fcntl64" if has("F_OFD_SETLK") && is_slot => (
                "fcntl(F_OFD_SETLK)",
                if has("F_RDLCK") { "F_RDLCK" } else { "F_UNLCK" },
            ),
            "fcntl" | "fcntl64" if has("F_OFD_SETLK") => {
                is_ticket_set = start > TICKETS;
                continue;
            }
            "fcntl" | "fcntl64" if has("F_OFD_GETLK") && is_slot => {
                ("look", if has("F_RDLCK") { "same" } else { "changed" })
            }
            "clone" if has("SIGCHLD") => ("clone", ""),
            "fork" => ("clone", ""),
            "clone" => {
                sentinel = format!("{},", call.result);
                continue;
            }
            "pidfd_open" if call.args.starts_with(&sentinel) => continue,
            "pidfd_open" => ("pidfd_open", ""),
            "poll" | "ppoll" | "ppoll_time64" if has("tv_sec=0, tv_nsec=0") => continue,
            "poll" | "ppoll" | "ppoll_time64" => (
                "poll",
                if call.result == "0" {
                    "timeout"
                } else {
                    "exit"
                },
            ),
            "waitid" => ("waitid", ""),
            "exit_group" => ("exit", ""),
            _ => continue,
        });
    }
    calls
}

fn explain(calls: &[Call]) -> Result<(), usize> {
    SlotsModel::new(&[1, 1]).explain(calls)
}

#[test]
fn taking_a_slot_is_a_path_of_the_model() {
    let env = &TestEnv::new();
    let name = |recorded: &[SystemCall]| calls_on_slots(recorded, 1);
    if let Some(calls) = record(env, &["--slots", "1", "l", "true"], name) {
        assert_eq!(calls.len(), 7, "{calls:?}");
        assert_explained(&calls, explain);
    }
}

#[test]
fn a_refused_slot_is_a_path_of_the_model() {
    let env = &TestEnv::new();
    let holder = env.hold(&["--slots", "1"], "l");
    let name = |recorded: &[SystemCall]| calls_on_slots(recorded, 1);
    if let Some(calls) = record(env, &["-n", "--slots", "1", "l", "true"], name) {
        assert_eq!(calls.len(), 4, "{calls:?}");
        assert_explained(&calls, explain);
    }
    holder.release();
}

#[test]
fn waiting_for_a_slot_is_a_path_of_the_model() {
    let env = &TestEnv::new();
    let holder = env.hold(&["--slots", "1"], "l");
    let Some(command) = env.with_recording("flock", ["--slots", "1", "l", "true"]) else {
        return holder.release();
    };
    let mut waiter = env.start(command);
    wait_until("it queues", || tickets(env.file("l")).len() == 1);
    holder.release();
    waiter.wait();
    let calls = calls_on_slots(&env.recorded_calls(), 1);
    assert!(calls.len() >= 10, "{calls:?}");
    assert_explained(&calls, explain);
}
