//! `/proc/locks`: the kernel's table of file locks.

use std::cmp::Ordering;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::Pid;

use super::read::{self, End};

/// The path of the table.
pub const PATH: &str = "/proc/locks";

/// A file as `/proc/locks` identifies it: the device of its file system, and the inode.
///
/// stat(2) may report another device: overlayfs and btrfs report one of their own for each layer or
/// subvolume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileKey {
    /// The major and the minor number of the device.
    pub device: (u32, u32),
    /// The inode.
    pub inode: u64,
}

/// Whether a lock is held or waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockState {
    /// The lock is held.
    Granted,
    /// A process waits for it.
    Blocked,
}

/// The type of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockType {
    /// flock(2).
    Flock,
    /// fcntl(2), for an open file description.
    Ofd,
    /// fcntl(2), for a process.
    Posix,
}

/// The access that a lock grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// A read lock, which can be shared.
    Read,
    /// A write lock, which is exclusive.
    Write,
}

/// A line of `/proc/locks`, or of `/proc/PID/fdinfo/N` after `lock:`.
///
/// # References
///
/// proc_locks(5), proc_pid_fdinfo(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockRecord {
    /// Whether it is held.
    pub state: LockState,
    /// The kind of lock.
    pub lock_type: LockType,
    /// Whether it is shared.
    pub access: Access,
    /// The process that acquired it, or waits for it; `None` for an open file description lock, and
    /// for a process in another PID namespace.
    pub pid: Option<Pid>,
    /// The file.
    pub file: FileKey,
    /// The first byte.
    pub first: i64,
    /// The last byte; `i64::MAX` means the end of the file, wherever that is.
    pub last: i64,
}

impl LockRecord {
    /// Parses a line. Returns `None` for leases, locks without a file, and unknown formats.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(line).ok()?;
        let mut fields = text.split_ascii_whitespace().peekable();
        fields.next()?.strip_suffix(':')?;
        let state = match fields.next_if_eq(&"->") {
            Some(_) => LockState::Blocked,
            None => LockState::Granted,
        };
        let lock_type = match fields.next()? {
            "FLOCK" => LockType::Flock,
            "OFDLCK" => LockType::Ofd,
            "POSIX" => LockType::Posix,
            _ => return None,
        };
        // ADVISORY, or MANDATORY in old kernels.
        fields.next()?;
        let access = match fields.next()? {
            "READ" => Access::Read,
            "WRITE" => Access::Write,
            _ => return None,
        };
        let pid = fields.next()?.parse().ok();
        let pid = Pid::from_raw(pid.filter(|pid| *pid >= 0).unwrap_or(0));
        let mut parts = fields.next()?.split(':');
        let mut hexadecimal = || u32::from_str_radix(parts.next()?, 16).ok();
        let device = (hexadecimal()?, hexadecimal()?);
        let inode = parts.next()?.parse().ok()?;
        let first = fields.next()?.parse().ok().filter(|first| *first >= 0)?;
        let last = match fields.next()? {
            "EOF" => i64::MAX,
            number => number.parse().ok()?,
        };
        (first <= last).then_some(Self {
            state,
            lock_type,
            access,
            pid,
            file: FileKey { device, inode },
            first,
            last,
        })
    }

    /// Returns whether it covers the whole file, as all locks of flock(2) do.
    pub fn is_whole(&self) -> bool {
        self.first == 0 && self.last == i64::MAX
    }

    fn sort_key(&self) -> impl Ord {
        let pid = self.pid.map_or(0, |pid| pid.as_raw_nonzero().get());
        let kind = (self.lock_type, self.state, self.access);
        (self.file, kind, self.first, self.last, pid)
    }
}

/// The records of one file are next to each other.
impl Ord for LockRecord {
    fn cmp(&self, other: &Self) -> Ordering {
        self.sort_key().cmp(&other.sort_key())
    }
}

impl PartialOrd for LockRecord {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// How the table was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableRead {
    /// At one moment.
    Atomic,
    /// In several pieces: a lock that is released between two of them can hide another one.
    Torn,
}

/// How often a table that was read in pieces is worth reading.
pub const MAX_TORN_READS: u32 = 4;

/// Less than half of the smallest page.
const MAX_ATOMIC_READ: usize = 4096 / 2 - 1;

