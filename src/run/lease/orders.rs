//! What the processes that watch over a lease tell each other, in memory that they share.

use std::io;
use std::time::Duration;

use rustix::process::Pid;

use crate::remote::terms::Terms;
use crate::run::supervisor::SupervisorReport;
use crate::sys::shared_memory::SharedU64;
use crate::sys::signal::{self, number};
use crate::sys::spawn::StartLimit;

/// What the supervisor has been ordered to do with the command. Orders only become stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::run) enum Order {
    /// Let it run.
    Run,
    /// Ask all its processes to terminate.
    Stop,
    /// Kill all its processes.
    Kill,
}

/// What is stored instead of an order when none can be given any more. It is higher than all of
/// them.
const OVER: u64 = Order::Kill as u64 + 1;

/// The memory that is shared.
#[derive(Debug)]
pub(in crate::run) struct Orders {
    order: SharedU64,
    /// When the lease ends, in nanoseconds.
    until: SharedU64,
    /// The PID of the supervisor; 0 until it has started.
    supervisor: SharedU64,
    /// What the supervisor reports.
    report: SharedU64,
}

impl Orders {
    /// Creates the memory for a lease that lasts until then.
    pub(super) fn new(end: Duration) -> io::Result<Self> {
        let [order, until, supervisor, report] = SharedU64::several()?;
        let orders = Self {
            order,
            until,
            supervisor,
            report,
        };
        orders.set_until(end);
        Ok(orders)
    }

    /// Returns the order.
    pub(super) fn order(&self) -> Order {
        match self.order.get() {
            0 | OVER => Order::Run,
            1 => Order::Stop,
            _ => Order::Kill,
        }
    }

    /// Ends the lease because no process of the command is left: no order has any effect from now
    /// on. Returns false if there has been one, whose reason is to be reported.
    ///
    /// *Race:* the time may run out at this moment, or the timekeeper may read that the lock is
    /// lost. Both change the same number, so either the order was first, and the lock counts as
    /// lost, or it remains without effect.
    pub(super) fn end(&self) -> bool {
        self.order.replace(Order::Run as u64, OVER)
    }

    /// Gives an order, and wakes the supervisor, even if it is stopped.
    ///
    /// *Race:* the supervisor may look at the order before it is raised, and then wait for a signal.
    /// The order is raised first, so the signal comes after that.
    pub(super) fn give(&self, order: Order) {
        self.order.raise(order as u64);
        self.wake_supervisor();
    }

    /// Wakes the supervisor, even if it is stopped: `SIGCONT` has this effect although it is
    /// blocked. The supervisor takes it for a signal to the command only as long as there is no
    /// order.
    ///
    /// *Race:* the supervisor may have exited, and its PID may belong to another process. It stays
    /// a zombie until its parent, this process or that of this process, has reaped it, and
    /// immediately after that no process gives orders any more. In between, a process that is
    /// stopped and has just got the PID would be continued.
    fn wake_supervisor(&self) {
        if let Some(supervisor) = Pid::from_raw(self.supervisor.get() as i32) {
            let _ = signal::send(supervisor, number::CONT);
        }
    }

    /// Stores that this process is the supervisor.
    pub(super) fn set_supervisor(&self) {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        self.supervisor.set(pid as u64);
    }

    /// Stores what the supervisor reports.
    pub(super) fn set_report(&self, report: SupervisorReport) {
        self.report.set(report.encode());
    }

    /// Returns what the supervisor has reported.
    pub(super) fn report(&self) -> Option<SupervisorReport> {
        SupervisorReport::decode(self.report.get())
    }

    /// Returns until when the command may start: as long as there is time to stop it, and no order.
    pub(super) fn start_limit(&self, terms: Terms) -> StartLimit<'_> {
        StartLimit {
            is_forbidden: &self.order,
            end: &self.until,
            margin: terms.stop_margin(),
        }
    }

    /// Returns when the lease ends.
    pub(super) fn until(&self) -> Duration {
        Duration::from_nanos(self.until.get())
    }

    /// Stores when the lease ends.
    pub(super) fn set_until(&self, until: Duration) {
        self.until.set(until.as_nanos() as u64);
    }
}
