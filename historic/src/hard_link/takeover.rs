//! Taking over a lock whose owner is thought to be gone because it is too old.
//!
//! LOCK excludes by being there, whatever file it is; so a thief must never let the name go, except from a lock that has
//! been too old all the time. What he cannot do is look at the age and take the name in one step. Between the two, the
//! owner may remove LOCK and a newcomer make it anew, or another thief may come first; and it is the newcomer's or the
//! other thief's fresh lock that is taken then.
//!
//! *The race, by exchange.* A thief opens LOCK, which keeps its inode number from being used again, and looks at its age.
//! If it is too old, he makes a file of his own and exchanges the two, name for name, in one step
//! (`RENAME_EXCHANGE`). What he has got under his own name tells who he was up against:
//!
//! * The very file whose age he looked at. It was LOCK until that moment; nobody else can get hold of it any more; so of
//!   all thieves he is the one who has won, and LOCK is his file and his lock.
//! * Another file: a newcomer's or another thief's, who came between. He has not won. No harm is done either: the name
//!   LOCK was there all the time, and whoever rightly holds the lock holds it by that name, and will remove it by that
//!   name, whatever file it is by then. The thief's own file at LOCK is as young as what it has displaced, or younger,
//!   so it makes nobody's lock too old.
//! * Nothing, because there is no LOCK (`ENOENT`): the owner has removed it in this very moment. Then all compete by
//!   link(2), as ever.
//!
//! In the first two cases he removes what he has got. The maker of a file that is displaced may be between his link(2)
//! and his next step. If his link(2) has told him that he has LOCK, he has. If the answer was lost, which happens over
//! NFS only, where there is no exchange, he would count the links of his file, find one too few, and think that somebody
//! else has LOCK: then nobody has it, and it is taken over when it is too old in its turn. So it is with the original,
//! which counts links on every file system. Either way nobody holds it by mistake.
//!
//! An owner who is alive beyond the age limit has lost the lock, but may not know, and remove LOCK by name when it is
//! another's; against that there is no help but a limit that is long enough. The original does the same when it takes a lock
//! over: it removes LOCK by name a while after it looked at its age. An owner who says that he is alive, by touching
//! his file (`Taken::confirm`), has not lost it: a thief who finds that the file he has got was written to after he had
//! looked at its age has not won. Its ctime would not tell: the exchange itself may change it.
//!
//! One thing is left. Where an exchange does not count as a change of the file (xfs) and a thief is stopped between
//! making his file and exchanging it, for longer than the age limit, the file that he puts in a newcomer's place is too
//! old from the start until he touches it, as he does at once when he goes on.
//!
//! *The race, by rename,* where there is no exchange (NFS). Thieves first lock the old file itself by flock(2), which
//! goes to the server there, and is gone with the thief. So there is one thief for a file at a time. He makes sure that
//! LOCK is still that file and still too old, moves it to a name of his own, and looks at what he has got. As a rule it
//! is that file, since nobody else may have moved it, and LOCK is free; he removes the old file, and competes by link(2)
//! like everybody. If it is not that file, then its owner, alive beyond the age limit, has removed LOCK between two of
//! our system calls, and a newcomer has made it anew. The thief gives it back by link(2) at once. Between the two LOCK
//! was not there although somebody holds it, and whoever makes it in that time holds it as well. That cannot be helped
//! on NFS; it takes an owner beyond the limit, a thief and two newcomers within the same milliseconds.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::metadata::{self, Seen, Since};
use crate::new_file::Draft;

/// LOCK, as somebody else has made it.
#[derive(Debug)]
pub(super) struct Suspect {
    /// Keeps the inode number from being used again.
    _file: OwnedFd,
    pub(super) seen: Seen,
}

impl Suspect {
    /// Whatever LOCK is; `None` when it is gone.
    ///
    /// # Errors
    ///
    /// Those of open(2) and statx(2), and `EISDIR`: a folder is nobody's lock, and never goes.
    pub(super) fn at(lock: &OsStr) -> Result<Option<Self>, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::open(lock, flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::STALE) => return Ok(None),
            other => other?,
        };
        let seen = metadata::of(&file)?;
        if seen.kind == FileType::Directory {
            return Err(Errno::ISDIR);
        }
        Ok(Some(Self { _file: file, seen }))
    }
}

/// How a LOCK that was found to be older than the limit is taken over.
///
/// It fails with the errors of renameat2(2), such as `EPERM` in a sticky folder when it is somebody else's.
pub(super) type Way = fn(&OsStr, &Suspect, Duration) -> Result<Stolen, Errno>;

