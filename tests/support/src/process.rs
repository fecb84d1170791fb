//! Running processes that a test interacts with.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{self, Pid, PidfdFlags, WaitId, WaitIdOptions};

use crate::test_env::TestEnv;
use crate::wait::holds_within;

/// How a process has terminated. A shell's `$?` does not distinguish the two, a parent can.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum ExitReason {
    /// The process exited with this status.
    Exited(i32),
    /// This signal killed the process.
    Signaled(i32),
}

/// A running process. The test writes its stdin and reads its stdout and stderr, which are a single
/// stream, with a timeout. Both ends are pipes or a terminal. Dropping it kills the process group.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdin: Option<File>,
    output: OutputReader,
    pidfd: OwnedFd,
    timeout: Duration,
    /// The test has killed the process, whose children may go on writing.
    killed: bool,
}

impl TestEnv {
    /// Starts a command with its stdin and its output in pipes.
    #[track_caller]
    pub fn start(&self, mut command: Command) -> Process {
        let (output, writer) = output_pipe();
        command
            .stdin(Stdio::piped())
            .stderr(writer.try_clone().expect("a descriptor"))
            .stdout(writer);
        let mut child = command.spawn().expect("the command starts");
        let stdin = OwnedFd::from(child.stdin.take().expect("stdin is a pipe"));
        self.attach(child, stdin, output)
    }

    pub(crate) fn attach(&self, child: Child, stdin: OwnedFd, output: OwnedFd) -> Process {
        let (source, unread) = (output, Vec::new());
        Process {
            stdin: Some(stdin.into()),
            output: OutputReader { source, unread },
            pidfd: open_pidfd(&child),
            child,
            timeout: self.timeout,
            killed: false,
        }
    }

    /// Starts `flock` with these arguments, with its stdin and its output in pipes.
    #[track_caller]
    pub fn start_flock<const N: usize>(&self, args: [&str; N]) -> Process {
        self.start(self.flock(args))
    }

    /// Starts a process that holds the lock on the file until [`Process::release`], and returns
    /// when it has the lock.
    #[track_caller]
    pub fn hold(&self, options: &[&str], file: &str) -> Process {
        let command = [file, "sh", "-c", "echo held; read x; exit 0"];
        let mut holder = self.start(self.flock(options.iter().chain(&command)));
        holder.expect_line("held");
        holder
    }
}

impl Process {
    /// Returns the pid of the process.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Writes to its stdin, or types at its terminal.
    #[track_caller]
    pub fn send(&mut self, text: &str) {
        let written = self.stdin().write_all(text.as_bytes());
        written.expect("the process reads its stdin");
    }

    /// Writes a line to its stdin, or types it at its terminal.
    #[track_caller]
    pub fn send_line(&mut self, line: &str) {
        self.send(&format!("{line}\n"));
    }

    /// Returns our end of its stdin, or the controlling side of its terminal.
    pub fn stdin(&self) -> &File {
        self.stdin.as_ref().expect("stdin is open")
    }

    /// Closes its stdin, or hangs up the terminal.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Reads its output up to and including this text.
    ///
    /// # Errors
    ///
    /// If the process exits without having written the text, or does not write it in time.
    pub fn read_until(&mut self, text: &str) -> Result<String, String> {
        let deadline = Instant::now() + self.timeout;
        loop {
            if let Some(output) = self.output.take_until(text) {
                return Ok(output);
            }
            // The process waits for its command, so when it exits all output has been written. Only
            // after the test has killed it can other processes still write.
            let exit = (!self.killed).then(|| self.pidfd.as_fd());
            if !self.output.read_more(deadline, exit) {
                return Err(format!("expected {text:?}; output: {:?}", self.output));
            }
        }
    }

    /// Reads the output that there is, or waits for some. Returns `None` when the process has
    /// exited and all output has been read, or if none comes in time.
    pub(crate) fn read_some(&mut self) -> Option<Vec<u8>> {
        let deadline = Instant::now() + self.timeout;
        let exit = (!self.killed).then(|| self.pidfd.as_fd());
        let is_more = self.output.read_more(deadline, exit);
        let read = std::mem::take(&mut self.output.unread);
        (is_more || !read.is_empty()).then_some(read)
    }

    /// Reads the next line of its output.
    #[track_caller]
    pub fn read_line(&mut self) -> String {
        self.expect("\n").trim_end().to_owned()
    }

    /// Asserts that this is the next line of its output.
    #[track_caller]
    pub fn expect_line(&mut self, expected: &str) {
        assert_eq!(self.read_line(), expected);
    }

    /// Asserts that its output contains this text, and returns the output up to and including it.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        self.read_until(text)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Sends a signal to this process alone.
    #[track_caller]
    pub fn signal(&self, signal: i32) {
        assert!(send_signal(self.pid(), signal), "cannot send {signal}");
    }

    /// Sends a signal with a value to this process alone, with sigqueue(3).
    #[track_caller]
    #[allow(unsafe_code, reason = "sigqueue(3)")]
    pub fn queue_signal(&self, signal: i32, value: usize) {
        let value = libc::sigval {
            sival_ptr: std::ptr::without_provenance_mut(value),
        };
        // SAFETY: the value is only used as a number, never as a pointer.
        assert_eq!(unsafe { libc::sigqueue(self.pid(), signal, value) }, 0);
    }

