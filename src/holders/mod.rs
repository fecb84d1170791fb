//! Who holds a lock, and who waits for it, as far as `/proc` tells. It only looks: no lock is taken to find out.
//!
//! `/proc/locks` has all locks, but of each only the process that *took* it: a script that says `flock 8` has its lock by a
//! process that is gone, and locks of open file descriptions bear no number at all. Who *has* it is whoever has the open
//! file, one or many, and that is told by the processes' own folders. So [`look`] reads both, and puts them together.
//!
//! * `line` – locks as the kernel writes them, one a line.
//! * `file` – which file, in the kernel's eyes.
//! * `scan` – what the processes have open.
//! * `answer` – what has been seen, put together.
//! * [`process`] – what a process is.

mod file;
mod line;
pub mod process;
mod resolve;
mod scan;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{Mode as Permissions, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, getpid};

use crate::lock;
use crate::lock::Mode;
use crate::lock::fair::marker;
use crate::lock::fair::marker::Moment;
use crate::sys;
use crate::sys::errno;
use crate::sys::filesystem::Locality;
use crate::sys::procfs::liveness::{Process, look as look_for, proc_is_ours};
use crate::sys::procfs::stat::Stat;

use crate::holders::line::{Line, State};
pub use file::File;
use resolve::Evidence;
use scan::Waiters;

/// What somebody has to do with a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// He has it.
    Holder,
    /// He waits for it.
    Waiter,
}

/// The kinds of locks that there are on files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// flock(2).
    Flock,
    /// fcntl(2), of an open file description.
    Ofd,
    /// fcntl(2), of a process.
    Posix,
    /// A slot of `flock --slots`.
    Slot,
}

/// Bytes of a file, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first one.
    pub first: i64,
    /// The last one; `None`: to the end of the file and beyond.
    pub last: Option<i64>,
}

/// Whether it is sure that somebody has a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// The kernel shows it.
    Verified,
    /// He has taken it, and nobody is seen to have it; but it may not be seen what he has.
    Unverified,
}

/// Somebody who holds a lock or waits for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Party {
    /// Which of the two.
    pub role: Role,
    /// What kind of lock it is.
    pub kind: Kind,
    /// [`Mode::Shared`] or [`Mode::Exclusive`]; `None` if that makes no difference or cannot be told.
    pub mode: Option<Mode>,
    /// What is locked; `None`: the whole file.
    pub range: Option<Range>,
    /// The process, by its number in `/proc`, which is ours unless that is [`Namespace::Foreign`]; `None` if it cannot be
    /// told.
    pub pid: Option<Pid>,
    /// Whether it is sure that it is that one.
    pub certainty: Certainty,
    /// When he came or got it, where he has left a mark that says so.
    pub since: Option<Moment>,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A process that is there to ask: though it has inherited a lock, it is none of those who are looked for.
    Process,
    /// A shell in whose process it is done, and which may be one of them.
    Shell,
    /// A process that a shell was copied into for an answer, `$(flock --who ...)`: it has whatever the shell has.
    Subshell,
}

/// What there is to be seen, and what may be hidden.
#[derive(Debug)]
pub struct Look {
    /// All of whom something is known, holders first.
    pub parties: Vec<Party>,
    /// Who else there may be.
    pub horizon: Horizon,
}

/// Where the view ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// How many processes could not be looked into.
    pub closed: usize,
    /// Whether all processes of the machine are seen.
    pub namespace: Namespace,
    /// Whether other machines can have locks on the file.
    pub locality: Locality,
}

/// Which processes `/proc` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// All of the machine's.
    Whole,
    /// Those of a pid namespace, ours.
    Part,
    /// Those of another pid namespace, so that their numbers mean others here.
    Foreign,
}

impl Namespace {
    /// The inode of the first pid namespace, `PROC_PID_INIT_INO`.
    const FIRST: &str = "pid:[4026531836]";

    fn here() -> Self {
        let first = fs::read_link("/proc/self/ns/pid");
        if !proc_is_ours() {
            Self::Foreign
        } else if first.is_ok_and(|link| link.as_os_str() == Self::FIRST) {
            Self::Whole
        } else {
            Self::Part
        }
    }
}

/// Why nothing can be told.
#[derive(Debug)]
pub enum Error {
    /// There is no such file or descriptor.
    Lock(lock::Error),
    /// `/proc` does not say what is needed.
    Proc {
        /// A file of it.
        path: String,
        /// What the system says.
        error: io::Error,
    },
}

impl Error {
    /// The message, in bytes, as paths are.
    pub fn message(&self) -> OsString {
        match self {
            Self::Lock(error) => error.message(),
            Self::Proc { path, error } => {
                let reason = errno::text(error);
                format!("cannot list lock holders: {path}: {reason}").into()
            }
        }
    }
}

fn proc_error(path: &str, error: io::Error) -> Error {
    let path = path.to_owned();
    Error::Proc { path, error }
}

/// How often is looked when the picture has changed in the meantime.
const LOOKS: u32 = 4;

/// How often a table that came in pieces is read until the file is in it.
const READINGS: u32 = 4;

