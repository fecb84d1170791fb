//! Locks of flock(2) in the order of arrival, among all who ask for them so.
//!
//! The kernel serves waiters in order only as long as nobody disturbs them: a newcomer overtakes whoever is just being
//! woken, readers pass a waiting writer for ever, and whoever is interrupted, stopped or times out loses his place, and
//! with it all behind him. So those who ask here queue by [`Turn`]s, and only the first of them waits in the kernel.
//!
//! *What excludes* is the lock of flock(2) alone, taken as ever: no error in the order can let two in. So the order may
//! look at what others do, at moments that are past by the time that it acts:
//!
//! 1. Nobody queues, and the lock is free: it is taken.
//! 2. Otherwise we take our turn, and wait for the end of the nearest turn before it. When there is none, we block in
//!    flock(2).
//! 3. Once granted, we look again. A turn before ours may have come up in between: one that was stopped goes on, one of
//!    a shell that has seen to a trap is back. Then the lock is his: we give it back and wait for him.
//! 4. With the lock in our hands the turn ends, and the next one wakes. He blocks in flock(2) while we hold the lock, or
//!    shares it if both are readers.
//!
//! *The race of the first step:* somebody may take a turn between our look and our taking the lock. He found the lock
//! held, and it was released after that; we had come before.
//!
//! *The race of the second:* a turn before ours may appear after our look, as its moment is read before its mark is set. If
//! we have the lock by then, we look again (3). A turn may end, and the number of its token be given to another process,
//! before we can wait for its end. So we look whether the turn is there once we have the token's pidfd: if it is, the
//! pidfd is the token's.
//!
//! *Who does not take his turn:* a stopped process is not waited for, and nobody waits for one for ever. Whoever waits
//! looks from time to time (`LOOK`) whether the lock is free, which it cannot be as long as the first in the queue waits
//! for it in the kernel. If it stays free, that one is frozen, or in a place that we cannot see, and is passed.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, pidfd_open};

use super::mark::{Mark, Moment};
use super::turn::{self, Turn};
use super::{Answer, Block, Deadline, Failure, Kind, Mode, attempt};
use crate::sys::attention::Attention;

/// How often a waiter looks whether the queue stands still.
const LOOK: Duration = Duration::from_secs(2);

/// How long a lock must be free before the first in the queue, who does not take it, is passed: he may just be being woken.
const GRACE: Duration = Duration::from_millis(50);

/// How often one looks whose predecessor's end cannot be waited for, as it is in another pid namespace.
const BLIND: Duration = Duration::from_millis(100);

/// How many that are before us are counted when the queue stands still.
const MOST: u32 = 16;

/// Brings an open file description into the mode, in the order of arrival.
///
/// # Errors
///
/// Those of flock(2); out of what a turn needs.
pub(super) fn acquire(
    fd: BorrowedFd<'_>,
    mode: Mode,
    since: Moment,
    deadline: &Deadline,
) -> Result<Answer, Failure> {
    if mode == Mode::Unlocked {
        return super::acquire(fd, Kind::Flock, mode, deadline);
    }
    let now = matches!(deadline, Deadline::Now);
    if !turn::somebody_queues(fd) {
        let answer = attempt(fd, Kind::Flock, mode, Block::No)?;
        if answer == Answer::Granted || now {
            return Ok(answer);
        }
    } else if is_ours(fd, mode) {
        return attempt(fd, Kind::Flock, mode, Block::No);
    } else if now {
        return match turn::ahead(fd, first_byte(since)) {
            Some(_) => Ok(Answer::Conflict),
            None => attempt(fd, Kind::Flock, mode, Block::No),
        };
    }
    // Whoever waits with a shared lock for an exclusive one would wait for himself as soon as two do. The kernel drops
    // it too.
    attempt(fd, Kind::Flock, Mode::Unlocked, Block::No)?;
    match Turn::take(fd, since, mode)? {
        None => super::acquire(fd, Kind::Flock, mode, deadline),
        Some(turn) => Waiter {
            fd,
            mode,
            turn,
            free: None,
        }
        .wait(deadline),
    }
}

/// The first byte of turns that came at this moment.
fn first_byte(since: Moment) -> i64 {
    let (mode, pid) = (Mode::Exclusive, rustix::process::Pid::INIT);
    Mark::Turn { since, mode, pid }.byte()
}

/// Whether the description has the lock already, or one that is exclusive where a shared one is asked for. A reader who
/// asks again while a writer queues would wait for the writer, and he for the reader.
fn is_ours(fd: BorrowedFd<'_>, mode: Mode) -> bool {
    let held = match fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())) {
        Ok(text) => held(&text),
        Err(_) => None,
    };
    held == Some(mode) || held == Some(Mode::Exclusive)
}

/// The lock of flock(2) that a file in `/proc/PID/fdinfo` tells of.
///
/// # References
///
/// proc_pid_fdinfo(5).
fn held(text: &str) -> Option<Mode> {
    let mut lines = text.lines().filter(|line| line.starts_with("lock:"));
    lines.find_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(2);
        match (words.next(), words.next(), words.next()) {
            (Some("FLOCK"), _, Some("READ")) => Some(Mode::Shared),
            (Some("FLOCK"), _, Some("WRITE")) => Some(Mode::Exclusive),
            _ => None,
        }
    })
}

/// One who has taken his turn.
struct Waiter<'f> {
    fd: BorrowedFd<'f>,
    mode: Mode,
    turn: Turn,
    /// Since when the lock has been free whenever we looked, while we waited for one and the same turn.
    free: Option<Instant>,
}

/// How a wait for another's turn ended.
enum Woken {
    /// Something has happened: it is time to look.
    News,
    /// Nothing has, for as long as we were ready to wait.
    Nothing,
    /// The answer is known.
    Over(Answer),
}

