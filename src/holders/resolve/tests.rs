use super::super::scan::Scan;
use super::processes::{ChildSentinel, Processes};
use super::*;
use crate::lock::fair::marker::ArrivalTime;

const OWN: i32 = 1;

fn pid(id: i32) -> Pid {
    Pid::from_raw(id).expect("not zero")
}

fn line(text: &str) -> LockRecord {
    let (prefix, range) = text.split_once(" @ ").expect("a range");
    let line = format!("1: {prefix} fe:00:99 {range}");
    LockRecord::parse(line.as_bytes()).expect("a lock")
}

/// A lock of flock(2) that this process has acquired, or waits for.
fn flock(prefix: &str, mode: &str, acquired_by: i32) -> LockRecord {
    line(&format!(
        "{prefix}FLOCK ADVISORY {mode} {acquired_by} @ 0 EOF"
    ))
}

/// A byte that is locked as a marker.
fn byte(marker: Marker) -> LockRecord {
    let offset = marker.offset();
    line(&format!("OFDLCK ADVISORY READ -1 @ {offset} {offset}"))
}

/// Visible processes and their locks.
fn scan(processes: &[(i32, &[LockRecord])]) -> Scan {
    let mut scan = Scan::default();
    for (id, lines) in processes {
        let pid = pid(*id);
        scan.add_visible(pid);
        scan.fd_locks.extend(lines.iter().map(|line| FdLock {
            pid,
            fd: 8,
            record: *line,
        }));
    }
    scan
}

/// Processes below 100 are alive, and those from 30 to 39 have the name of a sentinel.
struct Fake<'s> {
    scan: &'s Scan,
    /// `None` means that the parent of each process has a PID that is ten less.
    parent: Option<i32>,
    /// The children of process 20 in its PID namespace, or `None` if they are not listed.
    children: Option<Vec<ChildSentinel>>,
    exits_silently: bool,
}

impl<'s> Fake<'s> {
    fn new(scan: &'s Scan) -> Self {
        Self {
            scan,
            parent: None,
            children: Some(Vec::new()),
            exits_silently: true,
        }
    }

    fn observations<'o>(
        &'o self,
        caller: Caller,
        table: &'o [LockRecord],
        is_partial: bool,
    ) -> Observations<'o> {
        let (locks, blocked) = (&self.scan.fd_locks, &self.scan.blocked);
        Observations::new(table, locks, blocked, (caller, pid(OWN)), is_partial, self)
    }
}

impl Processes for Fake<'_> {
    fn parent(&self, pid: Pid) -> Option<Pid> {
        Pid::from_raw(self.parent.unwrap_or_else(|| (raw(pid) - 10).max(0)))
    }

    fn is_alive(&self, pid: Pid) -> bool {
        raw(pid) < 100
    }

    fn is_visible(&self, pid: Pid) -> bool {
        self.scan.is_visible(pid)
    }

    fn has_sentinel_name(&self, pid: Pid) -> Option<bool> {
        self.is_alive(pid).then(|| (30..40).contains(&raw(pid)))
    }

    fn child_sentinels(&self, pid: Pid) -> Option<Vec<ChildSentinel>> {
        let children = self.children.clone();
        children.map(|children| if raw(pid) == 20 { children } else { Vec::new() })
    }

    fn exits_silently(&self, _: Pid) -> bool {
        self.exits_silently
    }
}

fn users_for(caller: Caller, table: &[LockRecord], scan: &Scan) -> Vec<LockUser> {
    Fake::new(scan).observations(caller, table, false).users()
}

/// Role, PID and confidence.
type Entry = (Role, Option<i32>, Confidence);

fn resolved(table: &[LockRecord], scan: &Scan) -> Vec<Entry> {
    entries(&users_for(Caller::Process, table, scan))
}

fn entries(users: &[LockUser]) -> Vec<Entry> {
    let id = |user: &LockUser| user.pid.map(|pid| pid.as_raw_nonzero().get());
    users
        .iter()
        .map(|user| (user.role, id(user), user.confidence))
        .collect()
}

fn holder(id: i32) -> Entry {
    (Role::Holder, Some(id), Confidence::Verified)
}

fn waiter(id: i32) -> Entry {
    (Role::Waiter, Some(id), Confidence::Verified)
}

const UNKNOWN: Entry = (Role::Holder, None, Confidence::Unverified);

#[test]
fn every_process_with_the_file_open_is_a_holder() {
    let lock = flock("", "WRITE", 200);
    let scan = scan(&[(2, &[lock]), (3, &[lock, lock]), (4, &[])]);
    assert_eq!(resolved(&[lock], &scan), [holder(2), holder(3)]);
}

#[test]
fn a_hidden_acquirer_is_listed_as_unverified() {
    let lock = flock("", "WRITE", 50);
    let unverified = (Role::Holder, Some(50), Confidence::Unverified);
    assert_eq!(resolved(&[lock], &scan(&[(4, &[])])), [unverified]);
}

#[test]
fn an_acquirer_that_no_longer_holds_is_not_listed() {
    let scan = scan(&[(50, &[])]);
    assert_eq!(resolved(&[flock("", "WRITE", 200)], &scan), [UNKNOWN]);
    assert_eq!(resolved(&[flock("", "WRITE", 50)], &scan), [UNKNOWN]);
}

