//! Locks made of hard links, which work over NFS: LOCK is locked by existing, and link(2) lets only
//! one process create it.
//!
//! The process that has created the name LOCK holds the lock, and removing the name releases it.
//! Which file has the name does not matter, not even to the holder: scripts create and remove it
//! with `ln` and `rm`, and the original does in effect the same.

mod attempt;
mod guard;
mod metadata;
mod readers;
mod takeover;
mod watch;

use std::ffi::OsStr;
use std::time::{Duration, Instant};

pub use guard::LinkGuard;
pub use readers::Reader;

use crate::error::Error;
use attempt::{Attempt, Candidate};
use fdlock::lock::at_path::Symlink;
use fdlock::lock::{Acquired, Deadline, Refusal, remaining};
use fdlock::sys::deferred_signals::DeferredSignals;
use fdlock::sys::filesystem::Locality;
use guard::Ownership;
use takeover::TakeoverFn;
use watch::{LinkWatcher, Watch, WatchEvent};

/// The minimum time between two refreshes of LOCK by a holder that waits for readers.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_millis(10);

/// A request for LOCK.
#[derive(Debug)]
pub struct LinkLock<'a> {
    lock: &'a OsStr,
    deadline: Deadline,
    max_age: Duration,
    deferred: &'a DeferredSignals,
    takeover: TakeoverFn,
    /// Kept until the end: closing an inotify descriptor can take the kernel some milliseconds, and
    /// no other process should wait for us meanwhile.
    watcher: Option<LinkWatcher<'a>>,
}

impl<'a> LinkLock<'a> {
    /// Creates a request for `lock`. The deadline includes the wait for readers. A LOCK that is
    /// older than `max_age` is stale. The deferred signals end every wait.
    pub fn new(
        lock: &'a OsStr,
        deadline: Deadline,
        max_age: Duration,
        deferred: &'a DeferredSignals,
    ) -> Self {
        Self {
            lock,
            deadline,
            max_age,
            deferred,
            takeover: takeover::by_any_method,
            watcher: None,
        }
    }

