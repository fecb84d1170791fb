//! The processes that have an open file description with a certain lock.

use std::ops::ControlFlow;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::scan::visit_fds;
use crate::sys::procfs::locks::{FileKey, LockRecord};
use crate::sys::procfs::pids;

/// Calls `visit` with each process that has an open file description with a lock of this file for
/// which `is_wanted` holds, and with its pidfd, if the kernel has pidfds (Linux 5.3). Processes that
/// are hidden are not found.
///
/// *Race:* a process may exit, and its PID may be reused, while it is examined. The pidfd is opened
/// before, so it does not belong to a process that was not examined. Processes that are started
/// meanwhile may be missed.
pub fn visit_owners(
    file: FileKey,
    is_wanted: &dyn Fn(&LockRecord) -> bool,
    visit: &mut dyn FnMut(Pid, Option<OwnedFd>),
) {
    for pid in pids().unwrap_or_default() {
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok();
        let mut is_owner = false;
        // Fails if the process has exited or is hidden.
        let _ = visit_fds(pid, &|key| key == file, &mut |_, _, info| {
            let locks = info.unwrap_or_default().locks;
            is_owner = locks
                .iter()
                .any(|lock| lock.file == file && is_wanted(lock));
            match is_owner {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        if is_owner {
            visit(pid, pidfd);
        }
    }
}
