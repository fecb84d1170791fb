//! Locks made of hard links, which hold over NFS: LOCK is locked by being there, and link(2) lets one of all make it.
//!
//! Whoever has made the name LOCK holds the lock, and removing the name releases it. Which file bears the name does not
//! matter, not even to its holder: scripts make it and remove it by `ln` and `rm`, and the original does in effect the
//! same. `bid` makes it, `age` says how one that was left behind is taken over, `taken` how it is kept, `counter` how
//! readers are counted, `watch` how one waits.

mod attempt;
mod guard;
mod metadata;
mod readers;
mod takeover;
mod watch;

use std::ffi::OsStr;
use std::time::{Duration, Instant};

pub use guard::Taken;
pub use readers::Reader;

use attempt::{Attempt, Bid};
use guard::Hold;
use takeover::Way;
use watch::{Symlink, Waiter, Watched, Woken};

use fdlock::lock::{Deadline, Error};
use fdlock::sys::deferred_signals::DeferredSignals;
use fdlock::sys::filesystem::Locality;

/// The most often that a holder who waits says that he is alive.
const OFTEN: Duration = Duration::from_millis(10);

/// Somebody who wants LOCK.
#[derive(Debug)]
pub struct Contender<'a> {
    lock: &'a OsStr,
    deadline: Deadline,
    invalid: Duration,
    held: &'a DeferredSignals,
    steal: Way,
    /// Kept to the end: closing an inotify descriptor can take the kernel some milliseconds, during which nobody shall
    /// wait for us.
    waiter: Option<Waiter<'a>>,
}

/// Why LOCK is not ours.
#[derive(Debug)]
pub enum NotTaken {
    /// Others had it until the time was up.
    TimedOut,
    /// A signal that is held back has come, and there is nothing left to tidy up.
    Interrupted,
    /// Something is wrong.
    Failed(Error),
}

impl From<Error> for NotTaken {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<'a> Contender<'a> {
    /// Wants `lock`, and waits until the deadline for it and for readers together. A lock that is older than `invalid`
    /// counts as forgotten. The signals that are held back end every wait.
    pub fn new(
        lock: &'a OsStr,
        deadline: Deadline,
        invalid: Duration,
        held: &'a DeferredSignals,
    ) -> Self {
        Self {
            lock,
            deadline,
            invalid,
            held,
            steal: takeover::best,
            waiter: None,
        }
    }

    /// Takes LOCK.
    ///
    /// # Errors
    ///
    /// The time is up, a signal came, LOCK cannot be made, or is old and cannot be taken over.
    pub fn exclusive(&mut self) -> Result<Taken<'a>, NotTaken> {
        let taken = self.take()?;
        self.unless_interrupted(taken)
    }

    /// Takes LOCK, and waits until there is nobody who reads.
    ///
    /// # Errors
    ///
    /// As for [`exclusive`](Self::exclusive), or COUNTER cannot be made. LOCK is free again.
    pub fn write(&mut self, counter: &OsStr) -> Result<Taken<'a>, NotTaken> {
        loop {
            let mut taken = self.take()?;
            readers::is_apart(counter, self.lock)?;
            match self.until_nobody_reads(&mut taken, counter)? {
                Hold::Firm => return self.unless_interrupted(taken),
                Hold::Lost => taken.forget(),
            }
        }
    }

    /// Takes LOCK for as long as it takes to count one reader more.
    ///
    /// *The race:* with a thief. Were we stopped for longer than the age limit while we hold LOCK, a writer may have
    /// taken it over, seen no readers and begun to write. So after the link is there, we make sure that LOCK was still
    /// ours: a writer who takes it over later looks at COUNTER later as well.
    ///
    /// # Errors
    ///
    /// As for [`exclusive`](Self::exclusive), or there can be no link to COUNTER. LOCK is free again, and there is no link.
    pub fn read(&mut self, counter: &OsStr) -> Result<Reader, NotTaken> {
        loop {
            let mut taken = self.take()?;
            readers::is_apart(counter, self.lock)?;
            let reader = Reader::enter(counter)?;
            match taken.confirm()? {
                Hold::Firm => {
                    taken.release()?;
                    return self.unless_interrupted(reader);
                }
                Hold::Lost => taken.forget(),
            }
        }
    }

    /// What was got, unless a signal came meanwhile: then it is given up.
    fn unless_interrupted<T>(&self, got: T) -> Result<T, NotTaken> {
        if self.held.is_pending() {
            return Err(NotTaken::Interrupted);
        }
        Ok(got)
    }

    /// Makes LOCK, or waits until it can be made.
    ///
    /// A lock that can be had at the first try is had, however short the time. No try begins after the deadline.
    fn take(&mut self) -> Result<Taken<'a>, NotTaken> {
        let mut bid = Bid::new(self.lock, self.invalid, self.steal)?;
        let locality = bid.locality();
        // Nothing is watched yet, so the first wait is none.
        let mut watched = Watched::Gone;
        loop {
            let again = match bid.attempt()? {
                Attempt::Made => return Ok(bid.into_taken()),
                Attempt::Stolen(taken) => return Ok(taken),
                Attempt::Free => Some(Duration::ZERO),
                Attempt::Held { ripe: Some(ripe) } => {
                    Some(ripe.saturating_duration_since(Instant::now()))
                }
                Attempt::Held { ripe: None } => None,
            };
            self.wait(watched, again)?;
            let lock = self.lock;
            watched = self.waiter().watch(lock, Symlink::Itself, locality);
        }
    }

    /// Waits with LOCK in hand until COUNTER has no links but its own.
    ///
    /// LOCK grows old meanwhile, and is not forgotten: so it is touched now and then, and again at the end, when it must
    /// still be ours.
    fn until_nobody_reads(
        &mut self,
        taken: &mut Taken<'a>,
        counter: &OsStr,
    ) -> Result<Hold, NotTaken> {
        let often = (self.invalid / 4).max(OFTEN);
        let mut confirmed = Instant::now();
        let mut watched = Watched::Gone;
        loop {
            if readers::readers(counter)? == 0 {
                return Ok(taken.confirm()?);
            }
            if confirmed.elapsed() >= often {
                confirmed = Instant::now();
                if taken.confirm()? == Hold::Lost {
                    return Ok(Hold::Lost);
                }
            }
            self.wait(watched, Some(often))?;
            let locality = Locality::at(counter);
            watched = self.waiter().watch(counter, Symlink::Followed, locality);
        }
    }

    fn waiter(&mut self) -> &mut Waiter<'a> {
        let held = self.held;
        self.waiter.get_or_insert_with(|| Waiter::new(held))
    }

    /// Waits for a change of what is watched, until the deadline, or for so long.
    fn wait(&mut self, watched: Watched, limit: Option<Duration>) -> Result<(), NotTaken> {
        if matches!(self.deadline, Deadline::Immediate) {
            return Err(NotTaken::TimedOut);
        }
        let left = match self.deadline.until() {
            None => None,
            Some(until) => Some(until.left().ok_or(NotTaken::TimedOut)?),
        };
        let limit = match (left, limit) {
            (Some(left), Some(limit)) => Some(left.min(limit)),
            (left, limit) => left.or(limit),
        };
        if self.waiter().wait(watched, limit) == Woken::Interrupted {
            return Err(NotTaken::Interrupted);
        }
        match self.deadline.until() {
            Some(until) if until.left().is_none() => Err(NotTaken::TimedOut),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
