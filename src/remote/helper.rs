//! A helper: the program that acquires a lock in another system and holds it.
//!
//! It is a child of this process, in a session of its own: keys and hang-ups of the terminal do not
//! concern it, and it goes on renewing the lock while the job is stopped. It ignores the signals that
//! ask a process to terminate: a service manager sends them to all processes of a service at once,
//! and then the helper must release the lock after the command. Its standard input and output are one
//! end of a pair of sockets. It releases the lock when the other end has been closed in all processes,
//! and so also when they have been killed.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, Mode, OFlags, access, open};
use rustix::io::{Errno, FdFlags};
use rustix::net::{
    AddressFamily, SendFlags, Shutdown, SocketFlags, SocketType, send, shutdown, socketpair,
};
use rustix::process::{Pid, getpid, setsid};
use rustix::stdio;

use super::error::Error;
use super::protocol::{LineReader, Message, Progress, Request};
use super::stops::StopSignals;
use crate::sys::fd;
use crate::sys::procfs;
use crate::sys::signal::{self, Disposition, SignalSet, number};
use crate::sys::spawn::{self, ExecImage};

/// Where the helpers are, relative to the directory of this program. No other place is tried: a
/// program that happens to be in `PATH` must not get the user's secrets.
const DIRECTORY: &str = "libexec/fdlock";

/// A helper, and the connection to it.
#[derive(Debug)]
pub struct Helper {
    pid: Pid,
    socket: OwnedFd,
    lines: LineReader,
    url: OsString,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A message that conforms to the protocol.
    Message(Message),
    /// There was none in time.
    TimedOut,
}

impl Helper {
    /// Starts the helper for the scheme of the request's URL, and sends it the request.
    ///
    /// # Errors
    ///
    /// There is no such helper, or no process or descriptor is left for it.
    pub fn start(request: &Request<'_>) -> Result<Self, Error> {
        let scheme = request.url.scheme();
        let path = path_of_helper(scheme);
        let image = path.as_ref().and_then(|path| {
            access(path, Access::EXEC_OK).ok()?;
            let program = CString::new(path.clone().into_os_string().into_vec()).ok()?;
            let name = CString::new(format!("flock-{scheme}")).ok()?;
            Some(ExecImage::new(vec![program], vec![name]))
        });
        let Some(mut image) = image else {
            let scheme = scheme.to_owned();
            return Err(Error::NoHelper { scheme, path });
        };
        let (socket, helpers_end) = socket_pair().map_err(Error::Start)?;
        let pid = spawn::fork_with(|| {
            // It inherits neither the caller's descriptors nor its signal mask. What keeps it from
            // running, it reports by its end.
            signal::set_mask(SignalSet::EMPTY);
            for signal in [number::HUP, number::INT, number::QUIT, number::TERM] {
                signal::set_disposition(signal, Disposition::Ignore);
            }
            // If the caller ignores it, the helper could not wait for children, such as ssh.
            signal::set_disposition(number::CHLD, Disposition::Default);
            if setsid().is_ok() && set_stdio(helpers_end.as_fd()).is_ok() {
                fd::close_from(3);
                image.exec();
            }
            u8::MAX
        });
        let pid = pid.map_err(Error::Start)?;
        drop(helpers_end);
        // If the helper has exited, that is noticed when its answer is read.
        let _ = send(&socket, &request.encode(), SendFlags::NOSIGNAL);
        Ok(Self {
            pid,
            socket,
            lines: LineReader::default(),
            url: request.url.as_os_str().to_owned(),
        })
    }

    /// Returns the PID of the helper, which is not reaped while this value exists.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Returns our end of the connection.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Returns what has been read, but does not make a complete line yet.
    pub fn lines(&self) -> LineReader {
        self.lines.clone()
    }

