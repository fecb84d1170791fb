//! Processes that a test talks with while they run.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{self, Pid, PidfdFlags, WaitId, WaitIdOptions};

use crate::Lab;

/// How a process ended. A shell cannot tell the two apart, its parent can.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum End {
    Exited(i32),
    Killed(i32),
}

/// A running process: its stdin is ours to write, its stdout and stderr are one stream for us to read, with patience:
/// pipes, or a terminal. Its group is killed when the test is through with it, whichever way.
#[derive(Debug)]
pub struct Live {
    child: Child,
    voice: Option<File>,
    ear: Ear,
    over: OwnedFd,
    patience: Duration,
    outlived: bool,
}

impl Lab {
    /// Starts a command to talk with.
    #[track_caller]
    pub fn start(&self, mut command: Command) -> Live {
        let (ear, mouth) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
        command
            .stdin(Stdio::piped())
            .stderr(mouth.try_clone().expect("a descriptor"))
            .stdout(mouth);
        let mut child = command.spawn().expect("it starts");
        let voice = OwnedFd::from(child.stdin.take().expect("a pipe"));
        self.watch(child, voice, ear)
    }

    pub(crate) fn watch(&self, child: Child, voice: OwnedFd, source: OwnedFd) -> Live {
        let heard = Vec::new();
        Live {
            voice: Some(voice.into()),
            ear: Ear { source, heard },
            over: over(&child),
            child,
            patience: self.patience,
            outlived: false,
        }
    }

    /// Starts `flock` with these arguments to talk with.
    #[track_caller]
    pub fn start_flock<const N: usize>(&self, args: [&str; N]) -> Live {
        self.start(self.flock(args))
    }

    /// Starts someone who holds the lock on the file until told [`Live::let_go`]; the lock is taken on return.
    #[track_caller]
    pub fn hold(&self, options: &[&str], file: &str) -> Live {
        let script = [file, "sh", "-c", "echo held; read x; exit 0"];
        let mut holder = self.start(self.flock(options.iter().chain(&script)));
        holder.hears("held");
        holder
    }
}

impl Live {
    /// The process id of what was started.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Writes to its stdin, or types at its terminal.
    #[track_caller]
    pub fn types(&mut self, text: &str) {
        let voice = self.voice.as_mut().expect("stdin is open");
        voice.write_all(text.as_bytes()).expect("it listens");
    }

    /// The same with a line's end.
    #[track_caller]
    pub fn say(&mut self, line: &str) {
        self.types(&format!("{line}\n"));
    }

    /// Its stdin or its terminal, from our side.
    pub fn voice(&self) -> &File {
        self.voice.as_ref().expect("stdin is open")
    }

    /// Ends its stdin, or hangs up.
    pub fn hush(&mut self) {
        self.voice = None;
    }

