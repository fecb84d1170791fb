//! Deadlocks: processes that wait for each other's locks, or for their own.
//!
//! The kernel detects none, except among locks of fcntl(2) that belong to a process. A deadlock is a
//! circle of processes, each of which waits for a lock that the next one holds. The files of the
//! circle may be any, so all files with waiters are examined.

use rustix::process::{Pid, getpid};

use super::file::Identity;
use super::lock_user::{Caller, Confidence, LockUser, Namespace, Role};
use super::resolve::{Observations, is_ticket, lock_user};
use super::scan::{self, Scan, WaiterSearch, blocked_calls, visit_fds};
use crate::lock::Mode;
use crate::sys::procfs::locks::{self, FileKey, LockRecord, LockState, LockType};
use crate::sys::procfs::stat::{Stat, parent};
use crate::sys::procfs::{own_pid, pids};

/// A process that waits for another one, or for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wait {
    waiter: Pid,
    holder: Pid,
}

/// Returns the circles of processes in each of which every process waits for the next one, and the
/// last one for the first.
///
/// Best effort: what cannot be examined is not found. A process with several threads is in no
/// circle: while one thread waits, another one may release the lock.
///
/// *Race:* the waits are not observed at the same moment. But a process that waits holds its locks
/// until it has got the one that it waits for, so a circle that never existed can be observed only
/// if its processes acquire and release several locks during the scan. Therefore a circle counts
/// only if it is seen twice.
pub fn find_deadlocks() -> Vec<Vec<Pid>> {
    let mut circles = circles(&waits());
    if !circles.is_empty() {
        let waits = waits();
        let still_waits = |waiter: &Pid, holder: &Pid| {
            let (waiter, holder) = (*waiter, *holder);
            waits.contains(&Wait { waiter, holder })
        };
        circles.retain(|circle| {
            let next = circle.iter().cycle().skip(1);
            circle
                .iter()
                .zip(next)
                .all(|(waiter, holder)| still_waits(waiter, holder))
        });
    }
    circles
}

fn waits() -> Vec<Wait> {
    let Ok((table, _)) = locks::read_table() else {
        return Vec::new();
    };
    let table: Vec<LockRecord> = locks::records(&table).collect();
    let namespace = Namespace::current();
    let files = contended_files(&table, namespace);
    if files.is_empty() {
        return Vec::new();
    }
    let is_anonymous = |record: &LockRecord| {
        record.state == LockState::Blocked && record.lock_type == LockType::Ofd
    };
    let search = if namespace != Namespace::Whole || table.iter().any(is_anonymous) {
        WaiterSearch::AllThreads
    } else {
        WaiterSearch::TableOnly
    };
    let identities: Vec<Identity> = files
        .iter()
        .map(|key| Identity {
            key: *key,
            id: None,
        })
        .collect();
    let scan = scan::scan(&identities, search);
    let mut waits = Vec::new();
    for file in files {
        let table: Vec<LockRecord> = table
            .iter()
            .filter(|record| record.file == file)
            .copied()
            .collect();
        let scan = scan.only(file);
        let observations = Observations {
            table: &table,
            scan: &scan,
            caller: (Caller::Process, own_pid().unwrap_or_else(getpid)),
            is_partial: true,
            parent: &parent,
            is_alive: &|pid| namespace.has(pid),
        };
        add_waits(&observations.users(), &scan, &mut waits);
    }
    waits
}

/// Returns the files whose locks processes wait for. In a PID namespace, the table may lack a file
/// with all its waiters, so there every locked file counts.
fn contended_files(table: &[LockRecord], namespace: Namespace) -> Vec<FileKey> {
    let mut files = Vec::new();
    let mut add = |file: FileKey| {
        if !files.contains(&file) {
            files.push(file);
        }
    };
    for record in table {
        if record.state == LockState::Blocked || is_ticket(record) {
            add(record.file);
        }
    }
    if namespace != Namespace::Whole {
        for pid in pids().unwrap_or_default() {
            let _ = visit_fds(pid, &mut |_, _, info| {
                for record in info.map_or_else(|_| Vec::new(), |info| info.locks) {
                    add(record.file);
                }
            });
        }
    }
    files
}

