//! Commands whose lock is elsewhere: they are stopped before the lease of their lock runs out.
//!
//! `docs/design/remote.md` has the rule and its reasons. Four processes watch over a lease:
//!
//! * This process. It forwards signals to the supervisor, like `loto`, and is a second clock.
//! * The supervisor (`supervise`), its child and the parent of the command. It carries out the
//!   orders to stop and to kill, and exits only when all descendants of the command have exited.
//! * The timekeeper (`timekeeper`), a child of this process. It knows when the lease runs out, and
//!   gives the orders.
//! * The helper, a child of this process, which holds and renews the lock. It releases the lock
//!   when the supervisor tells it to, or when the first three have exited.
//!
//! A model kills and stops each of them at any point: see `docs/design/protocols.md`. What it relies
//! on:
//!
//! * The kernel notifies the supervisor that this process was killed, and kills the command of a
//!   killed supervisor. This process kills what that leaves behind, if it could become the adoptive
//!   parent.
//! * Orders continue a stopped supervisor. Shortly before it would give the last order itself, this
//!   process continues a stopped timekeeper.
//! * Without the helper, the time runs out. A stop of the whole job concerns neither the helper nor
//!   the timekeeper, so the lock is kept, as a local one would be.

mod orders;
mod supervise;
mod timekeeper;
mod tree;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};
use rustix::process::{Pid, WaitOptions, getpid, waitpid};

use super::error::{Error, SpawnError};
use super::forward::{Event, ExitReason, SignalForwarder};
use super::supervisor::SupervisorReport;
use crate::remote::helper::Helper;
use crate::remote::terms::Terms;
use crate::sys::alarm::Alarm;
use crate::sys::clock::since_boot;
use crate::sys::process;
use crate::sys::signal::{self, SignalSet, number};
use crate::sys::spawn::{self, ExecImage, ParentDeath, SpawnOptions, TOO_LATE};

use orders::{Order, Orders};
use timekeeper::REPEAT_INTERVAL;

/// A lock elsewhere that has been granted.
#[derive(Clone, Copy, Debug)]
pub struct Lease<'a> {
    /// The helper that holds it.
    pub helper: &'a Helper,
    /// Its terms.
    pub terms: Terms,
    /// When it ends unless it is renewed, by `CLOCK_BOOTTIME`.
    pub until: Duration,
    /// Whether this process had no children before it started the helper. If it had, it could not
    /// distinguish them from processes that the command leaves behind.
    pub may_adopt: bool,
}

/// Runs the command under a lease, with a supervisor and a timekeeper, and waits until all its
/// processes have exited. Every signal must be blocked.
// Not between the code of other commands: each page there counts.
#[cold]
#[inline(never)]
pub(super) fn run(
    image: ExecImage,
    options: &SpawnOptions<'_>,
    lease: &Lease<'_>,
    warn: &mut dyn FnMut(Error),
) -> Result<ExitReason, SpawnError> {
    let is_subreaper = lease.may_adopt && process::become_subreaper();
    let orders = Orders::new(lease.until).map_err(SpawnError::Fork)?;
    let signals = signal::signalfd(SignalSet::ALL).map_err(SpawnError::Fork)?;
    let alarm = Alarm::new().map_err(SpawnError::Fork)?;
    let (leash, timekeepers_end) = leash().map_err(SpawnError::Fork)?;
    let (helper, lines) = (lease.helper.socket(), lease.helper.lines());
    let end = timekeepers_end.as_fd();
    let timekeeper = timekeeper::start(&orders, lease.terms, helper, lines, end);
    let timekeeper = Timekeeper(timekeeper.map_err(SpawnError::Fork)?);
    drop(timekeepers_end);
    let parent = getpid();
    let supervisor = spawn::fork_with(|| {
        let options = SpawnOptions {
            parent_death: ParentDeath::Kill(Some(orders.start_limit(lease.terms))),
            ..*options
        };
        let report = supervise::supervise(parent, image, &options, &orders, warn);
        orders.set_report(report);
        // Here already, because the next process waits for it while the supervisor exits and is
        // reaped. `Orders::end` has the race.
        if matches!(report, SupervisorReport::Exited(_)) && orders.end() {
            lease.helper.begin_release();
        }
        0
    });
    let supervisor = supervisor.map_err(SpawnError::Fork)?;
    let mut watch = Watch {
        orders: &orders,
        terms: lease.terms,
        timekeeper: timekeeper.0,
        is_timekeeper_lost: false,
    };
    let mut forwarder = SignalForwarder::new(supervisor, None);
    let reason = watch.wait_for_exit(&mut forwarder, &signals, &alarm, warn);
    let reason = reason.map_err(SpawnError::Wait)?;
    let report = orders.report();
    if report.is_none() && is_subreaper {
        tree::kill(&[lease.helper.pid(), timekeeper.0]);
    }
    let order = orders.order();
    // If the supervisor has not begun the release. The timekeeper is killed before, because it would
    // take the end of the helper for a loss of the lock; the next process need not wait until it has
    // been reaped.
    timekeeper.kill();
    lease.helper.begin_release();
    if order != Order::Run {
        return Err(SpawnError::LockLost(watch.reason(&leash)));
    }
    if report == Some(SupervisorReport::ExecFailed(TOO_LATE)) {
        let why = "its lease had nearly run out when the command was to start";
        return Err(SpawnError::LockLost(why.to_owned()));
    }
    match report {
        Some(report) => report.into_reason(&forwarder),
        None => Ok(forwarder.classify(reason)),
    }
}

