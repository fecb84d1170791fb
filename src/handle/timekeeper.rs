//! The timekeeper: the guard that stops the processes in time, and has the lock released after
//! them.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{SendFlags, send};
use rustix::process::{Pid, WaitOptions, wait};
use rustix::stdio;

use super::deputy;
use super::messages::Messages;
use super::watched::{Killer, RETRY_INTERVAL, Watched, leash};
use super::{stop, watcher};
use crate::remote::protocol::{LineReader, Message};
use crate::sys::alarm::Alarm;
use crate::sys::args;
use crate::sys::clock::since_boot;
use crate::sys::fd;
use crate::sys::ofd::{self, Blocking, Operation};
use crate::sys::process;
use crate::sys::signal::{self, SignalSet, number};
use crate::sys::spawn;

const NAME: &str = "lock-timekeeper";

/// What wakes the timekeeper, besides the helper.
struct Wakers {
    /// Readable when a child has exited or was stopped.
    signals: OwnedFd,
    alarm: Alarm,
}

impl Wakers {
    fn new() -> io::Result<Self> {
        Ok(Self {
            signals: signal::signalfd(SignalSet::single(number::CHLD))?,
            alarm: Alarm::new()?,
        })
    }
}

/// The timekeeper, the parent of the other guards.
pub(super) struct Timekeeper<'a> {
    watched: Watched<'a>,
    messages: Messages,
    wakers: Wakers,
    watcher: Option<Pid>,
    /// The deputy, and the end of the connection by which it notices the end of this process.
    deputy: Option<(Pid, OwnedFd)>,
    /// When guards were started again.
    restarted_at: Duration,
    killer: Killer,
}

impl<'a> Timekeeper<'a> {
    /// Makes this process the timekeeper. Every signal must be blocked. `lines` is what has been
    /// read from the helper.
    ///
    /// # Errors
    ///
    /// The other guards could not be started.
    pub fn start(watched: Watched<'a>, lines: LineReader) -> io::Result<Self> {
        let mut timekeeper = Self::new(watched, Messages::new(lines), Wakers::new()?);
        timekeeper.start_guards()?;
        Ok(timekeeper)
    }

    /// Makes the deputy the timekeeper, which needs nothing for that.
    fn take_over(watched: Watched<'a>, wakers: Wakers) -> Self {
        Self::new(watched, Messages::after_another_reader(), wakers)
    }

    fn new(watched: Watched<'a>, messages: Messages, wakers: Wakers) -> Self {
        process::set_name(NAME);
        args::overwrite(NAME);
        Self {
            watched,
            messages,
            wakers,
            watcher: None,
            deputy: None,
            restarted_at: Duration::ZERO,
            killer: Killer::default(),
        }
    }

    /// Watches over the lock until it is released, and returns the exit status of this process.
    ///
    /// *Race:* `flock` may have been stopped for as long as the lease lasts before it has started
    /// this process, or this process before it has started the deputy, which looks at the clock,
    /// too. So `flock` returns only after this process has looked at the clock, beside the deputy.
    pub fn run(mut self) -> u8 {
        let mut is_announced = false;
        loop {
            self.reap();
            if self.watcher.is_none() && !self.watched.is_marked() {
                return self.release();
            }
            let now = since_boot();
            let restart_at = self.restart_guards(now);
            self.read_messages();
            let next = self.keep_time(now);
            if !is_announced && self.watched.state.kill_at().is_none() {
                // `flock` waits for this, if it still exists.
                let _ = rustix::io::write(stdio::stderr(), b".");
                is_announced = true;
            }
            if self
                .wait(restart_at.map_or(next, |restart| restart.min(next)))
                .is_err()
            {
                // The deputy goes on.
                return 1;
            }
        }
    }

    /// Has the lock released, and returns the exit status.
    ///
    /// *Race:* the deputy may be stopped now. It would stay so without this process, and keep those
    /// waiting that wait for the last guard to exit.
    fn release(self) -> u8 {
        if self.watched.release().is_err() {
            return 1;
        }
        if let Some((deputy, _)) = self.deputy {
            let _ = signal::send(deputy, number::KILL);
        }
        0
    }

    /// Starts the guards that do not exist.
    fn start_guards(&mut self) -> io::Result<()> {
        if self.watcher.is_none() {
            self.watcher = Some(watcher::start(self.watched.mark)?);
        }
        if self.deputy.is_none() {
            self.deputy = Some(self.start_deputy()?);
        }
        Ok(())
    }

