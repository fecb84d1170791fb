//! What is done about a lock file that is there: whose is it, does he live, and may it be removed.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{FileType, Mode as Permissions, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::Pid;

use super::owner::{Finding, Here};
use super::{READ_ONLY, Taken, read, remove};
use fdlock::lock::file::{self, Comparison, ReplacementCheck};
use fdlock::lock::{self, Answer, Deadline, Error, Failure, Kind, Mode, Wait};
use fdlock::sys::fd::dup_above_stderr;
use fdlock::sys::filesystem::Locality;
use fdlock::sys::procfs::liveness;

/// How long a dead process's lock may take to be dropped: by the keeper, who first puts down what the process left
/// running, or by others who are about to break it.
const PATIENCE: Duration = Duration::from_secs(5);

/// One who comes upon a lock file.
pub(super) struct Challenge<'a> {
    path: &'a OsStr,
    here: &'a Here,
    /// When the patience with a dead one's lock is over.
    deadline: Deadline,
    identity: ReplacementCheck,
}

/// What he found.
pub(super) enum Found {
    /// There is no file.
    Nothing,
    /// The lock is taken.
    Lock(Taken),
    /// It was a dead one's, and is removed.
    Dead(Pid),
    /// Somebody else was at it; one has to look again.
    Changing,
}

impl<'a> Challenge<'a> {
    pub(super) fn new(path: &'a OsStr, here: &'a Here) -> Self {
        Self {
            path,
            here,
            deadline: Timeout::After(PATIENCE).begin(),
            identity: ReplacementCheck::default(),
        }
    }

    pub(super) fn go(&mut self) -> Result<Found, Error> {
        let Some((file, opened)) = self.open()? else {
            return Ok(Found::Nothing);
        };
        let (file, held) = self.lock_for_good(file)?;
        let text = read(file.as_fd()).map_err(|error| self.not_opened(error))?;
        let locality = Locality::of(&file);
        let finding = self.here.judge(&text, locality, liveness::check);
        match (held, finding) {
            (Answer::Granted, finding) => match self.at_path(&opened)? {
                Comparison::Same => self.finish(finding, &opened),
                Comparison::Replaced => Ok(Found::Changing),
                Comparison::Unreliable => Err(Error::Unsteady {
                    path: self.path.to_owned(),
                }),
            },
            // Its keeper is about to drop the lock, or others are about to break it.
            (_, finding) => match who_is_over(&finding) {
                None => Ok(Found::Lock(Taken::Held)),
                Some(maker) => match self.lock(file.as_fd(), &self.deadline)? {
                    Answer::Granted => Ok(Found::Changing),
                    _ => Ok(Found::Lock(Taken::Outlived {
                        path: self.path.to_owned(),
                        maker,
                    })),
                },
            },
        }
    }

    /// With the lock of the file that the path means.
    fn finish(&self, finding: Finding, opened: &Stat) -> Result<Found, Error> {
        let perhaps = |maker| Taken::Perhaps {
            path: self.path.to_owned(),
            maker,
        };
        Ok(match finding {
            Finding::Dead(pid) | Finding::AskTheLock(pid) => {
                match remove::remove(self.path, FileId::from_stat(opened)) {
                    Ok(true) => Found::Dead(pid),
                    // The original was faster.
                    Ok(false) => Found::Changing,
                    Err(error) => {
                        return Err(Error::File {
                            deed: "remove lock file",
                            path: self.path.to_owned(),
                            error: error.into(),
                            hint: None,
                        });
                    }
                }
            }
            Finding::Lives(_) => Found::Lock(Taken::Held),
            Finding::Elsewhere { pid, host } => Found::Lock(perhaps(Some((pid, host)))),
            Finding::Nobody => Found::Lock(perhaps(None)),
        })
    }