/// Adds who waits for whom, as far as it is certain, among the users of one file.
fn add_waits(users: &[LockUser], scan: &Scan, waits: &mut Vec<Wait>) {
    let certain = users
        .iter()
        .filter(|user| user.confidence == Confidence::Verified && user.mode.is_some());
    let certain = certain.filter_map(|user| Some((user.pid?, user)));
    let certain: Vec<(Pid, &LockUser)> = certain.collect();
    let waiters = certain
        .iter()
        .filter(|(pid, user)| user.role == Role::Waiter && is_single_threaded(*pid));
    for (waiter, wanted) in waiters {
        let blocks = |holder: &Pid, held: &LockUser| match held.role {
            Role::Holder if holder == waiter => waits_for_itself(*waiter, wanted, scan),
            Role::Holder => conflict(wanted, held),
            Role::Waiter => holder != waiter && precedes(held, wanted),
        };
        for (holder, _) in certain.iter().filter(|(pid, user)| blocks(pid, user)) {
            let (waiter, holder) = (*waiter, *holder);
            if !waits.contains(&Wait { waiter, holder }) {
                waits.push(Wait { waiter, holder });
            }
        }
    }
}

fn is_single_threaded(pid: Pid) -> bool {
    Stat::read(pid).is_some_and(|stat| stat.threads == 1)
}

/// Whether a request has to wait until a lock is released.
fn conflict(wanted: &LockUser, held: &LockUser) -> bool {
    wanted.kind.conflicts_with(held.kind)
        && excludes(wanted, held)
        && match (wanted.range, held.range) {
            (Some(wanted), Some(held)) => {
                let ends_before = |a: Option<i64>, b: i64| a.is_some_and(|last| last < b);
                !ends_before(wanted.last, held.first) && !ends_before(held.last, wanted.first)
            }
            (None, _) | (_, None) => true,
        }
}

fn excludes(one: &LockUser, other: &LockUser) -> bool {
    one.mode == Some(Mode::Exclusive) || other.mode == Some(Mode::Exclusive)
}

/// Whether a waiter is ahead of another one in a queue, and they exclude each other.
fn precedes(one: &LockUser, other: &LockUser) -> bool {
    let (Some(first), Some(second)) = (one.since, other.since) else {
        return false;
    };
    first.is_before(second) && excludes(one, other)
}

/// Whether a process waits for a lock that it holds itself with another open file description than
/// the one that it waits with: that one's lock is converted. Locks of processes never conflict with
/// those of the same process.
fn waits_for_itself(pid: Pid, wanted: &LockUser, scan: &Scan) -> bool {
    let own = || scan.fd_locks.iter().filter(|lock| lock.pid == pid);
    let calls = blocked_calls(pid);
    let is_converted = |record: &LockRecord| {
        own().any(|lock| lock.record == *record && calls.iter().any(|call| call.fd() == lock.fd))
    };
    let mut locks = own().map(|lock| &lock.record);
    locks.any(|record| {
        let held = lock_user(record, Some(pid), Confidence::Verified);
        record.lock_type != LockType::Posix && conflict(wanted, &held) && !is_converted(record)
    })
}

/// Returns the shortest circle through each process, each circle once.
fn circles(waits: &[Wait]) -> Vec<Vec<Pid>> {
    let mut circles: Vec<Vec<Pid>> = Vec::new();
    for wait in waits {
        let is_covered = |circle: &Vec<Pid>| circle.contains(&wait.waiter);
        if !circles.iter().any(is_covered) {
            circles.extend(circle_through(wait.waiter, waits));
        }
    }
    circles
}

