//! What all guards of a lock have in common, and how they are started.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown, recv, shutdown};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{chdir, setsid};
use rustix::stdio;

use super::descriptor::Handle;
use super::error::Error;
use super::record::Record;
use super::state::State;
use super::stop;
use super::timekeeper::Timekeeper;
use crate::lock::mark::Mark;
use crate::remote::helper::Helper;
use crate::remote::terms::Terms;
use crate::remote::url::Url;
use crate::sys::alarm::Alarm;
use crate::sys::fd;
use crate::sys::ofd;
use crate::sys::procfs::fdinfo::FdInfo;
use crate::sys::procfs::locks::FileKey;
use crate::sys::signal::{self, SignalSet, number};
use crate::sys::spawn;

/// How long after a failure a guard is started again, and processes that were missed are killed.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// The longest time between two attempts to kill processes: those that are left cannot be killed.
const MAX_KILL_INTERVAL: Duration = Duration::from_secs(10);

/// A lock elsewhere that has been granted.
#[derive(Clone, Copy, Debug)]
pub struct Lease<'a> {
    /// The helper that holds it.
    pub helper: &'a Helper,
    /// The lock.
    pub url: &'a Url,
    /// Its terms.
    pub terms: Terms,
    /// When it ends unless it is renewed, by `CLOCK_BOOTTIME`.
    pub until: Duration,
}

/// What a guard watches over. Its standard input is the connection to the helper, its standard
/// output the guards' own open file description.
#[derive(Clone, Debug)]
pub(super) struct Watched<'a> {
    pub state: &'a State,
    pub terms: Terms,
    pub mark: Mark,
    /// The file of the mark.
    pub file: FileKey,
    pub url: OsString,
}

impl Handle {
    /// Ties a lock that has been granted to the descriptor, and leaves it to the guards: this
    /// process may exit.
    ///
    /// # Errors
    ///
    /// The descriptor cannot be marked, or there are not enough processes, descriptors or memory.
    /// The lock is released when this process closes its connection to the helper.
    pub fn tie(&self, lease: &Lease<'_>) -> Result<(), Error> {
        self.set_mark()?;
        let started = self.start_guards(lease);
        if started.is_err() {
            self.remove_mark();
        }
        started.map_err(Error::Start)
    }

    fn start_guards(&self, lease: &Lease<'_>) -> io::Result<()> {
        let state = State::new(lease.until)?;
        let info = FdInfo::read_own(self.file.as_fd())?;
        let lock = info.locks.first().ok_or(Errno::NOLCK)?;
        let (ready, guards_end) = pipe_with(PipeFlags::CLOEXEC)?;
        // Not one of those that it replaces in the guard.
        let guards_end = fd::dup_above_stderr(guards_end)?;
        // Nothing that the terminal or a service manager sends to the script is meant for the
        // guards, from the first moment on.
        let mask = signal::set_mask(SignalSet::ALL);
        let started = spawn::fork_with(|| {
            let watched = Watched {
                state: &state,
                terms: lease.terms,
                mark: self.mark,
                file: lock.file,
                url: lease.url.as_os_str().to_owned(),
            };
            let become_guard = || {
                setsid()?;
                stdio::dup2_stdin(lease.helper.socket())?;
                stdio::dup2_stdout(&self.file)?;
                stdio::dup2_stderr(&guards_end)
            };
            if become_guard().is_err() {
                return 1;
            }
            fd::close_from(3);
            // Fails only without permission, and then the file system stays busy for as long.
            let _ = chdir("/");
            let record = Record::store(&watched.url);
            let lines = lease.helper.lines();
            let status = Timekeeper::start(watched, lines).map_or(1, Timekeeper::run);
            drop(record);
            status
        });
        signal::set_mask(mask);
        started?;
        drop(guards_end);
        // The end comes without it if the timekeeper could not start.
        let mut byte = [0];
        match crate::sys::repeat_if_interrupted(|| rustix::io::read(&ready, &mut byte)) {
            Ok(1) => Ok(()),
            _ => Err(Errno::AGAIN.into()),
        }
    }
}

impl Watched<'_> {
    /// Returns whether a process still has the marked open file description.
    pub fn is_marked(&self) -> bool {
        let offset = self.mark.offset();
        ofd::conflict(stdio::stdout(), offset, offset) != Ok(None)
    }

    /// Returns when processes are killed that are asked to terminate now.
    pub fn kill_time(&self, now: Duration) -> Duration {
        let Terms { grace, .. } = self.terms;
        self.terms.kill_at(self.state.until()).min(now + grace)
    }

    /// Has the helper release the lock, and waits until it has done so or the lock is free anyway,
    /// because its time is over.
    pub fn release(&self) -> io::Result<()> {
        self.state.set_released();
        let helper = stdio::stdin();
        let _ = shutdown(helper, Shutdown::Write);
        let alarm = Alarm::new()?;
        alarm.set(self.state.until())?;
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(helper, PollFlags::IN),
                PollFd::from_borrowed_fd(alarm.as_fd(), PollFlags::IN),
            ];
            poll(&mut fds, None)?;
            if !fds[1].revents().is_empty() {
                return Ok(());
            }
            match recv(helper, &mut [0; 1024], RecvFlags::DONTWAIT) {
                Ok((0, _)) | Err(Errno::CONNRESET) => return Ok(()),
                _ => {}
            }
        }
    }
}

/// Kills the processes that have the marked descriptor, again and again.
#[derive(Debug)]
pub(super) struct Killer {
    next: Duration,
    interval: Duration,
}

impl Default for Killer {
    fn default() -> Self {
        Self {
            next: Duration::ZERO,
            interval: RETRY_INTERVAL,
        }
    }
}

impl Killer {
    /// Kills them if it is time, and returns when to do it again.
    pub fn kill(&mut self, watched: &Watched<'_>, now: Duration) -> Duration {
        if now >= self.next {
            stop::signal_all(watched.file, watched.mark, &[number::KILL]);
            self.next = now + self.interval;
            self.interval = (self.interval * 2).min(MAX_KILL_INTERVAL);
        }
        self.next
    }
}

/// Returns the end of a connection that its other end keeps open in one process only.
pub(super) fn leash() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?)
}
