//! Claims: which of the processes that replace the holder of a lock is the newest.
//!
//! A process that replaces the holder has a claim: a byte far beyond any data that it has locked for
//! reading with the open file description of the lock, while it asks for the lock and for as long as
//! it holds it. The offset says when it arrived; no two are equal.
//!
//! ```text
//! bit    59  58 … 22               21 … 0
//! claim   1  arrival time (4 ms)   pid
//! ```
//!
//! *Race:* several processes replace one holder at the same time. In whatever order they acquire the
//! lock, the newest must stay. Every process claims before it asks for the lock, and looks for later
//! claims after that. If there is one, it gives the lock back, or does not ask again. So it does not
//! start its command if the newest one waits already. If the newest one comes later, it finds the
//! command and stops it; and an older process that still waits finds the newest one's claim, which
//! lasts as long as its lock, before it would stop it. The newest process finds no later claim, so
//! of any number one remains.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::getpid;

use super::marker::CLAIM_RANGE;
use super::ticket;
use crate::lock::advisory::{self, LockApi};
use crate::lock::{AcquireError, Acquired, Deadline, Mode, Refusal};
use crate::sys::clock::Uptime;
use crate::sys::ofd::{self, Blocking, Operation};
use crate::sys::procfs::time_namespace;

const TICK_NANOS: i128 = 4_000_000;
const PID_BITS: u32 = 22;
/// The clock counts from the boot, so the time does not wrap around within 17 years.
const MAX_TIME: i64 = (1 << 37) - 1;

/// A claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim(i64);

impl Claim {
    /// Returns the claim of this process if it arrived at this time.
    pub fn new(arrived: Uptime) -> Self {
        let nanos = arrived.0.as_nanos() as i128 - time_namespace::boottime_offset();
        let ticks = (nanos / TICK_NANOS).clamp(0, MAX_TIME.into()) as i64;
        let pid = i64::from(getpid().as_raw_nonzero().get());
        Self(CLAIM_RANGE.start() | ticks << PID_BITS | pid & ((1 << PID_BITS) - 1))
    }

    /// Returns whether there is a later claim on the file.
    pub fn is_superseded(self, fd: BorrowedFd<'_>) -> bool {
        let later = ofd::conflict(fd, self.0 + 1, *CLAIM_RANGE.end());
        // A lock on more bytes is not a claim: another program has locked the whole file.
        matches!(later, Ok(Some((offset, 1))) if offset > self.0)
    }

    /// Publishes the claim also between requests for the lock, until the result is dropped. Returns
    /// `None` where that is not possible.
    pub fn publish(self, fd: BorrowedFd<'_>) -> Option<OwnedFd> {
        let (file, _) = ticket::reopen(fd).ok()??;
        self.set(file.as_fd(), true);
        Some(file)
    }

    /// Sets or removes the claim. Where that is not possible, there is no order among claims.
    fn set(self, fd: BorrowedFd<'_>, is_set: bool) {
        let operations: &[Operation] = match is_set {
            // The second one where the descriptor is open only for writing.
            true => &[Operation::Read, Operation::Write],
            false => &[Operation::Unlock],
        };
        let set = |operation: &Operation| ofd::set(fd, *operation, self.0, 1, Blocking::No).is_ok();
        let _ = operations.iter().any(set);
    }
}

/// Acquires the lock of flock(2), unless a later claim exists. Calls `on_wait` before it blocks.
///
/// # Errors
///
/// As for [`advisory::acquire`].
#[cold]
#[inline(never)]
pub(in crate::lock) fn acquire(
    fd: BorrowedFd<'_>,
    claim: Claim,
    mode: Mode,
    deadline: &Deadline,
    on_wait: &mut dyn FnMut(),
) -> Result<Acquired<()>, AcquireError> {
    if ticket::unsupported_file_reason(fd).is_some() {
        return advisory::acquire(fd, LockApi::Flock, mode, deadline, on_wait);
    }
    claim.set(fd, true);
    let outcome = advisory::acquire(fd, LockApi::Flock, mode, deadline, on_wait);
    let is_superseded = outcome.is_ok() && claim.is_superseded(fd);
    match outcome {
        Ok(Acquired::Held(())) if !is_superseded => return outcome,
        Ok(Acquired::Held(())) => {
            advisory::try_acquire(fd, LockApi::Flock, Mode::Unlocked)?;
        }
        _ => {}
    }
    claim.set(fd, false);
    match is_superseded {
        true => Ok(Acquired::NotHeld(Refusal::Superseded)),
        false => outcome,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::time::Duration;

    use super::super::marker::Marker;
    use super::*;

    fn claim_after(seconds: u64) -> Claim {
        Claim::new(Uptime(Duration::from_secs(1_000_000 + seconds)))
    }

    fn try_acquire(file: &File, claim: Claim) -> Acquired<()> {
        let (mode, deadline) = (Mode::Exclusive, Deadline::Immediate);
        acquire(file.as_fd(), claim, mode, &deadline, &mut || {}).expect("no error")
    }

    #[test]
    fn an_older_claim_gives_up_and_a_newer_one_does_not() {
        let file = tempfile::tempfile().expect("a temporary file");
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let other = File::options()
            .read(true)
            .open(path)
            .expect("a second open file description");
        assert_eq!(try_acquire(&other, claim_after(5)), Acquired::Held(()));
        let refusal = |seconds| try_acquire(&file, claim_after(seconds));
        assert_eq!(refusal(4), Acquired::NotHeld(Refusal::Superseded));
        assert_eq!(refusal(6), Acquired::NotHeld(Refusal::WouldBlock));
        advisory::try_acquire(other.as_fd(), LockApi::Flock, Mode::Unlocked).expect("no error");
        assert_eq!(refusal(4), Acquired::NotHeld(Refusal::Superseded));
        let free = advisory::try_acquire(other.as_fd(), LockApi::Flock, Mode::Exclusive);
        assert!(matches!(free, Ok(Acquired::Held(()))), "it was given back");
        drop(other);
        assert_eq!(refusal(4), Acquired::Held(()));
    }

    #[test]
    fn claims_are_not_markers() {
        for seconds in [0, 1, u64::MAX >> 32] {
            let Claim(offset) = claim_after(seconds);
            assert!(CLAIM_RANGE.contains(&offset));
            assert_eq!(Marker::from_offset(offset), None);
        }
    }
}
