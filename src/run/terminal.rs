//! The terminal, while we and a command in another process group are stopped.

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use rustix::termios::{tcgetpgrp, tcsetpgrp};

use crate::sys::process::process_group_of;

/// A command in a process group of its own that had the terminal when it stopped: a shell that was told to `suspend`.
///
/// The shell that continues us with `fg` gives the terminal to our group, as it knows of no other. Were the command
/// continued without it, its next read would fail, and a shell takes that for the end of its input.
#[derive(Debug)]
pub(super) struct Foreground {
    terminal: OwnedFd,
    group: Pid,
}

impl Foreground {
    /// What is to be restored when the command is continued, if anything.
    pub(super) fn of(command: Pid) -> Option<Self> {
        let group = process_group_of(Some(command));
        if group == process_group_of(None) {
            return None;
        }
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = rustix::fs::open("/dev/tty", flags, Mode::empty()).ok()?;
        let front = tcgetpgrp(&terminal).ok()?;
        (group == Some(front.as_raw_nonzero().get())).then_some(Self {
            terminal,
            group: front,
        })
    }

    /// Gives the terminal to the command, if it has been given to us: not after `bg`. `SIGTTOU` must be blocked.
    pub(super) fn restore(self) {
        let front = tcgetpgrp(&self.terminal).ok();
        if front.map(|front| front.as_raw_nonzero().get()) == process_group_of(None) {
            // If the group is gone by now, so is its need.
            let _ = tcsetpgrp(&self.terminal, self.group);
        }
    }
}
