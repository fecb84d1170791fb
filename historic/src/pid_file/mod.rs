//! Locks that are files with a process id in them, as Perl's LockFile::Simple makes them: the lock is that the file is
//! there.
//!
//! Whoever makes such a file and dies leaves it behind, and the next one has to find out. The id that stands in it may be
//! another process's by now, or mean nothing here; so besides, whoever holds such a lock of ours holds one of flock(2) on
//! the file, from before it has a name until it has none any more. The kernel drops that with the process and knows it in
//! every pid namespace.
//!
//! *The race* of those who find a dead one's file: two could see that it is dead, one remove it and make his own, and the
//! other remove that. So only who holds flock(2) of the file that the path means may remove it: its maker, who has held it
//! all the time, or one who has come by it because the maker is dead. He looks whether the path still means this file
//! after he got the lock. From then on it goes on to mean it until he has removed it: no other of us may remove it, and
//! link(2), by which alone files of ours get their name, replaces nothing. Then he is one of many who want the name, and
//! link(2) lets one of them win.
//!
//! *The races with the original*, which knows nothing of all this. It removes a file by its path, a moment after it has
//! read a dead process's id in it; in that moment we may have replaced it by ours. And it opens what it thinks that it
//! makes with `O_TRUNC`, a moment after it has seen that nothing is there; as root that empties ours. In both cases our file
//! is not what it was when the original believes that it has the lock; so we look once more before we believe it. And while
//! we break a dead one's lock, the original may be doing the same (see `removal`). What is left is an original that stands
//! still between two system calls for longer than we do between three, and that it believes somebody else's living process
//! to be dead (`EPERM`).
//!
//! # References
//!
//! LockFile::Simple(3pm), flock(2), link(2).

mod inspect;
pub mod owner;
mod remove;

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode as Permissions, Stat};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::new_file::Draft;
use fdlock::lock::{self, Deadline, Error, Kind, Mode, file};
use fdlock::sys::deferred_signals::DeferredSignals;
use inspect::{Challenge, Found};
use owner::Here;

/// More than stands in any file of this kind.
const MOST: usize = 4096;

/// Nobody may write, as the original has it: so who comes upon the file while making his own does not overwrite it.
const READ_ONLY: Permissions = Permissions::from_bits_truncate(0o444);

/// A lock that is held. Dropping it removes the file.
#[derive(Debug)]
pub struct PidFile {
    path: OsString,
    file: OwnedFd,
    text: Vec<u8>,
    /// Let go last of all.
    held: DeferredSignals,
}

/// Why a lock is not to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Its owner lives.
    Held,
    /// Its owner seems to be dead, but somebody holds flock(2) of the file: a keeper who cannot put down what the owner
    /// left running, or anybody who can read the file and wants to be in the way.
    Outlived {
        /// The file.
        path: OsString,
        /// The process that made it.
        maker: Pid,
    },
    /// Nobody can tell from here whether its owner lives.
    Perhaps {
        /// The file.
        path: OsString,
        /// The process that made it, and its machine, if that is said.
        maker: Option<(Pid, OsString)>,
    },
}

impl Taken {
    /// What the user has to find out, where we cannot.
    pub fn message(&self) -> Option<OsString> {
        let (path, why) = match self {
            Self::Held => return None,
            Self::Outlived { path, maker } => (
                path,
                format!(
                    " is still locked, although process {}, which created it, seems to be dead; lslocks(8) shows the holder",
                    maker.as_raw_nonzero()
                )
                .into(),
            ),
            Self::Perhaps {
                path,
                maker: Some((pid, host)),
            } => {
                let mut why = OsString::from(format!(
                    " was created by process {} on host ",
                    pid.as_raw_nonzero()
                ));
                why.push(host);
                why.push("; if that process no longer runs, remove the file");
                (path, why)
            }
            Self::Perhaps { path, maker: None } => (
                path,
                " does not contain a process ID; if it is not in use, remove the file".into(),
            ),
        };
        let mut message = path.clone();
        message.push(why);
        Some(message)
    }
}

