//! What a guard watches over, and what all guards can do.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, Shutdown, SocketFlags, SocketType, recv, shutdown, socketpair,
};
use rustix::stdio;

use super::state::State;
use super::stop;
use crate::lock::mark::Mark;
use crate::remote::terms::Terms;
use crate::sys::alarm::Alarm;
use crate::sys::ofd;
use crate::sys::procfs::locks::FileKey;
use crate::sys::signal::number;

/// How long after a failure a guard is started again, and processes that were missed are killed.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// The longest time between two attempts to kill processes: those that are left cannot be killed.
const MAX_KILL_INTERVAL: Duration = Duration::from_secs(10);

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

    /// Returns when the processes are killed, if they have been asked to terminate: earlier than was
    /// decided, if the helper has reported since that another process may have the lock already.
    pub fn kill_at(&self) -> Option<Duration> {
        let latest = self.terms.kill_at(self.state.until());
        self.state.kill_at().map(|at| at.min(latest))
    }

    /// Has the helper release the lock, and waits until it has done so or the lock is free anyway,
    /// because its time is over.
    pub fn release(&self) -> io::Result<()> {
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
    let flags = SocketFlags::CLOEXEC;
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        flags,
        None,
    )?)
}
