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
//!    flock(2), by the turn's own opening of the file.
//! 3. Once granted, we look again. A turn before ours may have come up in between: one that was stopped goes on, one of
//!    a shell that has seen to a trap is back. Then the lock is his: we give it back and wait for him.
//! 4. The lock goes from the turn's opening to the one that it is wanted for, the turn ends, and the next one wakes. He blocks
//!    in flock(2) while we hold the lock, or shares it if both are readers.
//!
//! *Why not by the opening that it is wanted for?* That is the caller's: other processes may have it and ask for the lock
//! too. What one of them is granted, all of them have, and if another one gave it back, two would have the lock.
//!
//! *The race of the first step:* somebody may take a turn between our look and our taking the lock. He found the lock
//! held, and it was released after that; we take it as one who came in the same moment. And the other way round: the lock may
//! be released while we take our turn, and the next to come sees nobody queue yet. That order does not go so deep.
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
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::marker::{Mark, Moment};
use super::ticket::{self, Turn};
use crate::lock::{self, Answer, Block, Deadline, Failure, Kind, Mode, attempt};
use crate::sys::interruptible::Attention;

/// How often a waiter looks whether the queue stands still.
pub(in crate::lock) const LOOK: Duration = Duration::from_secs(2);

/// How long a lock must be free before the first in the queue, who does not take it, is passed: he may just be being woken.
const GRACE: Duration = Duration::from_millis(50);

/// How often one looks whose predecessor's end cannot be waited for, as it is in another pid namespace.
pub(in crate::lock) const BLIND: Duration = Duration::from_millis(100);

/// How many that are before us are counted when the queue stands still.
const MOST: u32 = 16;

/// Brings an open file description into the mode, in the order of arrival.
///
/// # Errors
///
/// Those of flock(2); out of what a turn needs.
pub(in crate::lock) fn acquire(
    fd: BorrowedFd<'_>,
    mode: Mode,
    since: Moment,
    deadline: &Deadline,
) -> Result<Answer, Failure> {
    if mode == Mode::Unlocked {
        return lock::acquire(fd, Kind::Flock, mode, deadline);
    }
    let now = matches!(deadline, Deadline::Now);
    if !ticket::somebody_queues(fd) {
        let answer = attempt(fd, Kind::Flock, mode, Block::No)?;
        if answer == Answer::Granted || now {
            return Ok(answer);
        }
    } else {
        let held = held(fd);
        if held == Some(mode) || held == Some(Mode::Exclusive) {
            // A reader who asks again while a writer queues would wait for the writer, and he for the reader.
            return attempt(fd, Kind::Flock, mode, Block::No);
        }
        if now {
            return match ticket::ahead(fd, first_byte(since)) {
                Some(_) => Ok(Answer::Conflict),
                None => attempt(fd, Kind::Flock, mode, Block::No),
            };
        }
        if held.is_some() {
            // Two readers who both want to write would wait for each other. The kernel drops it too.
            attempt(fd, Kind::Flock, Mode::Unlocked, Block::No)?;
        }
    }
    let Some(turn) = Turn::take(fd, since, mode)? else {
        return lock::acquire(fd, Kind::Flock, mode, deadline);
    };
    let mut waiter = Waiter::new(fd, mode, turn, is_free_at_once);
    loop {
        match waiter.wait(deadline)? {
            Answer::Granted if waiter.hand_over()? => return Ok(Answer::Granted),
            Answer::Granted => {}
            refused => return Ok(refused),
        }
    }
}

/// Who has the lock of flock(2) to himself has all there is to have.
fn is_free_at_once(_: BorrowedFd<'_>) -> bool {
    true
}

/// The first byte of turns that came at this moment.
pub(in crate::lock) fn first_byte(since: Moment) -> i64 {
    let (mode, pid) = (Mode::Exclusive, Pid::INIT);
    Mark::Turn { since, mode, pid }.byte()
}

/// What the open file description has already.
fn held(fd: BorrowedFd<'_>) -> Option<Mode> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()));
    held_by(&info.ok()?)
}