/// Who holds locks on a file, and who waits for one.
///
/// *The race:* locks come, go and change hands while we look. Whoever is listed was seen to have the lock, or to wait for
/// it, at some moment. But it could happen that nobody is seen to have a lock that is there all the time. A long table comes
/// in pieces, and if a lock of an earlier one goes in between, the next begins one line too late: so that a file is not in it
/// says nothing, it is read again, and the processes are looked at all the same. And a lock that is handed on may be missed
/// at both hands; so when fewer are found than there are locks, and the table has changed, we look again.
///
/// # Errors
///
/// There is no `/proc`.
///
/// # References
///
/// proc_locks(5), proc_pid_fdinfo(5).
pub fn look(file: &File, asker: Asker) -> Result<Look, Error> {
    let namespace = Namespace::here();
    let locality = file.locality();
    let mut looks = 0;
    loop {
        looks += 1;
        let (table, shape) = locks_on(file)?;
        if table.is_empty() && namespace == Namespace::Whole && shape == Shape::Whole {
            return Ok(nobody(file, namespace, locality));
        }
        let sought = namespace != Namespace::Whole
            || table
                .iter()
                .any(|line| line.state == State::Blocked && line.kind == Kind::Ofd);
        let waiters = if sought {
            Waiters::Sought
        } else {
            Waiters::Known
        };
        let scan = scan::scan(file, waiters);
        let evidence = Evidence {
            table: &table,
            scan: &scan,
            asker: (asker, own_number()),
            parent: &parent,
            lives: &|pid| match namespace {
                Namespace::Foreign => parent(pid).is_some(),
                Namespace::Whole | Namespace::Part => look_for(pid) != Process::Gone,
            },
        };
        let mut parties = resolve::parties(&evidence);
        let somebody_is_missing = parties
            .iter()
            .any(|party| party.certainty == Certainty::Unverified);
        if somebody_is_missing && looks < LOOKS && locks_on(file)?.0 != table {
            continue;
        }
        if parties.iter().all(|party| party.role == Role::Waiter) && locality != Locality::Local {
            parties.extend(elsewhere(file));
        }
        // The sorting of the standard library is 9 kB.
        let (mut in_order, waiters): (Vec<Party>, Vec<Party>) = parties
            .into_iter()
            .partition(|party| party.role == Role::Holder);
        in_order.extend(waiters);
        return Ok(Look {
            parties: in_order,
            horizon: Horizon {
                closed: scan.closed,
                namespace,
                locality,
            },
        });
    }
}

fn nobody(file: &File, namespace: Namespace, locality: Locality) -> Look {
    Look {
        parties: match locality {
            Locality::Local => Vec::new(),
            Locality::Remote => elsewhere(file).into_iter().collect(),
        },
        horizon: Horizon {
            closed: 0,
            namespace,
            locality,
        },
    }
}

/// How the table of locks was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// As it was at one moment.
    Whole,
    /// As it was at several.
    Pieces,
}

/// The locks on the file.
fn locks_on(file: &File) -> Result<(Vec<Line>, Shape), Error> {
    for _ in 0..READINGS {
        let (table, shape) = read_table().map_err(|errno| proc_error(TABLE, errno.into()))?;
        let lines = crate::holders::line::on(file.number, &table);
        if shape == Shape::Whole || !lines.is_empty() {
            return Ok((lines, shape));
        }
    }
    Ok((Vec::new(), Shape::Pieces))
}

const TABLE: &str = "/proc/locks";

/// The smallest page, less the longest line.
const PIECE: usize = 4096 - 256;

/// The table of all locks. The kernel writes no more than a page at once, and less if less is asked for.
fn read_table() -> Result<(Vec<u8>, Shape), Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let source = rustix::fs::open(TABLE, flags, Permissions::empty())?;
    let mut table = Vec::new();
    let mut pieces = 0;
    loop {
        table.reserve(1 << 16);
        let room = rustix::buffer::spare_capacity(&mut table);
        match rustix::io::read(&source, room) {
            // One piece that is nearly a page may be the first of two, the second of which has gone in between.
            Ok(0) if pieces > 1 || table.len() > PIECE => return Ok((table, Shape::Pieces)),
            Ok(0) => return Ok((table, Shape::Whole)),
            Ok(_) => pieces += 1,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// A lock of fcntl(2) that the file's server knows of. One of flock(2) is one of those there, too (NFS, CIFS).
fn elsewhere(file: &File) -> Option<Party> {
    let opened = file.opened()?;
    let last = *marker::SLOTS.start() - 1;
    sys::ofd::conflict(opened.as_fd(), 0, last).ok()??;
    Some(Party {
        role: Role::Holder,
        kind: Kind::Posix,
        mode: None,
        range: None,
        pid: None,
        certainty: Certainty::Unverified,
        since: None,
    })
}

fn parent(pid: Pid) -> Option<Pid> {
    Pid::from_raw(Stat::of(pid)?.parent)
}

/// Our own number in the eyes of `/proc`.
fn own_number() -> Pid {
    let link = fs::read_link("/proc/self").ok();
    let number = link.and_then(|link| link.to_str()?.parse().ok());
    number.and_then(Pid::from_raw).unwrap_or_else(getpid)
}
