//! The terminal, while we and a command in another process group are stopped.

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, getpgid, getpgrp};
use rustix::termios::{tcgetpgrp, tcsetpgrp};

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
        let group = getpgid(Some(command))
            .ok()
            .filter(|group| *group != getpgrp())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = rustix::fs::open("/dev/tty", flags, Mode::empty()).ok()?;
        (tcgetpgrp(&terminal) == Ok(group)).then_some(Self { terminal, group })
    }

    /// Gives the terminal to the command, if it has been given to us: not after `bg`. `SIGTTOU` must be blocked.
    pub(super) fn restore(self) {
        if tcgetpgrp(&self.terminal) == Ok(getpgrp()) {
            // If the group is gone by now, so is its need.
            let _ = tcsetpgrp(&self.terminal, self.group);
        }
    }
}
