//! The timekeeper: the process that keeps the time of a lease, so that the command is stopped while
//! the lock is still ours, whatever happens to the helper.
//!
//! It is a child of this process, in a session of its own, because it must go on while the job is
//! stopped. It reads what the helper sends, and orders the supervisor to stop the command. It exits
//! when this process and the supervisor have exited, which it notices by the end of the connection
//! to them, the leash.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{SendFlags, send};
use rustix::process::{Pid, setsid};
use rustix::stdio;

use super::orders::{Order, Orders};
use crate::remote::protocol::{LineReader, Message, Progress};
use crate::remote::terms::Terms;
use crate::sys::alarm::Alarm;
use crate::sys::args;
use crate::sys::clock::since_boot;
use crate::sys::fd;
use crate::sys::process;
use crate::sys::spawn;

/// The name of the process, which also replaces its command line, for the same reason as that of
/// the supervisor.
const NAME: &str = "lock-timekeeper";

/// How often an order is repeated. A supervisor that has just decided to stop with the command may
/// overlook it: see [`stop`](crate::run::forward::stop).
pub(super) const REPEAT_INTERVAL: Duration = Duration::from_millis(100);

/// Starts the timekeeper. Every signal must be blocked, and stays blocked in the timekeeper.
/// `helper` is the connection to the helper, and `lines` what has been read from it; `leash` is the
/// timekeeper's end of that connection.
pub(super) fn start(
    orders: &Orders,
    terms: Terms,
    helper: BorrowedFd<'_>,
    lines: LineReader,
    leash: BorrowedFd<'_>,
) -> io::Result<Pid> {
    spawn::fork_with(|| {
        process::set_name(NAME);
        args::overwrite(NAME);
        // It keeps nothing else open, above all no pipe of the caller's and no other end of these
        // two connections.
        let result = setsid()
            .and_then(|_| stdio::dup2_stdin(helper))
            .and_then(|()| stdio::dup2_stdout(leash));
        fd::close_from(2);
        let alarm = Alarm::new();
        let (Ok(()), Ok(alarm)) = (result, alarm) else {
            return 1;
        };
        let mut timekeeper = Timekeeper {
            orders,
            terms,
            lines,
            is_helper_alive: true,
            until: orders.until(),
            kill_at: None,
        };
        timekeeper.run(&alarm).map_or(1, |()| 0)
    })
}

struct Timekeeper<'a> {
    orders: &'a Orders,
    terms: Terms,
    lines: LineReader,
    /// Whether the helper is connected and has conformed to the protocol so far. Otherwise there
    /// are no renewals any more, and the time runs out.
    is_helper_alive: bool,
    until: Duration,
    /// When the command is killed, once it has been asked to stop.
    kill_at: Option<Duration>,
}

impl Timekeeper<'_> {
    fn run(&mut self, alarm: &Alarm) -> io::Result<()> {
        let (helper, leash) = (stdio::stdin(), stdio::stdout());
        loop {
            // First, because a renewal that has arrived counts, even if this process was stopped or
            // had to wait for a processor until now. The first one may have arrived with the grant.
            self.read_messages(helper);
            let now = since_boot();
            match self.kill_at {
                None if now >= self.terms.stop_at(self.until) => {
                    self.stop(now, "its lease was not renewed in time");
                }
                None => {}
                Some(kill_at) if now >= kill_at => self.orders.give(Order::Kill),
                Some(_) => self.orders.give(Order::Stop),
            }
            alarm.set(self.next_time())?;
            let mut fds = vec![
                PollFd::from_borrowed_fd(leash, PollFlags::empty()),
                PollFd::from_borrowed_fd(alarm.as_fd(), PollFlags::IN),
            ];
            if self.is_helper_alive {
                fds.push(PollFd::from_borrowed_fd(helper, PollFlags::IN));
            }
            poll(&mut fds, None)?;
            if !fds[0].revents().is_empty() {
                return Ok(());
            }
        }
    }

    /// Returns when there is something to do, if the helper sends nothing.
    fn next_time(&self) -> Duration {
        match self.kill_at {
            None => self.terms.stop_at(self.until),
            Some(kill_at) => {
                let (now, repeat) = (since_boot(), since_boot() + REPEAT_INTERVAL);
                if now < kill_at {
                    repeat.min(kill_at)
                } else {
                    repeat
                }
            }
        }
    }

    fn read_messages(&mut self, helper: BorrowedFd<'_>) {
        while self.is_helper_alive {
            while self.is_helper_alive
                && let Some(line) = self.lines.next_line()
            {
                match Message::parse(&line) {
                    Some(Message::Until(until)) => {
                        self.until = until;
                        self.orders.set_until(until);
                    }
                    Some(Message::Warning(_)) => {}
                    Some(Message::Lost(why)) => self.stop(since_boot(), &why),
                    _ => self.is_helper_alive = false,
                }
            }
            match self.lines.read(helper) {
                Progress::Read => {}
                Progress::Nothing => return,
                Progress::End => self.is_helper_alive = false,
            }
        }
    }

    /// Orders that the command be stopped, and decides when it will be killed. Later renewals do not
    /// change that.
    fn stop(&mut self, now: Duration, why: &str) {
        if self.kill_at.is_some() {
            return;
        }
        let kill_at = self.terms.kill_at(self.until).min(now + self.terms.grace);
        self.kill_at = Some(kill_at);
        // Printed when the command is dead. Fails only if no process is left to print it.
        let _ = send(
            stdio::stdout(),
            why.as_bytes(),
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        );
        self.orders.give(if now < kill_at {
            Order::Stop
        } else {
            Order::Kill
        });
    }
}