    /// Waits for the next message, at most until the deadline. Tells the helper meanwhile if this
    /// process is stopped.
    ///
    /// # Errors
    ///
    /// The helper has exited or violated the protocol.
    pub fn next_message(
        &mut self,
        deadline: Option<Instant>,
        stops: Option<&StopSignals>,
    ) -> Result<Answer, Error> {
        loop {
            if let Some(line) = self.lines.next_line() {
                let message = Message::parse(&line);
                let error = || self.error("has sent a line that is not in the protocol");
                return message.map(Answer::Message).ok_or_else(error);
            }
            if !wait_for_input(self.socket(), deadline, stops) {
                return Ok(Answer::TimedOut);
            }
            if self.lines.read(&self.socket) == Progress::End {
                return Err(self.error("has exited without an answer"));
            }
        }
    }

    /// Returns the error that the helper has violated the protocol.
    pub fn error(&self, what: &'static str) -> Error {
        Error::Helper {
            url: self.url.clone(),
            what,
        }
    }

    /// Makes the helper release the lock, although children of this process may still have the
    /// socket.
    pub fn begin_release(&self) {
        let _ = shutdown(&self.socket, Shutdown::Write);
    }

    /// Makes the helper release the lock, and waits until it has done so, at most until the
    /// deadline. The command that the caller runs next finds the lock free.
    pub fn release(mut self, deadline: Option<Instant>) {
        self.begin_release();
        while wait_for_input(self.socket(), deadline, None) {
            while self.lines.next_line().is_some() {}
            if self.lines.read(&self.socket) == Progress::End {
                break;
            }
        }
    }
}

/// Returns where the helper for a scheme would be: for `PREFIX/bin/flock`, it is
/// `PREFIX/libexec/fdlock/flock-SCHEME`.
///
/// This is the place of the file that is executed, without symbolic links, and not taken from the
/// arguments or the environment. A user who creates a hard link to this program elsewhere, with a
/// helper beside it, runs that with no other privileges than the command: with those of the user.
fn path_of_helper(scheme: &str) -> Option<PathBuf> {
    let program = procfs::executable(getpid())?;
    let prefix = program.parent()?.parent()?;
    Some(prefix.join(DIRECTORY).join(format!("flock-{scheme}")))
}

/// Creates a pair of sockets. A caller that has closed 0, 1 or 2 expects the command to find them
/// closed, and the helper's end must not be one of those that it replaces.
fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    let (one, other) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    Ok((above_stderr(one)?, above_stderr(other)?))
}

fn above_stderr(socket: OwnedFd) -> io::Result<OwnedFd> {
    match socket.as_raw_fd() {
        0..=2 => fd::duplicate(&socket, 3, FdFlags::CLOEXEC),
        _ => Ok(socket),
    }
}

/// Makes a socket the standard input and output of this process, and discards what it writes on
/// standard error: a helper that still releases its lock must not keep the caller's pipe open.
fn set_stdio(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    stdio::dup2_stdin(socket)?;
    stdio::dup2_stdout(socket)?;
    // Without close-on-exec, because it is descriptor 2 already if the caller has closed that.
    let null = open("/dev/null", OFlags::WRONLY, Mode::empty())?;
    let result = stdio::dup2_stderr(&null);
    if null.as_raw_fd() == 2 {
        // It is standard error now.
        std::mem::forget(null);
    }
    result
}

/// Waits until a socket has input or has been closed at the other end. Returns false if the
/// deadline has passed before that.
fn wait_for_input(
    socket: BorrowedFd<'_>,
    deadline: Option<Instant>,
    stops: Option<&StopSignals>,
) -> bool {
    let stop_fd = stops.map_or(socket, StopSignals::as_fd);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i32::MAX.into()),
            tv_nsec: left.subsec_nanos().into(),
        });
        let polled = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds = [polled(socket), polled(stop_fd)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) if left == Some(Duration::ZERO) => return false,
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) if fds[0].revents().is_empty() => {
                if let Some(stops) = stops {
                    stops.handle(socket);
                }
            }
            _ => return true,
        }
    }
}
