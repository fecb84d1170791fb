//! What the kernel says in /proc about locks and processes.

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fdlock::lock::Mode;
use fdlock::lock::mark::{Mark, Moment, SLOTS};

/// One line of /proc/locks.
#[derive(Debug, PartialEq, Eq)]
pub struct Lock {
    /// Whether this is a request that waits (a `->` line).
    pub waits: bool,
    /// `FLOCK` or `OFDLCK`.
    pub kind: String,
    /// `READ` or `WRITE`.
    pub mode: String,
    /// Who asked; -1 for an open-file-description lock.
    pub pid: i64,
    /// The first and the last byte, `EOF` for the end.
    pub range: (String, String),
}

/// The locks and the waiting requests on a file; none when there is no such file.
///
/// The kernel gives the table away a page at a time, and what changes between two pages makes it leave out a line of
/// the next one, or tell one twice. So what counts is what two looks agree on.
pub fn locks_on(file: impl AsRef<Path>) -> Vec<Lock> {
    let Ok(file) = std::fs::metadata(file) else {
        return Vec::new();
    };
    let mut before = look(file.ino());
    for _ in 0..20 {
        let now = look(file.ino());
        if now == before {
            break;
        }
        before = now;
    }
    before
}

fn look(inode: u64) -> Vec<Lock> {
    let table = std::fs::read_to_string("/proc/locks").expect("/proc/locks");
    let inode = inode.to_string();
    table
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1).peekable();
            let waits = words.next_if_eq(&"->").is_some();
            let words: Vec<&str> = words.collect();
            let [kind, _advisory, mode, pid, device_and_inode, first, last] = words[..] else {
                return None;
            };
            // The device is not compared: some file systems show another one here than stat(2) does.
            (device_and_inode.rsplit(':').next() == Some(&inode)).then(|| Lock {
                waits,
                kind: kind.to_owned(),
                mode: mode.to_owned(),
                pid: pid.parse().expect("a pid"),
                range: (first.to_owned(), last.to_owned()),
            })
        })
        .collect()
}

/// How many requests wait for a lock on the file.
pub fn waiters(file: impl AsRef<Path>) -> usize {
    locks_on(file).iter().filter(|lock| lock.waits).count()
}

/// Somebody who waits for his turn (`--fair`, `--slots`), as the byte says that is locked for him.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    pub since: Moment,
    pub mode: Mode,
    /// The process that stands for him: the token, a child of his.
    pub token: i32,
}

/// Who waits for his turn at the file, in the order in which they came.
pub fn turns(file: impl AsRef<Path>) -> Vec<Turn> {
    let marks = marks_on(file).into_iter();
    marks
        .filter_map(|mark| match mark {
            Mark::Turn { since, mode, pid } => Some(Turn {
                since,
                mode,
                token: pid.as_raw_nonzero().get(),
            }),
            Mark::Slot { .. } => None,
        })
        .collect()
}

/// A slot that is taken (`--slots`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub since: Moment,
    /// The process that took it. Others may have it since.
    pub taker: i32,
}

/// The slots of the file that are taken, in the order in which they were.
pub fn slots(file: impl AsRef<Path>) -> Vec<Slot> {
    let marks = marks_on(file).into_iter();
    marks
        .filter_map(|mark| match mark {
            Mark::Slot { since, pid } => Some(Slot {
                since,
                taker: pid.as_raw_nonzero().get(),
            }),
            Mark::Turn { .. } => None,
        })
        .collect()
}

/// The marks on a file, by their bytes. The kernel is asked of one range after the other, and not for its table, which
/// is given away in pieces: each answer is exact.
fn marks_on(file: impl AsRef<Path>) -> Vec<Mark> {
    let open = |options: &OpenOptions| options.open(file.as_ref());
    let read = open(OpenOptions::new().read(true));
    let Ok(file) = read.or_else(|_| open(OpenOptions::new().write(true))) else {
        return Vec::new();
    };
    let mut bytes = Vec::new();
    let mut ranges = vec![(*SLOTS.start(), i64::MAX)];
    while let Some((first, last)) = ranges.pop() {
        let lock = (first <= last).then(|| conflict(&file, first, last));
        // What is longer than a byte is somebody else's.
        if let Some((byte, 1)) = lock.flatten() {
            bytes.push(byte);
            ranges.push((first, byte - 1));
            if byte < i64::MAX {
                ranges.push((byte + 1, last));
            }
        }
    }
    bytes.sort_unstable();
    bytes.into_iter().filter_map(Mark::of).collect()
}

/// The first byte and the length of a lock of fcntl(2) that somebody has in this range.
#[allow(unsafe_code)]
fn conflict(file: &impl AsRawFd, first: i64, last: i64) -> Option<(i64, i64)> {
    // SAFETY: all zeroes is a valid request, which the call fills in.
    let found = unsafe {
        let mut lock: libc::flock = std::mem::zeroed();
        lock.l_type = libc::F_WRLCK as libc::c_short;
        lock.l_whence = libc::SEEK_SET as libc::c_short;
        lock.l_start = first;
        // 0 is to the end of all.
        lock.l_len = if last == i64::MAX {
            0
        } else {
            last - first + 1
        };
        assert_eq!(
            libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock),
            0
        );
        lock
    };
    let is_free = found.l_type == libc::F_UNLCK as libc::c_short;
    (!is_free).then_some((found.l_start, found.l_len))
}

/// The children of a process, those included that are only waited for.
pub fn children_of(pid: i32) -> Vec<i32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let list = list.unwrap_or_default();
    list.split_whitespace()
        .map(|pid| pid.parse().expect("a pid"))
        .collect()
}

/// The parent of a process; 0 when the process is gone.
pub fn parent_of(pid: i32) -> i32 {
    status_field(pid, "PPid").parse().unwrap_or(0)
}

/// How long the process has had a processor, in nanoseconds.
pub fn busy(pid: i32) -> u64 {
    let told = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    let first = told.split_whitespace().next();
    first.map_or(0, |time| time.parse().expect("a number"))
}

/// A field of /proc/PID/status; empty when the process is gone.
pub fn status_field(pid: i32, name: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/status"))
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Whether the process is stopped by a signal.
pub fn stopped(pid: i32) -> bool {
    status_field(pid, "State").starts_with('T')
}

/// Whether there is such a process, and not only its remains.
pub fn runs(pid: i32) -> bool {
    let state = status_field(pid, "State");
    !state.is_empty() && !state.starts_with('Z')
}

/// Whether the process is a token, and not one that has got its number since.
pub fn is_token(pid: i32) -> bool {
    runs(pid) && status_field(pid, "Name") == TOKEN
}

/// The name of every token.
const TOKEN: &str = "lock-turn";

/// How often the process went to sleep and was woken, which grows for one that polls.
pub fn naps(pid: i32) -> String {
    status_field(pid, "voluntary_ctxt_switches")
}
