//! The process on the other machine that holds the lock as long as it is renewed: `flock-ssh serve`,
//! started by `ssh`.
//!
//! The lock itself is acquired by the `flock` of that machine, `flock -F --fair PATH flock-ssh guard`,
//! so everything is as for its other users: how the file is opened and created, that it may be
//! replaced, the queue. When it holds the lock, that process becomes the [`guard`], and hands a
//! descriptor with the lock to this one. From then on, both hold it, and either may be killed:
//!
//! * This process is killed: the guard keeps the lock for the time to live. The shell that has
//!   started this process reports it, and the command is killed at once.
//! * The guard is killed: this process goes on.
//!
//! *A waiter that is stopped* (Ctrl-Z): this process stops the guard-to-be, so the queue of the machine
//! lets others pass it. If this process is killed meanwhile, the kernel would leave that as it is; the
//! shell continues it, and it finds that it is not needed when it gets the lock. It may have got the
//! lock at the very moment at which it is stopped; then it keeps it until it is continued.
//!
//! **The time.** The lock is kept until the last renewal was *received*, plus the time to live and
//! [some more](super::extra_time). Neither the end of the connection nor a signal changes that, only
//! the message `release`, which says that no process of the command is left.
//!
//! *Stopped:* if this process is stopped, the lock is kept until it is continued. A renewal that it
//! finds then is as good as any other: the lock has been held without interruption.
//!
//! *Restart of the machine:* all locks of its files are gone, but a command on another machine may
//! still have time. So no lock is granted before the machine has run for the time to live; this
//! assumes that the others have asked for the same time. (Its local processes do not wait.)
//!
//! *Race:* `release` may arrive while the lock is being granted. Whether the guard has the lock by
//! then or not, it is killed, and the answer comes when it has exited and no descriptor is left, nor
//! one on its way from the guard.
//!
//! A model has the interleavings of all this: see `docs/design/protocols.md`.
//!
//! * [`guard`] – the other process that holds the lock.
//! * `flock` – the process that acquires it, and what it reports.
//! * [`list`] – the list of all holders and waiters.
//! * [`token`] – the number that rises with every grant.
//! * `programs`, `reply` and `wait` – what these need.

mod flock;
pub mod guard;
pub mod list;
mod programs;
mod reply;
pub mod token;
mod wait;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::process::Signal;

use super::lines::{LineReader, Progress};
use super::message::NAME;
use super::target::Target;
use crate::clock::{self, Alarm};
use crate::front::{Mode, Request, has_come};
use crate::net::error::text_of;
use flock::Flock;
use reply::send;
use wait::wait;

/// The longest request that is read.
const MAX_REQUEST: usize = 64 * 1024;

/// How long the request may take. It is sent at once.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);

/// Serves the request that arrives on standard input.
pub fn serve() {
    send(&format!("{NAME} 1"));
    let mut lines = LineReader::default();
    let Ok(Some(text)) = read_request(&mut lines) else {
        return;
    };
    let received = clock::now();
    let parsed = Request::parse(&text).map_err(str::to_owned);
    let parsed = parsed.and_then(|request| Ok((Target::parse_all(&request)?, request)));
    let result = match parsed {
        Err(text) => return send(&format!("error 65 {text}")),
        Ok((target, request)) => match request.mode {
            Mode::List => list::run(&target),
            _ => Holder::start(&target, request, lines, received).and_then(Holder::run),
        },
    };
    if let Err(error) = result {
        send(&format!("error 69 {}", text_of(&error)));
    }
}

/// Reads a request, up to its empty line. `None` if the connection ends before that.
fn read_request(lines: &mut LineReader) -> io::Result<Option<Vec<u8>>> {
    let alarm = Alarm::new()?;
    alarm.set(Some(clock::now() + REQUEST_LIMIT))?;
    let mut text = Vec::new();
    loop {
        while let Some(line) = lines.next_line() {
            text.extend_from_slice(&line);
            text.push(b'\n');
            if line.is_empty() {
                return Ok(Some(text));
            }
        }
        let stdin = io::stdin();
        let mut fds = [
            PollFd::new(&stdin, PollFlags::IN),
            PollFd::from_borrowed_fd(alarm.as_fd(), PollFlags::IN),
        ];
        wait(&mut fds)?;
        let is_late = fds[0].revents().is_empty();
        if is_late || text.len() > MAX_REQUEST || lines.read(&stdin) == Progress::End {
            return Ok(None);
        }
    }
}

/// What has become of the request.
#[derive(Clone, Copy)]
enum State {
    /// The lock is waited for.
    Queued,
    /// It is held, but not granted before this time.
    Early(Duration),
    /// It is granted.
    Granted,
}

/// Whether this process has nothing left to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Wait,
    Exit,
}

struct Holder {
    request: Request,
    /// `flock`, and then the guard.
    flock: Flock,
    /// The connection to the guard; `None` when it has exited.
    socket: Option<UnixStream>,
    /// The lock, or several; empty if the guard could not duplicate them.
    locks: Vec<OwnedFd>,
    state: State,
    lines: LineReader,
    is_connected: bool,
    /// When the last renewal was received.
    received: Duration,
}