impl Waiter<'_> {
    fn wait(&mut self, deadline: &Deadline) -> Result<Answer, Failure> {
        loop {
            let Some(before) = turn::ahead(self.fd, self.turn.byte()) else {
                let answer = super::acquire(self.fd, Kind::Flock, self.mode, deadline)?;
                if answer != Answer::Granted || self.is_next() {
                    return Ok(answer);
                }
                self.give_back()?;
                continue;
            };
            if let Some(answer) = self.wait_for(before, deadline)? {
                return Ok(answer);
            }
        }
    }

    /// Waits until the turn of this byte is over, or we pass it, or the time is up.
    fn wait_for(&mut self, before: i64, deadline: &Deadline) -> Result<Option<Answer>, Failure> {
        self.free = None;
        loop {
            match self.sleep(before, deadline)? {
                Woken::News => return Ok(None),
                Woken::Over(answer) => return Ok(Some(answer)),
                Woken::Nothing => {
                    if self.passes()? {
                        return Ok(Some(Answer::Granted));
                    }
                }
            }
        }
    }

    fn is_next(&self) -> bool {
        turn::ahead(self.fd, self.turn.byte()).is_none()
    }

    fn give_back(&self) -> Result<(), Failure> {
        attempt(self.fd, Kind::Flock, Mode::Unlocked, Block::No).map(drop)
    }

    /// Sleeps until the turn of this byte is over, but not for long.
    fn sleep(&mut self, before: i64, deadline: &Deadline) -> Result<Woken, Failure> {
        let end =
            turn::token_of(before).and_then(|token| pidfd_open(token, PidfdFlags::empty()).ok());
        if !turn::is_there(self.fd, before) {
            return Ok(Woken::News);
        }
        let most = match (self.free, &end) {
            (Some(_), _) => GRACE,
            (None, Some(_)) => LOOK,
            (None, None) => BLIND,
        };
        let left = match deadline.until().map(|until| until.left()) {
            None => most,
            Some(None) => return Ok(Woken::Over(Answer::TimedOut)),
            Some(Some(left)) => left.min(most),
        };
        // In a host: its signals end the call. Otherwise there is none that does.
        let _attention = match deadline {
            Deadline::Attentive(_, called) => {
                match Attention::begin(None, *called).map_err(Failure::Timer)? {
                    None => return Ok(Woken::Over(Answer::Interrupted)),
                    attention => attention,
                }
            }
            _ => None,
        };
        let ours = self.turn.end();
        let theirs = end.as_ref().map_or(ours, AsFd::as_fd);
        let mut ends = [ours, theirs].map(|end| PollFd::from_borrowed_fd(end, PollFlags::IN));
        // A short time: it fits.
        let time = Timespec::try_from(left).unwrap_or_default();
        let woken = poll(&mut ends, Some(&time));
        let ours_is_over = !ends[0].revents().is_empty();
        drop(_attention);
        match woken {
            Ok(0) if left < most => Ok(Woken::Over(Answer::TimedOut)),
            Ok(0) => Ok(Woken::Nothing),
            Ok(_) => {
                if ours_is_over {
                    self.turn.renew()?;
                }
                Ok(Woken::News)
            }
            Err(Errno::INTR) if matches!(deadline, Deadline::Attentive(..)) => {
                Ok(Woken::Over(Answer::Interrupted))
            }
            Err(Errno::INTR) => Ok(Woken::News),
            Err(error) => Err(Failure::Turn(error.into())),
        }
    }

    /// Whether we pass the one before us, as he does not take the lock though it is free: then it is ours.
    ///
    /// Free means to be had exclusively: readers rightly keep a writer waiting who is before us. Whoever has more than one
    /// before him leaves it to them first, for as long as each of them may need to notice.
    fn passes(&mut self) -> Result<bool, Failure> {
        if attempt(self.fd, Kind::Flock, Mode::Exclusive, Block::No)? != Answer::Granted {
            self.free = None;
            return Ok(false);
        }
        let since = *self.free.get_or_insert_with(Instant::now);
        let patience = match self.count_ahead() {
            0 => Duration::ZERO,
            count => GRACE * 9 / 10 + (LOOK + GRACE) * (count - 1),
        };
        if since.elapsed() < patience {
            self.give_back()?;
            return Ok(false);
        }
        // From exclusive to shared there is nothing to wait for.
        let answer = attempt(self.fd, Kind::Flock, self.mode, Block::No)?;
        Ok(answer == Answer::Granted)
    }

    fn count_ahead(&self) -> u32 {
        let mut byte = self.turn.byte();
        (0..MOST)
            .take_while(|_| match turn::ahead(self.fd, byte) {
                Some(before) => {
                    byte = before;
                    true
                }
                None => false,
            })
            .count() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_description_holds_is_told_by_its_lock_lines() {
        let text = |lines: &str| format!("pos:\t0\nflags:\t0100001\nmnt_id:\t29\n{lines}");
        let flock = |mode| format!("lock:\t1: FLOCK  ADVISORY  {mode} 4711 fe:00:99 0 EOF\n");
        assert_eq!(held(&text("")), None);
        assert_eq!(held(&text(&flock("READ"))), Some(Mode::Shared));
        assert_eq!(held(&text(&flock("WRITE"))), Some(Mode::Exclusive));
        let other = "lock:\t1: OFDLCK ADVISORY  READ -1 fe:00:99 0 EOF\n";
        assert_eq!(held(&text(other)), None);
        assert_eq!(
            held(&text(&format!("{other}{}", flock("READ")))),
            Some(Mode::Shared)
        );
    }
}
