//! One attempt after the other to make LOCK.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::age::{Stolen, Suspect, Way};
use super::look::{self, Moment, Seen};
use super::taken::Taken;
use crate::lock::Error;
use crate::lock::local::Locality;
use crate::lock::publish::Draft;

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
    since: Moment,
    /// The lock of somebody else's, whose age is known.
    known: Option<(Seen, Option<Instant>)>,
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
        let seen = look::of(&draft).map_err(|error| not_created(lock, error))?;
        Ok(Self {
            lock,
            invalid,
            steal,
            draft,
            since: seen.changed,
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
                deed: "take over the old lock",
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
    /// the end the file system's is asked again.
    fn ripe(&mut self, seen: &Seen) -> Result<Option<Option<Instant>>, Error> {
        if let Some((known, ripe)) = &self.known
            && (known.id, known.changed) == (seen.id, seen.changed)
            && ripe.is_none_or(|ripe| Instant::now() < ripe)
        {
            return Ok(Some(*ripe));
        }
        let now = look::touch(&self.draft).map_err(|error| not_created(self.lock, error))?;
        self.since = now;
        Ok(now.left_of(self.invalid, seen.changed).map(|left| {
            let ripe = Instant::now().checked_add(left);
            self.known = Some((*seen, ripe));
            ripe
        }))
    }
}

fn not_created(lock: &OsStr, error: Errno) -> Error {
    Error::Create {
        path: lock.to_owned(),
        error: error.into(),
    }
}