#[test]
fn identical_locks_are_all_listed() {
    let lock = line("OFDLCK ADVISORY READ -1 @ 0 EOF");
    let scan = scan(&[(2, &[lock])]);
    assert_eq!(resolved(&[lock], &scan), [holder(2)]);
    assert_eq!(
        resolved(&[lock, lock, lock], &scan),
        [holder(2), UNKNOWN, UNKNOWN]
    );
}

#[test]
fn a_lock_missing_from_the_table_is_listed() {
    let scan = scan(&[(2, &[flock("", "READ", 0)])]);
    assert_eq!(resolved(&[], &scan), [holder(2)]);
}

#[test]
fn the_caller_is_listed_only_if_it_is_a_shell() {
    let lock = flock("", "WRITE", 200);
    let scan = scan(&[(OWN, &[lock]), (12, &[lock])]);
    let listed = |caller| users_for(caller, &[lock], &scan).len();
    assert_eq!(listed(Caller::Process), 1);
    assert_eq!(listed(Caller::Shell), 2);
    assert_eq!(listed(Caller::Subshell), 2, "its shell does not hold it");
}

#[test]
fn a_subshell_is_not_listed_with_its_shell() {
    let lock = flock("", "WRITE", 200);
    let shell = scan(&[(OWN, &[lock]), (60, &[lock])]);
    let mut processes = Fake::new(&shell);
    processes.parent = Some(60);
    let users = processes
        .observations(Caller::Subshell, &[lock], false)
        .users();
    assert_eq!((users.len(), users[0].pid), (1, Some(pid(60))));
}

#[test]
fn waiters_are_taken_from_the_table() {
    let table = [
        flock("", "WRITE", 2),
        flock("-> ", "WRITE", 3),
        flock(" -> ", "READ", 4),
        line("-> POSIX ADVISORY WRITE 5 @ 0 EOF"),
        flock("-> ", "WRITE", 0),
    ];
    let scan = scan(&[(2, &table[..1])]);
    let unknown = (Role::Waiter, None, Confidence::Unverified);
    assert_eq!(
        resolved(&table, &scan),
        [holder(2), waiter(3), waiter(4), waiter(5), unknown]
    );
}

fn blocked(id: i32, call: BlockedCall) -> BlockedThread {
    let file = flock("", "WRITE", 0).file;
    BlockedThread {
        pid: pid(id),
        file,
        call,
    }
}

#[test]
fn ofd_waiters_are_found_by_their_calls() {
    let held = line("OFDLCK ADVISORY WRITE -1 @ 0 EOF");
    let request =
        |mode: &str, range: &str| line(&format!("-> OFDLCK ADVISORY {mode} -1 @ {range}"));
    let mut scan = scan(&[(2, &[held])]);
    let call = BlockedCall::Ofd { fd: 3 };
    scan.blocked.push(blocked(7, call));
    let unknown = (Role::Waiter, None, Confidence::Unverified);
    let one = request("READ", "5 9");
    assert_eq!(resolved(&[held, one], &scan), [holder(2), waiter(7)]);
    assert_eq!(
        resolved(&[held, one, one], &scan),
        [holder(2), waiter(7), unknown]
    );
    let range = |table: &[LockRecord]| users_for(Caller::Process, table, &scan)[1].range;
    let known = Range {
        first: 5,
        last: Some(9),
    };
    assert_eq!(range(&[held, one, one]), Some(known));
    let ambiguous = [held, request("READ", "6 9"), one];
    assert_eq!(range(&ambiguous), None);
}

#[test]
fn waiters_missing_from_the_table_are_found() {
    let lock = flock("", "WRITE", 0);
    let mut scan = scan(&[(2, &[lock])]);
    let (fd, shared) = (3, true);
    for (id, call) in [
        (7, BlockedCall::Flock { fd, shared }),
        (8, BlockedCall::Posix { fd }),
    ] {
        scan.blocked.push(blocked(id, call));
    }
    let table = [flock("-> ", "READ", 7)];
    assert_eq!(resolved(&table, &scan), [holder(2), waiter(7), waiter(8)]);
}

#[test]
fn invisible_parent_is_listed_as_the_lender_of_a_lock() {
    let lock = flock("", "WRITE", 200);
    let scan = scan(&[(OWN, &[lock, lock])]);
    let listed = |is_partial, parent: i32| {
        let mut processes = Fake::new(&scan);
        processes.parent = Some(parent);
        let table = [lock];
        let observations = processes.observations(Caller::Process, &table, is_partial);
        assert_eq!(observations.inherited().count(), 1);
        let users = observations.users();
        Vec::from_iter(users.iter().map(|user| (user.pid, user.confidence)))
    };
    assert_eq!(listed(true, 60), [(None, Confidence::Unverified)]);
    assert_eq!(listed(true, 0), [(None, Confidence::Unverified)]);
    assert_eq!(listed(true, OWN), [], "it is visible");
    assert_eq!(listed(false, 60), [], "it has just exited");
}

#[test]
fn lock_that_another_process_has_too_is_not_inherited() {
    let lock = flock("", "WRITE", 200);
    let scan = scan(&[(OWN, &[lock]), (60, &[lock])]);
    let processes = Fake::new(&scan);
    let table = [lock];
    let observations = processes.observations(Caller::Process, &table, true);
    assert_eq!(observations.inherited().count(), 0);
}

/// A ticket with this sentinel.
fn ticket(sentinel: i32) -> LockRecord {
    byte(Marker::Ticket {
        arrived: ArrivalTime::now(),
        mode: Mode::Shared,
        pid: pid(sentinel),
    })
}

mod hostile;
mod markers;
