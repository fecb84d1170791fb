//! Who has a name, as far as `/proc` tells.

use std::fs;
use std::os::unix::ffi::OsStrExt;

use fdlock::sys::procfs::net_unix::sockets_bound_to;

use super::Name;

/// The process that has the name: the one with the lowest number if there are several, which is the one that took it
/// and not one that it started, unless the numbers have come round since.
///
/// `None` when that cannot be told: nobody has it any more, it is somebody else's process, it is in another pid
/// namespace, or there is no `/proc`. The table shows a NUL as an `@`, so that names which differ in nothing else look
/// the same, and it has a line's end of a name for one of its own; nothing but a message depends on it.
///
/// # References
///
/// proc_net_unix(5), proc_pid_fd(5).
pub fn holder(name: &Name) -> Option<u32> {
    let sockets = sockets_bound_to(&name.addresses()).ok()?;
    let process = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let mut processes: Vec<u32> = fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(process)
        .collect();
    processes.sort_unstable();
    processes
        .into_iter()
        .find(|process| has_any(*process, &sockets))
}

/// Whether the process has one of these open. Of other users' processes only root gets to know.
fn has_any(process: u32, sockets: &[Vec<u8>]) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{process}/fd")) else {
        return false;
    };
    descriptors
        .flatten()
        .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
        .any(|file| {
            let file = file.as_os_str().as_bytes();
            sockets.iter().any(|socket| socket == file)
        })
}
