//! Deadlocks: processes that wait for each other's locks, or for their own.
//!
//! The kernel detects none, except among locks of fcntl(2) that belong to a process. A deadlock is a
//! cycle of processes, each of which waits for a lock that the next one holds. The files of the
//! cycle may be any, so all files with waiters are examined.

mod graph;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

use rustix::process::{Pid, getpid};

use super::file::Identity;
use super::lock_user::{Caller, Confidence, LockUser, Namespace, Role};
use super::resolve::{Observations, ProcProcesses, is_ticket, lock_user};
use super::scan::{self, FdLock, Files, Search, WaiterSearch, blocked_calls, visit_fds};
use super::time_limit::TimeLimit;
use crate::lock::Mode;
use crate::lock::fair::marker::ArrivalTime;
use crate::sys::procfs::locks::{self, FileKey, LockRecord, LockState, LockType, TableRead};
use crate::sys::procfs::stat::Stat;
use crate::sys::procfs::{own_pid, pids};
pub(super) use graph::Waits;

/// How much processor time the search for deadlocks takes. Other users' processes can lock any
/// number of files, and each of them counts.
const MAX_SEARCH: Duration = Duration::from_secs(2);

/// On a busy machine, the search takes as many times longer.
const MAX_SLOWDOWN: u32 = 16;

/// Returns the cycles of processes in each of which every process waits for the next one, and the
/// last one for the first.
///
/// Best effort: what cannot be examined, or not in time, is not found. A process with several
/// threads is in no cycle: while one thread waits, another one may release the lock.
///
/// *Race:* the waits are not observed at the same moment. But a process that waits holds its locks
/// until it has got the one that it waits for, so a cycle that never existed can be observed only
/// if its processes acquire and release several locks during the scan. Therefore a cycle counts
/// only if it is seen twice.
pub fn find_deadlocks() -> Vec<Vec<Pid>> {
    let limit = time_limit();
    confirmed_cycles(&waits(limit), limit)
}

/// Returns the limit for a search that starts now.
pub(super) fn time_limit() -> TimeLimit {
    TimeLimit::start(MAX_SEARCH, MAX_SEARCH * MAX_SLOWDOWN)
}

/// Returns the cycles that are still there when all processes are examined again.
pub(super) fn confirmed_cycles(seen: &Waits, limit: TimeLimit) -> Vec<Vec<Pid>> {
    let mut cycles = seen.cycles(&|| limit.is_over());
    if !cycles.is_empty() {
        let waits = waits(limit);
        cycles.retain(|cycle| {
            let next = cycle.iter().cycle().skip(1);
            let mut edges = cycle.iter().zip(next);
            edges.all(|(waiter, holder)| waits.contains(*waiter, *holder))
        });
    }
    cycles
}

/// Whether the time for the search is up.
pub(super) type IsOver<'i> = &'i dyn Fn() -> bool;

fn waits(limit: TimeLimit) -> Waits {
    let is_over = || limit.is_over();
    let namespace = Namespace::current();
    let (table, read) = read_table(&limit.half());
    let files = contended_files(&table, namespace, &is_over);
    let identities: Vec<Identity> = files
        .iter()
        .map(|key| Identity {
            key: *key,
            id: None,
        })
        .collect();
    let is_anonymous = |record: &LockRecord| {
        record.state == LockState::Blocked
            && record.lock_type == LockType::Ofd
            && files.contains(&record.file)
    };
    let is_complete = namespace == Namespace::Whole && read == TableRead::Atomic;
    let waiters = if !is_complete || table.iter().any(is_anonymous) {
        WaiterSearch::AllThreads
    } else {
        WaiterSearch::TableOnly
    };
    let mut waits = Waits::default();
    if files.is_empty() {
        return waits;
    }
    let mut scan = scan::scan(Search {
        files: Files::Listed(&identities),
        waiters,
        is_wanted: |_| true,
        limit: Some(limit),
        first: &[],
        on_other: None,
    });
    let mut fd_locks = std::mem::take(&mut scan.fd_locks);
    let mut blocked = std::mem::take(&mut scan.blocked);
    fd_locks
        .sort_unstable_by_key(|lock| (lock.record.file, lock.pid.as_raw_nonzero(), lock.record));
    blocked.sort_unstable_by_key(|thread| (thread.file, thread.pid.as_raw_nonzero()));
    let table: Vec<LockRecord> = table.into_iter().collect();
    for file in files {
        if is_over() {
            break;
        }
        let fd_locks = of_file(&fd_locks, file, |lock| lock.record.file);
        let processes = ProcProcesses {
            namespace,
            scan: &scan,
        };
        let observations = Observations::new(
            of_file(&table, file, |record| record.file),
            fd_locks,
            of_file(&blocked, file, |thread| thread.file),
            (Caller::Process, own_pid().unwrap_or_else(getpid)),
            true,
            &processes,
        );
        add_waits(&observations.users(), fd_locks, &mut waits, &is_over);
    }
    waits
}

