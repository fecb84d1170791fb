//! LOCK in our hands.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;

use super::metadata::{self, Since};
use fdlock::lock::Error;

/// LOCK is ours. Dropping it removes LOCK, by name.
///
/// *Why by name,* where somebody else's LOCK might be removed? The name is ours: we made it, and nobody removes it but
/// its holder and a thief. A thief's exchange may have put another file behind it, which does not make it another's.
/// Only a thief who takes it over does, and only once it is too old; so that is looked at first.
#[derive(Debug)]
pub struct Taken<'a> {
    lock: &'a OsStr,
    /// The file that became LOCK; nothing once LOCK is no longer ours to remove.
    file: Option<OwnedFd>,
    /// A moment since which it cannot be too old.
    since: Since,
    invalid: Duration,
}

/// Whether LOCK is still ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// It is, and as young as it was when we took it.
    Firm,
    /// It is not, or nobody can tell: it was too old, or somebody has removed it.
    Lost,
}

impl<'a> Taken<'a> {
    pub(super) fn new(lock: &'a OsStr, file: OwnedFd, since: Since, invalid: Duration) -> Self {
        Self {
            lock,
            file: Some(file),
            since,
            invalid,
        }
    }

    /// Makes sure that LOCK is still ours, and young.
    ///
    /// *The race:* with a thief, where we have been stopped for longer than the age limit. He looks at the age, takes the
    /// name, and then looks whether the file was touched meanwhile. We touch it, and then look at the name. If he takes the
    /// name before we look, we see another file there; as LOCK was too old before we touched it, it counts as lost. If
    /// he takes it after we have looked, he sees that it was touched, and has not won. Both may believe that they have
    /// lost; then LOCK is nobody's until it is too old again. Never do both believe that they have won.
    ///
    /// Another file at the name while LOCK was *not* too old is what a thief leaves who came too late for another lock
    /// (see `age`): LOCK is ours, by that file. It is touched by name then, as far as we may.
    ///
    /// # Errors
    ///
    /// The file system does not say.
    pub(super) fn confirm(&mut self) -> Result<Hold, Error> {
        self.look_again().map_err(|error| Error::File {
            deed: "verify ownership of",
            path: self.lock.to_owned(),
            error: error.into(),
            hint: None,
        })
    }

    fn look_again(&mut self) -> Result<Hold, Errno> {
        let Some(file) = &self.file else {
            return Ok(Hold::Lost);
        };
        let mut was_young = false;
        let now = Since::during(|| {
            let now = metadata::touch(file)?;
            was_young = self.since.is_young(now, self.invalid);
            Ok::<_, Errno>(now)
        })?;
        match metadata::at(self.lock) {
            Ok(seen) if seen.id == metadata::of(file)?.id => {
                self.since = now;
                Ok(Hold::Firm)
            }
            Ok(_) if was_young => {
                if metadata::touch_at(self.lock).is_ok() {
                    self.since = now;
                }
                Ok(Hold::Firm)
            }
            Ok(_) | Err(Errno::NOENT) => Ok(Hold::Lost),
            Err(error) => Err(error),
        }
    }

    /// Leaves LOCK where it is, for the caller to remove.
    pub fn leave(self) {
        self.forget();
    }

    /// It is not ours to remove.
    pub(super) fn forget(mut self) {
        self.file = None;
    }

    /// Removes LOCK, right after it was [confirmed](Self::confirm). That it is gone already is no error.
    ///
    /// # Errors
    ///
    /// It cannot be removed.
    pub(super) fn release(mut self) -> Result<(), Error> {
        self.file = None;
        match rustix::fs::unlink(self.lock) {
            Err(Errno::NOENT) | Ok(()) => Ok(()),
            Err(error) => Err(Error::File {
                deed: "remove",
                path: self.lock.to_owned(),
                error: error.into(),
                hint: None,
            }),
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.file.is_some() && matches!(self.look_again(), Ok(Hold::Firm)) {
            // It is on the way to an error or a timeout, and there is nothing better to say.
            let _ = rustix::fs::unlink(self.lock);
        }
    }
}
