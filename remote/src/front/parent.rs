//! The state of `flock`, which is the parent of this process.

use std::fs;

use rustix::process::getppid;

/// Returns whether it is stopped, as far as that can be seen.
///
/// # References
///
/// proc_pid_stat(5).
pub(super) fn is_stopped() -> bool {
    let Some(parent) = getppid() else {
        return false;
    };
    let stat = fs::read(format!("/proc/{parent}/stat")).unwrap_or_default();
    // The name before the state is in parentheses, and may contain any.
    let state = stat.rsplit(|byte| *byte == b')').next();
    state.is_some_and(|state| state.starts_with(b" T "))
}
