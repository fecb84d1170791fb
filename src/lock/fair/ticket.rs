//! Turns: who has come before whom, for those who lock a file in the order of their arrival.
//!
//! A turn is a [mark](super::marker) on the lock file: a byte that is locked for reading by a private opening of the file, and
//! that says when its owner came and which process stands for him. That is a [`Token`], whose end others can wait for:
//! the owner himself may go on for long after he has got the lock.

use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode as Permissions, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::marker::{Mark, Moment, TURNS};
use crate::lock::{Failure, Mode};
use crate::sys::filesystem::Locality;
use crate::sys::ofd::{self, Operation};
use crate::sys::procfs::stat::Stat;
use crate::sys::sentinel::{self, Token};

/// A place in the queue, until it is dropped.
#[derive(Debug)]
pub(in crate::lock) struct Turn {
    since: Moment,
    mode: Mode,
    operation: Operation,
    byte: i64,
    /// Before the token: whoever is woken by the end of that finds the mark gone.
    file: OwnedFd,
    end: OwnedFd,
    token: Token,
}

impl Turn {
    /// Takes the place of somebody who came at this moment. `None` where there can be no queue: see [`obstacle`].
    ///
    /// The mark needs an opening of its own, as that of the lock is shared with the caller, who goes on having it, and with
    /// the command. It is opened for reading, or where that is not allowed for writing: a lock of fcntl(2) wants the
    /// descriptor opened for what the lock is called, and what it is called does not matter on a byte of one's own.
    ///
    /// # Errors
    ///
    /// Out of descriptors, locks, memory or processes.
    pub(in crate::lock) fn take(
        fd: BorrowedFd<'_>,
        since: Moment,
        mode: Mode,
    ) -> Result<Option<Self>, Failure> {
        let Some((file, operation)) = reopen(fd)? else {
            return Ok(None);
        };
        if children_are_elsewhere() {
            return Ok(None);
        }
        let token = Token::new().map_err(Failure::Turn)?;
        // Not before Linux 5.3, and not in every sandbox.
        let Some(end) = had(pidfd_open(token.pid(), PidfdFlags::empty()))? else {
            return Ok(None);
        };
        let pid = token.pid();
        let byte = Mark::Turn { since, mode, pid }.byte();
        match ofd::set(file.as_fd(), operation, byte, 1, false) {
            Ok(()) => {}
            // Another program has locked all bytes that there may ever be.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(Failure::Turn(error)),
        }
        Ok(Some(Self {
            since,
            mode,
            operation,
            byte,
            file,
            end,
            token,
        }))
    }

    /// The byte that is the place.
    pub(in crate::lock) fn byte(&self) -> i64 {
        self.byte
    }

    /// The opening of the file that is ours alone.
    pub(in crate::lock) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The process that stands for us.
    pub(in crate::lock) fn token(&self) -> Pid {
        self.token.pid()
    }

    /// Readable, in the eyes of poll(2), once somebody has killed the token.
    pub(in crate::lock) fn end(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }

    /// The same place with another token. The old mark goes when the new one is there, so that there is one all the time.
    /// (The two may be one lock for a moment, if they are neighbours. Who looks just then sees no mark, and sees it when he
    /// looks again, with the lock.)
    pub(in crate::lock) fn renew(&mut self) -> Result<(), Failure> {
        let token = Token::new().map_err(Failure::Turn)?;
        let end = pidfd_open(token.pid(), PidfdFlags::empty());
        let end = end.map_err(|errno| Failure::Turn(errno.into()))?;
        let (since, mode, pid) = (self.since, self.mode, token.pid());
        let byte = Mark::Turn { since, mode, pid }.byte();
        let set = |operation, byte| ofd::set(self.file.as_fd(), operation, byte, 1, false);
        set(self.operation, byte).map_err(Failure::Turn)?;
        if byte != self.byte {
            set(Operation::Unlock, self.byte).map_err(Failure::Turn)?;
        }
        self.byte = byte;
        self.end = end;
        self.token = token;
        Ok(())
    }
}