    /// Starts those that have been killed, at once, but not again and again. Returns when to try it
    /// again.
    fn restart_guards(&mut self, now: Duration) -> Option<Duration> {
        if self.watcher.is_some() && self.deputy.is_some() {
            return None;
        }
        let next = self.restarted_at + RETRY_INTERVAL;
        if now < next {
            return Some(next);
        }
        self.restarted_at = now;
        self.start_guards().err().map(|_| now + RETRY_INTERVAL)
    }

    fn start_deputy(&self) -> io::Result<(Pid, OwnedFd)> {
        let (ours, deputys) = leash()?;
        let parent = rustix::process::getpid();
        let pid = spawn::fork_with(|| {
            // This process never returns to the owners of these descriptors.
            for owned in [&ours, &self.wakers.signals] {
                fd::close(owned.as_raw_fd());
            }
            fd::close(self.wakers.alarm.as_fd().as_raw_fd());
            let Ok(wakers) = Wakers::new() else {
                return 1;
            };
            match deputy::watch(&self.watched, &wakers.alarm, deputys.as_fd(), parent) {
                Ok(()) => {
                    fd::close(deputys.as_raw_fd());
                    Timekeeper::take_over(self.watched.clone(), wakers).run()
                }
                Err(_) => 1,
            }
        })?;
        Ok((pid, ours))
    }

    /// Notices which guards have exited, and continues those that have been stopped.
    fn reap(&mut self) {
        while signal::take_pending(SignalSet::single(number::CHLD)).is_some() {}
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
            if status.stopped() {
                let _ = signal::send(pid, number::CONT);
            } else if self.watcher == Some(pid) {
                self.watcher = None;
            } else if self
                .deputy
                .as_ref()
                .is_some_and(|(deputy, _)| *deputy == pid)
            {
                self.deputy = None;
            }
        }
    }

    fn read_messages(&mut self) {
        let state = self.watched.state;
        let mut loss = None;
        self.messages
            .read(stdio::stdin(), &mut |message| match message {
                Message::Until(until) => {
                    state.set_until(until);
                    true
                }
                Message::Warning(_) => true,
                Message::Lost(why) => {
                    // Before the line is taken: see the module's races.
                    if state.kill_at().is_none() {
                        let now = since_boot();
                        state.set_kill_at(self.watched.kill_time(now));
                        loss = Some(why);
                    }
                    true
                }
                _ => false,
            });
        if let Some(why) = loss {
            self.ask_to_terminate(&why);
        }
    }

    /// Stops or kills the processes if it is time, and returns when to look again.
    fn keep_time(&mut self, now: Duration) -> Duration {
        let (state, terms) = (self.watched.state, self.watched.terms);
        let stop_at = terms.stop_at(state.until());
        if state.kill_at().is_none() {
            if now < stop_at {
                return stop_at;
            }
            state.set_kill_at(self.watched.kill_time(now));
            self.ask_to_terminate("its lease was not renewed in time");
        }
        let kill_at = self.watched.kill_at().unwrap_or_default();
        match now < kill_at {
            true => kill_at,
            false => self.killer.kill(&self.watched, now),
        }
    }

    /// Asks all processes that have the descriptor to terminate, and says why.
    fn ask_to_terminate(&self, why: &str) {
        let Watched {
            file, mark, url, ..
        } = &self.watched;
        self.wake_deputy();
        let loss = mark.loss();
        let _ = ofd::set(stdio::stdout(), Operation::Write, loss, 1, Blocking::No);
        let mut message = OsStr::new("flock: ").to_owned();
        message.push(url);
        message.push(format!(
            ": lock lost, its processes are being stopped: {why}\n"
        ));
        // Before they exit.
        stop::tell(*file, *mark, &message);
        stop::signal_all(*file, *mark, &[number::TERM, number::CONT]);
    }

    /// Lets the deputy know that it has to look earlier than it intended to: this process may be
    /// stopped before it kills the processes.
    fn wake_deputy(&self) {
        if let Some((_, leash)) = &self.deputy {
            let _ = send(leash, b".", SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
    }

    /// Waits until something happens, at most until then.
    fn wait(&self, next: Duration) -> io::Result<()> {
        self.wakers.alarm.set(next)?;
        let mut fds = vec![
            PollFd::new(&self.wakers.signals, PollFlags::IN),
            PollFd::from_borrowed_fd(self.wakers.alarm.as_fd(), PollFlags::IN),
        ];
        if self.messages.are_expected() {
            fds.push(PollFd::from_borrowed_fd(stdio::stdin(), PollFlags::IN));
        }
        poll(&mut fds, None)?;
        Ok(())
    }
}
