//! `/proc/PID/fdinfo/N`: what the kernel knows about a descriptor.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{Mode as Permissions, OFlags};
use rustix::io::Errno;

use super::decimal;
use super::locks::{Access, FileKey, LockRecord, LockType};
use super::read::{self, End};

/// The size of the buffer, which suffices for all lines of an ordinary descriptor.
const BUFFER_SIZE: usize = 1024;

/// The inode that a descriptor is open on (since Linux 5.14), the mount through which it was
/// opened, and the locks of its open file description.
///
/// # References
///
/// proc_pid_fdinfo(5).
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FdInfo {
    /// The inode.
    pub inode: Option<u64>,
    /// The ID of the mount.
    pub mount: Option<u64>,
    /// The locks.
    pub locks: Vec<LockRecord>,
}

impl FdInfo {
    /// Parses the text of such a file.
    pub fn parse(text: &[u8]) -> Self {
        let mut info = Self::default();
        for line in text.split(|byte| *byte == b'\n') {
            info.add_line(line);
        }
        info
    }

    fn add_line(&mut self, line: &[u8]) {
        if let Some(lock) = line.strip_prefix(b"lock:") {
            self.locks.extend(LockRecord::parse(lock));
        } else if let Some(number) = line.strip_prefix(b"ino:") {
            self.inode = self.inode.or(decimal(number));
        } else if let Some(number) = line.strip_prefix(b"mnt_id:") {
            self.mount = self.mount.or(decimal(number));
        }
    }

    /// Reads the file of this name in an `fdinfo` directory. Of a file that is of no interest, only
    /// the first lock is read.
    ///
    /// # Errors
    ///
    /// Those of open(2) and read(2).
    pub fn read_at(
        dir: impl AsFd,
        name: &CStr,
        is_interesting: &dyn Fn(FileKey) -> bool,
    ) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(dir, name, flags, Permissions::empty())?;
        Self::read(file, is_interesting)
    }

    /// Reads the information about a descriptor of the process or thread with this directory in
    /// `/proc`.
    ///
    /// # Errors
    ///
    /// Those of open(2) and read(2).
    pub fn read_in(dir: &str, fd: RawFd) -> Result<Self, Errno> {
        Self::read(read::open(&format!("{dir}/fdinfo/{fd}"))?, &|_| true)
    }

    /// Reads the lines, of which there may be many: one for each lock, and for special files such
    /// as those of epoll(7) one for each file that they watch.
    fn read(file: OwnedFd, is_interesting: &dyn Fn(FileKey) -> bool) -> Result<Self, Errno> {
        let mut info = Self::default();
        let mut add_line = |line: &[u8]| {
            info.add_line(line);
            // All locks of a descriptor are on one file, and there is nothing after them.
            match info.locks.first() {
                Some(lock) if !is_interesting(lock.file) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        };
        // A scan reads thousands of short files, for which this buffer suffices.
        let mut buffer = [MaybeUninit::uninit(); BUFFER_SIZE];
        match rustix::io::pread(&file, &mut buffer, 0) {
            Ok((text, rest)) if !rest.is_empty() => {
                let _ = text.split(|byte| *byte == b'\n').try_for_each(add_line);
            }
            Ok(_) | Err(Errno::INTR) => {
                read::visit_lines(file, 2 * BUFFER_SIZE, End::ShortRead, &mut add_line)?;
            }
            Err(errno) => return Err(errno),
        }
        Ok(info)
    }

    /// Reads the information about a descriptor of this process.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn read_own(fd: BorrowedFd<'_>) -> std::io::Result<Self> {
        Ok(Self::read_in("/proc/self", fd.as_raw_fd())?)
    }

    /// Returns the access of the flock(2) lock that the open file description holds.
    pub fn flock_access(&self) -> Option<Access> {
        let mut locks = self.locks.iter();
        let lock = locks.find(|lock| lock.lock_type == LockType::Flock)?;
        Some(lock.access)
    }
}

/// Calls `visit` with each lock of a descriptor of the process or thread with this directory in
/// `/proc`, until it breaks. There may be any number.
///
/// # Errors
///
/// Those of open(2) and read(2).
pub fn visit_locks(
    dir: &str,
    fd: RawFd,
    visit: &mut dyn FnMut(LockRecord) -> ControlFlow<()>,
) -> Result<(), Errno> {
    let file = read::open(&format!("{dir}/fdinfo/{fd}"))?;
    let visited = read::visit_lines(file, BUFFER_SIZE, End::ShortRead, &mut |line| match line
        .strip_prefix(b"lock:")
        .and_then(LockRecord::parse)
    {
        Some(lock) => visit(lock),
        None => ControlFlow::Continue(()),
    });
    visited.map(drop)
}

/// Returns the path of the file about a descriptor of this process.
pub fn own_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fdinfo/{}", fd.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn inode_mount_and_locks_are_parsed() {
        let lock = "1: FLOCK  ADVISORY  WRITE 1 fe:00:99 0 EOF";
        let text = format!(
            "pos:\t0\nflags:\t02100002\nmnt_id:\t27\nino:\t99\n\
             lock:\t{lock}\nlock:\t2: LEASE  ACTIVE    READ 1 fe:00:99 0 EOF\n"
        );
        let info = FdInfo::parse(text.as_bytes());
        assert_eq!((info.inode, info.mount), (Some(99), Some(27)));
        let record = LockRecord::parse(lock.as_bytes()).expect("a lock");
        assert_eq!(info.locks, [record]);
        // Before Linux 5.14.
        assert_eq!(FdInfo::parse(b"pos:\t0\nmnt_id:\t27\n").inode, None);
    }

    #[test]
    fn only_a_lock_of_flock_counts_as_flock_access() {
        let access =
            |locks: &str| FdInfo::parse(format!("pos:\t0\n{locks}").as_bytes()).flock_access();
        let flock = |access| format!("lock:\t1: FLOCK  ADVISORY  {access} 4711 fe:00:99 0 EOF\n");
        let other = "lock:\t1: OFDLCK ADVISORY  READ -1 fe:00:99 0 EOF\n";
        let both = format!("{other}{}", flock("READ"));
        assert_eq!(access(""), None);
        assert_eq!(access(&flock("READ")), Some(Access::Read));
        assert_eq!(access(&flock("WRITE")), Some(Access::Write));
        assert_eq!(access(other), None);
        assert_eq!(access(&both), Some(Access::Read));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            FdInfo::parse(&bytes);
        }
    }
}
