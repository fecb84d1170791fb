//! Waiting for a change of the names of a file.
//!
//! If the file system is local, the kernel of this machine sees every name appear and disappear,
//! and inotify(7) wakes us: there is no polling. The file is watched, not its directory (`/tmp`),
//! in which much else may happen. Over NFS the kernel does not learn of changes by other machines.
//! There, and if no inotify instances are left (by default a user has 128) or the file may not be
//! read, we poll, every 10 ms at first and every 100 ms in the end, which costs the server little
//! and delays the waiter only slightly.
//!
//! *Race:* changes from before the watch exists wake no waiter. Therefore a waiter first adds the
//! watch, then checks the file, and only then waits; a change after the check is also a change
//! after the watch was added.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use fdlock::lock::at_path::Symlink;
use fdlock::sys::deferred_signals::DeferredSignals;
use fdlock::sys::filesystem::Locality;

const MIN_POLL_INTERVAL: Duration = Duration::from_millis(10);
const MAX_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Watches one file at a time.
#[derive(Debug)]
pub(super) struct LinkWatcher<'a> {
    deferred: &'a DeferredSignals,
    /// The inotify instance, and a descriptor that is readable when a deferred signal is pending;
    /// `None` if there are not enough descriptors.
    notify_fds: Option<(OwnedFd, OwnedFd)>,
    poll_interval: Duration,
}

/// How a file is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    /// Every change of its names ends the wait.
    Notified,
    /// It does not exist, so it has changed already.
    Missing,
    /// By polling.
    Polled,
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WatchEvent {
    /// The file may have changed, or the timeout has elapsed.
    Recheck,
    /// A deferred signal is pending that will terminate this process.
    Interrupted,
}

impl<'a> LinkWatcher<'a> {
    pub(super) fn new(deferred: &'a DeferredSignals) -> Self {
        let open_fds = || {
            let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
            let signals = deferred.descriptor().ok()?;
            // Two more must be available, to examine LOCK and to take it over.
            let spare = || rustix::io::fcntl_dupfd_cloexec(&signals, 0).ok();
            let _spares = (spare()?, spare()?);
            Some((inotify, signals))
        };
        Self {
            deferred,
            notify_fds: open_fds(),
            poll_interval: MIN_POLL_INTERVAL,
        }
    }

    /// Watches the file at the path from now on, as far as its file system allows that.
    pub(super) fn watch(&mut self, path: &OsStr, symlink: Symlink, locality: Locality) -> Watch {
        let inotify = match (&self.notify_fds, locality) {
            (Some((inotify, _)), Locality::Local) => inotify,
            _ => return Watch::Polled,
        };
        // A new or a removed name is a change of the attributes.
        let mut flags = WatchFlags::ATTRIB | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        if symlink == Symlink::NoFollow {
            flags |= WatchFlags::DONT_FOLLOW;
        }
        match inotify::add_watch(inotify, path, flags) {
            Ok(_) => Watch::Notified,
            Err(Errno::NOENT) => Watch::Missing,
            Err(_) => Watch::Polled,
        }
    }

    /// Waits until the file may have changed, at most for the timeout.
    pub(super) fn wait(&mut self, watch: Watch, timeout: Option<Duration>) -> WatchEvent {
        let timeout = match watch {
            Watch::Notified => timeout,
            Watch::Missing => Some(Duration::ZERO),
            Watch::Polled => {
                let interval = self.poll_interval;
                self.poll_interval = (interval * 2).min(MAX_POLL_INTERVAL);
                Some(timeout.map_or(interval, |timeout| timeout.min(interval)))
            }
        };
        // A timeout beyond the range of the kernel's clock is infinite.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut fds = self
            .notify_fds
            .iter()
            .flat_map(|(inotify, signals)| [inotify, signals])
            .map(|fd| PollFd::new(fd, PollFlags::IN))
            .collect::<Vec<_>>();
        // If it fails or is interrupted, all that can be done is to check again.
        let _ = poll(&mut fds, timeout.as_ref());
        if self.deferred.is_pending() {
            return WatchEvent::Interrupted;
        }
        // Reads all events, so that only new ones end the next wait. Their contents do not matter,
        // because the file is checked next.
        let mut buffer = [0_u8; 4096];
        if let Some((inotify, _)) = &self.notify_fds {
            while rustix::io::read(inotify, &mut buffer).is_ok_and(|read| read > 0) {}
        }
        WatchEvent::Recheck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the test with a file that is being watched.
    fn with_watch(locality: Locality, test: impl Fn(&OsStr, &mut LinkWatcher<'_>, Watch)) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("file").into_os_string();
        std::fs::write(&path, "").expect("a new file");
        let deferred = DeferredSignals::terminating();
        let mut watcher = LinkWatcher::new(&deferred);
        let watch = watcher.watch(&path, Symlink::NoFollow, locality);
        test(&path, &mut watcher, watch);
    }

    #[test]
    fn every_change_of_a_name_ends_an_infinite_wait() {
        with_watch(Locality::Local, |path, watcher, mut watch| {
            let other = [path, OsStr::new("2")].join(OsStr::new(""));
            std::fs::write(&other, "").expect("a new file");
            type Change<'a> = &'a dyn Fn() -> std::io::Result<()>;
            let link = || std::fs::hard_link(path, [&other, OsStr::new("3")].join(OsStr::new("")));
            let exchange = || {
                let cwd = rustix::fs::CWD;
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                Ok(rustix::fs::renameat_with(cwd, path, cwd, &other, flags)?)
            };
            let replace = || std::fs::rename(&other, path);
            let remove = || std::fs::remove_file(path);
            for change in [&link as Change<'_>, &exchange, &replace, &remove] {
                assert_eq!(watch, Watch::Notified);
                change().expect("the change succeeds");
                assert_eq!(watcher.wait(watch, None), WatchEvent::Recheck);
                watch = watcher.watch(path, Symlink::NoFollow, Locality::Local);
            }
            assert_eq!(watch, Watch::Missing);
            assert_eq!(watcher.wait(watch, None), WatchEvent::Recheck);
        });
    }

    #[test]
    fn a_wait_ends_after_its_timeout() {
        with_watch(Locality::Local, |_, watcher, watch| {
            let timeout = Some(Duration::from_millis(1));
            assert_eq!(watcher.wait(watch, timeout), WatchEvent::Recheck);
        });
    }

    #[test]
    fn the_poll_interval_grows() {
        with_watch(Locality::Remote, |_, watcher, watch| {
            assert_eq!(watch, Watch::Polled);
            let intervals: [_; 5] = std::array::from_fn(|_| {
                let interval = watcher.poll_interval.as_millis();
                assert_eq!(watcher.wait(watch, None), WatchEvent::Recheck);
                interval
            });
            assert_eq!(intervals, [10, 20, 40, 80, 100]);
        });
    }
}