/// Reads the table of all locks, and calls `visit` with each of them until it breaks. The kernel
/// returns at most a page with each read(2). The text is not kept: any user can make it long.
///
/// *Race:* a lock with many waiters, whose lines are not divided, may not fit into the rest of the
/// first page. If a lock in that page is released before the next read, the next read starts one
/// lock too late, and returns nothing. So the kernel is also asked what is beyond that number of
/// bytes, which it counts from the start of the table. A lock that did not fit takes more than half
/// of a page, which is more than the first page contained.
///
/// A process that adds locks faster than they are read keeps the table from ending, so there is a
/// time limit.
///
/// # Errors
///
/// Those of open(2) and read(2).
pub fn read_table(
    visit: &mut dyn FnMut(LockRecord) -> ControlFlow<()>,
) -> Result<TableRead, Errno> {
    /// The largest page.
    const BUFFER_SIZE: usize = 1 << 16;
    /// A hundred thousand locks take less.
    const MAX_TIME: Duration = Duration::from_secs(2);
    /// How many lines are read before the time is checked.
    const CHECK_INTERVAL: u32 = 1024;
    let mut is_over = false;
    let (mut started, mut count) = (None, 0_u32);
    let mut is_late = || {
        count = count.wrapping_add(1);
        count.is_multiple_of(CHECK_INTERVAL)
            && started.get_or_insert_with(Instant::now).elapsed() > MAX_TIME
    };
    let file = read::open(PATH)?;
    let (pieces, bytes) = read::visit_lines(&file, BUFFER_SIZE, End::NumberedLines, &mut |line| {
        let flow = match LockRecord::parse(line) {
            _ if is_late() => ControlFlow::Break(()),
            Some(record) => visit(record),
            None => ControlFlow::Continue(()),
        };
        is_over = flow.is_break();
        flow
    })?;
    if is_over || pieces > 1 || bytes > MAX_ATOMIC_READ {
        return Ok(TableRead::Torn);
    }
    // At the very end, where the last read was, the kernel would not count the bytes again.
    Ok(match bytes == 0 || read::is_end(&file, bytes + 1)? {
        true => TableRead::Atomic,
        false => TableRead::Torn,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: FileKey = FileKey {
        device: (0xfe, 0),
        inode: 99,
    };

    fn parse(line: &str) -> Option<LockRecord> {
        LockRecord::parse(line.as_bytes())
    }

    #[test]
    fn locks_of_each_type_are_parsed() {
        let record = LockRecord {
            state: LockState::Granted,
            lock_type: LockType::Flock,
            access: Access::Write,
            pid: Pid::from_raw(4711),
            file: FILE,
            first: 0,
            last: i64::MAX,
        };
        let waiting = LockRecord {
            state: LockState::Blocked,
            access: Access::Read,
            ..record
        };
        let ofd = LockRecord {
            lock_type: LockType::Ofd,
            pid: None,
            first: 5,
            last: 14,
            ..record
        };
        let posix = LockRecord {
            lock_type: LockType::Posix,
            pid: None,
            ..record
        };
        for (line, expected) in [
            ("1: FLOCK  ADVISORY  WRITE 4711 fe:00:99 0 EOF", record),
            ("1:   -> FLOCK  ADVISORY  READ 4711 fe:00:99 0 EOF", waiting),
            ("12: OFDLCK ADVISORY  WRITE -1 fe:00:99 5 14", ofd),
            ("3: POSIX  MANDATORY WRITE 0 fe:00:99 0 EOF", posix),
        ] {
            assert_eq!(parse(line), Some(expected), "{line}");
        }
        assert!(record.is_whole() && !ofd.is_whole());
    }

    #[test]
    fn other_lines_are_not_locks() {
        for line in [
            "",
            "1:",
            "1 FLOCK  ADVISORY  WRITE 4711 fe:00:99 0 EOF",
            "1: LEASE  ACTIVE    WRITE 4711 fe:00:99 0 EOF",
            "1: DELEG  ACTIVE    READ 4711 fe:00:99 0 EOF",
            "1: FLOCK  ADVISORY  UNLCK 4711 fe:00:99 0 EOF",
            "1: POSIX  *NOINODE* WRITE 4711 <none>:0 0 EOF",
            "1: FLOCK  ADVISORY  WRITE 4711 fe:00:99 0",
            "1: FLOCK  ADVISORY  WRITE 4711 fe:00:99 9 8",
            "1: FLOCK  ADVISORY  WRITE 4711 fe:00:99 -9 8",
            "1: FLOCK  ADVISORY  WRITE 4711 fe:99 0 EOF",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn records_of_one_file_are_next_to_each_other() {
        let mut records = [
            "1: FLOCK  ADVISORY  WRITE 1 fe:00:99 0 EOF",
            "2: OFDLCK ADVISORY  WRITE -1 fe:00:98 0 EOF",
            "3: OFDLCK ADVISORY  READ -1 fe:00:99 0 EOF",
            "4: FLOCK  ADVISORY  WRITE 4 fd:00:99 0 EOF",
        ]
        .map(|line| parse(line).expect("a lock"));
        records.sort();
        let files: Vec<u64> = records.iter().map(|record| record.file.inode).collect();
        assert_eq!(files, [99, 98, 99, 99]);
        assert_eq!(records[0].file.device, (0xfd, 0));
    }

    #[test]
    fn same_locks_are_equal_and_others_are_not() {
        let record = |range| parse(&format!("1: OFDLCK ADVISORY READ -1 fe:00:99 {range}"));
        assert_eq!(record("0 5").cmp(&record("0 5")), Ordering::Equal);
        for other in ["1 5", "0 6"] {
            assert_eq!(record("0 5").cmp(&record(other)), Ordering::Less);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            LockRecord::parse(&bytes);
        }

        #[test]
        fn ranges_of_parsed_lines_are_valid(line in "[0-9]{1,3}: (-> )?(FLOCK|OFDLCK|POSIX) +ADVISORY +(READ|WRITE) -?[0-9]{1,12} [0-9a-f:]{1,24} -?[0-9]{1,21} (EOF|[0-9]{1,21})") {
            if let Some(record) = parse(&line) {
                prop_assert!(0 <= record.first && record.first <= record.last);
            }
        }
    }
}
