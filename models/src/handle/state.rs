//! The states of a lock that is tied to a descriptor.

/// `flock 8 URL`
pub const FLOCK: u8 = 0;
/// The guard that reads the renewals, keeps the time, and releases the lock.
pub const TIMEKEEPER: u8 = 1;
/// The guard that replaces it.
pub const DEPUTY: u8 = 2;
/// The guard that waits until the mark has gone.
pub const WATCHER: u8 = 3;
/// The process that renews the lock.
pub const HELPER: u8 = 4;
/// `flock -u 8`
pub const UNLOCK: u8 = 5;
/// The script.
pub const SCRIPT: u8 = 6;
/// Its child.
pub const CHILD: u8 = 7;
/// The network, the server and the clock.
pub const SERVER: u8 = 8;

/// The time to live, in ticks.
pub(super) const TTL: i8 = 5;
/// The processes are killed when no more than this is left,
pub(super) const MARGIN: i8 = 2;
/// and are asked to terminate before that.
pub(super) const GRACE: i8 = 1;

/// How far a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// It does not exist.
    Idle,
    /// `flock` waits for the lock, and `flock -u` for the end of the guards.
    Wait,
    /// `flock` looks whether enough of the lease is left.
    Check,
    /// It marks the descriptor.
    Mark,
    /// It starts the timekeeper.
    Start,
    /// It waits until the guards have started.
    WaitForGuards,
    /// It removes the mark.
    Unmark,
    /// It returns success.
    Succeed,
    /// It returns something else.
    Fail,
    /// The watcher asks for a signal when the timekeeper exits,
    AskForSignal,
    /// and looks whether it has exited already.
    CheckParent,
    /// The timekeeper starts the watcher,
    StartWatcher,
    /// and the deputy.
    StartDeputy,
    /// A guard waits until something happens, and so does the helper.
    Run,
    /// The timekeeper has looked at the clock.
    Tell,
    /// It looks for the mark.
    LookForMark,
    /// It has seen a renewal in the socket,
    StoreUntil,
    /// and has stored it.
    TakeUntil,
    /// It has seen in the socket that the lock is lost,
    StoreLoss,
    /// and has stored that.
    TakeLoss,
    /// A guard has passed the place of a PID where the child may be by now.
    Kill,
    /// The watcher continues the timekeeper, which may be stopped, and exits.
    Continue,
    /// The timekeeper has the lock released,
    Release,
    /// and waits for the helper.
    WaitForHelper,
    /// It kills the deputy, which may be stopped.
    KillDeputy,
    /// It exits.
    Exit,
    /// It has exited, or was killed, and its parent has not noticed it.
    Exited,
}

/// What is on its way between the helper and the server. The number is what is left of the lease
/// that the helper will report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Message {
    None,
    Request(i8),
    Answer(i8),
    Refusal,
}

/// A watcher whose parent was killed before it had asked for a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Orphan {
    None,
    Runs,
    Stopped,
}

/// A state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) places: [Place; 6],
    pub(super) orphan: Orphan,
    /// The processes that are stopped, one bit each.
    pub(super) stopped: u8,
    /// The processes that were killed, one bit each.
    pub killed: u8,
    /// The processes that were stopped at some time, one bit each.
    pub was_stopped: u8,
    pub(super) faults: u8,
    /// The processes that have the descriptor, one bit each.
    pub(super) open: u8,
    /// Whether the script has started its child.
    pub(super) has_child: bool,
    /// Whether the open file description is marked.
    pub(super) is_marked: bool,
    /// Whether `flock` has returned success.
    pub(super) is_working: bool,
    /// Whether `flock` has been told that the guards have started.
    pub(super) is_told: bool,
    /// What is left of the lease on the server; 0 if another machine may have the lock.
    pub(super) on_server: i8,
    /// The server's clock has been faster.
    pub(super) has_drifted: bool,
    /// Whether the server has lost the lock early.
    pub(super) is_lost: bool,
    pub(super) message: Message,
    /// A line of the helper in the socket: what is left of the lease.
    pub(super) line: Option<i8>,
    /// A line that says that the lock is lost.
    pub(super) loss_line: bool,
    /// What a timekeeper has taken from the socket before it stores it.
    pub(super) taken: Option<i8>,
    /// How many ticks ago the helper has reported the loss.
    pub(super) reported: Option<i8>,
    /// The connection to the helper was shut down.
    pub(super) is_shut: bool,
    /// What is left of the lease, as the guards know.
    pub(super) left: i8,
    /// When the processes are killed that were asked to terminate.
    pub(super) kill_in: Option<i8>,
    /// The guards that have killed processes, one bit each.
    pub(super) have_killed: u8,
    /// `flock -u` has returned before the lock was released.
    pub(super) is_early: bool,
}

