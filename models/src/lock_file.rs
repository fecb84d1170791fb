//! A lock file that is opened, locked and compared (`src/lock/file.rs`), and removed after use
//! (`src/lock/unlink.rs`), against programs that delete, replace and move it.
//!
//! Every process arrives again when it is done, so any number of calls is covered, of which a
//! limited number overlap. The command inherits the lock, outlives a `flock` that is killed, and may
//! leave a process behind. A process that is stopped makes no step, which
//! needs no state of its own. On NFS, each process is on a machine of its own, which remembers what
//! the name led to.
//!
//! Left out: the wait for a lease, errors, the limits of `ReplacementCheck`, and the reopening for
//! writing that NFS requires. NFS clients do not remember here that a name does not exist, and each
//! open(2) may or may not ask the server.

mod coarse;
mod path;
mod steps;

use crate::graph::{Always, Graph};
use crate::kernel::{Descriptions, Lock};
use crate::trace;

/// The greatest number of processes.
pub const MAX: usize = 4;

/// What is modelled.
#[derive(Clone, Copy, Debug)]
pub struct LockFile {
    /// The number of processes.
    pub processes: u8,
    /// Where the file is.
    pub file_system: FileSystem,
    /// What other programs, which ignore the lock, do with the file.
    pub others: Others,
    /// Whether all calls wait, and all have `--unlink`, and no process is killed or stopped.
    pub is_tidy: bool,
    /// Which states are distinguished.
    pub detail: Detail,
    /// What is wrong with the program.
    pub mutant: Mutant,
}

/// Where the file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// On this machine.
    Local,
    /// On a server that counts the changes of a directory.
    Nfs4,
    /// On a server of which two changes in a short time look like one.
    Nfs3,
}

/// What other programs do with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// Nothing.
    Nothing,
    /// They remove it, or rename another file to its name.
    Replace,
    /// They also give it another name.
    Move,
}

/// Which states are distinguished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// All.
    Fine,
    /// Those with a different future: see [`LockFile::fold`]. Process 0 keeps its number, so that
    /// whether it is served can be checked.
    Coarse,
    /// Those that remain different if the processes are numbered in another order.
    Exchangeable,
}

/// An error in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// None.
    Correct,
    /// The file is not compared with the path after it has been locked.
    NoComparison,
    /// The file is compared before it is locked.
    CompareBeforeLocking,
    /// The file is removed without the lock.
    UnlinkWithoutLock,
    /// The file is not compared with the path before it is removed.
    UnlinkWithoutComparison,
    /// The directory is not read again before the comparison (NFS).
    NoRefresh,
    /// The server is not asked whether the file has a name (NFS).
    NoNamelessCheck,
    /// The command does not inherit the lock.
    NotInherited,
}

/// How far a process is: the call that it makes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// It has not started, or has exited.
    Idle,
    /// Opens the file.
    Open,
    /// Opens the file again, and creates it.
    Create,
    /// Tries to lock the file.
    Try,
    /// Waits for the lock.
    Block,
    /// Reads the directory again, on NFS.
    Refresh,
    /// Compares the file with the path.
    Compare,
    /// Asks the server whether the file has a name, on NFS.
    CheckName,
    /// Closes a file that was replaced.
    Reopen,
    /// Starts the command. It holds the lock.
    Start,
    /// Waits for the command.
    Wait,
    /// Releases the lock.
    Release,
    /// Opens the file to remove it.
    OpenAgain,
    /// Tries to lock it.
    TryAgain,
    /// Looks for waiters of the queue.
    CheckQueue,
    /// Looks for slots.
    CheckSlots,
    /// As before, to remove it.
    RefreshAgain,
    /// As before, to remove it.
    CompareAgain,
    /// As before, to remove it.
    CheckNameAgain,
    /// Removes the file.
    Unlink,
    /// Exits.
    Exit,
}

/// A state. Process `p` locks with description `p`, removes with description `MAX + p`, and its
/// command is process `MAX + p`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    /// How far each process is.
    pub places: [Place; MAX],
    /// The lock that it wants.
    pub modes: [Lock; MAX],
    /// The commands that run, one bit each.
    pub commands: u8,
    files: Descriptions<{ 2 * MAX }>,
    /// The file that the path leads to; 0 if it does not exist.
    pub name: u8,
    /// The file that has another name; 0 if none has.
    elsewhere: u8,
    /// What each machine believes the path to lead to; 0 if it must ask.
    cached: [u8; MAX],
    /// The machines that would notice that the directory has changed, one bit each.
    noticeable: u8,
    /// Another program has removed the file while the lock was held.
    pub is_broken: bool,
}

impl State {
    /// Whether a process, or the command that it started, has the lock by right.
    fn is_inside(&self, process: usize) -> bool {
        let is_holder = matches!(self.places[process], Place::Start | Place::Wait);
        is_holder || self.commands & 1 << process != 0
    }

    fn holders(&self) -> impl Iterator<Item = usize> {
        (0..MAX).filter(|process| self.is_inside(*process))
    }

    /// Whether a command runs whose `flock` was killed, and has the lock.
    pub fn is_left_to_command(&self, process: usize) -> bool {
        let is_killed = self.places[process] == Place::Idle;
        is_killed && self.is_inside(process) && self.files.0[process].lock != Lock::None
    }

    /// Whether the file of each holder is the one at the path.
    fn is_kept(&self) -> bool {
        self.holders()
            .all(|process| self.files.0[process].inode == self.name)
    }

    /// Whether two processes hold locks that exclude each other.
    pub fn is_excluded(&self) -> bool {
        let conflicts =
            |one: usize, other: usize| one != other && self.modes[one].conflicts(self.modes[other]);
        !self
            .holders()
            .any(|one| self.holders().any(|other| conflicts(one, other)))
    }

