//! What the kernel says in /proc about locks and processes.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// One line of /proc/locks.
#[derive(Debug)]
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
pub fn locks_on(file: impl AsRef<Path>) -> Vec<Lock> {
    let Ok(file) = std::fs::metadata(file) else {
        return Vec::new();
    };
    let table = std::fs::read_to_string("/proc/locks").expect("/proc/locks");
    let inode = file.ino().to_string();
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

/// How often the process went to sleep and was woken, which grows for one that polls.
pub fn naps(pid: i32) -> String {
    status_field(pid, "voluntary_ctxt_switches")
}