    /// Acquires LOCK.
    ///
    /// # Errors
    ///
    /// LOCK could not be created, or is stale and could not be taken over.
    pub fn exclusive(&mut self) -> Result<Acquired<LinkGuard<'a>>, Error> {
        match self.acquire()? {
            Acquired::Held(guard) => Ok(self.unless_interrupted(guard)),
            not_held => Ok(not_held),
        }
    }

    /// Acquires LOCK, and waits until there are no readers.
    ///
    /// # Errors
    ///
    /// As for [`exclusive`](Self::exclusive), or COUNTER could not be created. LOCK is released.
    pub fn write(&mut self, counter: &OsStr) -> Result<Acquired<LinkGuard<'a>>, Error> {
        loop {
            let mut guard = match self.acquire()? {
                Acquired::Held(guard) => guard,
                not_held => return Ok(not_held),
            };
            readers::check_distinct(counter, self.lock)?;
            match self.wait_for_readers(&mut guard, counter)? {
                Ok(Ownership::Held) => return Ok(self.unless_interrupted(guard)),
                Ok(Ownership::Lost) => guard.disarm(),
                Err(reason) => return Ok(Acquired::NotHeld(reason)),
            }
        }
    }

    /// Acquires LOCK for as long as it takes to add a reader.
    ///
    /// *Race* with a takeover: if we were stopped for longer than the maximum age while we held
    /// LOCK, a writer may have taken it over, seen no readers and begun to write. Therefore, once
    /// the link exists, we check that LOCK is still ours: a writer that takes it over later also
    /// counts the links later.
    ///
    /// # Errors
    ///
    /// As for [`exclusive`](Self::exclusive), or COUNTER could not be linked to. LOCK is released,
    /// and there is no link.
    pub fn read(&mut self, counter: &OsStr) -> Result<Acquired<Reader>, Error> {
        loop {
            let mut guard = match self.acquire()? {
                Acquired::Held(guard) => guard,
                Acquired::NotHeld(reason) => return Ok(Acquired::NotHeld(reason)),
            };
            readers::check_distinct(counter, self.lock)?;
            let reader = Reader::register(counter)?;
            match guard.confirm()? {
                Ownership::Held => {
                    guard.release()?;
                    return Ok(self.unless_interrupted(reader));
                }
                Ownership::Lost => guard.disarm(),
            }
        }
    }

    /// Returns the guard, or drops it if a deferred signal is pending.
    fn unless_interrupted<G>(&self, guard: G) -> Acquired<G> {
        if self.deferred.is_pending() {
            Acquired::NotHeld(Refusal::Interrupted)
        } else {
            Acquired::Held(guard)
        }
    }

    /// Creates LOCK, or waits until it can be created.
    ///
    /// If LOCK is free at the first attempt, it is acquired, however short the timeout. No attempt
    /// begins after the deadline.
    fn acquire(&mut self) -> Result<Acquired<LinkGuard<'a>>, Error> {
        let mut candidate = Candidate::new(self.lock, self.max_age, self.takeover)?;
        let locality = candidate.locality();
        // Nothing is watched yet, so the first wait returns at once.
        let mut watch = Watch::Missing;
        loop {
            let timeout = match candidate.attempt()? {
                Attempt::Created => return Ok(Acquired::Held(candidate.into_guard())),
                Attempt::TakenOver(guard) => return Ok(Acquired::Held(guard)),
                Attempt::Vanished => Some(Duration::ZERO),
                Attempt::Held { stale_at } => {
                    stale_at.map(|stale_at| stale_at.saturating_duration_since(Instant::now()))
                }
            };
            if let Err(reason) = self.wait(watch, timeout) {
                return Ok(Acquired::NotHeld(reason));
            }
            let lock = self.lock;
            watch = self.watcher().watch(lock, Symlink::NoFollow, locality);
        }
    }

    /// Waits with LOCK held until COUNTER has no other links. Returns whether LOCK is still ours,
    /// or why the wait ended early.
    ///
    /// LOCK gets old in the meantime, but must not become stale. So it is touched now and then, and
    /// again at the end, when it must still be ours.
    fn wait_for_readers(
        &mut self,
        guard: &mut LinkGuard<'a>,
        counter: &OsStr,
    ) -> Result<Result<Ownership, Refusal>, Error> {
        let refresh_interval = (self.max_age / 4).max(MIN_REFRESH_INTERVAL);
        let mut refreshed = Instant::now();
        let mut watch = Watch::Missing;
        loop {
            if readers::count(counter)? == 0 {
                return Ok(Ok(guard.confirm()?));
            }
            if refreshed.elapsed() >= refresh_interval {
                refreshed = Instant::now();
                if guard.confirm()? == Ownership::Lost {
                    return Ok(Ok(Ownership::Lost));
                }
            }
            if let Err(reason) = self.wait(watch, Some(refresh_interval)) {
                return Ok(Err(reason));
            }
            let locality = Locality::from_path(counter);
            watch = self.watcher().watch(counter, Symlink::Follow, locality);
        }
    }

    fn watcher(&mut self) -> &mut LinkWatcher<'a> {
        let deferred = self.deferred;
        self.watcher
            .get_or_insert_with(|| LinkWatcher::new(deferred))
    }

    /// Waits until what is watched changes, at most until the deadline and for the timeout.
    fn wait(&mut self, watch: Watch, timeout: Option<Duration>) -> Result<(), Refusal> {
        if matches!(self.deadline, Deadline::Immediate) {
            return Err(Refusal::WouldBlock);
        }
        let left = match self.deadline.instant() {
            None => None,
            Some(instant) => Some(remaining(instant).ok_or(Refusal::TimedOut)?),
        };
        let timeout = left.into_iter().chain(timeout).min();
        if self.watcher().wait(watch, timeout) == WatchEvent::Interrupted {
            return Err(Refusal::Interrupted);
        }
        match self.deadline.instant().map(remaining) {
            Some(None) => Err(Refusal::TimedOut),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
