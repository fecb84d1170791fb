//! The locks on a file: the kernel's table, and the markers of tickets and slots.

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use fdlock::lock::Mode;
use fdlock::lock::fair::marker::{ArrivalTime, Marker, PLACE_RANGE, SLOT_RANGE};
use fdlock::sys::ofd;

use crate::wait::holds_within;

/// One line of `/proc/locks`.
#[derive(Debug, PartialEq, Eq)]
pub struct Lock {
    /// Whether this is a blocked request (a `->` line).
    pub is_waiting: bool,
    /// `FLOCK` or `OFDLCK`.
    pub kind: String,
    /// `READ` or `WRITE`.
    pub mode: String,
    /// The process that made the request; -1 for a lock of an open file description.
    pub pid: i64,
    /// The first and the last byte; `EOF` for the end of the file.
    pub range: (String, String),
}

/// Returns the locks and the blocked requests on a file; none if the file does not exist.
///
/// The kernel returns the table one page at a time. A change between two pages can make it skip or
/// repeat a line of the next page, so the table is read until two reads agree.
pub fn locks_on(file: impl AsRef<Path>) -> Vec<Lock> {
    let Ok(file) = std::fs::metadata(file) else {
        return Vec::new();
    };
    let mut locks = read_table(file.ino());
    for _ in 0..20 {
        let again = read_table(file.ino());
        if again == locks {
            break;
        }
        locks = again;
    }
    locks
}

fn read_table(inode: u64) -> Vec<Lock> {
    let table = std::fs::read_to_string("/proc/locks").expect("/proc/locks");
    let inode = inode.to_string();
    table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1).peekable();
            let is_waiting = fields.next_if_eq(&"->").is_some();
            let fields: Vec<&str> = fields.collect();
            let [kind, _advisory, mode, pid, device_and_inode, first, last] = fields[..] else {
                return None;
            };
            // The device is not compared: on some file systems it differs from that of stat(2).
            (device_and_inode.rsplit(':').next() == Some(&inode)).then(|| Lock {
                is_waiting,
                kind: kind.to_owned(),
                mode: mode.to_owned(),
                pid: pid.parse().expect("a pid"),
                range: (first.to_owned(), last.to_owned()),
            })
        })
        .collect()
}

/// Returns the number of blocked requests for a lock on the file.
pub fn waiter_count(file: impl AsRef<Path>) -> usize {
    locks_on(file).iter().filter(|lock| lock.is_waiting).count()
}

/// How long the table is asked: reads that are wrong do not agree that long.
const TABLE_TIMEOUT: Duration = Duration::from_secs(3);

/// Returns the locks and the blocked requests on a file, of which there must be this number. As
/// [`locks_on`] may be wrong while many processes lock and unlock other files, it is asked until it
/// agrees.
///
/// # Panics
///
/// If it does not agree within some seconds.
#[track_caller]
pub fn assert_lock_count(file: impl AsRef<Path>, count: usize) -> Vec<Lock> {
    let mut locks = Vec::new();
    let agrees = holds_within(TABLE_TIMEOUT, || {
        locks = locks_on(&file);
        locks.len() == count
    });
    assert!(agrees, "{locks:?}");
    locks
}

/// Asserts that this number of requests for a lock on the file are blocked, like
/// [`assert_lock_count`].
///
/// # Panics
///
/// If it does not agree within some seconds.
#[track_caller]
pub fn assert_waiters(file: impl AsRef<Path>, count: usize) {
    let agrees = holds_within(TABLE_TIMEOUT, || waiter_count(&file) == count);
    assert!(agrees, "{:?}", locks_on(file));
}

/// Asserts that there are no locks on the file, like [`assert_lock_count`].
///
/// # Panics
///
/// If there are locks for some seconds.
#[track_caller]
pub fn assert_unlocked(file: impl AsRef<Path>) {
    assert_lock_count(file, 0);
}

/// The ticket of a waiter in the queue of `--fair` or `--slots`, as its marker shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// When the waiter arrived.
    pub arrived: ArrivalTime,
    /// Whether it waits for a shared or an exclusive lock.
    pub mode: Mode,
    /// The pid of the sentinel, a child of the waiter.
    pub sentinel: i32,
}

/// Returns the tickets of the file's queue, in order of arrival.
pub fn tickets(file: impl AsRef<Path>) -> Vec<Ticket> {
    let ticket = |marker| match marker {
        Marker::Ticket { arrived, mode, pid } => Some(Ticket {
            arrived,
            mode,
            sentinel: pid.as_raw_nonzero().get(),
        }),
        Marker::Slot { .. } => None,
    };
    markers_on(file).into_iter().filter_map(ticket).collect()
}

/// A slot of `--slots` that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// When it was taken.
    pub arrived: ArrivalTime,
    /// The process that took it. Other processes may have inherited it.
    pub pid: i32,
}

/// Returns the slots of the file that are held, in the order in which they were taken.
pub fn slots(file: impl AsRef<Path>) -> Vec<Slot> {
    let slot = |marker| match marker {
        Marker::Slot { arrived, pid } => Some(Slot {
            arrived,
            pid: pid.as_raw_nonzero().get(),
        }),
        Marker::Ticket { .. } => None,
    };
    markers_on(file).into_iter().filter_map(slot).collect()
}

/// Returns the number of processes that wait for the lock on the file with `--queue`.
pub fn place_count(file: impl AsRef<Path>) -> usize {
    let first = *PLACE_RANGE.start() | 1 << 59;
    locked_bytes(file, first, *PLACE_RANGE.end()).len()
}

/// Returns the markers on a file, ordered by their bytes.
fn markers_on(file: impl AsRef<Path>) -> Vec<Marker> {
    let offsets = locked_bytes(file, *SLOT_RANGE.start(), i64::MAX).into_iter();
    Vec::from_iter(offsets.filter_map(Marker::from_offset))
}

/// Returns the single bytes of a file that are locked. It probes one range after the other because
/// each answer is exact, whereas the kernel's table is returned in pieces.
fn locked_bytes(file: impl AsRef<Path>, first: i64, last: i64) -> Vec<i64> {
    let open = |options: &OpenOptions| options.open(file.as_ref());
    let for_reading = open(OpenOptions::new().read(true));
    let Ok(file) = for_reading.or_else(|_| open(OpenOptions::new().write(true))) else {
        return Vec::new();
    };
    let mut offsets = Vec::new();
    let mut ranges = vec![(first, last)];
    while let Some((first, last)) = ranges.pop() {
        let lock = (first <= last).then(|| find_lock(&file, first, last));
        // A longer lock is not a marker.
        if let Some((offset, 1)) = lock.flatten() {
            offsets.push(offset);
            ranges.push((first, offset - 1));
            if offset < i64::MAX {
                ranges.push((offset + 1, last));
            }
        }
    }
    offsets.sort_unstable();
    offsets
}

/// Returns the first byte and the length of an fcntl(2) lock that another open file description has
/// in this range.
fn find_lock(file: &File, first: i64, last: i64) -> Option<(i64, i64)> {
    ofd::conflict(file.as_fd(), first, last).expect("F_OFD_GETLK")
}
