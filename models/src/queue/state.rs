//! A state, and what changes it.

use crate::kernel::{Descriptions, Lock};

/// The greatest number of processes.
pub const MAX: usize = 3;

/// How far a process is: the call that it makes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// It has not started, or has exited.
    Idle,
    /// Looks whether any process queues.
    Look,
    /// Looks whether its descriptor has the lock already.
    LookAtOwn,
    /// Tries the lock.
    Try,
    /// Tries the lock of a descriptor that has it already.
    TryOwn,
    /// Opens the file again, for the ticket.
    Reopen,
    /// Starts the sentinel.
    Sentinel,
    /// Sets the marker.
    Mark,
    /// Looks for the nearest earlier ticket.
    Search,
    /// Looks whether its owner can take its turn.
    Check,
    /// Opens a pidfd of its sentinel.
    Watch,
    /// Looks whether the ticket still exists.
    LookAgain,
    /// Sleeps until the sentinel exits.
    Sleep,
    /// Starts a new sentinel in place of one that was killed.
    Respawn,
    /// Tries the lock, which cannot be free while the first in the queue waits for it.
    Probe,
    /// Releases it.
    EndProbe,
    /// Looks whether the ticket still exists, and counts those before.
    Count,
    /// Passes a process that does not take its turn.
    Pass,
    /// Tries the lock, as the first in the queue, on the ticket's description.
    TryFirst,
    /// Tries it on that of its descriptor.
    TryAgain,
    /// Waits for the lock of the ticket's description.
    Block,
    /// Looks, at the end of its time, whether its descriptor has the lock.
    GiveUp,
    /// Tries the lock that its descriptor has.
    LastTry,
    /// Looks for an earlier ticket again.
    SearchAgain,
    /// Releases the lock, for an earlier ticket.
    Yield,
    /// Transfers the lock from the ticket to the descriptor that it is wanted for.
    Release,
    /// Acquires it there.
    Acquire,
    /// Releases a shared lock of the ticket.
    ReleaseShared,
    /// Closes the file of the ticket, and with it the marker.
    EndTicket,
    /// Kills the sentinel.
    EndSentinel,
    /// Waits for the lock without the queue.
    Plain,
    /// Holds the lock, and exits at the end of the command.
    Hold,
    /// Exits without the lock.
    Exit,
    /// Has set a forged marker.
    Forge,
}

/// The shell with descriptor 8.
pub const SHELL: u8 = 7;

/// Sentinels that exist. PID 0 is not used.
pub(super) const PIDS: usize = MAX + 2;

/// The life of a sentinel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Sentinel {
    /// The PID is free.
    #[default]
    None,
    Running,
    /// It was killed, and its parent has not reaped it.
    Zombie,
    /// Its parent has exited.
    Orphan,
}

/// A state. Process `p` wants the lock of description `p`, or of the shell's description, which has
/// the number of the first process that shares it; that of its ticket is `MAX + p`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) places: [Place; MAX],
    pub(super) stopped: u8,
    /// How many processes have arrived, if that is limited.
    pub(super) arrived: u8,
    pub(super) files: Descriptions<{ 2 * MAX }>,
    /// The order of arrival, from 1.
    pub(super) ranks: [u8; MAX],
    /// The sentinel of each process.
    pub(super) pids: [u8; MAX],
    pub(super) sentinels: [Sentinel; PIDS],
    /// The processes whose markers are set, one bit each.
    pub(super) marked: u8,
    /// Tickets with this rank and later ones do not count in a search; 0 is the process's own.
    pub(super) bounds: [u8; MAX],
    /// The ticket that a process waits for: the owner plus 1, and its sentinel.
    pub(super) targets: [(u8, u8); MAX],
    /// The processes whose target is over, one bit each.
    pub(super) gone: u8,
    /// The sentinel whose exit a process waits for; 0 if it cannot.
    pub(super) watched: [u8; MAX],
    /// The processes whose watched sentinel has exited.
    pub(super) woken: u8,
    /// The processes that have found the lock free.
    pub(super) seen_free: u8,
    /// For each process, those that queued when it arrived, still do, and were never stopped.
    pub(super) ahead: [u8; MAX],
    /// A process has overtaken one of those.
    pub(super) is_overtaken: bool,
    /// The processes that share the shell's descriptor; see [`Queue::shared`].
    pub(super) shared: u8,
    /// Whether the shell has been told that it has the lock.
    pub(super) is_shell_holder: bool,
    /// The processes that were blocked when another one acquired the lock for their descriptor.
    pub(super) missed: u8,
    /// A process was told that it has not got the lock, although it has it or would have waited.
    pub(super) is_misled: bool,
}

impl State {
    /// Whether a process has just got the lock.
    pub fn is_holder(&self, process: usize) -> bool {
        self.places[process] == Place::Hold
    }

    /// Whether a process waits.
    pub fn is_waiter(&self, process: usize) -> bool {
        let place = self.places[process];
        !matches!(
            place,
            Place::Idle | Place::Hold | Place::GiveUp | Place::LastTry | Place::Exit | Place::Forge
        )
    }

    /// The description whose lock a process wants.
    pub(super) fn wanted(&self, process: usize) -> usize {
        match self.shared & 1 << process {
            0 => process,
            _ => self.wanted_by_shell(),
        }
    }

