//! The deputy: the guard that replaces the timekeeper, or does its work.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustix::process::Pid;

use super::watched::{Killer, RETRY_INTERVAL, Watched};
use crate::sys::alarm::Alarm;
use crate::sys::args;
use crate::sys::clock::since_boot;
use crate::sys::process;
use crate::sys::signal::{self, number};

const NAME: &str = "lock-deputy";

/// Watches over the timekeeper, the parent of this process, until it exits. The leash is the end of
/// a connection that only the timekeeper has besides, and by which it wakes this process.
///
/// *Race:* a renewal may have arrived while the timekeeper was stopped. It is continued before the
/// processes would be stopped, and has read the renewal by the time at which this process would
/// kill them. A timekeeper that is not stopped is not disturbed: it blocks `SIGCONT`.
pub(super) fn watch(
    watched: &Watched<'_>,
    alarm: &Alarm,
    leash: BorrowedFd<'_>,
    timekeeper: Pid,
) -> io::Result<()> {
    process::set_name(NAME);
    args::overwrite(NAME);
    let mut killer = Killer::default();
    let mut next = check(watched, timekeeper, &mut killer);
    loop {
        alarm.set(next)?;
        let mut fds = [
            PollFd::from_borrowed_fd(leash, PollFlags::IN),
            PollFd::from_borrowed_fd(alarm.as_fd(), PollFlags::IN),
        ];
        poll(&mut fds, None)?;
        if fds[0].revents().is_empty() {
            next = check(watched, timekeeper, &mut killer);
            continue;
        }
        match recv(leash, &mut [0; 16], RecvFlags::DONTWAIT) {
            Ok((0, _)) | Err(Errno::CONNRESET) => return Ok(()),
            // The timekeeper is about to stop the processes, and has the time to say why.
            _ => next = since_boot() + RETRY_INTERVAL,
        }
    }
}

/// Does what the timekeeper should have done, if it has not, and returns when to look again.
fn check(watched: &Watched<'_>, timekeeper: Pid, killer: &mut Killer) -> Duration {
    let (state, terms) = (watched.state, watched.terms);
    let (now, until) = (since_boot(), state.until());
    let doubt_at = terms.stop_at(until).saturating_sub(RETRY_INTERVAL);
    if now < doubt_at && state.kill_at().is_none() {
        return doubt_at;
    }
    if !process::is_orphaned_by(timekeeper) {
        let _ = signal::send(timekeeper, number::CONT);
    }
    let kill_at = watched.kill_at().unwrap_or(terms.kill_at(until));
    if now >= kill_at {
        return killer.kill(watched, now);
    }
    now + RETRY_INTERVAL
}