    /// Opens what is there. Anything but a regular file is left alone: opening a FIFO alone could wake a writer, whose words
    /// would be lost, and what a symbolic link leads to is not for us to remove or to make.
    fn open(&self) -> Result<Option<(OwnedFd, Stat)>, Error> {
        let stat = match rustix::fs::lstat(self.path) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            other => other.map_err(|error| self.not_opened(error))?,
        };
        self.check(&stat)?;
        let flags =
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match rustix::fs::open(self.path, flags, Permissions::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.and_then(dup_above_stderr),
        }
        .map_err(|error| self.not_opened(error))?;
        let stat = rustix::fs::fstat(&file).map_err(|error| self.not_opened(error))?;
        self.check(&stat)?;
        Ok(Some((file, stat)))
    }

    fn check(&self, stat: &Stat) -> Result<(), Error> {
        let what = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => return Ok(()),
            FileType::Directory => "a directory",
            FileType::Symlink => "a symbolic link",
            FileType::Fifo => "a FIFO",
            FileType::Socket => "a socket",
            _ => "a device",
        };
        Err(Error::Unsuitable {
            path: self.path.to_owned(),
            what,
            wanted: "a regular file",
        })
    }

    /// Asks for the file's lock, and returns the file that has it, if it is granted.
    ///
    /// NFS makes a lock of fcntl(2) out of it, and then an exclusive one wants a descriptor that can write, which is not to be
    /// had for a file that nobody may write. A shared one shows whether somebody holds it; only if nobody does, its owner may
    /// write for the moment in which it is opened again.
    fn lock_for_good(&self, file: OwnedFd) -> Result<(OwnedFd, Answer), Error> {
        let ask = |file: &OwnedFd, mode| {
            lock::acquire(file.as_fd(), Kind::Flock, mode, &Deadline::Immediate)
        };
        match ask(&file, Mode::Exclusive) {
            Err(Failure::Lock(error)) if wants_writing(&error) => {
                if let Ok(Refusal::WouldBlock) = ask(&file, Mode::Shared) {
                    return Ok((file, Refusal::WouldBlock));
                }
                let _ = rustix::fs::fchmod(&file, READ_ONLY | Permissions::WUSR);
                let again = format!("/proc/self/fd/{}", file.as_raw_fd());
                let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY;
                let writable = rustix::fs::open(again, flags, Permissions::empty());
                let _ = rustix::fs::fchmod(&file, READ_ONLY);
                // And with it our shared lock, which would be in our way.
                drop(file);
                let file = writable.map_err(|error| self.not_opened(error))?;
                let answer = self.lock(file.as_fd(), &Deadline::Immediate)?;
                Ok((file, answer))
            }
            answer => {
                let answer = answer.map_err(|failure| failure.of(self.path))?;
                Ok((file, answer))
            }
        }
    }

    fn lock(&self, file: BorrowedFd<'_>, deadline: &Deadline) -> Result<Answer, Error> {
        lock::acquire(file, Kind::Flock, Mode::Exclusive, deadline)
            .map_err(|failure| failure.of(self.path))
    }

    /// Whether the path still means what was opened.
    fn at_path(&mut self, opened: &Stat) -> Result<Comparison, Error> {
        let at_path = match rustix::fs::lstat(self.path) {
            Ok(stat) => Some(FileId::from_stat(&stat)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::STALE) => None,
            Err(error) => return Err(self.not_opened(error)),
        };
        Ok(self.identity.compare(FileId::from_stat(opened), at_path))
    }

    fn not_opened(&self, error: Errno) -> Error {
        Error::Open {
            path: self.path.to_owned(),
            error: error.into(),
            needed: None,
        }
    }
}

fn wants_writing(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::BADF | Errno::IO))
}

/// The owner, if he is dead, or as good as dead: killed, so that he does nothing any more, but not quite gone.
fn who_is_over(finding: &Finding) -> Option<Pid> {
    match finding {
        Finding::Dead(pid) => Some(*pid),
        Finding::Lives(pid) => liveness::is_exiting(*pid).then_some(*pid),
        _ => None,
    }
}
