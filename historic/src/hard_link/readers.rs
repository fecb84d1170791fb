//! Counting readers by the links of a file: COUNTER itself is one, and every reader is one more.
//!
//! *The races.* Links are added under LOCK only, so a writer who holds LOCK and sees a single link is alone, and stays
//! so. They are removed at any time, which makes a writer wait too long at worst; he watches.

use std::ffi::{OsStr, OsString};

use rustix::fs::{AtFlags, CWD, FileType};
use rustix::io::Errno;

use super::metadata;
use crate::new_file::{self, Draft};
use fdlock::lock::Error;

/// How many readers there are. A COUNTER that is missing is made, for those who only know how to link to one.
///
/// # Errors
///
/// There is no place for it, or something else is there.
pub(super) fn readers(counter: &OsStr) -> Result<u64, Error> {
    let problem = |error: Errno| Error::Open {
        path: counter.to_owned(),
        error: error.into(),
        needed: None,
    };
    loop {
        match metadata::through(counter) {
            // Its links are not its names.
            Ok(seen) if seen.kind == FileType::Directory => return Err(problem(Errno::ISDIR)),
            Ok(seen) => return Ok(seen.links.saturating_sub(1)),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(problem(error)),
        }
        if metadata::at(counter).is_ok_and(|seen| seen.kind == FileType::Symlink) {
            return Err(problem(Errno::NOENT));
        }
        make(counter).map_err(|error| Error::Create {
            path: counter.to_owned(),
            error: error.into(),
        })?;
    }
}

/// Makes sure that COUNTER is not LOCK by another name: what is removed and made anew counts nothing. LOCK must be held.
///
/// # Errors
///
/// It is.
pub(super) fn is_apart(counter: &OsStr, lock: &OsStr) -> Result<(), Error> {
    match (metadata::through(counter), metadata::at(lock)) {
        (Ok(through), Ok(at)) if through.id == at.id => Err(Error::SameFile {
            path: counter.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// By link(2), as LOCK: whole, with a single link in the end, and no matter who else makes it.
fn make(counter: &OsStr) -> Result<(), Errno> {
    Draft::beside(counter, b"")?.publish(counter)?;
    Ok(())
}

/// A reader: a link to COUNTER. It is removed when this is dropped.
#[derive(Debug)]
pub struct Reader {
    link: OsString,
}

impl Reader {
    /// Counts one more. LOCK must be held.
    ///
    /// # Errors
    ///
    /// COUNTER cannot be made or linked to.
    pub(super) fn enter(counter: &OsStr) -> Result<Self, Error> {
        loop {
            readers(counter)?;
            match new_file::first_free(new_file::folder(counter), |place| add(counter, place)) {
                Ok((link, ())) => return Ok(Self { link }),
                // Removed in this very moment by somebody who tidies up.
                Err(Errno::NOENT) if metadata::through(counter).is_err() => {}
                Err(error) => return Err(not_linked(counter, error)),
            }
        }
    }

    /// The link's path.
    pub fn link(&self) -> &OsStr {
        &self.link
    }

    /// Counts one less.
    ///
    /// # Errors
    ///
    /// The link cannot be removed. That it is gone already is none.
    pub fn leave(self) -> Result<(), Error> {
        let removed = match rustix::fs::unlink(&self.link) {
            Err(Errno::NOENT) | Ok(()) => Ok(()),
            Err(error) => Err(Error::File {
                deed: "remove",
                path: self.link.clone(),
                error: error.into(),
                hint: None,
            }),
        };
        self.stay();
        removed
    }

    /// Goes on being counted, for whoever looks after what has gone wrong.
    pub fn stay(mut self) {
        self.link.clear();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if !self.link.is_empty() {
            // Best effort: whoever wants to hear of it says `leave`.
            let _ = rustix::fs::unlink(&self.link);
        }
    }
}

/// link(2) – one link more to COUNTER, of this name.
///
/// Over NFS the answer may get lost; then the client asks again, and is told that the name is taken, by us. So a refusal
/// is believed only if the name, which was free, is not COUNTER's now. Nobody else makes names of ours, and a leftover
/// of an earlier process with our number was there before.
fn add(counter: &OsStr, place: &OsStr) -> Result<(), Errno> {
    add_by(counter, place, || {
        rustix::fs::linkat(CWD, counter, CWD, place, AtFlags::SYMLINK_FOLLOW)
    })
}

fn add_by(
    counter: &OsStr,
    place: &OsStr,
    link: impl FnOnce() -> Result<(), Errno>,
) -> Result<(), Errno> {
    match metadata::at(place) {
        Ok(_) => return Err(Errno::EXIST),
        Err(Errno::NOENT) => {}
        Err(error) => return Err(error),
    }
    link().or_else(
        |error| match (metadata::at(place), metadata::through(counter)) {
            (Ok(place), Ok(counter)) if place.id == counter.id => Ok(()),
            _ => Err(error),
        },
    )
}

fn not_linked(counter: &OsStr, error: Errno) -> Error {
    let ours = rustix::process::geteuid().as_raw();
    let is_theirs = || metadata::through(counter).is_ok_and(|seen| seen.owner != ours);
    Error::File {
        deed: "link to",
        path: counter.to_owned(),
        error: error.into(),
        hint: (error == Errno::PERM && is_theirs()).then_some(
            "it belongs to another user and must be readable and writable (fs.protected_hardlinks)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of a counter and of a link to it, in a scratch folder.
    fn scratch(test: impl Fn(&OsStr, &OsStr)) {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let [counter, place] = ["counter", "place"].map(|name| folder.path().join(name));
        test(counter.as_os_str(), place.as_os_str());
    }

    #[test]
    fn every_reader_is_a_link_more() {
        scratch(|counter, _| {
            assert_eq!(readers(counter).expect("it can be made"), 0);
            let one = Reader::enter(counter).expect("it can be linked to");
            let two = Reader::enter(counter).expect("it can be linked to");
            assert_eq!(readers(counter).expect("it is there"), 2);
            one.leave().expect("it is there");
            assert_eq!(readers(counter).expect("it is there"), 1);
            drop(two);
            assert_eq!(readers(counter).expect("it is there"), 0);
        });
    }

    #[test]
    fn a_link_that_was_made_is_believed_whatever_the_answer() {
        for error in [Errno::EXIST, Errno::IO, Errno::TIMEDOUT] {
            scratch(|counter, place| {
                assert_eq!(readers(counter).expect("it can be made"), 0);
                let made = add_by(counter, place, || {
                    std::fs::hard_link(counter, place).expect("it can be linked to");
                    Err(error)
                });
                assert_eq!(made, Ok(()));
                let refused = [place, OsStr::new("2")].join(OsStr::new(""));
                assert_eq!(add_by(counter, &refused, || Err(error)), Err(error));
            });
        }
    }

    #[test]
    fn the_link_that_another_reader_has_left_is_not_ours() {
        scratch(|counter, _| {
            let left = Reader::enter(counter).expect("it can be linked to");
            let place = left.link().to_owned();
            left.stay();
            assert_eq!(add(counter, &place), Err(Errno::EXIST));
            let ours = Reader::enter(counter).expect("it can be linked to");
            assert_ne!(ours.link(), place);
            assert_eq!(readers(counter).expect("it is there"), 2);
        });
    }
}
