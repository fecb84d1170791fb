//! Markers and locks that other users place to mislead.

use super::*;
use crate::sys::clock;

#[test]
fn no_marker_hides_a_holder() {
    let lock = flock("", "WRITE", 200);
    // Named by itself, by its child, by its parent that does not hold the lock, and by a stranger.
    for (victim, marked_by) in [(30, 30), (20, 30), (30, 20), (2, 5), (5, 5), (31, 5)] {
        let ticket = ticket(victim);
        let scan = match victim == marked_by {
            true => scan(&[(victim, &[lock, ticket])]),
            false => scan(&[(victim, &[lock]), (marked_by, &[ticket])]),
        };
        let found = resolved(&[lock, ticket], &scan);
        assert!(found.contains(&holder(victim)), "{victim}: {found:?}");
    }
    let acquired = flock("", "WRITE", 30);
    let ticket = ticket(30);
    let scan = scan(&[(20, &[ticket, acquired]), (30, &[acquired])]);
    let found = resolved(&[acquired, ticket], &scan);
    assert!(
        found.contains(&holder(30)),
        "it has acquired the lock: {found:?}"
    );
}

#[test]
fn a_blocked_process_waits_whatever_markers_say() {
    let table = [flock("", "WRITE", 2), flock("-> ", "WRITE", 30), ticket(30)];
    let scan = scan(&[(2, &table[..1]), (20, &table[2..])]);
    assert_eq!(resolved(&table, &scan), [waiter(20), holder(2), waiter(30)]);
}

#[test]
fn markers_that_fit_no_sentinel_are_not_listed() {
    let scan = |marked_by: i32, record| scan(&[(2, &[]), (20, &[]), (marked_by, &[record])]);
    for (sentinel, marked_by) in [(2, 5), (5, 5), (30, 5), (30, 30), (300, 5), (25, 15)] {
        let ticket = ticket(sentinel);
        let found = resolved(&[ticket], &scan(marked_by, ticket));
        assert_eq!(found, [], "process {sentinel}, marked by {marked_by}");
    }
}

#[test]
fn a_process_has_one_place_however_many_markers() {
    let mut arrived = ArrivalTime::now();
    let markers = Vec::from_iter((0..1000).map(|_| {
        arrived = arrived.next();
        let (mode, pid) = (Mode::Shared, pid(30));
        byte(Marker::Ticket { arrived, mode, pid })
    }));
    assert_eq!(resolved(&markers, &scan(&[(20, &markers)])), [waiter(20)]);
    let hidden = Fake::new(&Scan::default())
        .observations(Caller::Process, &markers, true)
        .users();
    assert_eq!(hidden.len(), 1);
}

#[test]
fn a_sentinel_in_another_namespace_is_found_as_a_child() {
    let ticket = ticket(7);
    let scan = scan(&[(7, &[]), (20, &[ticket])]);
    let mut processes = Fake::new(&scan);
    let found = |processes: &Fake<'_>| {
        let users = processes
            .observations(Caller::Process, &[ticket], false)
            .users();
        entries(&users)
    };
    assert_eq!(found(&processes), [], "it has no such child");
    let child = |ns_pid| ChildSentinel {
        pid: pid(33),
        ns_pid: pid(ns_pid),
    };
    processes.children = Some(vec![child(6), child(7)]);
    assert_eq!(found(&processes), [waiter(20)]);
}

#[test]
fn a_long_lock_among_the_tickets_is_a_lock() {
    let first = 1_i64 << 62;
    let lock = line(&format!("OFDLCK ADVISORY WRITE -1 @ {first} {}", first + 2));
    assert_eq!(resolved(&[lock], &scan(&[(2, &[lock])])), [holder(2)]);
}

/// The processor time is compared, because other processes do not affect it much.
#[test]
fn time_is_proportional_to_the_number_of_locks() {
    let time = |count: i64| {
        let bytes =
            (0..count).map(|byte| line(&format!("OFDLCK ADVISORY READ -1 @ {byte} {byte}")));
        let locks: Vec<LockRecord> = bytes.collect();
        let scan = scan(&[(2, &locks), (3, &locks)]);
        let started = clock::thread_time();
        assert_eq!(resolved(&locks, &scan).len() as i64, 2 * count);
        clock::thread_time() - started
    };
    let (few, many) = (time(2_000), time(20_000));
    // It would be a hundred times as much if each lock were compared with each other.
    assert!(many < few * 40, "{few:?}, {many:?}");
}