/// Makes the lock file at the path, unless somebody has. A dead one's is removed, and `breaks` is told who that was.
///
/// Signals are held back from before there is a file of ours until the lock is dropped, so that nothing but `SIGKILL` ends
/// us before the file is removed.
///
/// # Errors
///
/// The file can be neither made nor judged, what is there is none, or flock(2) fails.
pub fn acquire(path: &OsStr, breaks: &mut dyn FnMut(Pid)) -> Result<Result<PidFile, Taken>, Error> {
    let here = Here::now();
    let mut challenge = Challenge::new(path, &here);
    loop {
        match challenge.go()? {
            Found::Nothing => {
                if let Some(lock) = PidFile::make(path, &here)? {
                    return Ok(Ok(lock));
                }
            }
            Found::Lock(taken) => return Ok(Err(taken)),
            Found::Dead(pid) => breaks(pid),
            Found::Changing => {}
        }
    }
}

impl PidFile {
    /// The signals that wait until this is dropped.
    pub fn held(&self) -> &DeferredSignals {
        &self.held
    }

    /// Removes the file.
    ///
    /// # Errors
    ///
    /// It is ours and cannot be removed; by this process's end it is a dead one's.
    pub fn release(&self) -> Result<(), Error> {
        self.remove().map_err(|error| Error::File {
            deed: "remove lock file",
            path: self.path.clone(),
            error: error.into(),
            hint: None,
        })
    }

    /// `None` when somebody else has it: for the name was taken, or what we made is no longer as we made it.
    fn make(path: &OsStr, here: &Here) -> Result<Option<Self>, Error> {
        let held = DeferredSignals::terminating();
        let text = here.claim();
        let lock = publish(path, &text)?.map(|file| Self {
            path: path.to_owned(),
            file,
            text,
            held,
        });
        Ok(lock.filter(Self::is_ours))
    }

    /// Whether the path means our file, and that says what we wrote.
    fn is_ours(&self) -> bool {
        let opened = rustix::fs::fstat(&self.file);
        let at_path = rustix::fs::lstat(&self.path);
        let same =
            |opened: Stat, at_path: Stat| FileId::from_stat(&opened) == FileId::from_stat(&at_path);
        matches!((opened, at_path), (Ok(opened), Ok(at_path)) if same(opened, at_path))
            && read(self.file.as_fd()).is_ok_and(|text| text == self.text)
    }

    fn remove(&self) -> Result<(), Errno> {
        if self.is_ours() {
            rustix::fs::unlink(&self.path)
        } else {
            Ok(())
        }
    }
}

impl AsFd for PidFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Whoever wants to hear of an error calls `release`. What that has removed is not ours any more.
        let _ = self.remove();
    }
}

/// A file with this text that is locked by flock(2) and has this name, or `None` when the name is taken.
fn publish(path: &OsStr, text: &[u8]) -> Result<Option<OwnedFd>, Error> {
    let create = |error: Errno| Error::Create {
        path: path.to_owned(),
        error: error.into(),
    };
    let draft = Draft::beside(path, text).map_err(create)?;
    rustix::fs::fchmod(&draft, READ_ONLY).map_err(create)?;
    lock::acquire(
        draft.as_fd(),
        Kind::Flock,
        Mode::Exclusive,
        &Deadline::Immediate,
    )
    .map_err(|failure| failure.of(path))?;
    // A name may outlive a power failure by which the text behind it is lost, and then nobody could tell any more who is
    // dead. Where that cannot happen it fails, or costs nothing.
    let _ = rustix::fs::fdatasync(&draft);
    let published = draft.publish(path).map_err(create)?;
    Ok(published.then(|| draft.into_file()))
}

/// The beginning of a file, which is all of it.
fn read(file: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    let mut text = vec![0; MOST];
    let mut length = 0;
    while length < MOST {
        match rustix::io::pread(file, &mut text[length..], length as u64) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    text.truncate(length);
    Ok(text)
}
