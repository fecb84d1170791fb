//! The caller's side: marks a descriptor, and releases what it is marked for.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{Mode as Permissions, OFlags, fcntl_getfl};
use rustix::io::Errno;

use super::error::Error;
use super::record::Record;
use crate::holders::visit_owners;
use crate::lock::fair::marker::HANDLE_RANGE;
use crate::lock::mark::{HeldMode, Mark, NUMBERS};
use crate::remote::url::Url;
use crate::sys::clock::since_boot;
use crate::sys::errno;
use crate::sys::fd::dup_above_stderr;
use crate::sys::filesystem::Locality;
use crate::sys::ofd::{self, Blocking, Operation};
use crate::sys::procfs::fdinfo::FdInfo;
use crate::sys::procfs::own_fd_path;

/// A descriptor that can have a lock elsewhere, and a second open file description of its file.
#[derive(Debug)]
pub struct Handle {
    number: RawFd,
    caller: BorrowedFd<'static>,
    /// The guards' own, which holds no lock but theirs.
    pub(super) file: OwnedFd,
    pub(super) mark: Mark,
}

impl Handle {
    /// Prepares a descriptor that the caller has open, before the lock is requested: what does not
    /// work fails now.
    ///
    /// # Errors
    ///
    /// [`Error::Unsuitable`]: it is not a local regular file that can be opened for writing, or
    /// another program has locked all its bytes. [`Error::Hidden`].
    pub fn prepare(
        number: RawFd,
        caller: BorrowedFd<'static>,
        url: &Url,
        mode: HeldMode,
    ) -> Result<Self, Error> {
        let unsuitable = |reason: &str| Error::Unsuitable {
            number,
            reason: reason.to_owned(),
        };
        let stat =
            rustix::fs::fstat(caller).map_err(|errno| unsuitable(&errno::text(&errno.into())))?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
            return Err(unsuitable("it is not open on a regular file"));
        }
        if fcntl_getfl(caller).is_ok_and(|flags| flags.contains(OFlags::PATH)) {
            return Err(unsuitable("it is open without access to its file"));
        }
        if Locality::from_fd_with(caller, &stat) != Locality::Local {
            return Err(unsuitable("its file is not on a local file system"));
        }
        if operation_for(caller) == Operation::Read && stat.st_mode & 0o111 != 0 && stat.st_size > 0
        {
            // The guards' open file description would keep it from being executed.
            return Err(unsuitable("it is open for reading on an executable file"));
        }
        let file = reopen(caller).map_err(|errno| match errno {
            Errno::NOENT => Error::Hidden(number),
            _ => {
                let text = errno::text(&errno.into());
                unsuitable(&format!("its file cannot be opened for writing ({text})"))
            }
        })?;
        let first = since_boot().as_nanos() as u64;
        for attempt in 0..NUMBERS {
            let mark = Mark::new(url.as_os_str(), mode, first.wrapping_add(attempt));
            let is_free = ofd::conflict(file.as_fd(), mark.offset(), mark.loss()) == Ok(None);
            let lock = || ofd::set(file.as_fd(), Operation::Write, mark.life(), 1, Blocking::No);
            if is_free && lock().is_ok() {
                return Ok(Self {
                    number,
                    caller,
                    file,
                    mark,
                });
            }
        }
        Err(unsuitable(
            "another program has locked the whole file with fcntl(2)",
        ))
    }

    /// Marks the open file description.
    ///
    /// # Errors
    ///
    /// [`Error::Unsuitable`].
    pub(super) fn set_mark(&self) -> Result<(), Error> {
        let operation = operation_for(self.caller);
        let marked = ofd::set(self.caller, operation, self.mark.offset(), 1, Blocking::No);
        marked.map_err(|errno| Error::Unsuitable {
            number: self.number,
            reason: format!("it cannot be marked ({})", errno::text(&errno.into())),
        })
    }

    /// Removes the mark.
    pub(super) fn remove_mark(&self) {
        remove(self.caller, self.mark);
    }
}

/// Opens the file of a descriptor again, for writing: the watcher waits for the mark by a request
/// for a write lock, because the mark may be a read lock.
fn reopen(caller: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let path = own_fd_path(caller.as_raw_fd());
    // With O_NONBLOCK, a lease does not block open(2).
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Permissions::empty())?;
    dup_above_stderr(file)
}

/// Returns the lock that a descriptor permits.
fn operation_for(caller: BorrowedFd<'_>) -> Operation {
    match fcntl_getfl(caller) {
        Ok(flags) if flags & OFlags::RWMODE == OFlags::RDONLY => Operation::Read,
        _ => Operation::Write,
    }
}

/// What a descriptor is marked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marked {
    /// Not for this lock.
    No,
    /// For this lock in this mode.
    Yes,
    /// For this lock in another mode.
    OtherMode,
    /// For this lock, which has been lost.
    Lost,
}