/// Creates the connection by whose end the timekeeper notices that this process and the supervisor
/// have exited. It also carries the reason why the lock was lost.
fn leash() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        flags,
        None,
    )?)
}

/// The timekeeper, which is killed when the command and its descendants have exited.
struct Timekeeper(Pid);

impl Timekeeper {
    fn kill(&self) {
        // It has not been reaped, so no other process can have its PID.
        let _ = signal::send(self.0, number::KILL);
    }
}

impl Drop for Timekeeper {
    fn drop(&mut self) {
        self.kill();
        // Not interrupted, because every signal is blocked.
        let _ = waitpid(Some(self.0), WaitOptions::empty());
    }
}

/// What this process does while the command runs.
struct Watch<'a> {
    orders: &'a Orders,
    terms: Terms,
    timekeeper: Pid,
    is_timekeeper_lost: bool,
}

impl Watch<'_> {
    /// Waits until the supervisor exits.
    ///
    /// *Race:* a renewal may arrive at the last moment, or may have arrived while the timekeeper was
    /// stopped. So this process continues the timekeeper shortly before the command would be
    /// stopped, and by the time at which it would give an order itself, the timekeeper has stored
    /// the new end of the lease. A timekeeper that is not stopped is not disturbed: it blocks
    /// `SIGCONT`.
    fn wait_for_exit(
        &mut self,
        forwarder: &mut SignalForwarder,
        signals: &OwnedFd,
        alarm: &Alarm,
        warn: &mut dyn FnMut(Error),
    ) -> io::Result<ExitReason> {
        loop {
            alarm.set(self.check())?;
            let mut fds = [
                PollFd::new(signals, PollFlags::IN),
                PollFd::from_borrowed_fd(alarm.as_fd(), PollFlags::IN),
            ];
            poll(&mut fds, None)?;
            while let Some(info) = signal::take_pending(SignalSet::ALL) {
                if info.signal == number::CHLD && process::has_exited(self.timekeeper) {
                    self.is_timekeeper_lost = true;
                }
                if let Event::Exited(reason) = forwarder.handle(info, warn)? {
                    return Ok(reason);
                }
            }
        }
    }

    /// Does what the timekeeper should have done, if it has not, and returns when to look again.
    fn check(&self) -> Duration {
        let (now, until) = (since_boot(), self.orders.until());
        let doubt_at = self.terms.stop_at(until).saturating_sub(REPEAT_INTERVAL);
        if self.is_timekeeper_lost {
            self.orders.give(Order::Kill);
        } else if now < doubt_at {
            return doubt_at;
        } else {
            let _ = signal::send(self.timekeeper, number::CONT);
            if now >= self.terms.kill_at(until) {
                self.orders.give(Order::Kill);
            }
        }
        now + REPEAT_INTERVAL
    }

    /// Returns why the lock was lost. If the timekeeper has not said it, the timekeeper is the
    /// reason.
    fn reason(&self, leash: &OwnedFd) -> String {
        let mut buffer = [0; 4096];
        match recv(leash, &mut buffer, RecvFlags::DONTWAIT) {
            Ok((length, _)) if length > 0 => {
                String::from_utf8_lossy(&buffer[..length]).into_owned()
            }
            _ => "the process that kept its time was killed or stopped".to_owned(),
        }
    }
}
