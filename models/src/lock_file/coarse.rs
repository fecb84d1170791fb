//! Fewer states: those that have the same future are folded into one.
//!
//! * A process that has nothing open could as well arrive later, so it has not arrived yet. Whether
//!   it is about to create the file, and which lock it wants, is decided when that matters. Any
//!   process may also remove the file, as after its command.
//! * A process that tries to lock the file can do all that one can do that waits for it.
//! * A lock that will be released without another look is released at once, and a call that neither
//!   sees nor changes what others see is skipped. That only lets others do earlier what they could do
//!   later, and a process that is refused a lock does nothing that it cannot do otherwise.
//! * Processes differ only in their numbers.
//!
//! The tests check that every state of the fine model is folded into one that the coarse model
//! reaches, so that no state is lost.

use super::{Detail, LockFile, MAX, Place, State};
use crate::graph::Step;
use crate::kernel::Lock;

impl LockFile {
    /// Returns the state of the coarse model that stands for a state of the fine one.
    pub fn fold(&self, state: &State) -> State {
        let mut folded = *state;
        for process in 0..self.processes {
            let index = usize::from(process);
            while let Some(place) = self.skip(&mut folded, process) {
                folded.places[index] = place;
            }
            folded.modes[index] = folded.files.0[index].lock;
        }
        folded.normalize();
        self.number(&mut folded);
        folded
    }

    /// Numbers the processes by what they do, and those that do the same so that the state is the
    /// least.
    fn number(&self, state: &mut State) {
        let first = usize::from(self.detail != Detail::Exchangeable);
        let mut order = [0, 1, 2, 3];
        order[first..usize::from(self.processes)].sort_by_key(|process| state.key(*process));
        if !order.is_sorted() {
            *state = state.renumber(order);
        }
        for process in first as u8 + 1..self.processes {
            if state.key(process - 1) == state.key(process) {
                let mut order = [0, 1, 2, 3];
                order.swap(usize::from(process) - 1, usize::from(process));
                *state = state.renumber(order).min(*state);
            }
        }
    }

    /// Does at once what one process does next, if nothing depends on when. Returns where it is then.
    fn skip(&self, state: &mut State, process: u8) -> Option<Place> {
        let index = usize::from(process);
        let has_command = state.commands & 1 << process != 0;
        match state.places[index] {
            Place::Open | Place::Create => Some(Place::Idle),
            Place::Try => Some(Place::Block),
            Place::Reopen => {
                state.files.close(index, process);
                Some(Place::Idle)
            }
            Place::Start => {
                state.commands |= 1 << process;
                state.files.fork(process, process + MAX as u8);
                Some(Place::Wait)
            }
            Place::Wait if !has_command => Some(Place::Exit),
            Place::Release => {
                state.files.close(index, process);
                Some(Place::Idle)
            }
            Place::OpenAgain => Some(Place::Idle),
            Place::CheckQueue | Place::CheckSlots => Some(self.after_checks()),
            // NFS: the name that a removed file has got goes with its last user.
            Place::Exit if !self.is_remote() || state.files.0[MAX + index].inode == 0 => {
                state.exit(process);
                Some(Place::Idle)
            }
            _ => None,
        }
    }

    /// Adds the steps of a process in the coarse model.
    pub(super) fn add_coarse_steps_of(
        &self,
        state: &State,
        process: u8,
        steps: &mut Vec<(Step, State)>,
    ) {
        let index = usize::from(process);
        let mut from = *state;
        match state.places[index] {
            Place::Idle => {
                from.places[index] = Place::OpenAgain;
                self.add_steps_of(&from, process, steps);
                if state.commands & 1 << process == 0 {
                    for place in [Place::Open, Place::Create] {
                        from.places[index] = place;
                        self.add_steps_of(&from, process, steps);
                    }
                }
            }
            Place::Block => {
                for mode in [Lock::Exclusive, Lock::Shared] {
                    from.modes[index] = mode;
                    self.add_steps_of(&from, process, steps);
                }
            }
            _ => self.add_steps_of(state, process, steps),
        }
    }
}

impl State {
    /// Returns what does not depend on the numbers of processes and files.
    fn key(&self, process: u8) -> (Place, [u8; 3], [bool; 4]) {
        let index = usize::from(process);
        let class = |inode| match inode {
            0 => 0,
            inode if inode == self.name => 1,
            inode if inode == self.elsewhere => 2,
            _ => 3,
        };
        let (file, again) = (self.files.0[index], self.files.0[MAX + index]);
        let inodes = [file.inode, again.inode, self.cached[index]];
        let bit = 1 << process;
        let bits = [
            self.commands & bit != 0,
            self.noticeable & bit != 0,
            file.lock == Lock::Shared,
            again.lock != Lock::None,
        ];
        (self.places[index], inodes.map(class), bits)
    }

    /// Gives the processes other numbers.
    fn renumber(&self, order: [u8; MAX]) -> State {
        let mut next = *self;
        let bits = |old: u8, shift: u8| {
            (0..MAX as u8).zip(order).fold(0, |bits, (new, from)| {
                bits | (old >> (from + shift) & 1) << (new + shift)
            })
        };
        for (new, from) in order.into_iter().map(usize::from).enumerate() {
            next.places[new] = self.places[from];
            next.modes[new] = self.modes[from];
            next.cached[new] = self.cached[from];
            for offset in [0, MAX] {
                let file = &mut next.files.0[offset + new];
                *file = self.files.0[offset + from];
                file.users = bits(file.users, 0) | bits(file.users, MAX as u8);
            }
        }
        next.commands = bits(self.commands, 0);
        next.noticeable = bits(self.noticeable, 0);
        next.normalize();
        next
    }
}