    /// What it says up to and with this word, or an error when it ended before, or kept silent too long.
    pub fn until(&mut self, word: &str) -> Result<String, String> {
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(said) = self.ear.take(word) {
                return Ok(said);
            }
            // Whoever is waited for has said everything by the time that the waiting ends: nothing comes after that,
            // unless the test had the one who waits killed.
            let end = (!self.outlived).then(|| self.over.as_fd());
            if !self.ear.more(deadline, end) {
                return Err(format!("never {word:?}; heard: {:?}", self.ear));
            }
        }
    }

    /// Its next line.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let line = self.until("\n").unwrap_or_else(|heard| panic!("{heard}"));
        line.trim_end().to_owned()
    }

    /// Asserts its next line.
    #[track_caller]
    pub fn hears(&mut self, wanted: &str) {
        assert_eq!(self.line(), wanted);
    }

    /// Asserts that it says this word, whatever comes before.
    #[track_caller]
    pub fn comes_to(&mut self, word: &str) -> String {
        self.until(word).unwrap_or_else(|heard| panic!("{heard}"))
    }

    /// Sends a signal to this process alone.
    #[track_caller]
    pub fn signal(&self, signal: i32) {
        assert!(send(self.pid(), signal), "signal {signal} can be sent");
    }

    /// Sends a signal with a value to this process alone, as `sigqueue(3)` does.
    #[track_caller]
    #[allow(unsafe_code)]
    pub fn queue(&self, signal: i32, value: usize) {
        let value = libc::sigval {
            sival_ptr: std::ptr::without_provenance_mut(value),
        };
        // SAFETY: the value is a number to everybody, no pointer.
        assert_eq!(unsafe { libc::sigqueue(self.pid(), signal, value) }, 0);
    }

    /// Waits until it stops, as the shell that started it would.
    #[track_caller]
    pub fn stops(&self) {
        let id = || WaitId::Pid(Pid::from_child(&self.child));
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        let told = crate::wait::holds_within(self.patience, || {
            let news = process::waitid(id(), options).expect("our child");
            assert!(!self.is_over(), "it ended; heard: {:?}", self.ear);
            news.is_some()
        });
        assert!(told, "it did not stop; heard: {:?}", self.ear);
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        ready(&[self.over.as_fd()], Instant::now())[0]
    }

    /// Waits until this holds, which is not to be expected any more when it has ended.
    #[track_caller]
    pub fn lives_until(&mut self, what: &str, mut holds: impl FnMut() -> bool) {
        crate::wait_until(what, || {
            let over = self.is_over();
            let held = holds();
            if over && !held {
                let said = self.until("\0").expect_err("no such thing is said");
                panic!("it ended before this: {what}; {said}");
            }
            held
        });
    }

    /// Kills this process alone, and listens on to those it leaves behind.
    #[track_caller]
    pub fn murder(&mut self) {
        self.outlived = true;
        self.signal(libc::SIGKILL);
        assert_eq!(self.end(), End::Killed(libc::SIGKILL));
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(&mut self) -> End {
        if !ready(&[self.over.as_fd()], Instant::now() + self.patience)[0] {
            panic!("no end; heard: {:?}", self.ear);
        }
        // It stays a zombie, so that its id, which is its group's too, means nobody else until the drop.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let status = process::waitid(WaitId::Pid(Pid::from_child(&self.child)), options)
            .expect("our child")
            .expect("it ended");
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => End::Exited(code),
            (_, Some(signal)) => End::Killed(signal),
            _ => panic!("neither exited nor killed: {status:?}"),
        }
    }

    /// Ends a holder's patience: its `read` returns, and it must have held the lock well.
    #[track_caller]
    pub fn let_go(mut self) {
        self.hush();
        assert_eq!(self.end(), End::Exited(0));
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let group = Pid::from_child(&self.child);
        let _ = process::kill_process_group(group, process::Signal::KILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What was heard on a pipe or a terminal and not taken yet.
struct Ear {
    source: OwnedFd,
    heard: Vec<u8>,
}

impl std::fmt::Debug for Ear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.heard))
    }
}

impl Ear {
    /// What was heard up to and with the first occurrence of the word.
    fn take(&mut self, word: &str) -> Option<String> {
        let mut windows = self.heard.windows(word.len());
        let found = windows.position(|window| window == word.as_bytes())?;
        let rest = self.heard.split_off(found + word.len());
        let taken = std::mem::replace(&mut self.heard, rest);
        Some(String::from_utf8_lossy(&taken).into_owned())
    }

    /// Reads some more; false at the end of the stream, at the deadline, and when all was read after the end of the
    /// process.
    fn more(&mut self, deadline: Instant, end: Option<BorrowedFd<'_>>) -> bool {
        let ready = match end {
            Some(end) => ready(&[self.source.as_fd(), end], deadline),
            None => ready(&[self.source.as_fd()], deadline),
        };
        let mut buffer = [0; 4096];
        match ready[0].then(|| rustix::io::read(&self.source, &mut buffer)) {
            Some(Ok(read)) if read > 0 => {
                self.heard.extend_from_slice(&buffer[..read]);
                true
            }
            // A terminal without anybody on the other side answers EIO.
            _ => false,
        }
    }
}

/// Which of the descriptors can be read, by the deadline; on a process that is when it ended.
pub fn ready(descriptors: &[BorrowedFd<'_>], deadline: Instant) -> Vec<bool> {
    loop {
        let mut polled: Vec<PollFd<'_>> = descriptors
            .iter()
            .map(|descriptor| PollFd::from_borrowed_fd(*descriptor, PollFlags::IN))
            .collect();
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).expect("a short time");
        match rustix::event::poll(&mut polled, Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            answer => {
                answer.expect("poll");
                return polled.iter().map(|fd| !fd.revents().is_empty()).collect();
            }
        }
    }
}

/// A descriptor that can be read once the child has ended.
pub fn over(child: &Child) -> OwnedFd {
    process::pidfd_open(Pid::from_child(child), PidfdFlags::empty()).expect("a pidfd")
}

/// Sends a signal of any number; false when that fails.
#[allow(unsafe_code)]
pub fn send(pid: i32, signal: i32) -> bool {
    // SAFETY: kill(2) touches no memory of ours.
    unsafe { libc::kill(pid, signal) == 0 }
}
