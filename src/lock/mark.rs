//! The bytes of a file that are locked if a descriptor of it has a lock elsewhere: for which lock it
//! stands, and what has become of that.
//!
//! They are far beyond any data, below the [markers](super::fair::marker) of the queue and the slots.
//! Nothing is read from or written to the file.
//!
//! ```text
//! bit   58  57 … 19        18 17   16 … 2    1 0
//! mark   1  hash of name   mode    number    role
//! ```
//!
//! | role | byte | locked by | as long as |
//! |---|---|---|---|
//! | 0 | the mark | the caller's open file description | a process has it open, and has not released the lock |
//! | 1 | the life | the guards | one of them exists |
//! | 3 | the loss | the guards | one of them exists, if the lock is lost |

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::fair::marker::HANDLE_RANGE;
use crate::lock::Mode;
use crate::sys::procfs::locks::{LockRecord, LockState, LockType};

const HASH_SHIFT: u32 = 19;
const HASH_BITS: u32 = 39;
const MODE_SHIFT: u32 = 17;
const NUMBER_SHIFT: u32 = 2;
const NUMBER_BITS: u32 = 15;
const ROLES: i64 = 3;

/// How many marks there are for one lock in one mode.
pub const NUMBERS: u64 = 1 << NUMBER_BITS;

/// The byte that marks a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(i64);

/// What the lock excludes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldMode {
    /// All others.
    Exclusive = 0,
    /// Exclusive locks.
    Shared = 1,
    /// All others beyond a number.
    Slot = 2,
}

impl Mark {
    /// Returns one of the marks for a lock, of which there are [`NUMBERS`].
    pub fn new(name: &OsStr, mode: HeldMode, number: u64) -> Self {
        let number = (number % NUMBERS) as i64;
        let offset =
            hash(name) << HASH_SHIFT | (mode as i64) << MODE_SHIFT | number << NUMBER_SHIFT;
        Self(HANDLE_RANGE.start() | offset)
    }

    /// Returns the mark that a lock on a range of bytes is, if it is one.
    pub fn from_record(record: &LockRecord) -> Option<Self> {
        let is_mark = record.lock_type == LockType::Ofd
            && record.state == LockState::Granted
            && record.first == record.last
            && HANDLE_RANGE.contains(&record.first)
            && record.first & ROLES == 0;
        is_mark.then_some(Self(record.first))
    }

    /// Returns whether it stands for this lock. Another lock has the same hash with a probability
    /// of 2⁻³⁹.
    pub fn is_for(self, name: &OsStr) -> bool {
        self.0 >> HASH_SHIFT & ((1 << HASH_BITS) - 1) == hash(name)
    }

    /// Returns whether the lock is held in this mode.
    pub fn has_mode(self, mode: HeldMode) -> bool {
        self.0 >> MODE_SHIFT & 3 == mode as i64
    }

    /// Returns the lock that is held, if it is not a slot.
    pub fn lock_mode(self) -> Option<Mode> {
        let modes = [
            (HeldMode::Exclusive, Mode::Exclusive),
            (HeldMode::Shared, Mode::Shared),
        ];
        modes
            .into_iter()
            .find_map(|(held, mode)| self.has_mode(held).then_some(mode))
    }

    /// Returns the mark to which a byte that guards have locked belongs. Both of their bytes form
    /// one lock or two.
    pub fn from_guard(record: &LockRecord) -> Option<Self> {
        let is_guard = record.lock_type == LockType::Ofd
            && record.state == LockState::Granted
            && record.last - record.first <= ROLES
            && HANDLE_RANGE.contains(&record.first)
            && record.first & ROLES != 0;
        is_guard.then_some(Self(record.first & !ROLES))
    }

    /// Returns whether a process waits for a mark to vanish.
    pub fn is_watched_by(record: &LockRecord) -> bool {
        record.lock_type == LockType::Ofd
            && record.state == LockState::Blocked
            && record.first == record.last
            && HANDLE_RANGE.contains(&record.first)
            && record.first & ROLES == 0
    }

    /// Returns the offset of the byte.
    pub fn offset(self) -> i64 {
        self.0
    }

    /// Returns the byte that the guards keep locked.
    pub fn life(self) -> i64 {
        self.0 | 1
    }

    /// Returns the byte that the guards lock when the lock is lost.
    pub fn loss(self) -> i64 {
        self.0 | 3
    }
}

/// Returns 39 bits that depend on all bytes of the name (FNV-1a, folded).
fn hash(name: &OsStr) -> i64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    let bytes = name.as_bytes().iter();
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325, step);
    ((hash ^ hash >> HASH_BITS) & ((1 << HASH_BITS) - 1)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_tells_the_lock_and_the_mode() {
        let (one, other) = (OsStr::new("etcd://h/one"), OsStr::new("etcd://h/other"));
        for mode in [HeldMode::Exclusive, HeldMode::Shared, HeldMode::Slot] {
            for number in [0, 1, NUMBERS - 1, u64::MAX] {
                let mark = Mark::new(one, mode, number);
                assert!(mark.is_for(one) && !mark.is_for(other));
                let modes = [HeldMode::Exclusive, HeldMode::Shared, HeldMode::Slot];
                let found = modes.into_iter().filter(|mode| mark.has_mode(*mode));
                assert_eq!(Vec::from_iter(found), [mode]);
            }
        }
    }

    #[test]
    fn bytes_are_in_the_range_and_do_not_overlap() {
        let mut bytes = Vec::new();
        for number in [0, 1, 2, NUMBERS - 1] {
            let mark = Mark::new("etcd://h/one".as_ref(), HeldMode::Slot, number);
            bytes.extend([mark.offset(), mark.life(), mark.loss()]);
        }
        assert!(bytes.iter().all(|byte| HANDLE_RANGE.contains(byte)));
        let count = bytes.len();
        bytes.sort_unstable();
        bytes.dedup();
        assert_eq!(bytes.len(), count);
    }

    #[test]
    fn only_a_locked_mark_is_a_mark() {
        let mark = Mark::new("etcd://h/one".as_ref(), HeldMode::Exclusive, 7);
        let record = |kind: &str, first: i64, last: i64| {
            let line = format!("1: {kind} ADVISORY READ -1 fe:00:99 {first} {last}");
            LockRecord::parse(line.as_bytes()).expect("a record")
        };
        let offset = mark.offset();
        let parse = |record| Mark::from_record(&record);
        assert_eq!(parse(record("OFDLCK", offset, offset)), Some(mark));
        assert_eq!(parse(record("OFDLCK", offset, offset + 1)), None);
        assert_eq!(parse(record("POSIX", offset, offset)), None);
        assert_eq!(parse(record("OFDLCK", mark.life(), mark.life())), None);
        assert_eq!(parse(record("OFDLCK", mark.loss(), mark.loss())), None);
        assert_eq!(parse(record("OFDLCK", 4, 4)), None);
        let guard = |first, last| Mark::from_guard(&record("OFDLCK", first, last));
        assert_eq!(guard(mark.life(), mark.life()), Some(mark));
        assert_eq!(guard(mark.loss(), mark.loss()), Some(mark));
        assert_eq!(guard(offset, offset), None);
        assert_eq!(guard(mark.life(), i64::MAX), None);
    }
}