/// Returns whether the open file description of a descriptor has a lock elsewhere already. A mark
/// without guards does not count.
pub fn marked(caller: BorrowedFd<'_>, url: &Url, mode: HeldMode) -> Marked {
    let mut marks = marks(caller);
    marks.retain(|mark| mark.is_for(url.as_os_str()) && is_guarded(caller, *mark));
    match marks.is_empty() {
        true => Marked::No,
        false if marks.iter().any(|mark| is_locked(caller, mark.loss())) => Marked::Lost,
        false if marks.iter().any(|mark| mark.has_mode(mode)) => Marked::Yes,
        false => Marked::OtherMode,
    }
}

/// Returns the token of a lock that a descriptor has, if its guards are visible.
pub fn token(caller: BorrowedFd<'_>, url: &Url) -> Option<u64> {
    let info = FdInfo::read_own(caller).ok()?;
    let is_for = |mark: &Mark| mark.is_for(url.as_os_str());
    let lock = info
        .locks
        .iter()
        .find(|lock| Mark::from_record(lock).as_ref().is_some_and(is_for))?;
    let mark = Mark::from_record(lock);
    let mut token = None;
    visit_owners(
        lock.file,
        &|lock| Mark::from_guard(lock) == mark,
        &mut |pid, _| {
            token = token.or_else(|| Some(Record::read(pid)?.token));
        },
    );
    token
}

/// Releases the locks elsewhere that a descriptor has, or one of them, and waits until the other
/// system has them back, or has regained them because their time is over.
///
/// # Errors
///
/// [`Error::Lost`]: one of them was lost before. [`Error::Hidden`].
pub fn release(number: RawFd, caller: BorrowedFd<'_>, url: Option<&Url>) -> Result<(), Error> {
    if FdInfo::read_own(caller).is_err() && may_be_marked(caller) {
        return Err(Error::Hidden(number));
    }
    let mut locks = Locks::of(caller);
    locks
        .marks
        .retain(|mark| url.is_none_or(|url| mark.is_for(url.as_os_str())));
    let is_lost = locks.is_any_lost();
    locks.release();
    // Not interrupted: there are no handlers.
    let _ = locks.wait();
    match is_lost {
        true => Err(Error::Lost(number)),
        false => Ok(()),
    }
}

/// The locks elsewhere that a descriptor has.
#[derive(Debug)]
pub struct Locks<'fd> {
    caller: BorrowedFd<'fd>,
    marks: Vec<Mark>,
}

impl<'fd> Locks<'fd> {
    /// Reads which they are.
    pub fn of(caller: BorrowedFd<'fd>) -> Self {
        let marks = marks(caller);
        Self { caller, marks }
    }

    /// Returns whether the descriptor has no lock elsewhere.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Returns whether one of them is lost.
    pub fn is_any_lost(&self) -> bool {
        let mut marks = self.marks.iter();
        marks.any(|mark| is_locked(self.caller, mark.loss()))
    }

    /// Has them released, however many processes have the descriptor.
    pub fn release(&self) {
        for mark in &self.marks {
            remove(self.caller, *mark);
        }
    }

    /// Waits until the other system has them back, or has regained them because their time is over.
    ///
    /// # Errors
    ///
    /// `EINTR`: a signal handler has run.
    pub fn wait(&self) -> Result<(), Errno> {
        let operation = operation_for(self.caller);
        for mark in &self.marks {
            // Granted when the last guard has exited.
            match ofd::set(self.caller, operation, mark.life(), 1, Blocking::Yes) {
                Err(Errno::INTR) => return Err(Errno::INTR),
                // There is nothing to wait for by.
                Err(_) => {}
                Ok(()) => {
                    let unlock = Operation::Unlock;
                    let _ = ofd::set(self.caller, unlock, mark.life(), 1, Blocking::No);
                }
            }
        }
        Ok(())
    }
}

/// Returns whether a descriptor may have a lock elsewhere: whether there are guards for a mark of its
/// file. That takes one system call.
pub fn may_be_marked(caller: BorrowedFd<'_>) -> bool {
    let (first, last) = HANDLE_RANGE.into_inner();
    !matches!(ofd::conflict(caller, first, last), Ok(None))
}

/// Returns the marks of an open file description.
fn marks(caller: BorrowedFd<'_>) -> Vec<Mark> {
    let info = FdInfo::read_own(caller).unwrap_or_default();
    info.locks.iter().filter_map(Mark::from_record).collect()
}

fn remove(caller: BorrowedFd<'_>, mark: Mark) {
    // Unlocking an open descriptor does not fail, and there would be nothing to do about it.
    let _ = ofd::set(caller, Operation::Unlock, mark.offset(), 1, Blocking::No);
}

fn is_guarded(caller: BorrowedFd<'_>, mark: Mark) -> bool {
    is_locked(caller, mark.life())
}

fn is_locked(caller: BorrowedFd<'_>, offset: i64) -> bool {
    !matches!(ofd::conflict(caller, offset, offset), Ok(None))
}
