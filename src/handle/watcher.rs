//! The watcher: the guard that waits until the mark has gone.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::process::{Pid, getpid};
use rustix::stdio;

use crate::lock::mark::Mark;
use crate::sys::args;
use crate::sys::fd;
use crate::sys::ofd::{self, Blocking, Operation};
use crate::sys::process;
use crate::sys::signal::{self, number};
use crate::sys::spawn;

const NAME: &str = "lock-watcher";

/// Starts the watcher, which exits when no process has the marked open file description any more,
/// or the mark was removed. Its standard output is the guards' own open file description.
///
/// The timekeeper, its parent, may have been stopped, and would not notice that. It is continued. One
/// that is not stopped is not disturbed: it blocks `SIGCONT`.
pub(super) fn start(mark: Mark) -> io::Result<Pid> {
    let parent = getpid();
    spawn::fork_with(|| {
        process::set_name(NAME);
        args::overwrite(NAME);
        fd::close_from(2);
        process::set_parent_death_signal(number::KILL);
        if process::is_orphaned_by(parent) {
            return 1;
        }
        let waited = wait(stdio::stdout(), mark);
        // It exists: the kernel would have killed this process before it releases the PID.
        let _ = signal::send(parent, number::CONT);
        u8::from(waited.is_err())
    })
}

/// Waits until nothing is in the way of a write lock on the mark. The lock stays: no other process
/// asks for it, and the mark does not come back.
fn wait(file: BorrowedFd<'_>, mark: Mark) -> Result<(), rustix::io::Errno> {
    ofd::set(file, Operation::Write, mark.offset(), 1, Blocking::Yes)
}
