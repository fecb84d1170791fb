//! The part of a kernel that the protocols use: open file descriptions with their locks, and
//! processes that hold them.

use crate::graph::{Kind, Step};

/// A lock of flock(2) on an open file description.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lock {
    /// `LOCK_UN`
    #[default]
    None,
    /// `LOCK_SH`
    Shared,
    /// `LOCK_EX`
    Exclusive,
}

impl Lock {
    /// Whether two locks exclude each other.
    pub fn conflicts(self, other: Self) -> bool {
        self != Self::None
            && other != Self::None
            && (self == Self::Exclusive || other == Self::Exclusive)
    }
}

/// An open file description.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Description {
    /// The file, or 0 if the description is not open.
    pub inode: u8,
    /// Its flock(2) lock.
    pub lock: Lock,
    /// The bytes that it has locked for reading with fcntl(2), one bit each.
    pub bytes: u16,
    /// The processes that have it open, one bit each.
    pub users: u8,
}

/// All open file descriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Descriptions<const N: usize>(pub [Description; N]);

impl<const N: usize> Default for Descriptions<N> {
    fn default() -> Self {
        Self([Description::default(); N])
    }
}

impl<const N: usize> Descriptions<N> {
    /// open(2)
    pub fn open(&mut self, index: usize, inode: u8, process: u8) {
        self.0[index] = Description {
            inode,
            users: 1 << process,
            ..Description::default()
        };
    }

    /// close(2) – the last process to close a description releases its locks.
    pub fn close(&mut self, index: usize, process: u8) {
        let description = &mut self.0[index];
        description.users &= !(1 << process);
        if description.users == 0 {
            *description = Description::default();
        }
    }

    /// fork(2) – the child has the same descriptions open.
    pub fn fork(&mut self, parent: u8, child: u8) {
        for description in &mut self.0 {
            if description.users & 1 << parent != 0 {
                description.users |= 1 << child;
            }
        }
    }

    /// exit(2) – closes everything.
    pub fn exit(&mut self, process: u8) {
        (0..N).for_each(|index| self.close(index, process));
    }

    /// Whether any process has a file open.
    pub fn is_open(&self, inode: u8) -> bool {
        self.0.iter().any(|description| description.inode == inode)
    }

    /// Whether flock(2) would grant a lock. It wakes all waiters when a lock is released, and any of
    /// them may come first.
    pub fn may_lock(&self, index: usize, lock: Lock) -> bool {
        let inode = self.0[index].inode;
        let others = (0..N).filter(|other| *other != index && self.0[*other].inode == inode);
        !others
            .into_iter()
            .any(|other| lock.conflicts(self.0[other].lock))
    }

    /// The bytes that other descriptions of the same file have locked (`F_OFD_GETLK`).
    pub fn bytes_of_others(&self, index: usize) -> u16 {
        let inode = self.0[index].inode;
        let others = self.0.iter().enumerate();
        let others = others.filter(|(other, of)| *other != index && of.inode == inode);
        others.fold(0, |bytes, (_, other)| bytes | other.bytes)
    }
}

/// A step on which nothing may rely.
pub fn chance(process: u8, call: &'static str) -> Step {
    Step {
        process,
        call,
        result: "",
        kind: Kind::Chance,
    }
}

/// A step that a process makes by itself.
pub fn call(process: u8, call: &'static str, result: &'static str) -> Step {
    Step {
        process,
        call,
        result,
        kind: Kind::Progress,
    }
}

/// A step that a process makes because a timer makes it look again.
pub fn timer(process: u8, call: &'static str, result: &'static str) -> Step {
    Step {
        process,
        call,
        result,
        kind: Kind::Timer,
    }
}
