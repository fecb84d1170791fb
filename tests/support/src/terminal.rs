//! A terminal with somebody at it: what is started there leads a session, and the test types and reads.

use std::os::fd::OwnedFd;
use std::process::Command;

use rustix::pty::{self, OpenptFlags};
use rustix::termios::{self, LocalModes, OptionalActions, OutputModes};

use crate::Lab;
use crate::pre_exec::Inherit;
use crate::process::Live;

impl Lab {
    /// A command line, for [`Lab::at_terminal`] to start as the leader of a session.
    pub fn leader(&self, words: &[&str]) -> Command {
        let mut command = self.ungrouped(words[0]);
        command.args(&words[1..]).leading_the_terminal();
        command
    }

    /// Starts a command with stdin, stdout and stderr on a new terminal of its own.
    #[track_caller]
    pub fn at_terminal(&self, mut command: Command) -> Live {
        let (ours, theirs) = terminal();
        command
            .stdin(theirs.try_clone().expect("a descriptor"))
            .stdout(theirs.try_clone().expect("a descriptor"))
            .stderr(theirs);
        let child = command.spawn().expect("it starts");
        let ear = ours.try_clone().expect("a descriptor");
        self.watch(child, ours, ear)
    }

    /// The same with its output in a pipe, so that it is heard when the terminal hangs up.
    #[track_caller]
    pub fn half_at_terminal(&self, mut command: Command) -> Live {
        let (ours, theirs) = terminal();
        let (ear, mouth) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
        command
            .stdin(theirs)
            .stdout(mouth.try_clone().expect("a descriptor"))
            .stderr(mouth);
        let child = command.spawn().expect("it starts");
        self.watch(child, ours, ear)
    }

    /// An interactive bash, bare of start-up files and of line editing.
    #[track_caller]
    pub fn bash_at_terminal(&self) -> Live {
        let mut bash = self.leader(&["bash", "--norc", "--noprofile", "--noediting", "-i"]);
        bash.env("PS1", "").env("PS2", "").env("TERM", "dumb");
        let mut bash = self.at_terminal(bash);
        bash.say("ulimit -c 0; echo at your service");
        bash.comes_to("at your service\n");
        bash
    }
}

/// Both sides of a new terminal: nothing typed is echoed, nothing written is changed on the way.
fn terminal() -> (OwnedFd, OwnedFd) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = pty::openpt(flags).expect("a terminal");
    pty::grantpt(&ours).expect("grantpt");
    pty::unlockpt(&ours).expect("unlockpt");
    let theirs = pty::ioctl_tiocgptpeer(&ours, flags).expect("its other side");
    let mut modes = termios::tcgetattr(&theirs).expect("its modes");
    modes.local_modes -= LocalModes::ECHO;
    modes.output_modes -= OutputModes::OPOST;
    termios::tcsetattr(&theirs, OptionalActions::Now, &modes).expect("its modes");
    (ours, theirs)
}