/// Returns the elements that belong to a file, of a list that is sorted by file.
pub(super) fn of_file<T>(sorted: &[T], file: FileKey, key: impl Fn(&T) -> FileKey) -> &[T] {
    let start = sorted.partition_point(|element| key(element) < file);
    let rest = &sorted[start..];
    &rest[..rest.partition_point(|element| key(element) == file)]
}

/// Reads the table of all locks, several times if it is read in pieces: each time, other locks may be
/// missing, but each lock has its waiters.
fn read_table(half: &TimeLimit) -> (BTreeSet<LockRecord>, TableRead) {
    /// Locks beyond this number are not examined.
    const MAX_RECORDS: usize = 200_000;
    let mut table = BTreeSet::new();
    for _ in 0..locks::MAX_TORN_READS {
        let read = locks::read_table(&mut |record| {
            table.insert(record);
            let is_full = table.len() >= MAX_RECORDS;
            match is_full || (table.len() % 256 == 0 && half.is_over()) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        match read {
            Ok(TableRead::Atomic) => return (table, TableRead::Atomic),
            // Half of the time is left for the processes.
            Ok(TableRead::Torn) if !half.is_over() => {}
            Ok(TableRead::Torn) | Err(_) => break,
        }
    }
    (table, TableRead::Torn)
}

/// Returns the files whose locks processes wait for. In a PID namespace, the table may lack a file
/// with all its waiters, so there every locked file counts.
fn contended_files(
    table: &BTreeSet<LockRecord>,
    namespace: Namespace,
    is_over: IsOver<'_>,
) -> BTreeSet<FileKey> {
    let is_contended =
        |record: &&LockRecord| record.state == LockState::Blocked || is_ticket(record);
    let contended = table.iter().filter(is_contended);
    let mut files = BTreeSet::new();
    files.extend(contended.map(|record| record.file));
    if namespace != Namespace::Whole {
        for pid in pids().unwrap_or_default() {
            let _ = visit_fds(pid, &|_| false, &mut |_, _, info| {
                // All locks of a descriptor are on one file.
                let lock = info.ok().and_then(|info| info.locks.first().copied());
                files.extend(lock.map(|lock| lock.file));
                match is_over() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            });
        }
    }
    files
}

/// Adds the waits that are certain among the users of one file.
pub(super) fn add_waits(
    users: &[LockUser],
    fd_locks: &[FdLock],
    waits: &mut Waits,
    is_over: IsOver<'_>,
) {
    let certain = users
        .iter()
        .filter(|user| user.confidence == Confidence::Verified && user.mode.is_some());
    let with_pid = certain.filter_map(|user| Some((user.pid?, user)));
    let (holders, waiters): (Vec<User<'_>>, Vec<User<'_>>) =
        with_pid.partition(|(_, user)| user.role == Role::Holder);
    for (waiter, wanted) in waiters.iter().filter(|(pid, _)| is_single_threaded(*pid)) {
        if is_over() {
            return;
        }
        let mut last = None;
        for (holder, held) in holders.iter().filter(|(pid, _)| pid != waiter) {
            // A process may hold any number of locks, which are next to each other.
            if last != Some(*holder) && conflict(wanted, held) {
                waits.add(*waiter, *holder);
                last = Some(*holder);
            }
        }
        let is_holder = holders.iter().any(|(pid, _)| pid == waiter);
        if is_holder && waits_for_itself(*waiter, wanted, fd_locks) {
            waits.add(*waiter, *waiter);
        }
        for predecessor in predecessors(wanted, &waiters) {
            waits.add(*waiter, predecessor);
        }
    }
}

/// A process, and what it holds or waits for.
type User<'u> = (Pid, &'u LockUser);

/// Returns those ahead of a waiter in the queue that it waits for: the last exclusive one and, if it
/// excludes them, the shared ones after that. The exclusive one waits for all others.
fn predecessors(wanted: &LockUser, waiters: &[User<'_>]) -> Vec<Pid> {
    let precedes = |one: Option<ArrivalTime>, other: Option<ArrivalTime>| match (one, other) {
        (Some(one), Some(other)) => one.is_before(other),
        _ => false,
    };
    let ahead = || {
        waiters
            .iter()
            .filter(|(_, user)| precedes(user.since, wanted.since))
    };
    let mut last: Option<&User<'_>> = None;
    for user in ahead().filter(|(_, user)| user.mode == Some(Mode::Exclusive)) {
        if last.is_none_or(|(_, last)| precedes(last.since, user.1.since)) {
            last = Some(user);
        }
    }
    let between = ahead().filter(|(_, user)| {
        wanted.mode == Some(Mode::Exclusive)
            && user.mode == Some(Mode::Shared)
            && last.is_none_or(|(_, last)| precedes(last.since, user.since))
    });
    last.into_iter()
        .chain(between)
        .map(|(pid, _)| *pid)
        .collect()
}

fn is_single_threaded(pid: Pid) -> bool {
    Stat::read(pid).is_some_and(|stat| stat.threads == 1)
}

/// Whether a request has to wait until a lock is released.
fn conflict(wanted: &LockUser, held: &LockUser) -> bool {
    wanted.kind.conflicts_with(held.kind)
        && (wanted.mode == Some(Mode::Exclusive) || held.mode == Some(Mode::Exclusive))
        && match (wanted.range, held.range) {
            (Some(wanted), Some(held)) => {
                let ends_before = |a: Option<i64>, b: i64| a.is_some_and(|last| last < b);
                !ends_before(wanted.last, held.first) && !ends_before(held.last, wanted.first)
            }
            (None, _) | (_, None) => true,
        }
}

/// Whether a process waits for a lock that it holds itself with another open file description than
/// the one that it waits with: that one's lock is converted. Locks of processes never conflict with
/// those of the same process.
fn waits_for_itself(pid: Pid, wanted: &LockUser, fd_locks: &[FdLock]) -> bool {
    let own = || fd_locks.iter().filter(|lock| lock.pid == pid);
    let calls = blocked_calls(pid);
    let with_call = own().filter(|lock| calls.iter().any(|call| call.fd() == lock.fd));
    let mut converted = BTreeSet::new();
    converted.extend(with_call.map(|lock| lock.record));
    let is_converted = |record: &LockRecord| converted.contains(record);
    let mut locks = own().map(|lock| &lock.record);
    locks.any(|record| {
        let held = lock_user(record, Some(pid), Confidence::Verified);
        record.lock_type != LockType::Posix && conflict(wanted, &held) && !is_converted(record)
    })
}

#[cfg(test)]
mod tests {
    use super::super::lock_user::{ListedKind, Range};
    use super::*;

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

    /// The modes of a queue, by arrival, and the places that each one waits for.
    #[test]
    fn a_waiter_waits_for_those_ahead_in_the_queue() {
        let mut arrived = ArrivalTime::now();
        let mut queue = Vec::new();
        for mode in "xssxsx".chars() {
            let mode = match mode {
                'x' => Mode::Exclusive,
                _ => Mode::Shared,
            };
            queue.push(LockUser {
                since: Some(arrived),
                ..user(ListedKind::Flock, mode, None)
            });
            arrived = arrived.next();
        }
        let in_kernel = user(ListedKind::Flock, Mode::Exclusive, None);
        let users: Vec<User<'_>> = queue
            .iter()
            .chain([&in_kernel])
            .zip(1..)
            .map(|(user, id)| (pid(id), user))
            .collect();
        let ahead = |user: &LockUser| {
            let pids = predecessors(user, &users).into_iter();
            Vec::from_iter(pids.map(|pid| pid.as_raw_nonzero().get()))
        };
        let found: Vec<Vec<i32>> = queue.iter().map(ahead).collect();
        assert_eq!(
            found,
            [vec![], vec![1], vec![1], vec![1, 2, 3], vec![4], vec![4, 5]]
        );
        assert!(ahead(&in_kernel).is_empty());
    }

    fn pid(id: i32) -> Pid {
        Pid::from_raw(id).expect("not zero")
    }
}