    /// Waits until it is stopped, with waitid(2), as a shell with job control does.
    #[track_caller]
    pub fn wait_stopped(&self) {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        let stopped = holds_within(self.timeout, || {
            let id = WaitId::Pid(Pid::from_child(&self.child));
            let status = process::waitid(id, options).expect("our child");
            assert!(!self.has_exited(), "it exited; output: {:?}", self.output);
            status.is_some()
        });
        assert!(stopped, "it did not stop; output: {:?}", self.output);
    }

    /// Whether it has terminated.
    pub fn has_exited(&self) -> bool {
        poll_readable(&[self.pidfd.as_fd()], Instant::now())[0]
    }

    /// Waits until the condition holds, and fails early if the process exits before that.
    #[track_caller]
    pub fn wait_alive_until(&mut self, what: &str, mut condition: impl FnMut() -> bool) {
        crate::wait::wait_until(what, || {
            // In this order, as the condition may become true just before the exit.
            let exited = self.has_exited();
            let holds = condition();
            if exited && !holds {
                let output = self.read_until("\0").expect_err("no NUL in the output");
                panic!("the process exited before {what}; {output}");
            }
            holds
        });
    }

    /// Kills and reaps this process alone. The output of the processes it leaves behind can still
    /// be read.
    #[track_caller]
    pub fn kill(&mut self) {
        self.killed = true;
        self.signal(libc::SIGKILL);
        assert_eq!(self.wait(), ExitReason::Signaled(libc::SIGKILL));
    }

    /// Waits until it terminates.
    #[track_caller]
    pub fn wait(&mut self) -> ExitReason {
        if !poll_readable(&[self.pidfd.as_fd()], Instant::now() + self.timeout)[0] {
            panic!("the process hangs; output: {:?}", self.output);
        }
        // The process stays a zombie until the drop, so that its pid, which is also that of its
        // group, is not reused.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let status = process::waitid(WaitId::Pid(Pid::from_child(&self.child)), options)
            .expect("our child")
            .expect("it has terminated");
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => ExitReason::Exited(code),
            (_, Some(signal)) => ExitReason::Signaled(signal),
            _ => panic!("neither exited nor killed: {status:?}"),
        }
    }

    /// Makes a holder release its lock, by closing its stdin, and asserts that it succeeded.
    #[track_caller]
    pub fn release(mut self) {
        self.close_stdin();
        assert_eq!(self.wait(), ExitReason::Exited(0));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let group = Pid::from_child(&self.child);
        let _ = process::kill_process_group(group, process::Signal::KILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The output of a process, from a pipe or a terminal.
struct OutputReader {
    source: OwnedFd,
    /// Output that has been read but not returned yet.
    unread: Vec<u8>,
}

impl std::fmt::Debug for OutputReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.unread))
    }
}

impl OutputReader {
    /// Takes the output up to and including the first occurrence of the text.
    fn take_until(&mut self, text: &str) -> Option<String> {
        let mut windows = self.unread.windows(text.len());
        let found = windows.position(|window| window == text.as_bytes())?;
        let rest = self.unread.split_off(found + text.len());
        let taken = std::mem::replace(&mut self.unread, rest);
        Some(String::from_utf8_lossy(&taken).into_owned())
    }

    /// Reads more output. Returns false at the end of the stream, at the deadline, and when the
    /// process has exited and all of its output has been read.
    fn read_more(&mut self, deadline: Instant, exit: Option<BorrowedFd<'_>>) -> bool {
        let fds = Vec::from_iter([self.source.as_fd()].into_iter().chain(exit));
        let readable = poll_readable(&fds, deadline);
        let mut buffer = [0; 4096];
        match readable[0].then(|| rustix::io::read(&self.source, &mut buffer)) {
            Some(Ok(read)) if read > 0 => {
                self.unread.extend_from_slice(&buffer[..read]);
                true
            }
            // A terminal that no process has open any more fails with EIO.
            _ => false,
        }
    }
}

/// Creates a pipe for the output of a process: the reading end and the writing end.
pub(crate) fn output_pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe")
}

/// Waits until one of the descriptors is readable or the deadline has passed, and returns which of
/// them are readable. A pidfd is readable when the process has terminated.
pub fn poll_readable(fds: &[BorrowedFd<'_>], deadline: Instant) -> Vec<bool> {
    loop {
        let polled = fds
            .iter()
            .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN));
        let mut polled = Vec::from_iter(polled);
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).expect("a short time");
        match rustix::event::poll(&mut polled, Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            result => {
                result.expect("poll");
                return polled.iter().map(|fd| !fd.revents().is_empty()).collect();
            }
        }
    }
}

/// Opens a pidfd of the child, which becomes readable when the child has terminated.
pub fn open_pidfd(child: &Child) -> OwnedFd {
    process::pidfd_open(Pid::from_child(child), PidfdFlags::empty()).expect("a pidfd")
}

/// Prints a text without a buffer, which would not be flushed when a helper process exits.
pub(crate) fn print(text: &str) {
    rustix::io::write(rustix::stdio::stdout(), text.as_bytes()).expect("stdout is open");
}

/// Sends a signal with any number to a process, or to a group if `pid` is negative; false if that
/// fails.
#[allow(
    unsafe_code,
    reason = "kill(2): rustix does not have all signal numbers"
)]
pub fn send_signal(pid: i32, signal: i32) -> bool {
    // SAFETY: kill(2) does not access our memory.
    unsafe { libc::kill(pid, signal) == 0 }
}