    /// The description of the shell.
    pub(super) fn wanted_by_shell(&self) -> usize {
        self.shared.trailing_zeros() as usize
    }

    /// Whether a process waits for a lock that its descriptor has.
    pub fn waits_for_own(&self, process: usize) -> bool {
        let is_last = matches!(self.places[process], Place::GiveUp | Place::LastTry);
        (self.is_waiter(process) || is_last)
            && self.files.0[self.wanted(process)].lock != Lock::None
    }

    /// Whether a process was blocked in the kernel when another one acquired the lock for their
    /// descriptor, and does not know.
    pub fn has_missed(&self, process: usize) -> bool {
        self.missed & 1 << process != 0
    }

    /// Whether a process was told that it has not got the lock, although it has it.
    pub fn is_misled(&self) -> bool {
        self.is_misled
    }

    /// A process acquires the lock.
    pub(super) fn acquire(&mut self, process: usize, mode: Lock) {
        let wanted = self.wanted(process);
        self.files.0[wanted].lock = mode;
        for other in (0..MAX).filter(|other| *other != process) {
            if self.places[other] == Place::Block && self.wanted(other) == wanted {
                self.missed |= 1 << other;
            }
        }
        self.is_overtaken |= self.ahead[process] != 0;
        self.end_wait(process);
    }

    /// Whether a process is stopped.
    pub fn is_stopped(&self, process: usize) -> bool {
        self.stopped & 1 << process != 0
    }

    /// Whether a stopped process has a lock, so that no other may get it.
    pub fn is_lock_stopped(&self) -> bool {
        let mut locked = self.files.0.iter().filter(|file| file.lock != Lock::None);
        locked.any(|file| file.users & self.stopped != 0)
    }

    /// Whether a sentinel was killed and not replaced yet.
    pub fn has_zombie(&self) -> bool {
        self.sentinels.contains(&Sentinel::Zombie)
    }

    /// Whether no process runs.
    pub fn is_over(&self) -> bool {
        let is_shell_over = !self.files.0.iter().any(|file| file.users & 1 << SHELL != 0);
        self.places == [Place::Idle; MAX]
            && !self.sentinels.contains(&Sentinel::Orphan)
            && is_shell_over
    }

    /// Whether no lock, marker or sentinel is left.
    pub fn is_clean(&self) -> bool {
        self.files == Descriptions::default()
            && self.marked == 0
            && self.sentinels == [Sentinel::None; PIDS]
    }

    pub(super) fn end_sentinel(&mut self, pid: u8, then: Sentinel) {
        self.sentinels[usize::from(pid)] = then;
        for waiter in 0..MAX {
            if pid != 0 && self.watched[waiter] == pid {
                self.woken |= 1 << waiter;
            }
        }
    }

    pub(super) fn end_marker(&mut self, owner: usize) {
        if self.marked & 1 << owner == 0 {
            return;
        }
        self.marked &= !(1 << owner);
        for waiter in 0..MAX {
            if usize::from(self.targets[waiter].0) == owner + 1 {
                self.gone |= 1 << waiter;
            }
        }
    }

    /// A process does not wait any more.
    pub(super) fn end_wait(&mut self, process: usize) {
        self.ahead[process] = 0;
        self.ahead
            .iter_mut()
            .for_each(|ahead| *ahead &= !(1 << process));
    }

    /// Forgets what a process has found out about the queue.
    pub(super) fn forget(&mut self, process: usize) {
        let bit = !(1 << process);
        self.targets[process] = (0, 0);
        self.watched[process] = 0;
        self.gone &= bit;
        self.woken &= bit;
        self.seen_free &= bit;
        self.missed &= bit;
        self.bounds[process] = 0;
    }

    pub(super) fn start_sentinel(&mut self, process: usize) {
        let is_free = |pid: &usize| self.sentinels[*pid] == Sentinel::None;
        let pid = (1..PIDS).find(is_free).expect("more than processes");
        self.sentinels[pid] = Sentinel::Running;
        self.pids[process] = pid as u8;
    }

    pub(super) fn exit(&mut self, process: u8) {
        let index = usize::from(process);
        self.end_marker(index);
        self.files.exit(process);
        self.places[index] = Place::Idle;
        self.forget(index);
        self.end_wait(index);
        self.stopped &= !(1 << process);
        let pid = std::mem::take(&mut self.pids[index]);
        match self.sentinels[usize::from(pid)] {
            Sentinel::Running => self.sentinels[usize::from(pid)] = Sentinel::Orphan,
            _ => self.sentinels[usize::from(pid)] = Sentinel::None,
        }
        let rank = std::mem::take(&mut self.ranks[index]);
        for later in self.ranks.iter_mut().chain(&mut self.bounds) {
            *later -= u8::from(*later > rank);
        }
    }

    pub(super) fn nearest(&self, process: usize) -> Option<usize> {
        let bound = match self.bounds[process] {
            0 => self.ranks[process],
            bound => bound,
        };
        let earlier = |owner: &usize| {
            *owner != process && self.marked & 1 << owner != 0 && self.ranks[*owner] < bound
        };
        (0..MAX)
            .filter(earlier)
            .max_by_key(|owner| self.ranks[*owner])
    }
}
