//! Visits the descriptors of a process.

use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::RawFd;

use rustix::fs::RawDir;
use rustix::io::Errno;
use rustix::process::Pid;

use crate::sys::procfs::fdinfo::FdInfo;
use crate::sys::procfs::locks::FileKey;
use crate::sys::procfs::{decimal, numeric_entries, open_dir, process_dir};

/// What is called with each descriptor, until it breaks: the directory in `/proc` of the process or
/// thread that has it, its number, and what the kernel knows about it.
pub(in crate::holders) type Visit<'v> =
    dyn FnMut(&str, RawFd, Result<FdInfo, Errno>) -> ControlFlow<()> + 'v;

/// Whether all locks on a file are read, or only the first one.
pub(in crate::holders) type IsInteresting<'i> = &'i dyn Fn(FileKey) -> bool;

/// Visits the descriptors of a process. If its main thread has exited, only its other threads show
/// them.
pub(in crate::holders) fn visit_fds(
    pid: Pid,
    is_interesting: IsInteresting<'_>,
    visit: &mut Visit<'_>,
) -> Result<(), Errno> {
    let dir = process_dir(pid);
    if visit_fds_in(&dir, is_interesting, visit)? > 0 {
        return Ok(());
    }
    for thread in numeric_entries(&format!("{dir}/task")).unwrap_or_default() {
        let is_main = thread == pid.as_raw_nonzero().get() as u32;
        let dir = format!("{dir}/task/{thread}");
        if !is_main && visit_fds_in(&dir, is_interesting, visit).is_ok_and(|count| count > 0) {
            break;
        }
    }
    Ok(())
}

/// Visits the descriptors of a process or thread, and returns how many were visited.
pub(super) fn visit_fds_in(
    dir: &str,
    is_interesting: IsInteresting<'_>,
    visit: &mut Visit<'_>,
) -> Result<usize, Errno> {
    let fdinfo = open_dir(&format!("{dir}/fdinfo"))?;
    let mut count = 0;
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(&fdinfo, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if let Some(fd) = decimal(entry.file_name().to_bytes()) {
            count += 1;
            let info = FdInfo::read_at(&fdinfo, entry.file_name(), is_interesting);
            if visit(dir, fd as RawFd, info).is_break() {
                break;
            }
        }
    }
    Ok(count)
}
