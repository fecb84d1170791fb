//! Pseudo-terminals: the process leads a session there, and the test types and reads.

use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;

use rustix::pty::{self, OpenptFlags};
use rustix::termios::{self, LocalModes, OptionalActions, OutputModes, Winsize};

use crate::pre_exec::CommandPreExecExt;
use crate::process::{Process, output_pipe};
use crate::test_env::TestEnv;

impl TestEnv {
    /// Returns a command that becomes a session leader, for [`TestEnv::start_at_terminal`].
    pub fn session_leader(&self, args: &[&str]) -> Command {
        let mut command = self.command_in_our_group(args[0]);
        command.args(&args[1..]).lead_terminal_session();
        command
    }

    /// Starts a command with stdin, stdout and stderr on a new terminal.
    #[track_caller]
    pub fn start_at_terminal(&self, mut command: Command) -> Process {
        let (controller, terminal) = open_terminal();
        let duplicate = |fd: &OwnedFd| fd.try_clone().expect("a descriptor");
        command
            .stdin(duplicate(&terminal))
            .stderr(duplicate(&terminal));
        command.stdout(terminal);
        let child = command.spawn().expect("the command starts");
        let output = duplicate(&controller);
        self.attach(child, controller, output)
    }

    /// Starts a command at a new terminal of this size, which echoes and wraps as terminals do.
    #[track_caller]
    pub(crate) fn start_at_screen(&self, mut command: Command, rows: u16, columns: u16) -> Process {
        let (controller, terminal) = open_default_terminal();
        set_size(&controller, rows, columns);
        let duplicate = |fd: &OwnedFd| fd.try_clone().expect("a descriptor");
        command
            .stdin(duplicate(&terminal))
            .stderr(duplicate(&terminal));
        command.stdout(terminal);
        let child = command.spawn().expect("the command starts");
        let output = duplicate(&controller);
        self.attach(child, controller, output)
    }

    /// Starts a command with stdin on a new terminal and its output in a pipe, so that the output
    /// can still be read after the terminal has hung up.
    #[track_caller]
    pub fn start_at_terminal_with_piped_output(&self, mut command: Command) -> Process {
        let (controller, terminal) = open_terminal();
        let (output, writer) = output_pipe();
        command
            .stdin(terminal)
            .stdout(writer.try_clone().expect("a descriptor"))
            .stderr(writer);
        let child = command.spawn().expect("the command starts");
        self.attach(child, controller, output)
    }

    /// Starts an interactive bash on a new terminal, without start-up files and line editing.
    #[track_caller]
    pub fn start_bash_at_terminal(&self) -> Process {
        let mut bash = self.session_leader(&["bash", "--norc", "--noprofile", "--noediting", "-i"]);
        bash.env("PS1", "").env("PS2", "").env("TERM", "dumb");
        let mut bash = self.start_at_terminal(bash);
        bash.send_line("ulimit -c 0; echo bash is ready");
        bash.expect("bash is ready\n");
        bash
    }
}

/// Opens a new terminal and returns its controlling side and its terminal side. Input is not echoed
/// and output is not changed.
fn open_terminal() -> (OwnedFd, OwnedFd) {
    let (controller, terminal) = open_default_terminal();
    let mut modes = termios::tcgetattr(&terminal).expect("tcgetattr");
    modes.local_modes -= LocalModes::ECHO;
    modes.output_modes -= OutputModes::OPOST;
    termios::tcsetattr(&terminal, OptionalActions::Now, &modes).expect("tcsetattr");
    (controller, terminal)
}

/// Sets the size of a terminal, as a window does.
pub(crate) fn set_size(controller: impl AsFd, rows: u16, columns: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    termios::tcsetwinsize(controller, size).expect("a terminal");
}

fn open_default_terminal() -> (OwnedFd, OwnedFd) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let controller = pty::openpt(flags).expect("openpt");
    pty::grantpt(&controller).expect("grantpt");
    pty::unlockpt(&controller).expect("unlockpt");
    let terminal = pty::ioctl_tiocgptpeer(&controller, flags).expect("TIOCGPTPEER");
    (controller, terminal)
}