impl State {
    pub(super) fn initial() -> Self {
        let mut places = [Place::Idle; 6];
        places[usize::from(FLOCK)] = Place::Wait;
        places[usize::from(HELPER)] = Place::Run;
        Self {
            places,
            orphan: Orphan::None,
            stopped: 0,
            killed: 0,
            was_stopped: 0,
            faults: 0,
            open: 1 << FLOCK | 1 << SCRIPT,
            has_child: false,
            is_marked: false,
            is_working: false,
            is_told: false,
            on_server: TTL,
            has_drifted: false,
            is_lost: false,
            message: Message::Answer(TTL),
            line: None,
            loss_line: false,
            taken: None,
            reported: None,
            is_shut: false,
            left: 0,
            kill_in: None,
            have_killed: 0,
            is_early: false,
        }
    }

    /// Returns how far a process is.
    pub fn place(&self, process: u8) -> Place {
        self.places[usize::from(process)]
    }

    pub(super) fn set(mut self, process: u8, place: Place) -> Self {
        self.places[usize::from(process)] = place;
        self
    }

    /// Whether a process other than the script and its child exists.
    pub fn is_alive(&self, process: u8) -> bool {
        !matches!(self.place(process), Place::Idle | Place::Exited)
    }

    pub(super) fn is_stopped(&self, process: u8) -> bool {
        self.stopped & 1 << process != 0
    }

    pub(super) fn may_run(&self, process: u8) -> bool {
        self.is_alive(process) && !self.is_stopped(process)
    }

    /// close(2) or exit(2): the kernel removes the mark when no process has the descriptor.
    pub(super) fn close(&mut self, process: u8) {
        self.open &= !(1 << process);
        self.is_marked &= self.open != 0;
    }

    /// A process exits or was killed.
    pub(super) fn end(&mut self, process: u8) {
        if process == SCRIPT || process == CHILD {
            return self.close(process);
        }
        if !self.is_alive(process) {
            return;
        }
        self.close(process);
        self.places[usize::from(process)] = Place::Exited;
        self.stopped &= !(1 << process);
    }

    /// Whether any guard exists.
    pub fn has_guards(&self) -> bool {
        self.orphan != Orphan::None
            || [TIMEKEEPER, DEPUTY, WATCHER]
                .iter()
                .any(|guard| self.is_alive(*guard))
    }

    /// Whether the helper has been told to release the lock, or does not exist.
    pub fn is_released(&self) -> bool {
        let is_connected = self.is_alive(FLOCK) || self.has_guards();
        self.is_shut || !is_connected || !self.is_alive(HELPER)
    }

    /// Whether any process has the marked descriptor.
    pub fn is_held(&self) -> bool {
        self.is_marked
    }

    /// Whether a guard is stopped that no other one continues or kills: the last one, which is about
    /// to exit or has not started the deputy, or a watcher whose parent was killed.
    pub fn has_stopped_forever(&self) -> bool {
        let is_last = self.is_stopped(TIMEKEEPER) && !self.is_alive(DEPUTY);
        is_last || self.orphan == Orphan::Stopped
    }

    /// Whether the timekeeper is stopped, and the watcher does not exist that would continue it.
    pub fn has_late_stop(&self) -> bool {
        self.is_stopped(TIMEKEEPER) && !self.is_alive(WATCHER)
    }

    fn has_work(&self) -> bool {
        self.is_marked && self.open & (1 << SCRIPT | 1 << CHILD) != 0
    }

    /// Whether another machine may be granted the lock while the script or its child works. If the
    /// server has lost the lock, no program can prevent that.
    pub fn is_overlapping(&self) -> bool {
        self.on_server == 0 && !self.is_lost && self.is_working && self.has_work()
    }

    /// Whether the script or its child still runs when the grace period is over after a loss.
    pub(super) fn is_stop_overdue(&self) -> bool {
        self.is_working && self.has_work() && self.reported.is_some_and(|ticks| ticks > GRACE)
    }

    /// Whether `flock -u` has returned before the lock was released.
    pub fn has_returned_early(&self) -> bool {
        self.is_early
    }

    /// Forgets what no process will look at any more.
    pub(super) fn normalize(&mut self) {
        if self.open & (1 << SCRIPT) == 0 {
            self.has_child = true;
        }
        if !self.is_alive(FLOCK) {
            self.is_told = true;
            self.is_working &= self.is_marked;
        }
        if !self.is_alive(HELPER) {
            self.is_shut = true;
            self.has_drifted &= self.on_server > 0;
        }
        if self.is_alive(FLOCK) || self.is_alive(UNLOCK) || self.has_guards() {
            return;
        }
        (self.left, self.kill_in, self.have_killed) = (0, None, 0);
        (self.line, self.loss_line, self.taken) = (None, false, None);
    }
}
