//! What the processes of this machine have open, as far as it may be seen.

use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd, RawFd};

use rustix::fs::{Mode as Permissions, OFlags, RawDir};
use rustix::io::Errno;
use rustix::process::Pid;

use super::file::File;
use crate::holders::line::{Info, Line, decimal};
use crate::sys::procfs::syscall::Blocked;

/// A descriptor whose open file has a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub pid: Pid,
    /// The process's number in its own pid namespace, which may be another than ours.
    pub inner: Option<Pid>,
    pub line: Line,
}

/// A thread that waits for a lock in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub pid: Pid,
    pub call: Blocked,
}

/// What there is to be seen.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub seen: Vec<Seen>,
    pub waiting: Vec<Waiting>,
    /// The processes that could be looked into.
    pub open: Vec<Pid>,
    /// How many could not.
    pub closed: usize,
}

/// Which threads that wait are looked for, besides those that have the file locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiters {
    /// None: `/proc/locks` names them all.
    Known,
    /// All: it does not.
    Sought,
}

/// Looks into all processes.
///
/// Nothing is asked of a file itself, not even what it is: a server that it is on may be dead, and whoever asks would hang.
/// The kernel's own records (`fdinfo`) have all that is needed.
///
/// *The race:* processes start, end, and hand descriptors on while we look. The kernel lists them by their numbers: a process that is started later than one that
/// we have looked at has a higher number and is seen, unless the numbers come round; a lock that has changed hands leaves
/// another picture in `/proc/locks` than the one that we came with, and then the caller looks again.
pub(super) fn scan(file: &File, waiters: Waiters) -> Scan {
    let mut scan = Scan::default();
    for process in numbers("/proc").unwrap_or_default() {
        let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) else {
            continue;
        };
        match look_into(file, &format!("/proc/{process}"), pid, waiters, &mut scan) {
            Ok(0) => look_into_threads(file, pid, waiters, &mut scan),
            Ok(_) => {}
            Err(Errno::ACCESS | Errno::PERM) => {
                scan.closed += 1;
                continue;
            }
            Err(_) => continue,
        }
        scan.open.push(pid);
    }
    scan
}

/// A process whose first thread has ended has its descriptors with the others.
fn look_into_threads(file: &File, pid: Pid, waiters: Waiters, scan: &mut Scan) {
    let process = pid.as_raw_nonzero();
    for thread in numbers(&format!("/proc/{process}/task")).unwrap_or_default() {
        if thread != process.get() as u32 {
            let folder = format!("/proc/{process}/task/{thread}");
            if look_into(file, &folder, pid, waiters, scan).is_ok_and(|count| count > 0) {
                return;
            }
        }
    }
}

/// Looks at the descriptors of a process or a thread, and says how many it has.
fn look_into(
    file: &File,
    folder: &str,
    pid: Pid,
    waiters: Waiters,
    scan: &mut Scan,
) -> Result<usize, Errno> {
    let infos = open_folder(&format!("{folder}/fdinfo"))?;
    let mut count = 0;
    let mut on_file = Vec::new();
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(&infos, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let Some(number) = decimal(entry.file_name().to_bytes()) else {
            continue;
        };
        count += 1;
        let Ok(info) = read_info(&infos, entry.file_name()) else {
            continue;
        };
        let has_lock = info.locks.iter().any(|line| line.file == file.number);
        let may_wait =
            waiters == Waiters::Sought && info.inode.is_none_or(|inode| inode == file.number.inode);
        if (has_lock || may_wait) && file.is_open_at(&format!("{folder}/fd/{number}")) {
            let own = info
                .locks
                .into_iter()
                .filter(|line| line.file == file.number);
            scan.seen.extend(own.map(|line| Seen {
                pid,
                inner: inner(folder),
                line,
            }));
            on_file.push(number as RawFd);
        }
    }
    if waiters == Waiters::Sought && !on_file.is_empty() {
        look_for_waiting(folder, pid, &on_file, scan);
    }
    Ok(count)
}

fn look_for_waiting(folder: &str, pid: Pid, descriptors: &[RawFd], scan: &mut Scan) {
    for thread in numbers(&format!("{folder}/task")).unwrap_or_default() {
        let call = fs::read(format!("{folder}/task/{thread}/syscall")).unwrap_or_default();
        if let Some(call) = Blocked::parse(&call).filter(|call| descriptors.contains(&call.fd())) {
            scan.waiting.push(Waiting { pid, call });
        }
    }
}

/// The number of a process where it lives itself.
fn inner(folder: &str) -> Option<Pid> {
    let status = fs::read(format!("{folder}/status")).ok()?;
    let line = status
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(b"NSpid:"))?;
    let last = line.rsplit(|byte| *byte == b'\t').next()?;
    Pid::from_raw(i32::try_from(decimal(last)?).ok()?)
}

fn open_folder(path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Permissions::empty())
}

/// The names in a folder that are numbers.
fn numbers(path: &str) -> Result<Vec<u32>, Errno> {
    let folder = open_folder(path)?;
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(&folder, &mut buffer);
    let mut numbers = Vec::new();
    while let Some(entry) = entries.next() {
        let number = decimal(entry?.file_name().to_bytes());
        numbers.extend(number.and_then(|number| u32::try_from(number).ok()));
    }
    Ok(numbers)
}

/// Locks come before what a file of a special kind has to say, which may be long.
fn read_info(folder: impl AsFd, name: &std::ffi::CStr) -> Result<Info, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let info = rustix::fs::openat(folder, name, flags, Permissions::empty())?;
    let mut text = Vec::with_capacity(1024);
    loop {
        let room = text.capacity() - text.len();
        let read = rustix::io::read(&info, rustix::buffer::spare_capacity(&mut text))?;
        // The kernel writes all that there is, or as much as there is room for.
        if read < room {
            return Ok(Info::parse(&text));
        }
        text.reserve(1024);
    }
}
