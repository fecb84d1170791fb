//! Waiting for something to happen to the names of a file.
//!
//! Where the file system is this machine's alone, its kernel sees every name come and go, and inotify(7) has it wake us:
//! nothing runs in between. It watches the file and not its folder, in which there may be much going on that is none of
//! our business (`/tmp`). Over NFS a kernel hears of nothing that happens elsewhere; there, and where inotify has no
//! more to give (128 instances for a user by default) or the file may not be read, we look again every 10 ms at first and
//! every 100 ms in the end, which costs the server little and the waiter not much.
//!
//! *The race:* the file against the watch. What happens before the watch is there wakes nobody. So whoever waits first
//! watches, then looks, and only then waits; what happens after the look is after the watch, too.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use fdlock::sys::deferred_signals::DeferredSignals;
use fdlock::sys::filesystem::Locality;

/// How often to look where nobody wakes us: at first, and at the least.
const NAPS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));

/// Somebody who waits.
#[derive(Debug)]
pub(super) struct Waiter<'a> {
    held: &'a DeferredSignals,
    /// inotify, and a descriptor for the signals that are held back.
    eyes: Option<(OwnedFd, OwnedFd)>,
    nap: Duration,
}

/// How a file is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    /// Whatever happens to its names wakes us.
    Closely,
    /// It was not there: something has happened already.
    Gone,
    /// Not at all.
    Blindly,
}

/// What a path names when it is a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Symlink {
    /// What it leads to.
    Followed,
    /// Itself.
    Itself,
}

/// Why a wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// Something may have happened, or the time is up.
    Look,
    /// A signal has come that will end this process.
    Interrupted,
}

impl<'a> Waiter<'a> {
    pub(super) fn new(held: &'a DeferredSignals) -> Self {
        let eyes = || {
            let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
            let signals = held.descriptor().ok()?;
            // Some must be left to look at LOCK with, and to take it over.
            let spare = || rustix::io::fcntl_dupfd_cloexec(&signals, 0).ok();
            let _enough = (spare()?, spare()?);
            Some((inotify, signals))
        };
        Self {
            held,
            eyes: eyes(),
            nap: NAPS.0,
        }
    }

    /// Watches the file at the path from now on, as far as that can be done for its file system.
    pub(super) fn watch(&mut self, path: &OsStr, symlink: Symlink, locality: Locality) -> Watched {
        let inotify = match (&self.eyes, locality) {
            (Some((inotify, _)), Locality::Local) => inotify,
            _ => return Watched::Blindly,
        };
        // A name less is a change of the file's attributes.
        let mut what = WatchFlags::ATTRIB | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        if symlink == Symlink::Itself {
            what |= WatchFlags::DONT_FOLLOW;
        }
        match inotify::add_watch(inotify, path, what) {
            Ok(_) => Watched::Closely,
            Err(Errno::NOENT) => Watched::Gone,
            Err(_) => Watched::Blindly,
        }
    }

    /// Waits until something may have happened, but no longer than this.
    pub(super) fn wait(&mut self, watched: Watched, limit: Option<Duration>) -> Woken {
        let limit = match watched {
            Watched::Closely => limit,
            Watched::Gone => Some(Duration::ZERO),
            Watched::Blindly => {
                let nap = limit.map_or(self.nap, |limit| limit.min(self.nap));
                self.nap = (self.nap * 2).min(NAPS.1);
                Some(nap)
            }
        };
        // A time beyond the kernel's clock is for ever.
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let mut fds = self
            .eyes
            .iter()
            .flat_map(|(inotify, signals)| [inotify, signals])
            .map(|fd| PollFd::new(fd, PollFlags::IN))
            .collect::<Vec<_>>();
        // If it fails or is interrupted, there is nothing better than to look.
        let _ = poll(&mut fds, limit.as_ref());
        if self.held.is_pending() {
            return Woken::Interrupted;
        }
        self.forget();
        Woken::Look
    }

    /// Reads what inotify has to say, so that it is quiet until there is something new. What exactly it was does not
    /// matter: the next look tells.
    fn forget(&self) {
        let mut buffer = [0_u8; 4096];
        if let Some((inotify, _)) = &self.eyes {
            while rustix::io::read(inotify, &mut buffer).is_ok_and(|read| read > 0) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file, somebody who watches it, and how.
    fn watching(locality: Locality, test: impl Fn(&OsStr, &mut Waiter<'_>, Watched)) {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = folder.path().join("file").into_os_string();
        std::fs::write(&path, "").expect("it can be written");
        let held = DeferredSignals::terminating();
        let mut waiter = Waiter::new(&held);
        let watched = waiter.watch(&path, Symlink::Itself, locality);
        test(&path, &mut waiter, watched);
    }

    #[test]
    fn whatever_happens_to_a_name_ends_a_wait_that_would_last_for_ever() {
        watching(Locality::Local, |path, waiter, mut watched| {
            let other = [path, OsStr::new("2")].join(OsStr::new(""));
            std::fs::write(&other, "").expect("it can be written");
            type Deed<'a> = &'a dyn Fn() -> std::io::Result<()>;
            let link = || std::fs::hard_link(path, [&other, OsStr::new("3")].join(OsStr::new("")));
            let exchange = || {
                let cwd = rustix::fs::CWD;
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                Ok(rustix::fs::renameat_with(cwd, path, cwd, &other, flags)?)
            };
            let replace = || std::fs::rename(&other, path);
            let remove = || std::fs::remove_file(path);
            for deed in [&link as Deed<'_>, &exchange, &replace, &remove] {
                assert_eq!(watched, Watched::Closely);
                deed().expect("it can be done");
                assert_eq!(waiter.wait(watched, None), Woken::Look);
                watched = waiter.watch(path, Symlink::Itself, Locality::Local);
            }
            assert_eq!(watched, Watched::Gone);
            assert_eq!(waiter.wait(watched, None), Woken::Look);
        });
    }

    #[test]
    fn a_wait_ends_when_its_time_is_up() {
        watching(Locality::Local, |_, waiter, watched| {
            let soon = Some(Duration::from_millis(1));
            assert_eq!(waiter.wait(watched, soon), Woken::Look);
        });
    }

    #[test]
    fn where_nobody_wakes_us_we_look_again_and_again_but_less_and_less() {
        watching(Locality::Remote, |_, waiter, watched| {
            assert_eq!(watched, Watched::Blindly);
            let naps: [_; 5] = std::array::from_fn(|_| {
                let nap = waiter.nap.as_millis();
                assert_eq!(waiter.wait(watched, None), Woken::Look);
                nap
            });
            assert_eq!(naps, [10, 20, 40, 80, 100]);
        });
    }
}