    /// Whether a process has locked a file that it has found at the path, and will remove it.
    fn is_being_removed(&self) -> bool {
        let is_compared = |place: &Place| matches!(place, Place::Unlink | Place::CheckNameAgain);
        self.places.iter().any(is_compared)
    }

    /// Whether a process is about to hold the lock, because it has found out on NFS that what its
    /// machine knows about the path is up to date.
    fn is_compared(&self) -> bool {
        let is_compared = |place: &Place| {
            use Place::{CheckName, CheckNameAgain, Compare, CompareAgain};
            matches!(place, Compare | CheckName | CompareAgain | CheckNameAgain)
        };
        self.places.iter().any(is_compared)
    }

    /// Whether a process has arrived and does not hold the lock yet.
    pub fn is_waiter(&self, process: usize) -> bool {
        use Place::{Block, CheckName, Compare, Create, Open, Refresh, Reopen, Try};
        let place = self.places[process];
        matches!(
            place,
            Open | Create | Try | Block | Refresh | Compare | CheckName | Reopen
        )
    }

    /// Whether a process has the lock, and watches over the command.
    pub fn is_holder(&self, process: usize) -> bool {
        matches!(self.places[process], Place::Start | Place::Wait)
    }

    /// Whether a waiter depends on the steps of a process: on its own, and on those of processes
    /// that hold a lock.
    pub fn depends_on(&self, waiter: u8, process: u8) -> bool {
        let mut locked = self.files.0.iter().filter(|file| file.lock != Lock::None);
        process == waiter || locked.any(|file| file.users & 1 << process != 0)
    }

    /// Whether no process runs.
    pub fn is_over(&self) -> bool {
        self.places == [Place::Idle; MAX] && self.commands == 0
    }

    /// Whether no file is open or locked.
    pub fn is_clean(&self) -> bool {
        self.files == Descriptions::default()
    }

    fn is_known(&self, inode: u8) -> bool {
        inode == self.name || inode == self.elsewhere || self.files.is_open(inode)
    }

    fn new_inode(&self) -> u8 {
        (1..)
            .find(|inode| !self.is_known(*inode))
            .expect("more than descriptions")
    }

    fn exit(&mut self, process: u8) {
        let index = usize::from(process) % MAX;
        // NFS: the name that the file has got instead of being removed goes with its last user.
        let removed = self.files.0[MAX + index].inode;
        let has_removed = usize::from(process) < MAX && self.places[index] == Place::Exit;
        self.files.exit(process);
        if usize::from(process) < MAX {
            self.places[index] = Place::Idle;
            self.cached[index] = 0;
            self.noticeable &= !(1 << index);
            if has_removed && self.elsewhere == removed {
                self.elsewhere = 0;
            }
        } else {
            self.commands &= !(1 << index);
        }
        self.normalize();
    }

    /// Forgets what does not matter any more, so that equal situations are equal states.
    fn normalize(&mut self) {
        for process in 0..MAX {
            if self.places[process] == Place::Idle && self.commands & 1 << process == 0 {
                self.modes[process] = Lock::None;
            }
        }
        let is_used = self.is_compared() || self.is_being_removed();
        if self.holders().next().is_none() && !is_used {
            self.is_broken = false;
        }
        let used = |inode: u8| self.is_known(inode);
        let cached = self.cached.map(|inode| if used(inode) { inode } else { 0 });
        self.cached = cached;
        // Numbers mean nothing, so they are given out again in the order of their use.
        let mut numbers = [0; 3 * MAX + 3];
        let mut count = 0;
        let files = self.files.0.iter_mut().map(|file| &mut file.inode);
        let names = [&mut self.name, &mut self.elsewhere];
        for inode in names.into_iter().chain(files).chain(&mut self.cached) {
            let number = &mut numbers[usize::from(*inode)];
            if *inode != 0 && *number == 0 {
                count += 1;
                *number = count;
            }
            *inode = *number;
        }
    }
}

impl LockFile {
    /// The properties of every state.
    pub const ALWAYS: [Always<State>; 1] = [(
        "two processes hold locks that exclude each other only if another program removes a file \
         while it is locked",
        |state| state.is_broken || state.is_excluded(),
    )];

    /// On a local file system.
    pub const KEPT: [Always<State>; 2] = [
        Self::ALWAYS[0],
        (
            "no process removes a file that another one, or a command alone, has locked",
            |state| state.is_broken || state.is_kept(),
        ),
    ];

    /// Returns the correct program.
    pub fn new(processes: u8, file_system: FileSystem, others: Others) -> Self {
        Self {
            processes,
            file_system,
            others,
            is_tidy: false,
            detail: Detail::Fine,
            mutant: Mutant::Correct,
        }
    }

    /// Checks that a process can make these system calls, with these results.
    ///
    /// # Errors
    ///
    /// The number of calls that it can make.
    pub fn explain(&self, calls: &[(&str, &str)]) -> Result<(), usize> {
        trace::explain(self, calls)
    }

    /// Returns where a process is that has found neither waiters of the queue nor slots.
    fn after_checks(&self) -> Place {
        match self.mutant {
            Mutant::UnlinkWithoutComparison => Place::Unlink,
            _ if self.is_remote() => Place::RefreshAgain,
            _ => Place::CompareAgain,
        }
    }

    /// Returns the state diagram of a process.
    pub fn diagram(graph: &Graph<'_, Self>) -> String {
        trace::diagram(graph, |state| format!("{:?}", state.places[0]))
    }
}
