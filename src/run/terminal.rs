//! The terminal, while this process and a command in another process group are stopped.

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use rustix::termios::{tcgetpgrp, tcsetpgrp};

use crate::sys::process::process_group_of;

/// The terminal, and a command's own process group that was in its foreground when the command
/// stopped. The command may be a shell that has run `suspend`.
///
/// The shell that continues this process with `fg` moves the group of this process to the
/// foreground, because it knows no other. If the command were continued in the background, its next
/// read would fail, which a shell takes for the end of its input.
#[derive(Debug)]
pub(super) struct Foreground {
    terminal: OwnedFd,
    group: Pid,
}

impl Foreground {
    /// Returns what must be restored when the command is continued, or `None` if the command is in
    /// the group of this process, or its group is not in the foreground.
    pub(super) fn capture(command: Pid) -> Option<Self> {
        let group = process_group_of(Some(command));
        if group == process_group_of(None) {
            return None;
        }
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = rustix::fs::open("/dev/tty", flags, Mode::empty()).ok()?;
        let foreground = tcgetpgrp(&terminal).ok()?;
        (group == Some(foreground.as_raw_nonzero().get())).then_some(Self {
            terminal,
            group: foreground,
        })
    }

    /// Moves the command's group to the foreground if the group of this process is there now. After
    /// `bg` it is not. `SIGTTOU` must be blocked.
    pub(super) fn restore(self) {
        let foreground = tcgetpgrp(&self.terminal).ok();
        if foreground.map(|group| group.as_raw_nonzero().get()) == process_group_of(None) {
            // Fails if the group no longer exists, and then there is nothing to restore.
            let _ = tcsetpgrp(&self.terminal, self.group);
        }
    }
}