/// The lock of flock(2) that a file in `/proc/PID/fdinfo` tells of.
///
/// # References
///
/// proc_pid_fdinfo(5).
fn held_by(text: &str) -> Option<Mode> {
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
pub(in crate::lock) struct Waiter<'f> {
    fd: BorrowedFd<'f>,
    mode: Mode,
    turn: Turn,
    /// Whether there is nothing else that the first in the queue may rightly be waiting for. We have the lock then.
    is_free: fn(BorrowedFd<'_>) -> bool,
    /// Since when the lock has been free whenever we looked, while we waited for one and the same turn.
    free: Option<Instant>,
}

/// The end of a process, for poll(2). `None` where it cannot be seen, or has come: of one that nobody has waited for yet it
/// would be told again and again.
pub(in crate::lock) fn end_of(pid: Pid) -> Option<OwnedFd> {
    let end = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let now = Timespec::default();
    let has_come = poll(&mut [PollFd::new(&end, PollFlags::IN)], Some(&now)) != Ok(0);
    (!has_come).then_some(end)
}

/// How a wait for another's end ended.
pub(in crate::lock) enum Woken {
    /// Something has happened: it is time to look.
    News,
    /// Nothing has, for as long as we were ready to wait.
    Nothing,
    /// The answer is known.
    Over(Answer),
}

impl<'f> Waiter<'f> {
    pub(in crate::lock) fn new(
        fd: BorrowedFd<'f>,
        mode: Mode,
        turn: Turn,
        is_free: fn(BorrowedFd<'_>) -> bool,
    ) -> Self {
        Self {
            fd,
            mode,
            turn,
            is_free,
            free: None,
        }
    }

    /// Waits until it is our turn, and the turn's own opening of the file has the lock. The turn lasts as long as we do.
    pub(in crate::lock) fn wait(&mut self, deadline: &Deadline) -> Result<Answer, Failure> {
        loop {
            if let Some(before) = ticket::ahead(self.fd, self.turn.byte()) {
                match self.wait_for(before, deadline)? {
                    None => continue,
                    Some(answer) => return Ok(answer),
                }
            }
            let answer = lock::acquire(self.turn.file(), Kind::Flock, self.mode, deadline)?;
            if answer != Answer::Granted || self.is_next() {
                return Ok(answer);
            }
            self.give_back()?;
        }
    }

    /// Waits until the turn of this byte is over, or there is another reason to look who is before us; or we pass him, and
    /// have the lock; or the time is up.
    fn wait_for(&mut self, before: i64, deadline: &Deadline) -> Result<Option<Answer>, Failure> {
        self.free = None;
        // Ours has a number that in another pid namespace another one has.
        let token = ticket::token_of(before).filter(|token| *token != self.turn.token());
        let end = token.and_then(end_of);
        if !ticket::is_there(self.fd, before) {
            return Ok(None);
        }
        loop {
            let most = match (self.free, &end) {
                (Some(_), _) => GRACE,
                (None, Some(_)) => LOOK,
                (None, None) => BLIND,
            };
            match self.doze(end.as_slice(), most, deadline)? {
                Woken::News => return Ok(None),
                Woken::Over(answer) => return Ok(Some(answer)),
                Woken::Nothing if end.is_none() && !ticket::is_there(self.fd, before) => {
                    return Ok(None);
                }
                Woken::Nothing => {}
            }
            match self.look(before)? {
                Woken::News => return Ok(None),
                Woken::Over(answer) => return Ok(Some(answer)),
                Woken::Nothing => {}
            }
        }
    }

    fn is_next(&self) -> bool {
        ticket::ahead(self.fd, self.turn.byte()).is_none()
    }

    /// Drops the lock that the turn's opening has.
    pub(in crate::lock) fn give_back(&self) -> Result<(), Failure> {
        attempt(self.turn.file(), Kind::Flock, Mode::Unlocked, Block::No).map(drop)
    }

    /// From the turn's opening, which has the lock, to the one that it is wanted for. Readers share it for a moment. From one
    /// writer to the other it is free for a moment, and somebody who does not queue may come in between: then we have
    /// nothing, and are still first in the queue.
    fn hand_over(&self) -> Result<bool, Failure> {
        if self.mode == Mode::Exclusive {
            self.give_back()?;
        }
        let answer = attempt(self.fd, Kind::Flock, self.mode, Block::No)?;
        if self.mode == Mode::Shared {
            self.give_back()?;
        }
        Ok(answer == Answer::Granted)
    }

    /// Sleeps until one of these processes, or our token, has ended, but at most for this long.
    pub(in crate::lock) fn doze(
        &mut self,
        ends: &[OwnedFd],
        most: Duration,
        deadline: &Deadline,
    ) -> Result<Woken, Failure> {
        let left = match deadline.until().map(|until| until.left()) {
            None => most,
            Some(None) => return Ok(Woken::Over(Answer::TimedOut)),
            Some(Some(left)) => left.min(most),
        };
        // In a host its signals end the call. Otherwise there is none that does.
        let attention = match deadline {
            Deadline::Attentive(_, called) => {
                match Attention::begin(None, *called).map_err(Failure::Timer)? {
                    None => return Ok(Woken::Over(Answer::Interrupted)),
                    attention => attention,
                }
            }
            _ => None,
        };
        let all = [self.turn.end()]
            .into_iter()
            .chain(ends.iter().map(AsFd::as_fd));
        let mut all: Vec<_> = all
            .map(|end| PollFd::from_borrowed_fd(end, PollFlags::IN))
            .collect();
        // A short time: it fits.
        let time = Timespec::try_from(left).unwrap_or_default();
        let woken = poll(&mut all, Some(&time));
        let token_is_gone = !all[0].revents().is_empty();
        drop(attention);
        match woken {
            Ok(0) if left < most => Ok(Woken::Over(Answer::TimedOut)),
            Ok(0) => Ok(Woken::Nothing),
            Ok(_) => {
                if token_is_gone {
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

    /// Looks whether the queue stands still: whether the one before us, whose turn is this byte, does not take the lock though
    /// he could. Then we pass him, and have it.
    ///
    /// A lock that nobody has he could take, unless there is something else that he may wait for. Readers who have it rightly
    /// keep a writer waiting who is before us; but if he is stopped, we join them.
    ///
    /// The first in the queue is woken by the kernel; everybody else needs as long to notice as we do. So we leave it to those
    /// before us first, for as long as each of them may need.
    fn look(&mut self, before: i64) -> Result<Woken, Failure> {
        let file = self.turn.file();
        if attempt(file, Kind::Flock, Mode::Exclusive, Block::No)? != Answer::Granted {
            self.free = None;
            let joins = self.mode == Mode::Shared && ticket::is_stopped(before);
            return Ok(if joins { Woken::News } else { Woken::Nothing });
        }
        if let Some(looks) = self.looks_of_others() {
            if !(self.is_free)(self.fd) {
                self.free = None;
                self.give_back()?;
                return Ok(Woken::Nothing);
            }
            let since = *self.free.get_or_insert_with(Instant::now);
            if since.elapsed() < GRACE * 9 / 10 + (LOOK + GRACE) * looks {
                self.give_back()?;
                return Ok(Woken::Nothing);
            }
        }
        // From exclusive to shared there is nothing to wait for.
        let answer = attempt(file, Kind::Flock, self.mode, Block::No)?;
        Ok(match answer {
            Answer::Granted => Woken::Over(Answer::Granted),
            _ => Woken::News,
        })
    }

    /// How many of those before us have yet to notice by themselves that the lock is free; `None` when there is nobody before
    /// us but stopped ones.
    fn looks_of_others(&self) -> Option<u32> {
        let (mut byte, mut goers, mut first_goes) = (self.turn.byte(), 0, false);
        for _ in 0..MOST {
            let Some(before) = ticket::nearest(self.fd, byte) else {
                break;
            };
            byte = before;
            first_goes = !ticket::is_stopped(before);
            goers += u32::from(first_goes);
        }
        (goers > 0).then(|| goers - u32::from(first_goes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_description_holds_is_told_by_its_lock_lines() {
        let text = |lines: &str| format!("pos:\t0\nflags:\t0100001\nmnt_id:\t29\n{lines}");
        let flock = |mode| format!("lock:\t1: FLOCK  ADVISORY  {mode} 4711 fe:00:99 0 EOF\n");
        assert_eq!(held_by(&text("")), None);
        assert_eq!(held_by(&text(&flock("READ"))), Some(Mode::Shared));
        assert_eq!(held_by(&text(&flock("WRITE"))), Some(Mode::Exclusive));
        let other = "lock:\t1: OFDLCK ADVISORY  READ -1 fe:00:99 0 EOF\n";
        assert_eq!(held_by(&text(other)), None);
        assert_eq!(
            held_by(&text(&format!("{other}{}", flock("READ")))),
            Some(Mode::Shared)
        );
    }
}
