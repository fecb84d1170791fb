//! Locks as the kernel writes them, one a line.

use rustix::process::Pid;

use crate::holders::Kind;
use crate::lock::Mode;

/// What makes a file itself in the list of locks: the device of its file system, and its number there.
///
/// That is not what stat(2) says: overlayfs and btrfs give each of their parts a device of its own there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    pub device: (u32, u32),
    pub inode: u64,
}

/// Whether a lock is had or waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Granted,
    Blocked,
}

/// A line of `/proc/locks`, or of a `/proc/PID/fdinfo/N` behind `lock:`.
///
/// # References
///
/// proc_locks(5), proc_pid_fdinfo(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub state: State,
    pub kind: Kind,
    pub mode: Mode,
    /// Who asked for it; `None` for an open file description lock, and for somebody in another pid namespace.
    pub taker: Option<Pid>,
    pub file: Number,
    pub first: i64,
    /// `i64::MAX`: the end, wherever that is.
    pub last: i64,
}

impl Line {
    /// `None` for what is no lock: a lease, a lock of no file, and what no kernel has written yet.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(line).ok()?;
        let mut words = text.split_ascii_whitespace().peekable();
        words.next()?.strip_suffix(':')?;
        let state = match words.next_if_eq(&"->") {
            Some(_) => State::Blocked,
            None => State::Granted,
        };
        let kind = match words.next()? {
            "FLOCK" => Kind::Flock,
            "OFDLCK" => Kind::Ofd,
            "POSIX" => Kind::Posix,
            _ => return None,
        };
        // ADVISORY, or MANDATORY, which was once.
        words.next()?;
        let mode = match words.next()? {
            "READ" => Mode::Shared,
            "WRITE" => Mode::Exclusive,
            _ => return None,
        };
        let taker = Pid::from_raw(
            words
                .next()?
                .parse()
                .ok()
                .filter(|pid| *pid >= 0)
                .unwrap_or(0),
        );
        let mut parts = words.next()?.split(':');
        let mut hexadecimal = || u32::from_str_radix(parts.next()?, 16).ok();
        let device = (hexadecimal()?, hexadecimal()?);
        let inode = parts.next()?.parse().ok()?;
        let first = words.next()?.parse().ok().filter(|first| *first >= 0)?;
        let last = match words.next()? {
            "EOF" => i64::MAX,
            number => number.parse().ok()?,
        };
        (first <= last).then_some(Self {
            state,
            kind,
            mode,
            taker,
            file: Number { device, inode },
            first,
            last,
        })
    }

    /// Whether it covers the whole file, as all locks of flock(2) do.
    pub fn is_whole(&self) -> bool {
        self.first == 0 && self.last == i64::MAX
    }
}

/// The locks on a file, of all that `/proc/locks` has.
pub(crate) fn on(file: Number, table: &[u8]) -> Vec<Line> {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(Line::parse)
        .filter(|line| line.file == file)
        .collect()
}

/// What `/proc/PID/fdinfo/N` says of a descriptor: the inode it is open on (since Linux 5.14), the mount that it was opened
/// by, and its locks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Info {
    pub inode: Option<u64>,
    pub mount: Option<u64>,
    pub locks: Vec<Line>,
}

impl Info {
    pub fn parse(text: &[u8]) -> Self {
        let mut info = Self {
            inode: None,
            mount: None,
            locks: Vec::new(),
        };
        for line in text.split(|byte| *byte == b'\n') {
            if let Some(lock) = line.strip_prefix(b"lock:") {
                info.locks.extend(Line::parse(lock));
            } else if let Some(number) = line.strip_prefix(b"ino:") {
                info.inode = info.inode.or(decimal(number));
            } else if let Some(number) = line.strip_prefix(b"mnt_id:") {
                info.mount = info.mount.or(decimal(number));
            }
        }
        info
    }
}

/// The device of a mount, of all that `/proc/self/mountinfo` has.
///
/// # References
///
/// proc_pid_mountinfo(5).
pub(crate) fn device_of(mount: u64, table: &[u8]) -> Option<(u32, u32)> {
    table.split(|byte| *byte == b'\n').find_map(|line| {
        let mut words = line.split(|byte| *byte == b' ');
        if decimal(words.next()?)? != mount {
            return None;
        }
        let mut device = words.nth(1)?.split(|byte| *byte == b':');
        let mut part = || u32::try_from(decimal(device.next()?)?).ok();
        Some((part()?, part()?))
    })
}

