//! The connection: `ssh`, which starts the holder on the other machine.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::{Errno, read, write};

use super::failure::{self, Failure};
use super::lines::{LineReader, Progress};
use super::message::Message;
use super::target::Target;
use crate::clock;
use crate::front::{Front, Released, Wakeup};

/// Finds the holder on the other machine, and runs it. It is the same for all locks, so there is
/// nothing to quote; and it must mean the same to every shell, also to csh and fish: neither an
/// exclamation mark nor a backslash nor a quote is in the quotes.
///
/// The holder is in the prefix of the `flock` in `PATH`, or in that of a package. What the processes
/// of a session are sent at its end, `SIGHUP` and `SIGTERM`, must not release a lock before its time:
/// the holder and its guard inherit that these are ignored. The shell waits for the holder, to
/// report if it was killed, and to continue a guard that the holder has stopped: all of them are one
/// process group.
const COMMAND: &str = "exec sh -c 'trap \"\" HUP TERM; \
     f=$(command -v flock); r=$(readlink -f \"$f\"); \
     for p in \"${r%/bin/*}\" /usr/local /usr/lib/fdlock; do \
     h=$p/libexec/fdlock/flock-ssh; \
     if [ -x \"$h\" ]; then \"$h\" serve; kill -CONT 0; echo fdlock-ssh gone; exit; fi; done; \
     if [ -n \"$f\" ]; then echo fdlock-ssh other \"$f\"; else echo fdlock-ssh none; fi'";

/// What holds for every connection; the user's configuration says the rest.
///
/// * `ssh` asks nothing: it has no terminal, and a job of cron must not wait for an answer.
/// * The connection is not shared with other sessions (`ControlPath`), whose end would be its end.
/// * Nothing else that the user has configured for sessions happens: forwarding, a terminal, a local
///   or another remote command.
/// * Only errors are reported. Their text says why the connection fails.
const OPTIONS: [&str; 8] = [
    "BatchMode=yes",
    "ControlPath=none",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "LogLevel=ERROR",
];

/// How much of what `ssh` writes to standard error is kept.
const MAX_STDERR: usize = 16 * 1024;

/// How long `ssh` may take to exit once it has closed its output.
const EXIT_LIMIT: Duration = Duration::from_secs(1);

/// Why a wait for the holder is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It has sent something.
    Message(Message),
    /// The connection has ended.
    Ended,
    /// The time has come.
    TimedOut,
    /// `flock` has been stopped or continued.
    Notice,
}

/// A running `ssh`. It is killed when this value is dropped.
#[derive(Debug)]
pub struct Connection {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: Option<ChildStderr>,
    lines: LineReader,
    errors: Vec<u8>,
}

impl Connection {
    /// Starts `ssh`.
    ///
    /// # Errors
    ///
    /// It is not in `PATH`, or there are too many processes.
    pub fn open(target: &Target, ttl: Duration) -> io::Result<Self> {
        let mut command = Command::new("ssh");
        command.args(["-T", "-e", "none"]);
        for option in OPTIONS {
            command.args(["-o", option]);
        }
        // A connection that is dead is given up when the lock is lost; not sooner, because it may
        // recover.
        let interval = (ttl.as_secs() / 3).max(1);
        command.arg(format!("-oServerAliveInterval={interval}"));
        command.arg("-oServerAliveCountMax=3");
        if let Some(port) = target.port {
            command.arg("-p").arg(port.to_string());
        }
        if let Some(user) = &target.user {
            command.arg("-l").arg(user);
        }
        command.args(["--", &target.host, COMMAND]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let none = || io::Error::from(io::ErrorKind::BrokenPipe);
        let stdin = child.stdin.take().ok_or_else(none)?;
        let stdout = child.stdout.take().ok_or_else(none)?;
        let stderr = child.stderr.take();
        // What does not fit in is not sent: ssh has been stopped, or the network does not take it.
        fcntl_setfl(&stdin, OFlags::NONBLOCK)?;
        Ok(Self {
            child,
            stdin,
            stdout,
            stderr,
            lines: LineReader::default(),
            errors: Vec::new(),
        })
    }

    /// Sends lines. If the connection does not take them, they are lost, as by a network.
    pub fn send(&self, lines: &[u8]) {
        let _ = write(&self.stdin, lines);
    }

    /// Waits for a line of the holder. Others, from the shell that starts it, are ignored.
    ///
    /// # Errors
    ///
    /// `flock` has closed its connection.
    pub fn wait(&mut self, front: &Front, until: Option<Duration>) -> Result<Event, Released> {
        loop {
            while let Some(line) = self.lines.next_line() {
                if let Some(message) = Message::parse(&line) {
                    return Ok(Event::Message(message));
                }
            }
            let mut fds = vec![(self.stdout.as_fd(), PollFlags::IN)];
            fds.extend(self.stderr.as_ref().map(|fd| (fd.as_fd(), PollFlags::IN)));
            match front.wait_or_notice(&fds, until)? {
                Wakeup::Ready => {}
                Wakeup::TimedOut => return Ok(Event::TimedOut),
                Wakeup::Notice => return Ok(Event::Notice),
            }
            self.read_errors();
            if is_readable(self.stdout.as_fd()) && self.lines.read(&self.stdout) == Progress::End {
                return Ok(Event::Ended);
            }
        }
    }

    fn read_errors(&mut self) {
        let Some(stderr) = self.stderr.as_ref().filter(|fd| is_readable(fd.as_fd())) else {
            return;
        };
        let mut buffer = [0; 4096];
        match read(stderr, &mut buffer) {
            Ok(length @ 1..) if self.errors.len() < MAX_STDERR => {
                self.errors.extend_from_slice(&buffer[..length]);
            }
            Ok(1..) | Err(Errno::INTR) => {}
            _ => self.stderr = None,
        }
    }

    /// Returns why a connection that has ended was not successful.
    pub fn into_failure(mut self, front: &Front) -> Failure {
        let limit = clock::now() + EXIT_LIMIT;
        // Its last words, which it writes before it exits. Another process, such as a
        // `ProxyCommand`, may keep the pipe open.
        while let Some(stderr) = &self.stderr {
            match front.wait(&[(stderr.as_fd(), PollFlags::IN)], Some(limit)) {
                Ok(true) => self.read_errors(),
                _ => break,
            }
        }
        // After its own exit, that has no effect.
        let _ = self.child.kill();
        let status = self.child.wait().ok().and_then(|status| status.code());
        failure::of_ssh(status, &String::from_utf8_lossy(&self.errors))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a read would not block.
fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1..))
}

#[cfg(test)]
mod tests {
    use super::COMMAND;

    #[test]
    fn the_command_means_the_same_to_every_shell() {
        let quoted = COMMAND.strip_prefix("exec sh -c '");
        let quoted = quoted.and_then(|rest| rest.strip_suffix('\''));
        let quoted = quoted.expect("one quoted argument");
        assert!(!quoted.contains(['\'', '\\', '!', '\n']), "{quoted}");
    }
}
