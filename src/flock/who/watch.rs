//! `--watch`: keeps the table on the screen current, as top(1) does.

mod screen;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::getpid;

use super::listing::Listing;
use super::table;
use super::text::escape;
use crate::exit::{self, Exit};
use crate::flock::WhoRequest;
use crate::flock::terminal::{self, Size, fit};
use crate::holders::{Caller, Role};
use crate::report::{Output, Report};
use crate::sys;
use crate::sys::signal::{self, Disposition, SignalSet, number};
use screen::{Screen, keyboard};

/// How long a table stays on the screen.
const INTERVAL: Duration = Duration::from_secs(2);

/// How many times as long as it took to create a table stays at least, whatever there is to list.
const IDLE_FACTOR: u32 = 4;

/// The signals after which the terminal has to be restored, or the table drawn again.
const SIGNALS: [i32; 6] = [
    number::HUP,
    number::INT,
    number::QUIT,
    number::TERM,
    number::TSTP,
    number::WINCH,
];

/// Shows the table until the user ends it.
pub(super) fn run(request: &WhoRequest, caller: Caller, report: &mut Report) -> Exit {
    let Some(output) = sys::fd::inherited(1).filter(|fd| terminal::is_capable(*fd)) else {
        report.error(
            "--watch requires a terminal that can move its cursor; \
             without --watch, the table is printed once",
        );
        return Exit::Status(exit::FLOCK.usage);
    };
    // A caller that ignores a signal, such as nohup(1), wants it ignored.
    let is_ignored = |signal: &i32| signal::disposition(*signal) == Disposition::Ignore;
    let signals = SIGNALS.into_iter().filter(|signal| !is_ignored(signal));
    let signals = signals.fold(SignalSet::EMPTY, SignalSet::with);
    let mask = signal::block(signals);
    let exit = show(request, caller, signals, output, report).unwrap_or_else(|error| {
        report.error(format!("cannot wait for signals: {error}"));
        Exit::Status(exit::FLOCK.exhausted)
    });
    // A signal that ends this process is sent to it again: see `Exit::Signal`.
    signal::set_mask(mask);
    exit
}

fn show(
    request: &WhoRequest,
    caller: Caller,
    signals: SignalSet,
    output: BorrowedFd<'_>,
    report: &mut Report,
) -> io::Result<Exit> {
    let signal_fd = signal::signalfd(signals)?;
    let mut screen = Screen::enter(output, report);
    loop {
        let started = Instant::now();
        let lines = lines(&Listing::create(request, caller), request);
        let pause = INTERVAL.max(started.elapsed() * IDLE_FACTOR);
        let end = Instant::now() + pause;
        let exit = loop {
            report.print(&frame(&lines, Size::of(output)));
            if report.output() == Output::Failed {
                break Some(Exit::Status(exit::FLOCK.no_output));
            }
            match wait(&signal_fd, signals, end) {
                Event::Refresh => break None,
                Event::Quit => break Some(Exit::Status(exit::SUCCESS)),
                Event::Signal(number::WINCH) => {}
                Event::Signal(number::TSTP) => {
                    screen.leave(report);
                    stop();
                    screen = Screen::enter(output, report);
                }
                Event::Signal(signal) => break Some(Exit::Signal(signal)),
            }
        };
        if let Some(exit) = exit {
            screen.leave(report);
            return Ok(exit);
        }
    }
}

/// Stops this process, as Ctrl-Z does, until it is continued.
fn stop() {
    let set = SignalSet::single(number::TSTP);
    if signal::send(getpid(), number::TSTP).is_ok() {
        // Now it has its effect.
        signal::unblock(set);
        signal::block(set);
    }
}

/// What ends a wait.
enum Event {
    /// The table is out of date, or the user has typed something.
    Refresh,
    /// The user has typed `q`, or the terminal is gone.
    Quit,
    Signal(i32),
}

/// Blocks until there is something to do.
fn wait(signal_fd: &OwnedFd, signals: SignalSet, end: Instant) -> Event {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Event::Refresh;
        }
        let timeout = Timespec::try_from(left).ok();
        let keyboard = keyboard();
        let fds = [Some(signal_fd.as_fd()), keyboard];
        let fds = fds.into_iter().flatten();
        let mut fds: Vec<PollFd<'_>> = fds
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return Event::Quit,
        }
        let has_input = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
        if let Some(info) = signal::take_pending(signals) {
            return Event::Signal(info.signal);
        }
        if let Some(keyboard) = keyboard.filter(|_| has_input) {
            let mut keys = [0; 64];
            return match rustix::io::read(keyboard, &mut keys) {
                Ok(0) | Err(_) => Event::Quit,
                Ok(count) if keys[..count].contains(&b'q') => Event::Quit,
                Ok(_) => Event::Refresh,
            };
        }
    }
}

/// Returns what is to be seen: how many there are, the messages, and the table.
fn lines(listing: &Listing<'_>, request: &WhoRequest) -> Vec<String> {
    let count = |role| {
        listing
            .rows
            .iter()
            .filter(|row| row.lock.role == role)
            .count()
    };
    let plural = |count, one, many| format!("{count} {}", if count == 1 { one } else { many });
    let mut lines = vec![format!(
        "{}, {}; every {} seconds, q quits",
        plural(count(Role::Holder), "holder", "holders"),
        plural(count(Role::Waiter), "waiter", "waiters"),
        INTERVAL.as_secs()
    )];
    let messages = listing.messages.iter();
    lines.extend(messages.map(|message| escape(message.as_encoded_bytes())));
    lines.push(String::new());
    let mut text = Vec::new();
    table::print(&listing.rows, request.targets.len(), &mut |piece| {
        text.extend_from_slice(piece);
    });
    lines.extend(String::from_utf8_lossy(&text).lines().map(str::to_owned));
    lines
}

/// Returns what draws the lines over those of the last frame. Nothing is cleared before it is
/// drawn, so nothing flickers, and no line is wrapped or makes the screen scroll.
fn frame(lines: &[String], size: Size) -> Vec<u8> {
    let mut text = String::from("\x1b[H");
    let shown = match lines.len() <= size.rows {
        true => lines.len(),
        false => size.rows - 1,
    };
    let hidden = lines.len() - shown;
    let more = (hidden > 0).then(|| format!("{hidden} more lines"));
    let lines = lines[..shown].iter().chain(&more);
    for (index, line) in lines.enumerate() {
        if index > 0 {
            text += "\r\n";
        }
        // The last column stays empty: after a character there, the next command would clear it.
        text += fit(line, size.columns - 1);
        text += "\x1b[K";
    }
    text += "\x1b[J";
    text.into_bytes()
}
