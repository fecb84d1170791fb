//! Stops the processes that have a marked descriptor.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{FileType, Mode as Permissions, OFlags, fstat, open};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use rustix::process::{Pid, PidfdGetfdFlags, pidfd_getfd};

use crate::holders::visit_owners;
use crate::lock::mark::Mark;
use crate::sys::pidfd;
use crate::sys::procfs::locks::FileKey;
use crate::sys::procfs::{own_fd_path, process_dir};
use crate::sys::signal;

/// Sends signals to all processes that have a descriptor with this mark, one after the other.
/// Processes with other privileges do not get them.
///
/// *Race:* a process that is started meanwhile is missed. So the last signal, `SIGKILL`, is repeated
/// as long as the mark exists.
pub(super) fn signal_all(file: FileKey, mark: Mark, signals: &[i32]) {
    visit(file, mark, &mut |pid, pidfd| {
        for signal in signals {
            // Without pidfds, the PID may belong to another process by now, if all PIDs have been
            // assigned once since the process was examined.
            let _ = match &pidfd {
                Some(pidfd) => pidfd::send_signal(pidfd, *signal).is_ok(),
                None => signal::send(pid, *signal).is_ok(),
            };
        }
    });
}

/// Prints a message on the standard error of one of the processes that have a descriptor with this
/// mark. The guards keep none open: that would make the readers of a pipe wait for them.
pub(super) fn tell(file: FileKey, mark: Mark, message: &OsStr) {
    let mut is_told = false;
    visit(file, mark, &mut |pid, pidfd| {
        is_told = is_told || print(pid, pidfd.as_ref(), message.as_bytes()).is_ok();
    });
}

/// Prints a message on the standard error of a process, without waiting.
fn print(pid: Pid, pidfd: Option<&OwnedFd>, message: &[u8]) -> Result<(), Errno> {
    let reopened = |path: String| {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK;
        let flags = flags | OFlags::NOCTTY | OFlags::CLOEXEC;
        rustix::io::write(open(path, flags, Permissions::empty())?, message)
    };
    // Since Linux 5.6, but security modules may require a parent.
    let none = PidfdGetfdFlags::empty();
    let stderr = pidfd.and_then(|pidfd| pidfd_getfd(pidfd, 2, none).ok());
    let Some(stderr) = stderr else {
        return reopened(format!("{}/fd/2", process_dir(pid))).map(drop);
    };
    match FileType::from_raw_mode(fstat(&stderr)?.st_mode) {
        // Where the process itself would write next.
        FileType::RegularFile => rustix::io::write(&stderr, message),
        FileType::Socket => send(&stderr, message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
        // That this process does not wait must not become the choice of the other one.
        _ => reopened(own_fd_path(stderr.as_raw_fd())),
    }
    .map(drop)
}

fn visit(file: FileKey, mark: Mark, visit: &mut dyn FnMut(Pid, Option<OwnedFd>)) {
    visit_owners(file, &|lock| Mark::from_record(lock) == Some(mark), visit);
}
