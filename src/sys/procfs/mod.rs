//! Everything that is read from `/proc`, a file for each of its files.

pub mod access;
pub mod fdinfo;
pub mod liveness;
pub mod locks;
pub mod mountinfo;
pub mod net_unix;
pub mod open_file;
mod read;
pub mod stat;
pub mod status;
pub mod syscall;
pub mod time_namespace;

use std::ffi::OsStr;
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{Mode as Permissions, OFlags, RawDir};
use rustix::io::Errno;
use rustix::process::{Pid, getpid};

/// The mount point.
pub const PATH: &str = "/proc";

/// Returns the PIDs of all processes that `/proc` shows.
///
/// # Errors
///
/// `/proc` cannot be read.
pub fn pids() -> Result<Vec<Pid>, Errno> {
    let ids = numeric_entries(PATH)?.into_iter();
    Ok(ids
        .filter_map(|id| Pid::from_raw(i32::try_from(id).ok()?))
        .collect())
}

/// Returns the entries of a directory whose names are numbers.
///
/// # Errors
///
/// The directory cannot be read.
pub fn numeric_entries(path: &str) -> Result<Vec<u32>, Errno> {
    first_numeric_entries(path, usize::MAX)
}

/// Returns at most this many entries of a directory whose names are numbers.
///
/// # Errors
///
/// The directory cannot be read.
pub fn first_numeric_entries(path: &str, limit: usize) -> Result<Vec<u32>, Errno> {
    let dir = open_dir(path)?;
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(&dir, &mut buffer);
    let mut numbers = Vec::new();
    while numbers.len() < limit
        && let Some(entry) = entries.next()
    {
        let number = decimal(entry?.file_name().to_bytes());
        numbers.extend(number.and_then(|number| u32::try_from(number).ok()));
    }
    Ok(numbers)
}

/// Opens a directory to read its entries.
///
/// # Errors
///
/// The directory cannot be opened.
pub fn open_dir(path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Permissions::empty())
}

/// Returns whether `/proc` shows the PIDs of this process's own namespace. After `unshare --pid` it
/// may still show those of the outer one.
pub fn shows_own_pids() -> bool {
    own_pid() == Some(getpid())
}

/// Returns the PID that this process has in `/proc`, or `None` if `/proc` is not mounted.
pub fn own_pid() -> Option<Pid> {
    let link = fs::read_link("/proc/self").ok()?;
    Pid::from_raw(link.to_str()?.parse().ok()?)
}

/// Returns the path that the working directory of this process had, if it has been deleted.
pub fn deleted_working_dir() -> Option<PathBuf> {
    let link = fs::read_link("/proc/self/cwd").ok()?;
    let path = link.as_os_str().as_bytes().strip_suffix(b" (deleted)")?;
    Some(PathBuf::from(OsStr::from_bytes(path)))
}

/// Returns the directory of a process.
pub fn process_dir(pid: Pid) -> String {
    format!("/proc/{}", pid.as_raw_nonzero())
}

/// Returns a path that leads to the file of a descriptor of this process, whatever its name is.
pub fn own_fd_path(fd: RawFd) -> String {
    format!("/proc/self/fd/{fd}")
}

/// Returns the path of the program that a process executes, or `None` if it is hidden.
///
/// # References
///
/// proc_pid_exe(5).
pub fn executable(pid: Pid) -> Option<PathBuf> {
    fs::read_link(format!("{}/exe", process_dir(pid))).ok()
}

/// Returns whether this process is in the initial PID namespace, whose inode is
/// `PROC_PID_INIT_INO`.
pub fn is_initial_pid_namespace() -> bool {
    let link = fs::read_link("/proc/self/ns/pid");
    link.is_ok_and(|link| link.as_os_str() == "pid:[4026531836]")
}

/// Returns the name of the file that the process executes. For a script, that is its interpreter.
pub fn program_name(pid: Pid) -> Option<String> {
    let path = fs::read_link(format!("{}/exe", process_dir(pid))).ok()?;
    Some(path.file_name()?.to_string_lossy().into_owned())
}

/// Returns the children that a process or one of its first threads has started, in the order of
/// their creation, or `None` if the kernel does not list them. Of very many, only the first ones.
///
/// # References
///
/// proc_pid_task(5).
pub fn children(pid: Pid) -> Option<Vec<Pid>> {
    /// A few thousand processes.
    const MAX_TEXT: usize = 1 << 16;
    const MAX_THREADS: usize = 64;
    let dir = process_dir(pid);
    let mut children = Vec::new();
    for thread in numeric_entries(&format!("{dir}/task"))
        .ok()?
        .iter()
        .take(MAX_THREADS)
    {
        let text = read::read_prefix(&format!("{dir}/task/{thread}/children"), MAX_TEXT).ok()?;
        let ids = text.split(|byte| *byte == b' ').filter_map(decimal);
        children.extend(ids.filter_map(|id| Pid::from_raw(i32::try_from(id).ok()?)));
    }
    Some(children)
}

/// Parses a decimal number, which may be surrounded by blanks.
pub fn decimal(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}
