//! Attributes of this process, its parent and its children.

use std::io;
use std::mem::MaybeUninit;

use rustix::process::Pid;

/// Sets the signal that this process receives when its parent exits. If the parent has exited
/// before the call, there is no signal: call [`is_orphaned_by`] afterwards.
///
/// # References
///
/// `PR_SET_PDEATHSIG(2const)`.
pub fn set_parent_death_signal(signal: i32) {
    // SAFETY: takes numbers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) };
}

/// Sets the name that ps(1) shows and pkill(1) searches for. It is truncated to 15 bytes.
///
/// # References
///
/// `PR_SET_NAME(2const)`.
pub fn set_name(name: &str) {
    let mut bytes = [0_u8; 16];
    let length = name.len().min(15);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    // SAFETY: takes a NUL-terminated string.
    unsafe { libc::prctl(libc::PR_SET_NAME, bytes.as_ptr()) };
}

/// Makes this process the parent of all orphaned descendants. Returns whether that succeeded.
///
/// # References
///
/// `PR_SET_CHILD_SUBREAPER(2const)`.
pub fn become_subreaper() -> bool {
    // SAFETY: takes numbers.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) == 0 }
}

/// Returns whether two threads, given by their IDs, share their descriptors. `None` means that this
/// cannot be found out: one of them has exited, or is hidden, or the kernel has no such call.
///
/// # References
///
/// kcmp(2).
pub fn share_descriptors(one: Pid, other: Pid) -> Option<bool> {
    const KCMP_FILES: libc::c_int = 2;
    let [one, other] = [one, other].map(|thread| thread.as_raw_nonzero().get());
    // SAFETY: takes numbers.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_FILES, 0, 0) };
    (order >= 0).then_some(order == 0)
}

/// Returns whether this parent of the process has exited.
///
/// *Race:* the parent may exit before this process has requested a signal for that event. The
/// signal is requested first, and the parent is checked afterwards: if it exited earlier, this
/// process has another parent now.
///
/// A parent in another PID namespace (`unshare -p` without `-f`) has no PID here, and its exit
/// is not noticed.
pub fn is_orphaned_by(parent: Pid) -> bool {
    rustix::process::getppid().is_some_and(|current| current != parent)
}

/// Returns the session of a process, or of this one. `None` means that there is no such process.
///
/// The session is 0 if it was created outside of this PID namespace, which rustix cannot represent.
///
/// # References
///
/// getsid(2).
pub fn session_of(pid: Option<Pid>) -> Option<i32> {
    let pid = pid.map_or(0, |pid| pid.as_raw_nonzero().get());
    // SAFETY: takes a number.
    super::check(unsafe { libc::getsid(pid) }).ok()
}

/// Returns the process group of a process, or of this one. `None` means that there is no such
/// process.
///
/// The group is 0 if it was created outside of this PID namespace, which rustix cannot represent.
///
/// # References
///
/// getpgid(2).
pub fn process_group_of(pid: Option<Pid>) -> Option<i32> {
    let pid = pid.map_or(0, |pid| pid.as_raw_nonzero().get());
    // SAFETY: takes a number.
    super::check(unsafe { libc::getpgid(pid) }).ok()
}

/// Returns whether no process can be created because there are too many, or too little memory.
pub(super) fn is_exhaustion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM))
}

/// Returns whether a process is a child of this one, running or not yet reaped.
pub fn is_child(pid: Pid) -> bool {
    let id = pid.as_raw_nonzero().get() as libc::id_t;
    peek_exited(libc::P_PID, id).is_ok()
}

/// Returns whether a child of this process has exited. It is not reaped.
pub fn has_exited(child: Pid) -> bool {
    let id = child.as_raw_nonzero().get() as libc::id_t;
    peek_exited(libc::P_PID, id).is_ok_and(|exited| exited.is_some())
}

/// Returns whether this process has no children, running or not yet reaped.
pub fn has_no_children() -> bool {
    peek_exited(libc::P_ALL, 0).is_err_and(|error| error.raw_os_error() == Some(libc::ECHILD))
}

/// Returns a child that has exited, without reaping it.
pub fn exited_child() -> Option<Pid> {
    peek_exited(libc::P_ALL, 0).ok().flatten()
}

/// Returns a child that has exited, if there is one, without reaping it. Fails with `ECHILD` if no
/// child matches.
///
/// # References
///
/// waitid(2).
fn peek_exited(id_type: libc::idtype_t, id: libc::id_t) -> io::Result<Option<Pid>> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: room for one siginfo.
    super::check(unsafe { libc::waitid(id_type, id, info.as_mut_ptr(), options) })?;
    // SAFETY: all zeroes is a valid siginfo, which the kernel fills if a child has exited.
    Ok(Pid::from_raw(unsafe { info.assume_init().si_pid() }))
}
