//! The display on a terminal: one line that is kept current.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};
use rustix::termios::tcgetpgrp;

use super::text::{Line, label};
use super::wait::Wait;
use crate::flock::terminal::Size;
use crate::flock::who::WaitStatus;
use crate::holders::File;
use crate::sys;
use crate::sys::process::process_group_of;
use crate::sys::procfs::stat::Stat;

/// Clears the line.
pub(super) const CLEAR: &str = "\r\x1b[K";

/// How often the line is drawn.
const INTERVAL: Duration = Duration::from_secs(1);

/// How many times as long as a search for the holder took passes before the next one.
const IDLE_FACTOR: u32 = 20;

/// Draws the line every second. On a resized window, it has the right length the next time.
pub(super) fn show(wait: &Wait<'_>, file: Option<&File>, terminal: BorrowedFd<'_>) {
    let mut status = WaitStatus::default();
    let mut next_lookup = Instant::now();
    let mut is_first = true;
    let mut claim = None;
    loop {
        if may_draw(wait, terminal, &mut claim) {
            draw(wait, &status, terminal);
            let now = Instant::now();
            if now >= next_lookup {
                status = wait.look_up(file, std::mem::take(&mut is_first));
                next_lookup = now + INTERVAL.max(now.elapsed() * IDLE_FACTOR);
                draw(wait, &status, terminal);
            }
        }
        if !wait.stage.is_wanted() {
            return;
        }
        let fraction = Duration::from_nanos(wait.elapsed().subsec_nanos().into());
        if !wait.stage.sleep(INTERVAL - fraction) {
            return;
        }
    }
}

fn draw(wait: &Wait<'_>, status: &WaitStatus, terminal: BorrowedFd<'_>) {
    let line = Line {
        label: label(wait.target),
        status,
        elapsed: wait.elapsed(),
        limit: wait.limit(),
    };
    // The last column stays empty, so that the line is never wrapped.
    let text = line.fit(Size::of(terminal).columns - 1);
    if wait.stage.is_wanted() {
        wait.stage.leave_mark();
        wait.report.error_raw(format!("\r{text}\x1b[K"));
    }
}

/// Returns whether the line may be drawn: this process group is in the foreground, the waiter is
/// not stopped, and no other waiter of the group is drawing.
fn may_draw(wait: &Wait<'_>, terminal: BorrowedFd<'_>, claim: &mut Option<OwnedFd>) -> bool {
    let is_stopped = || {
        let stat = Stat::read(wait.stage.parent);
        stat.is_some_and(|stat| matches!(stat.state, b'T' | b't'))
    };
    if !is_in_foreground() || is_stopped() {
        return false;
    }
    if claim.is_none() {
        match claim_terminal(terminal) {
            Ok(socket) => *claim = Some(socket),
            Err(Errno::ADDRINUSE) => return false,
            // Without such names, lines may replace each other.
            Err(_) => {}
        }
    }
    true
}

/// Returns whether what this process prints on the terminal does not disturb other programs: its
/// group is in the foreground, or the terminal is not the one that controls it.
pub(super) fn is_in_foreground() -> bool {
    let Some(terminal) = sys::fd::inherited(2) else {
        return false;
    };
    let foreground = tcgetpgrp(terminal).ok();
    let foreground = foreground.map(|group| group.as_raw_nonzero().get());
    foreground.is_none() || foreground == process_group_of(None)
}

/// Claims the line of the terminal for one waiter of this process group: only one process can have
/// a name, and the kernel releases it when that process exits. Other groups are stopped, or in the
/// background.
///
/// A stranger can have any name, too, and so prevent the display, but nothing else.
fn claim_terminal(terminal: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let device = rustix::fs::fstat(terminal)?.st_rdev;
    let group = process_group_of(None).unwrap_or(0);
    let name = format!("flock-progress-{device}-{group}");
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes())?;
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    bind(&socket, &address)?;
    Ok(socket)
}
