//! `/proc/locks`: the kernel's table of file locks.

use rustix::fs::{Mode as Permissions, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

/// The path of the table.
pub const PATH: &str = "/proc/locks";

/// A file as `/proc/locks` identifies it: the device of its file system, and the inode.
///
/// stat(2) may report another device: overlayfs and btrfs report one of their own for each layer or
/// subvolume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileKey {
    /// The major and the minor number of the device.
    pub device: (u32, u32),
    /// The inode.
    pub inode: u64,
}

/// Whether a lock is held or waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockState {
    /// The lock is held.
    Granted,
    /// A process waits for it.
    Blocked,
}

/// The type of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockType {
    /// flock(2).
    Flock,
    /// fcntl(2), for an open file description.
    Ofd,
    /// fcntl(2), for a process.
    Posix,
}

/// The access that a lock grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

/// Returns all locks, from the text of `/proc/locks`.
pub fn records(table: &[u8]) -> impl Iterator<Item = LockRecord> {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(LockRecord::parse)
}

/// Returns the locks on a file, from the text of `/proc/locks`.
pub fn records_for(file: FileKey, table: &[u8]) -> Vec<LockRecord> {
    records(table)
        .filter(|record| record.file == file)
        .collect()
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

/// The smallest page, less the longest line.
const MAX_ATOMIC_READ: usize = 4096 - 256;

/// Reads the table of all locks. The kernel returns at most a page with each read(2).
///
/// # Errors
///
/// Those of open(2) and read(2).
pub fn read_table() -> Result<(Vec<u8>, TableRead), Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let source = rustix::fs::open(PATH, flags, Permissions::empty())?;
    let mut table = Vec::new();
    let mut pieces = 0;
    loop {
        table.reserve(1 << 16);
        let room = rustix::buffer::spare_capacity(&mut table);
        match rustix::io::read(&source, room) {
            // A single piece of nearly a page may be the first of two; the locks of the second may
            // have been released in between.
            Ok(0) if pieces > 1 || table.len() > MAX_ATOMIC_READ => {
                return Ok((table, TableRead::Torn));
            }
            Ok(0) => return Ok((table, TableRead::Atomic)),
            Ok(_) => pieces += 1,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
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
    fn records_are_selected_by_device_and_inode() {
        let table = "1: FLOCK  ADVISORY  WRITE 1 fe:00:99 0 EOF\n\
                     1: -> FLOCK  ADVISORY  WRITE 2 fe:00:99 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 3 fe:00:98 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 4 fd:00:99 0 EOF\n";
        let pids = records_for(FILE, table.as_bytes())
            .iter()
            .map(|record| record.pid.expect("a number").as_raw_nonzero().get())
            .collect::<Vec<_>>();
        assert_eq!(pids, [1, 2]);
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