/// What has become of a LOCK that was too old.
#[derive(Debug)]
pub(super) enum Stolen {
    /// It is ours: this file, which was of that moment before it became LOCK.
    Ours(OwnedFd, Since),
    /// It is gone, and free for whoever makes it first.
    Cleared,
    /// Somebody else was faster: it is another lock now.
    Lost,
    /// Another thief is about it right now.
    Busy,
}

/// By exchange, or by rename where there is no exchange.
pub(super) fn best(lock: &OsStr, suspect: &Suspect, limit: Duration) -> Result<Stolen, Errno> {
    match by_exchange(lock, suspect, limit) {
        // The last is what a sticky folder says, too: then renaming says it again.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
            by_rename(lock, suspect, limit)
        }
        other => other,
    }
}

pub(super) fn by_exchange(lock: &OsStr, suspect: &Suspect, _: Duration) -> Result<Stolen, Errno> {
    let draft = Draft::named(lock)?;
    let born = Since::during(|| Ok::<_, Errno>(metadata::of(&draft)?.changed))?;
    let place = draft.place().expect("a named draft");
    match rustix::fs::renameat_with(CWD, place, CWD, lock, RenameFlags::EXCHANGE) {
        Err(Errno::NOENT) => return Ok(Stolen::Cleared),
        other => other?,
    }
    let got = metadata::at(place)?;
    metadata::touch(&draft)?;
    // With the draft goes the name of its own, and what we have got under it.
    Ok(if is_untouched(suspect, got) {
        Stolen::Ours(draft.into_file(), born)
    } else {
        Stolen::Lost
    })
}

pub(super) fn by_rename(lock: &OsStr, suspect: &Suspect, limit: Duration) -> Result<Stolen, Errno> {
    by_rename_with(lock, suspect, limit, |place| {
        rustix::fs::rename(lock, place)
    })
}

fn by_rename_with(
    lock: &OsStr,
    suspect: &Suspect,
    limit: Duration,
    rename: impl FnOnce(&OsStr) -> Result<(), Errno>,
) -> Result<Stolen, Errno> {
    let file = match open_to_lock(lock) {
        Err(Errno::NOENT | Errno::STALE) => return Ok(Stolen::Cleared),
        other => other?,
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(Stolen::Busy),
        other => other?,
    }
    let draft = Draft::named(lock)?;
    let place = draft.place().expect("a named draft");
    // What was opened is what is locked; is it what LOCK is, and what we are after?
    let now = metadata::touch(&draft)?;
    let is_ripe = |seen: Seen| {
        let unchanged = seen.changed == suspect.seen.changed;
        is_untouched(suspect, seen) && (unchanged || now.left_of(limit, seen.changed).is_none())
    };
    match metadata::at(lock) {
        Ok(seen) if is_ripe(seen) && metadata::of(&file)?.id == seen.id => {}
        Err(error) if error != Errno::NOENT => return Err(error),
        _ => return Ok(Stolen::Lost),
    }
    let ours = metadata::of(&draft)?.id;
    let renamed = rename(place);
    // What is under our name tells what was done, also when the answer got lost.
    let got = metadata::at(place)?;
    if is_untouched(suspect, got) {
        Ok(Stolen::Cleared)
    } else if got.id == ours {
        match renamed {
            Err(error) if error != Errno::NOENT => Err(error),
            _ => Ok(Stolen::Cleared),
        }
    } else {
        give_back(place, lock);
        Ok(Stolen::Lost)
    }
}

/// Whether it is the file that we were after, and nobody has touched it since.
fn is_untouched(suspect: &Suspect, got: Seen) -> bool {
    (got.id, got.written) == (suspect.seen.id, suspect.seen.written)
}

/// If LOCK is taken by now, there is nothing more that we can do for the one whose lock it was.
fn give_back(place: &OsStr, lock: &OsStr) {
    let _ = rustix::fs::linkat(CWD, place, CWD, lock, rustix::fs::AtFlags::empty());
}

/// NFS locks files for those only who may write to them.
fn open_to_lock(lock: &OsStr) -> Result<OwnedFd, Errno> {
    let open = |flags| {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        rustix::fs::open(lock, flags, Mode::empty())
    };
    match open(OFlags::RDWR) {
        Err(Errno::ACCESS | Errno::ROFS) => open(OFlags::RDONLY),
        other => other,
    }
}

#[cfg(test)]
mod tests;