/// Searches in breadth: all paths of one length before the longer ones.
fn circle_through(start: Pid, waits: &[Wait]) -> Option<Vec<Pid>> {
    let mut reached = vec![start];
    let mut paths = vec![vec![start]];
    while !paths.is_empty() {
        let mut longer = Vec::new();
        for path in paths {
            let last = path.last().copied();
            for wait in waits.iter().filter(|wait| Some(wait.waiter) == last) {
                if wait.holder == start {
                    return Some(path);
                }
                if !reached.contains(&wait.holder) {
                    reached.push(wait.holder);
                    let mut path = path.clone();
                    path.push(wait.holder);
                    longer.push(path);
                }
            }
        }
        paths = longer;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::lock_user::{ListedKind, Range};
    use super::*;
    use crate::lock::fair::marker::ArrivalTime;

    /// A lock of the whole file, or of five bytes.
    fn user(kind: ListedKind, mode: Mode, last: Option<i64>) -> LockUser {
        LockUser {
            role: Role::Holder,
            kind,
            mode: Some(mode),
            range: last.map(|last| Range {
                first: last - 4,
                last: Some(last),
            }),
            pid: None,
            confidence: Confidence::Verified,
            since: None,
        }
    }

    #[test]
    fn only_conflicting_locks_are_waited_for() {
        use ListedKind::{Flock, Ofd, Posix, Slot};
        use Mode::{Exclusive, Shared};
        let conflicts = |one: LockUser, other: LockUser| {
            let result = conflict(&one, &other);
            assert_eq!(conflict(&other, &one), result);
            result
        };
        let whole = |kind, mode| user(kind, mode, None);
        let writer = whole(Flock, Exclusive);
        assert!(conflicts(writer, whole(Flock, Shared)));
        assert!(!conflicts(whole(Flock, Shared), whole(Flock, Shared)));
        assert!(!conflicts(writer, whole(Ofd, Exclusive)));
        assert!(!conflicts(writer, whole(Slot, Exclusive)));
        assert!(conflicts(whole(Posix, Shared), whole(Ofd, Exclusive)));
        let bytes = |last| user(Ofd, Exclusive, Some(last));
        assert!(conflicts(bytes(9), bytes(5)) && !conflicts(bytes(9), bytes(4)));
        assert!(conflicts(bytes(9), whole(Ofd, Shared)));
    }

    #[test]
    fn a_waiter_waits_for_those_ahead_in_the_queue() {
        let arrived = ArrivalTime::now();
        let at = |since, mode| LockUser {
            since,
            ..user(ListedKind::Flock, mode, None)
        };
        let early = |mode| at(Some(arrived), mode);
        let late = at(Some(arrived.next()), Mode::Shared);
        assert!(precedes(&early(Mode::Exclusive), &late));
        assert!(!precedes(&early(Mode::Shared), &late));
        assert!(!precedes(&late, &early(Mode::Exclusive)));
        assert!(!precedes(&at(None, Mode::Exclusive), &late));
    }

    fn pid(id: i32) -> Pid {
        Pid::from_raw(id).expect("not zero")
    }

    fn found(waits: &[(i32, i32)]) -> Vec<Vec<i32>> {
        let wait = |(waiter, holder): &(i32, i32)| Wait {
            waiter: pid(*waiter),
            holder: pid(*holder),
        };
        let waits: Vec<Wait> = waits.iter().map(wait).collect();
        let id = |pid: &Pid| pid.as_raw_nonzero().get();
        let circles = circles(&waits);
        circles
            .iter()
            .map(|circle| circle.iter().map(id).collect())
            .collect()
    }

    #[test]
    fn processes_that_wait_in_a_circle_are_found() {
        assert_eq!(found(&[(1, 1)]), [[1]]);
        assert_eq!(found(&[(1, 2), (2, 1)]), [[1, 2]]);
        assert_eq!(found(&[(1, 2), (2, 3), (3, 1)]), [[1, 2, 3]]);
        assert_eq!(found(&[(1, 2), (2, 1), (3, 4), (4, 3)]), [[1, 2], [3, 4]]);
    }

    #[test]
    fn the_shortest_circle_is_found() {
        assert_eq!(found(&[(1, 2), (2, 3), (3, 1), (2, 1)])[0], [1, 2]);
    }

    #[test]
    fn a_process_that_waits_for_a_circle_is_not_in_it() {
        assert_eq!(found(&[(9, 1), (1, 2), (2, 1)]), [[1, 2]]);
    }

    #[test]
    fn a_chain_is_no_circle() {
        let none: [[i32; 0]; 0] = [];
        assert_eq!(found(&[(1, 2), (2, 3), (1, 3)]), none);
        assert_eq!(found(&[]), none);
    }
}