/// What cannot be had is `None`; that there is nothing left to have it with is an error.
fn had<T>(result: Result<T, Errno>) -> Result<Option<T>, Failure> {
    match result {
        Ok(thing) => Ok(Some(thing)),
        Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => {
            Err(Failure::Turn(error.into()))
        }
        Err(_) => Ok(None),
    }
}

/// Opens the file of a descriptor anew, and says which locks of fcntl(2) it may have then. `None` where that cannot be, or
/// must not be.
fn reopen(fd: BorrowedFd<'_>) -> Result<Option<(OwnedFd, Operation)>, Failure> {
    if obstacle_of(fd).is_some() {
        return Ok(None);
    }
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    // O_NONBLOCK so that a lease does not hold us there.
    let flags = OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let open = |access| rustix::fs::open(&path, flags | access, Permissions::empty());
    had(match open(OFlags::RDONLY) {
        Err(Errno::ACCESS) => open(OFlags::WRONLY).map(|file| (file, Operation::Write)),
        other => other.map(|file| (file, Operation::Read)),
    })
}

/// One reason.
pub(in crate::lock) const FOREIGN: &str = "another program has locked the whole file with fcntl(2)";

/// Why there can be no queue for this file, if there is a reason that a user may want to know.
pub fn obstacle(fd: BorrowedFd<'_>) -> Option<&'static str> {
    if let Some(obstacle) = obstacle_of(fd) {
        return Some(obstacle);
    }
    match ofd::conflict(fd, *TURNS.start(), *TURNS.end()) {
        Ok(None) => {}
        Ok(Some((byte, 1))) if Mark::of(byte).is_some() => {}
        _ => return Some(FOREIGN),
    }
    match reopen(fd) {
        _ if children_are_elsewhere() => Some("new processes would start in another PID namespace"),
        Ok(None) => Some("the file cannot be reopened through /proc"),
        _ => None,
    }
}

/// Whether a child would be in another pid namespace than we (`unshare -p` without `-f`). The first one there is its process
/// 1, and when that ends, there can be no other: no token, but the command, may be the first.
fn children_are_elsewhere() -> bool {
    let namespace = |name| rustix::fs::stat(name).map(|stat| stat.st_ino);
    namespace("/proc/self/ns/pid_for_children") != namespace("/proc/self/ns/pid")
}

/// The same as far as it has to do with what file it is.
pub(in crate::lock) fn obstacle_of(fd: BorrowedFd<'_>) -> Option<&'static str> {
    // On others flock(2) becomes a lock of fcntl(2) over the whole file, with which a mark would be in conflict.
    if Locality::of(fd) != Locality::Local {
        return Some("the file system may be shared with other machines");
    }
    // To open a device can mean to do something.
    let kind = rustix::fs::fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
    match kind {
        Ok(FileType::RegularFile | FileType::Directory) => None,
        _ => Some("not a regular file or directory"),
    }
}

/// Whether anybody at all queues for the file.
pub(in crate::lock) fn somebody_queues(fd: BorrowedFd<'_>) -> bool {
    any(fd, &TURNS).is_some()
}

/// The nearest turn before this byte, of one who is able to take it: not of a process that is stopped, which does not
/// hold up those behind it while the lock is free.
pub(in crate::lock) fn ahead(fd: BorrowedFd<'_>, byte: i64) -> Option<i64> {
    let mut byte = byte;
    loop {
        byte = nearest(fd, byte)?;
        if !is_stopped(byte) {
            return Some(byte);
        }
    }
}

/// Whether the turn is still there.
pub(in crate::lock) fn is_there(fd: BorrowedFd<'_>, byte: i64) -> bool {
    any(fd, &(byte..=byte)).is_some()
}

/// The nearest turn before this byte. The kernel tells of any, not of the nearest, so the range is halved until there is
/// nothing above the one that is known.
pub(in crate::lock) fn nearest(fd: BorrowedFd<'_>, byte: i64) -> Option<i64> {
    earlier(byte).find_map(|range| {
        let mut high = *range.end();
        let mut best = any(fd, &range)?;
        while let Some(found) = any(fd, &(best + 1..=high)) {
            best = found;
            let middle = best + (high - best) / 2 + 1;
            match any(fd, &(middle..=high)) {
                Some(found) => best = found,
                None => high = middle - 1,
            }
        }
        Some(best)
    })
}

/// The bytes of turns that came before that of this byte, the nearer ones first. Moments come round, so half of the circle
/// is before any of them, and the other half behind it.
fn earlier(byte: i64) -> impl Iterator<Item = RangeInclusive<i64>> {
    const HALF: i64 = 1 << 61;
    let (first, last) = TURNS.into_inner();
    let ranges = if byte - first >= HALF {
        [Some(byte - HALF..=byte - 1), None]
    } else {
        [Some(first..=byte - 1), Some(byte + HALF..=last)]
    };
    ranges.into_iter().flatten()
}

/// A turn in this range, if there is one. What else may be locked there is none.
fn any(fd: BorrowedFd<'_>, range: &RangeInclusive<i64>) -> Option<i64> {
    if range.is_empty() {
        return None;
    }
    match ofd::conflict(fd, *range.start(), *range.end()) {
        Ok(Some((byte, 1))) if range.contains(&byte) => Some(byte),
        _ => None,
    }
}

/// The process that stands for a turn; `None` if that is in another pid namespace, and the number that of somebody else here.
pub(in crate::lock) fn token_of(byte: i64) -> Option<Pid> {
    match Mark::of(byte) {
        Some(Mark::Turn { pid, .. }) if may_be_token(pid) => Some(pid),
        _ => None,
    }
}

/// Whether the owner of a turn is stopped, by a signal or a debugger. One who cannot be seen is not.
pub(in crate::lock) fn is_stopped(byte: i64) -> bool {
    let stat = |pid: Pid| Stat::of(pid);
    token_of(byte)
        .and_then(stat)
        .and_then(|token| Pid::from_raw(token.parent))
        .and_then(stat)
        .is_some_and(|owner| matches!(owner.state, b'T' | b't'))
}

/// Whether a process has the name of a token. One who cannot be seen may be one.
fn may_be_token(pid: Pid) -> bool {
    fs::read(format!("/proc/{}/comm", pid.as_raw_nonzero())).map_or(true, |name| {
        name.strip_suffix(b"\n") == Some(sentinel::NAME.to_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_circle_is_earlier() {
        let (first, last) = TURNS.into_inner();
        let is_earlier = |byte, than| earlier(than).any(|range| range.contains(&byte));
        let quarter = 1_i64 << 60;
        for byte in [
            first,
            first + quarter,
            first + 2 * quarter,
            first + 3 * quarter,
            last,
        ] {
            assert!(!is_earlier(byte, byte));
            let ahead =
                |distance: i64| first + ((byte - first) - distance).rem_euclid(last - first);
            assert!(is_earlier(ahead(quarter), byte), "{byte:#x}");
            assert!(!is_earlier(ahead(3 * quarter), byte), "{byte:#x}");
        }
    }

    #[test]
    fn the_nearest_is_found_among_many() {
        let file = tempfile::tempfile().expect("a scratch file");
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let other = std::fs::File::options()
            .read(true)
            .open(path)
            .expect("open");
        let first = *TURNS.start();
        let taken = [
            first + 1,
            first + 3,
            first + (1 << 40),
            first + (1 << 50),
            i64::MAX - 1,
        ];
        // Neighbours would become one lock, as they have one owner.
        for byte in taken {
            ofd::set(other.as_fd(), Operation::Read, byte, 1, false).expect("free");
        }
        assert_eq!(nearest(file.as_fd(), first + 1), Some(i64::MAX - 1));
        assert_eq!(nearest(file.as_fd(), first + 3), Some(first + 1));
        assert_eq!(nearest(file.as_fd(), first + 4), Some(first + 3));
        assert_eq!(
            nearest(file.as_fd(), first + (1 << 50)),
            Some(first + (1 << 40))
        );
        assert_eq!(
            nearest(file.as_fd(), first + (1 << 60)),
            Some(first + (1 << 50))
        );
        assert!(somebody_queues(file.as_fd()) && is_there(file.as_fd(), first + 3));
        assert!(!is_there(file.as_fd(), first + 4));
    }
}
