//! Which processes `/proc` shows to this process, and how much of them.

use std::fs;
use std::os::fd::AsFd;

use rustix::fs::{Mode as Permissions, OFlags};

use super::PATH;
use super::fdinfo::FdInfo;
use super::mountinfo::Mount;
use super::status::Status;

/// Returns whether this process is in the initial user namespace, whose inode is
/// `PROC_USER_INIT_INO`.
pub fn is_initial_user_namespace() -> bool {
    let link = fs::read_link("/proc/self/ns/user");
    link.is_ok_and(|link| link.as_os_str() == "user:[4026531837]")
}

/// Returns whether this process may inspect the processes of every user of its user namespace.
///
/// # References
///
/// capabilities(7).
pub fn may_inspect_all() -> bool {
    const CAP_SYS_PTRACE: u64 = 1 << 19;
    let status = Status::read_in("/proc/self");
    let capabilities = status.and_then(|status| status.effective_capabilities());
    capabilities.is_some_and(|capabilities| capabilities & CAP_SYS_PTRACE != 0)
}

/// Returns whether `/proc` may omit processes of other users: it is mounted with `hidepid`, and
/// this process is subject to it.
///
/// # References
///
/// proc(5).
pub fn omits_processes() -> bool {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let options = || {
        let proc = rustix::fs::open(PATH, flags, Permissions::empty()).ok()?;
        let info = FdInfo::read_own(proc.as_fd()).ok()?;
        Some(Mount::find(info.mount?)?.options)
    };
    let has_hidepid = |options: String| {
        let mut values = options
            .split(',')
            .filter_map(|option| option.strip_prefix("hidepid="));
        values.any(|value| !matches!(value, "0" | "off"))
    };
    options().is_some_and(has_hidepid) && !may_inspect_all()
}
