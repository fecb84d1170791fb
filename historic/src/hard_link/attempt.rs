//! One attempt after the other to make LOCK.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::guard::Taken;
use super::metadata::{self, Seen, Since};
use super::takeover::{Stolen, Suspect, Way};
use crate::new_file::Draft;
use fdlock::lock::Error;
use fdlock::sys::filesystem::Locality;

/// How soon to come back when another thief is about the same old lock.
const SOON: Duration = Duration::from_millis(20);

/// A file that is to become LOCK.
#[derive(Debug)]
pub(super) struct Bid<'a> {
    lock: &'a OsStr,
    invalid: Duration,
    steal: Way,
    draft: Draft,
    /// A moment before which it was not LOCK.
    since: Since,
    /// The lock of somebody else's, whose age is known.
    known: Option<Known>,
}

#[derive(Debug)]
struct Known {
    seen: Seen,
    /// When we saw it first, as it is.
    first: Instant,
    /// When it is too old.
    ripe: Option<Instant>,
}

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum Attempt<'a> {
    /// LOCK is ours: the file that is to become LOCK has.
    Made,
    /// LOCK is ours, taken over from somebody who is gone.
    Stolen(Taken<'a>),
    /// It is somebody else's, or was a moment ago: try again at once.
    Free,
    /// It is somebody else's, and too old by the moment given, if the clock goes so far.
    Held { ripe: Option<Instant> },
}

impl<'a> Bid<'a> {
    /// # Errors
    ///
    /// There can be no file beside LOCK.
    pub(super) fn new(lock: &'a OsStr, invalid: Duration, steal: Way) -> Result<Self, Error> {
        let draft = Draft::beside(lock, b"");
        let draft = draft.map_err(|error| not_created(lock, error))?;
        let since = Since::during(|| Ok(metadata::of(&draft)?.changed));
        let since = since.map_err(|error| not_created(lock, error))?;
        Ok(Self {
            lock,
            invalid,
            steal,
            draft,
            since,
            known: None,
        })
    }

    pub(super) fn locality(&self) -> Locality {
        Locality::of(self.draft.as_fd())
    }

    /// What has become of it once LOCK is [made](Attempt::Made).
    pub(super) fn into_taken(self) -> Taken<'a> {
        Taken::new(self.lock, self.draft.into_file(), self.since, self.invalid)
    }

    /// Makes LOCK by link(2); if it is there already, looks at its age, and takes it over if it is too old.
    ///
    /// # Errors
    ///
    /// LOCK can be neither made nor looked at, or is too old and cannot be taken over.
    pub(super) fn attempt(&mut self) -> Result<Attempt<'a>, Error> {
        if self.publish()? {
            return Ok(Attempt::Made);
        }
        let suspect = Suspect::at(self.lock).map_err(|error| Error::Open {
            path: self.lock.to_owned(),
            error: error.into(),
            needed: None,
        })?;
        let Some(suspect) = suspect else {
            return Ok(Attempt::Free);
        };
        if let Some(ripe) = self.ripe(&suspect.seen)? {
            return Ok(Attempt::Held { ripe });
        }
        match (self.steal)(self.lock, &suspect, self.invalid) {
            Ok(Stolen::Ours(file, since)) => {
                let taken = Taken::new(self.lock, file, since, self.invalid);
                Ok(Attempt::Stolen(taken))
            }
            Ok(Stolen::Cleared) if self.publish()? => Ok(Attempt::Made),
            Ok(Stolen::Cleared | Stolen::Lost) => Ok(Attempt::Free),
            Ok(Stolen::Busy) => Ok(Attempt::Held {
                ripe: Some(Instant::now() + SOON),
            }),
            Err(error) => Err(Error::File {
                deed: "take over stale lock",
                path: self.lock.to_owned(),
                error: error.into(),
                hint: None,
            }),
        }
    }

    fn publish(&self) -> Result<bool, Error> {
        let made = self.draft.publish(self.lock);
        made.map_err(|error| not_created(self.lock, error))
    }

    /// When somebody else's lock is too old, if ever; `None` when it is.
    ///
    /// It is asked of the file system's clock, by touching our own file. Until then our own clock tells the time, and at
    /// the end the file system's is asked again. That one may have been set back, and have LOCK made in the future; but
    /// what we have seen unchanged for longer than the limit is older than the limit, whatever the clock says.
    fn ripe(&mut self, seen: &Seen) -> Result<Option<Option<Instant>>, Error> {
        let known = self.known.take();
        let known =
            known.filter(|known| (known.seen.id, known.seen.changed) == (seen.id, seen.changed));
        let first = known
            .as_ref()
            .map_or_else(Instant::now, |known| known.first);
        if let Some(known) = known
            && known.ripe.is_none_or(|ripe| Instant::now() < ripe)
        {
            return Ok(Some(self.known.insert(known).ripe));
        }
        let touched = || metadata::touch(&self.draft);
        self.since = Since::during(touched).map_err(|error| not_created(self.lock, error))?;
        let by_file = self.since.left_of(self.invalid, seen.changed);
        let by_us = self.invalid.checked_sub(first.elapsed());
        Ok(by_file.zip(by_us).map(|(by_file, by_us)| {
            let ripe = Instant::now().checked_add(by_file.min(by_us));
            let seen = *seen;
            self.known.insert(Known { seen, first, ripe }).ripe
        }))
    }
}

fn not_created(lock: &OsStr, error: Errno) -> Error {
    Error::Create {
        path: lock.to_owned(),
        error: error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::metadata::Moment;
    use super::super::takeover;
    use super::*;

    fn bid(invalid: Duration, test: impl Fn(Bid<'_>)) {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let lock = folder.path().join("lock");
        test(Bid::new(lock.as_os_str(), invalid, takeover::best).expect("it can be made"));
    }

    /// A LOCK that was made before the clock was set back.
    fn of_the_future(bid: &Bid<'_>) -> Seen {
        let seen = metadata::of(&bid.draft).expect("it is open");
        Seen {
            id: (0, 0, 0),
            changed: Moment::FAR,
            ..seen
        }
    }

    #[test]
    fn a_lock_from_the_future_is_old_when_it_has_been_seen_for_long_enough() {
        let hour = Duration::from_secs(3600);
        bid(hour, |mut bid| {
            let seen = of_the_future(&bid);
            for _ in 0..2 {
                let ripe = bid
                    .ripe(&seen)
                    .expect("a clock")
                    .expect("it is not old yet");
                assert!(ripe.is_some_and(|ripe| ripe <= Instant::now() + hour));
            }
        });
        bid(Duration::ZERO, |mut bid| {
            let seen = of_the_future(&bid);
            let mut is_old = || bid.ripe(&seen).expect("a clock").is_none();
            assert!((0..1000).any(|_| is_old()));
        });
    }

    #[test]
    fn a_lock_that_has_changed_is_seen_for_the_first_time() {
        bid(Duration::from_secs(3600), |mut bid| {
            let seen = of_the_future(&bid);
            let another = Seen {
                id: (0, 0, 1),
                ..seen
            };
            let mut ripe = |seen| {
                bid.ripe(seen)
                    .expect("a clock")
                    .expect("not old")
                    .expect("soon")
            };
            let before = ripe(&seen);
            assert_eq!(ripe(&seen), before);
            assert!(ripe(&another) > before);
        });
    }
}
