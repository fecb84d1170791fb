//! A state, and what changes it.

/// The greatest number of processes.
pub const MAX: usize = 3;

/// By how many ticks in the time to live the servers' clock may be faster.
pub(super) const MARGIN: i8 = 1;

/// How far a process is: what it asks the servers, or waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// It has not started, or has exited.
    #[default]
    Idle,
    /// Lists the keys, because it does not wait.
    Look,
    /// Chooses the ID of a lease.
    Choose,
    /// Asks for the lease.
    Grant,
    /// Renews a lease that was granted to an earlier request.
    RenewGranted,
    /// Creates its key, and lists all.
    Enter,
    /// Waits for the deletion of the key before its own.
    Wait,
    /// Renews the lease meanwhile.
    RenewWaiting,
    /// Lists the keys again.
    List,
    /// Moves stopped processes behind itself.
    Overtake,
    /// Writes to its key that it is stopped.
    Mark,
    /// Waits until it is continued.
    Stopped,
    /// Renews the lease meanwhile.
    RenewStopped,
    /// Writes to its key that it is not stopped any more.
    Unmark,
    /// Renews the lease, so that enough of it is left.
    Confirm,
    /// Holds the lock.
    Hold,
    /// Renews the lease meanwhile.
    Renew,
    /// Looks for its key, because the lease is unknown.
    FindKey,
    /// Has reported that the lock is lost.
    Lost,
    /// Revokes the lease, to queue again.
    Withdraw,
    /// Revokes the lease.
    Revoke,
    /// Exits.
    Exit,
}

/// What is asked of the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Request {
    Look,
    Grant,
    Renew,
    Enter,
    List,
    Mark,
    Unmark,
    Move,
    Revoke,
}

/// What they answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Answer {
    /// The lease was granted, or renewed.
    Lease,
    /// The lease exists.
    Exists,
    /// The lease does not exist.
    Unknown,
    /// The keys were listed.
    Listed(Listing),
    /// The transaction was carried out, or its condition was not met.
    Written,
    Revoked,
}

/// What a process finds out from all keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Listing {
    /// Its own key is the first.
    First,
    /// This key is before its own. It may have been deleted or written since then.
    Behind {
        lease: u8,
        /// Whether no other key is before its own.
        is_only: bool,
        is_deleted: bool,
        is_written: bool,
    },
    /// Only keys of stopped processes are before its own.
    BehindStopped,
    /// Its own key does not exist; other keys do, or not.
    Absent { is_free: bool },
}

/// What is on its way between a process and the servers. The number is what will be left of the
/// lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Message {
    #[default]
    None,
    Request(Request, i8),
    Answer(Answer, i8),
}

/// A process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Process {
    pub(super) place: Place,
    /// Whether no key was created since it has listed them. `None` if it waits for the lock.
    pub(super) is_unchanged: Option<bool>,
    /// What is left of the lease.
    pub(super) left: i8,
    /// The lease may have ended before it was renewed.
    pub(super) is_doubtful: bool,
    pub(super) message: Message,
    /// A request that was given up and may be carried out later, and for which lease.
    pub(super) late: Option<(Request, u8)>,
    /// The lease of the key that it waits for.
    pub(super) obstacle: u8,
    /// Whether that was the only one in its way.
    pub(super) is_last: bool,
    /// The watch reports that it was deleted.
    pub(super) is_notified: bool,
    /// The watch reports that it was written.
    pub(super) is_written: bool,
    /// `flock` is stopped.
    pub(super) is_stopped: bool,
}

/// A lease on the servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Lease {
    /// What is left of it; less than zero if it has expired and is not revoked yet; zero if it does
    /// not exist.
    pub(super) left: i8,
    /// The servers' clock has been faster.
    pub(super) has_drifted: bool,
    /// The order of its key; zero if it has none.
    pub(super) key: u8,
    /// The key says that its process is stopped.
    pub(super) is_stopped: bool,
}

/// A state. Process `p` uses the lease `2 * p`; `2 * p + 1` is the one that it used before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    pub(super) processes: [Process; MAX],
    pub(super) leases: [Lease; 2 * MAX],
    /// The new leader does not know a lease.
    pub(super) is_leader_new: bool,
    pub(super) faults: u8,
    pub(super) stops: u8,
    pub(super) has_false_alarm: bool,
}

impl State {
    /// Returns how far a process is.
    pub fn place(&self, process: usize) -> Place {
        self.processes[process].place
    }

    /// Whether the command of a process may run.
    pub fn is_inside(&self, process: usize) -> bool {
        let is_holder = matches!(
            self.place(process),
            Place::Hold | Place::Renew | Place::FindKey
        );
        is_holder && self.processes[process].left > MARGIN
    }

    /// Whether a process waits for the lock.
    pub fn is_waiter(&self, process: usize) -> bool {
        use Place::{
            Choose, Confirm, Enter, Grant, List, Overtake, RenewGranted, RenewWaiting, Unmark,
            Wait, Withdraw,
        };
        let is_waiter = matches!(
            self.place(process),
            Choose
                | Grant
                | RenewGranted
                | Enter
                | Wait
                | RenewWaiting
                | List
                | Overtake
                | Unmark
                | Confirm
                | Withdraw
        );
        is_waiter && !self.processes[process].is_stopped
    }