impl Holder {
    fn start(
        target: &Target,
        request: Request,
        lines: LineReader,
        received: Duration,
    ) -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let flock = Flock::start(target, &request, theirs.into())?;
        send("renewed 0");
        Ok(Self {
            request,
            flock,
            socket: Some(socket),
            locks: Vec::new(),
            state: State::Queued,
            lines,
            is_connected: true,
            received,
        })
    }

    /// Returns when the lock is given up if it is not renewed.
    fn end(&self) -> Duration {
        let ttl = self.request.ttl;
        self.received + ttl + super::extra_time(ttl)
    }

    fn run(mut self) -> io::Result<()> {
        let alarm = Alarm::new()?;
        // What has arrived comes before the time: this process may have been stopped.
        while self.handle_requests() == Next::Wait && self.handle_time(&alarm)? == Next::Wait {
            let [is_input, is_report, is_guard] = self.wait(&alarm)?;
            if is_input && self.lines.read(io::stdin()) == Progress::End {
                self.is_connected = false;
            }
            if is_report {
                self.flock.report();
            }
            if is_guard && self.handle_guard() == Next::Exit {
                break;
            }
        }
        Ok(())
    }

    /// Waits for the alarm, and returns whether the client, `flock` and the guard have sent
    /// something.
    fn wait(&self, alarm: &Alarm) -> io::Result<[bool; 3]> {
        let stdin = io::stdin();
        let mut fds = vec![PollFd::from_borrowed_fd(alarm.as_fd(), PollFlags::IN)];
        let mut indices = [None; 3];
        let stdin = self.is_connected.then_some(stdin.as_fd());
        let socket = self.socket.as_ref().map(AsFd::as_fd);
        for (index, fd) in indices.iter_mut().zip([stdin, self.flock.as_fd(), socket]) {
            if let Some(fd) = fd {
                *index = Some(fds.len());
                fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
            }
        }
        wait(&mut fds)?;
        let is_ready = |index: usize| !fds[index].revents().is_empty();
        Ok(indices.map(|index| index.is_some_and(is_ready)))
    }

    /// Handles what the client has sent.
    fn handle_requests(&mut self) -> Next {
        while let Some(line) = self.lines.next_line() {
            if line == b"release" {
                self.free();
                send("released");
                return Next::Exit;
            }
            match (line.as_slice(), self.state) {
                // As the client is. One that holds the lock is not passed by others.
                (b"stop", State::Queued) => self.flock.signal(Signal::STOP),
                (b"continue", _) => self.flock.signal(Signal::CONT),
                _ => {}
            }
            let number = line.strip_prefix(b"renew ");
            if let Some(number) = number.and_then(|number| std::str::from_utf8(number).ok()) {
                self.received = clock::now();
                send(&format!("renewed {number}"));
            }
        }
        match (self.is_connected, self.state) {
            (true, _) | (false, State::Granted) => Next::Wait,
            // Nothing was promised. The guard is killed when it is dropped.
            (false, State::Queued | State::Early(_)) => Next::Exit,
        }
    }

    /// Does what is due, and sets the alarm for what is due next.
    fn handle_time(&mut self, alarm: &Alarm) -> io::Result<Next> {
        let mut wake_at = self.end();
        if has_come(wake_at) {
            self.free();
            send("lost it was not renewed in time");
            return Ok(Next::Exit);
        }
        match self.state {
            State::Early(time) if has_come(time) => self.grant(),
            State::Early(time) => wake_at = wake_at.min(time),
            State::Queued | State::Granted => {}
        }
        alarm.set(Some(wake_at))?;
        Ok(Next::Wait)
    }

    /// Gives up the lock or the place in the queue: no process has the descriptor any more when this
    /// returns.
    fn free(&mut self) {
        self.flock.kill();
        self.locks.clear();
        // A descriptor that was sent and not received.
        self.socket = None;
    }

    /// Handles what the guard has sent, or that it or `flock` has exited.
    fn handle_guard(&mut self) -> Next {
        let Some(socket) = &self.socket else {
            return Next::Wait;
        };
        match guard::receive(socket) {
            Some(locks) => {
                self.locks = locks;
                self.take_over()
            }
            None if matches!(self.state, State::Queued) => {
                self.flock.report_failure();
                Next::Exit
            }
            None => {
                self.socket = None;
                if !self.locks.is_empty() {
                    return Next::Wait;
                }
                // This process could not get the descriptors, so the lock is gone.
                send("lost the process that held it there was killed");
                Next::Exit
            }
        }
    }

    /// The lock is held: grants it, now or later.
    fn take_over(&mut self) -> Next {
        let ttl = self.request.ttl;
        let earliest = ttl + super::extra_time(ttl);
        let last = self.request.wait.map(|wait| self.received + wait);
        if has_come(earliest) {
            self.grant();
        } else if last.is_some_and(|last| last < earliest) {
            // It may be held by a process from before the restart.
            self.free();
            send("refused");
            return Next::Exit;
        } else {
            self.state = State::Early(earliest);
        }
        Next::Wait
    }

    /// Grants the lock. The guard learns it first, so that it keeps the lock if this process is killed
    /// as soon as the client knows that it is granted.
    fn grant(&mut self) {
        if let Some(socket) = &self.socket {
            guard::confirm(socket);
        }
        self.state = State::Granted;
        send(&format!("granted {}", token::next()));
    }
}