pub(crate) fn decimal(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: Number = Number {
        device: (0xfe, 0),
        inode: 99,
    };

    fn parse(line: &str) -> Option<Line> {
        Line::parse(line.as_bytes())
    }

    #[test]
    fn a_lock_of_each_kind_is_read() {
        let line = Line {
            state: State::Granted,
            kind: Kind::Flock,
            mode: Mode::Exclusive,
            taker: Pid::from_raw(4711),
            file: FILE,
            first: 0,
            last: i64::MAX,
        };
        assert_eq!(
            parse("1: FLOCK  ADVISORY  WRITE 4711 fe:00:99 0 EOF"),
            Some(line)
        );
        let waiting = Line {
            state: State::Blocked,
            mode: Mode::Shared,
            ..line
        };
        assert_eq!(
            parse("1:   -> FLOCK  ADVISORY  READ 4711 fe:00:99 0 EOF"),
            Some(waiting)
        );
        let ofd = Line {
            kind: Kind::Ofd,
            taker: None,
            first: 5,
            last: 14,
            ..line
        };
        assert_eq!(
            parse("12: OFDLCK ADVISORY  WRITE -1 fe:00:99 5 14"),
            Some(ofd)
        );
        let posix = Line {
            kind: Kind::Posix,
            taker: None,
            ..line
        };
        assert_eq!(
            parse("3: POSIX  MANDATORY WRITE 0 fe:00:99 0 EOF"),
            Some(posix)
        );
        assert!(line.is_whole() && !ofd.is_whole());
    }

    #[test]
    fn what_is_no_lock_is_none() {
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
    fn the_locks_of_one_file_are_picked_out_by_device_and_inode() {
        let table = "1: FLOCK  ADVISORY  WRITE 1 fe:00:99 0 EOF\n\
                     1: -> FLOCK  ADVISORY  WRITE 2 fe:00:99 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 3 fe:00:98 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 4 fd:00:99 0 EOF\n";
        let takers = on(FILE, table.as_bytes())
            .iter()
            .map(|line| line.taker.expect("a number").as_raw_nonzero().get())
            .collect::<Vec<_>>();
        assert_eq!(takers, [1, 2]);
    }

    #[test]
    fn a_descriptor_tells_inode_mount_and_locks() {
        let text = "pos:\t0\nflags:\t02100002\nmnt_id:\t27\nino:\t99\n\
                    lock:\t1: FLOCK  ADVISORY  WRITE 1 fe:00:99 0 EOF\n\
                    lock:\t2: LEASE  ACTIVE    READ 1 fe:00:99 0 EOF\n";
        let info = Info::parse(text.as_bytes());
        assert_eq!((info.inode, info.mount), (Some(99), Some(27)));
        assert_eq!(
            info.locks,
            on(FILE, b"1: FLOCK  ADVISORY  WRITE 1 fe:00:99 0 EOF")
        );
        // Before Linux 5.14.
        assert_eq!(Info::parse(b"pos:\t0\nmnt_id:\t27\n").inode, None);
    }

    #[test]
    fn the_device_is_that_of_the_mount() {
        let table = b"22 27 0:21 / /proc rw,relatime - proc proc rw\n\
                      27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
                      x 1 2:3\n";
        assert_eq!(device_of(27, table), Some((254, 0)));
        assert_eq!(device_of(22, table), Some((0, 21)));
        assert_eq!(device_of(1, table), None);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(bytes: Vec<u8>) {
            Line::parse(&bytes);
            Info::parse(&bytes);
            device_of(27, &bytes);
        }

        #[test]
        fn no_line_is_too_odd(line in "[0-9]{1,3}: (-> )?(FLOCK|OFDLCK|POSIX) +ADVISORY +(READ|WRITE) -?[0-9]{1,12} [0-9a-f:]{1,24} -?[0-9]{1,21} (EOF|[0-9]{1,21})") {
            if let Some(line) = parse(&line) {
                prop_assert!(0 <= line.first && line.first <= line.last);
            }
        }
    }
}
