//! Tickets, slots and sentinels.

use super::*;

#[test]
fn the_owner_of_a_ticket_is_a_waiter() {
    let ticket = ticket(30);
    let scan = scan(&[(20, &[ticket])]);
    assert_eq!(resolved(&[ticket], &scan), [waiter(20)]);
    let user = users_for(Caller::Process, &[ticket], &scan)[0];
    assert_eq!(
        (user.kind, user.mode),
        (ListedKind::Flock, Some(Mode::Shared))
    );
    assert!(user.since.is_some() && user.range.is_none());
}

#[test]
fn a_sentinel_does_not_hold_what_its_owner_holds() {
    let ticket = ticket(30);
    let lock = flock("", "WRITE", 200);
    let scan = scan(&[(20, &[ticket, lock]), (30, &[ticket, lock])]);
    let table = [ticket, lock];
    assert_eq!(resolved(&table, &scan), [waiter(20), holder(20)]);
    let mut processes = Fake::new(&scan);
    processes.exits_silently = false;
    let users = processes
        .observations(Caller::Process, &table, false)
        .users();
    assert_eq!(
        entries(&users),
        [waiter(20), holder(20), holder(30)],
        "it is an ordinary child"
    );
}

#[test]
fn a_waiter_with_a_ticket_is_listed_once() {
    let ticket = ticket(30);
    let table = [ticket, flock("", "WRITE", 5), flock("-> ", "READ", 20)];
    let scan = scan(&[(5, &table[1..2]), (20, &[ticket])]);
    assert_eq!(resolved(&table, &scan), [waiter(20), holder(5)]);
}

#[test]
fn a_hidden_ticket_belongs_to_the_sentinels_parent() {
    let unverified = (Role::Waiter, Some(20), Confidence::Unverified);
    let unknown = (Role::Waiter, None, Confidence::Unverified);
    assert_eq!(resolved(&[ticket(30)], &scan(&[])), [unverified]);
    let scan = scan(&[]);
    let found = |is_partial| {
        let table = [ticket(300)];
        entries(
            &Fake::new(&scan)
                .observations(Caller::Process, &table, is_partial)
                .users(),
        )
    };
    assert_eq!(found(true), [unknown]);
    assert_eq!(found(false), [], "all processes are visible");
}

#[test]
fn a_slot_is_held_by_every_process_with_it_open() {
    let slot = |acquired_by: i32| {
        byte(Marker::Slot {
            arrived: ArrivalTime::now(),
            pid: pid(acquired_by),
        })
    };
    let (one, two, three) = (slot(2), slot(50), slot(300));
    let scan = scan(&[(2, &[one]), (3, &[one])]);
    let unverified = (Role::Holder, Some(50), Confidence::Unverified);
    assert_eq!(
        resolved(&[one, two, three], &scan),
        [holder(2), holder(3), unverified, UNKNOWN]
    );
    let users = users_for(Caller::Process, &[one, two, three], &scan);
    let is_slot = |user: &LockUser| user.kind == ListedKind::Slot && user.since.is_some();
    assert!(users.iter().all(is_slot));
}