    /// Whether a process that does not wait has queued behind another one.
    pub(super) fn is_queued_in_vain(&self, process: usize) -> bool {
        let own = self.processes[process];
        let is_behind = matches!(
            own.message,
            Message::Answer(Answer::Listed(Listing::Behind { .. }), _)
        );
        own.is_unchanged.is_some() && is_behind
    }

    /// Whether a process exits although its key exists.
    pub(super) fn has_left_key(&self, process: usize) -> bool {
        self.place(process) == Place::Exit && self.leases[2 * process].key != 0
    }

    /// Whether a lock was reported lost although its key exists.
    pub fn has_false_alarm(&self) -> bool {
        self.has_false_alarm
    }

    /// Whether no process runs, and nothing is on its way.
    pub fn is_over(&self) -> bool {
        let is_over = |process: &Process| process.place == Place::Idle && process.late.is_none();
        self.processes.iter().all(is_over)
    }

    /// Whether there is no lease and no key.
    pub fn is_clean(&self) -> bool {
        self.leases == [Lease::default(); 2 * MAX]
    }

    /// Whether a process may use another lease: nothing is left of the one before the last.
    pub(super) fn may_choose(&self, process: usize) -> bool {
        let old = 2 * process + 1;
        let late = self.processes[process].late;
        self.leases[old].left == 0 && late.is_none_or(|(_, lease)| usize::from(lease) != old)
    }

    /// A process uses another lease.
    pub(super) fn choose(&mut self, process: usize) {
        let (new, old) = (2 * process as u8, 2 * process as u8 + 1);
        self.leases.swap(usize::from(new), usize::from(old));
        self.rename(|lease| if lease == new { old } else { lease });
    }

    /// Changes what all processes call a lease.
    fn rename(&mut self, name: impl Fn(u8) -> u8) {
        for process in &mut self.processes {
            if let Some((_, lease)) = &mut process.late {
                *lease = name(*lease);
            }
            if matches!(process.place, Place::Wait | Place::RenewWaiting) {
                process.obstacle = name(process.obstacle);
            }
            if let Message::Answer(Answer::Listed(Listing::Behind { lease, .. }), _) =
                &mut process.message
            {
                *lease = name(*lease);
            }
        }
    }

    /// Returns the state in which the first two processes have exchanged their numbers.
    pub(super) fn exchange(&self) -> Self {
        let mut other = *self;
        other.processes.swap(0, 1);
        other.leases.swap(0, 2);
        other.leases.swap(1, 3);
        other.rename(|lease| if lease < 4 { lease ^ 2 } else { lease });
        other
    }

    /// The process exits, or was killed.
    pub(super) fn end(&mut self, process: usize) {
        let late = self.processes[process].late;
        self.processes[process] = Process {
            late,
            ..Process::default()
        };
    }

    /// A tick of our clocks.
    pub(super) fn tick(&mut self) {
        let tick = |left: &mut i8| *left = (*left - 1).max(0);
        for process in &mut self.processes {
            tick(&mut process.left);
            match &mut process.message {
                // A renewal is given up after a tenth of the time to live, and repeated.
                Message::Request(Request::Renew, _) => process.message = Message::None,
                Message::Answer(Answer::Lease, _) if process.place != Place::Grant => {
                    process.message = Message::None;
                }
                Message::Request(_, left) | Message::Answer(_, left) => tick(left),
                Message::None => {}
            }
        }
        self.is_leader_new = false;
        for lease in &mut self.leases {
            lease.tick();
        }
    }

    /// Forgets what no process will look at any more.
    pub(super) fn normalize(&mut self) {
        for process in &mut self.processes {
            use Place::{
                Choose, Confirm, Exit, FindKey, Hold, Idle, Lost, Renew, Revoke, Withdraw,
            };
            if matches!(
                process.place,
                Idle | Confirm | Hold | Renew | FindKey | Lost | Revoke | Exit
            ) {
                process.is_stopped = false;
            }
            if matches!(
                process.place,
                Idle | Choose | Lost | Withdraw | Revoke | Exit
            ) {
                (process.left, process.is_doubtful) = (0, false);
            }
            if !matches!(process.place, Place::Wait | Place::RenewWaiting) {
                (process.obstacle, process.is_last) = (0, false);
                (process.is_notified, process.is_written) = (false, false);
            }
            if let Message::Answer(answer, left) = &mut process.message
                && *answer != Answer::Lease
            {
                *left = 0;
            }
        }
        if self.leases.iter().all(|lease| lease.left == 0) {
            self.is_leader_new = false;
        }
    }
}

impl Lease {
    /// Time passes.
    pub(super) fn tick(&mut self) {
        match self.left {
            0 => {}
            1 => self.left = -1,
            _ => self.left -= 1,
        }
    }

    /// Whether it must be revoked before more time passes: in less than a third of the time to live.
    pub(super) fn is_overdue(&self, ttl: i8) -> bool {
        self.left <= -ttl / 3
    }
}
