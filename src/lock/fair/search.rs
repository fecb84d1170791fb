//! The search for the tickets of other waiters, within bounds.
//!
//! Every process that can open the file can set any number of markers and other locks on it, and
//! each call that looks for one takes time in proportion to their number. Therefore a search ends
//! after some time: it finds a queue of ordinary length completely, but may miss tickets among
//! thousands of forged ones. Exclusion never depends on what it finds.
//!
//! The time counts only after some calls ([`MIN_CALLS`]), which are enough where no markers are
//! forged: a search that is suspended on a busy machine is complete nevertheless.

use std::ops::RangeInclusive;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::process::getpid;

use super::marker::{ArrivalTime, Marker, TICKET_RANGE};
use super::owner::Owners;
use crate::lock::Deadline;
use crate::sys::ofd;

/// How long a search may take.
const MAX_TIME: Duration = Duration::from_millis(50);

/// How many calls a search may make in any case. Finding the nearest ticket takes up to 125.
const MIN_CALLS: u32 = 128;

/// How many earlier tickets are counted when the queue has stalled.
const MAX_TICKETS_COUNTED: u32 = 16;

/// A search for tickets, of which other open file descriptions hold the markers.
pub(super) struct Search<'f> {
    fd: BorrowedFd<'f>,
    end: Instant,
    /// When the request that needs the result ends.
    deadline: Option<Instant>,
    calls: u32,
    owners: Owners,
    /// Whether to check that the owners of tickets have the markers.
    verify: bool,
}

impl<'f> Search<'f> {
    /// Starts a search for a request.
    pub(super) fn new(fd: BorrowedFd<'f>, deadline: &Deadline) -> Self {
        let end = Instant::now() + MAX_TIME;
        Self {
            fd,
            end,
            deadline: deadline.instant(),
            calls: 0,
            owners: Owners::new(end),
            verify: true,
        }
    }

    /// Starts a search that does not examine the descriptors of owners. That takes time, also when
    /// they exit, and a waiter whose predecessor is forged passes it as soon as the queue has
    /// stalled.
    pub(super) fn unverified(fd: BorrowedFd<'f>, deadline: &Deadline) -> Self {
        Self {
            verify: false,
            ..Self::new(fd, deadline)
        }
    }

    /// Starts a short search, such as one while the caller holds the lock.
    pub(super) fn short(fd: BorrowedFd<'f>) -> Self {
        let end = Instant::now() + MAX_TIME / 10;
        Self {
            end,
            owners: Owners::overlooking(end),
            ..Self::new(fd, &Deadline::Never)
        }
    }

    /// Returns the nearest earlier ticket whose owner can take its turn. A stopped owner does not
    /// hold up the waiters behind it while the lock is free.
    pub(super) fn waiting_predecessor(&mut self, offset: i64) -> Option<i64> {
        let mut offset = offset;
        loop {
            offset = self.predecessor(offset)?;
            if self.is_waiting(offset) {
                return Some(offset);
            }
        }
    }

    /// Returns any earlier ticket whose owner can take its turn. Takes fewer calls than a search for
    /// the nearest one, and may find one that the other misses within its bounds.
    pub(super) fn any_waiting_predecessor(&mut self, offset: i64) -> Option<i64> {
        let mut ranges = Vec::from_iter(predecessor_ranges(offset));
        while let Some(range) = ranges.pop() {
            let Some(found) = self.find(&range) else {
                continue;
            };
            if self.is_waiting(found) {
                return Some(found);
            }
            ranges.extend([*range.start()..=found - 1, found + 1..=*range.end()]);
        }
        None
    }

    /// Returns any earlier ticket, the same one as long as it exists: the kernel finds the marker
    /// that was set first.
    pub(super) fn any_predecessor(&mut self, offset: i64) -> Option<i64> {
        predecessor_ranges(offset).find_map(|range| self.find(&range))
    }

    /// Whether the owner of a ticket can take its turn: see [`Owners::is_waiting`].
    pub(super) fn is_waiting(&mut self, offset: i64) -> bool {
        let is_in_time = || Instant::now() < self.end;
        self.owners.is_waiting(offset, self.verify && is_in_time())
    }

    /// Returns how many earlier waiters have yet to notice by themselves that the lock is free, or
    /// `None` if no earlier waiter can take its turn. A waiter counts once, however many markers
    /// name its sentinel.
    pub(super) fn live_waiters_ahead(&mut self, offset: i64) -> Option<u32> {
        let (mut offset, mut sentinels) = (offset, Vec::new());
        let mut is_first_live = false;
        for _ in 0..MAX_TICKETS_COUNTED {
            let Some(before) = self.predecessor(offset) else {
                break;
            };
            offset = before;
            is_first_live = self.is_waiting(before);
            let sentinel = Marker::from_offset(before).map(Marker::pid);
            if is_first_live && !sentinels.contains(&sentinel) {
                sentinels.push(sentinel);
            }
        }
        let live = sentinels.len() as u32;
        (live > 0).then(|| live - u32::from(is_first_live))
    }

    /// Returns the nearest earlier ticket. The kernel reports any marker in a range, not the
    /// nearest, so the range is halved until there is nothing between the nearest known one and
    /// ours.
    fn predecessor(&mut self, offset: i64) -> Option<i64> {
        predecessor_ranges(offset).find_map(|range| {
            let mut high = *range.end();
            let mut best = self.find(&range)?;
            while let Some(found) = self.find(&(best + 1..=high)) {
                best = found;
                let middle = best + (high - best) / 2 + 1;
                match self.find(&(middle..=high)) {
                    Some(found) => best = found,
                    None => high = middle - 1,
                }
            }
            Some(best)
        })
    }

    /// Returns the offset of any ticket in the range. Other locks in the range do not count, nor do
    /// tickets on the same bytes, which they hide.
    fn find(&mut self, range: &RangeInclusive<i64>) -> Option<i64> {
        let (mut first, mut last) = range.clone().into_inner();
        // Does not allocate unless there are other locks.
        let mut rest = Vec::new();
        loop {
            if first > last {
                (first, last) = rest.pop()?;
                continue;
            }
            if self.is_over() {
                return None;
            }
            match ofd::conflict(self.fd, first, last) {
                Ok(Some((offset, 1))) if (first..=last).contains(&offset) && is_ticket(offset) => {
                    return Some(offset);
                }
                Ok(Some((start, length))) => {
                    if start > first {
                        rest.push((first, start - 1));
                    }
                    // Length 0 means all bytes from the start on.
                    match start.checked_add(length).filter(|end| *end > start) {
                        Some(end) => first = end,
                        None => (first, last) = rest.pop()?,
                    }
                }
                Ok(None) | Err(_) => (first, last) = rest.pop()?,
            }
        }
    }

    /// Counts a call, and returns whether it is one too many.
    fn is_over(&mut self) -> bool {
        self.calls += 1;
        let has_passed = |instant| Instant::now() >= instant;
        self.calls > MIN_CALLS && has_passed(self.end) || self.deadline.is_some_and(has_passed)
    }
}

fn is_ticket(offset: i64) -> bool {
    matches!(Marker::from_offset(offset), Some(Marker::Ticket { .. }))
}

/// Whether the queue of the file has any ticket.
pub(in crate::lock) fn has_waiters(fd: BorrowedFd<'_>) -> bool {
    // Mostly there is no lock at all, and no reason to read the clock for the search.
    let is_unmarked = ofd::conflict(fd, *TICKET_RANGE.start(), *TICKET_RANGE.end()) == Ok(None);
    !is_unmarked && Search::short(fd).find(&TICKET_RANGE).is_some()
}

/// Whether a byte is locked by another open file description.
pub(super) fn marker_exists(fd: BorrowedFd<'_>, offset: i64) -> bool {
    matches!(ofd::conflict(fd, offset, offset), Ok(Some(_)))
}

/// How many places for a slot are tried, each of which another process may have taken: only by
/// chance, unless it is hostile.
const MAX_COLLISIONS: u32 = 64;

/// Returns the offset of a slot that is acquired at this time. A process with the same PID in another
/// PID namespace may have arrived at the same time, and two slots at one offset would count as one.
pub(super) fn unused_slot_offset(
    fd: BorrowedFd<'_>,
    mut arrived: ArrivalTime,
    held: &[i64],
) -> Option<i64> {
    let pid = getpid();
    for _ in 0..MAX_COLLISIONS {
        let offset = Marker::Slot { arrived, pid }.offset();
        if held.is_empty() || !marker_exists(fd, offset) {
            return Some(offset);
        }
        arrived = arrived.next();
    }
    None
}

/// Returns the offsets of the tickets that arrived before this one, the nearest range first.
/// Arrival times wrap around, so one half of them counts as earlier than any of them, the other
/// half as later.
fn predecessor_ranges(offset: i64) -> impl Iterator<Item = RangeInclusive<i64>> {
    const HALF: i64 = 1 << 61;
    let (first, last) = TICKET_RANGE.into_inner();
    let ranges = if offset - first >= HALF {
        [Some(offset - HALF..=offset - 1), None]
    } else {
        [Some(first..=offset - 1), Some(offset + HALF..=last)]
    };
    ranges.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::{AsFd, AsRawFd};

    use super::*;
    use crate::sys::ofd::{Blocking, Operation};
    use crate::sys::sentinel::Sentinel;

    #[test]
    fn half_of_the_offsets_are_earlier() {
        let (first, last) = TICKET_RANGE.into_inner();
        let is_earlier =
            |offset, than| predecessor_ranges(than).any(|range| range.contains(&offset));
        let quarter = 1_i64 << 60;
        let quarters = (0..4).map(|count| first + count * quarter);
        for offset in quarters.chain([last]) {
            assert!(!is_earlier(offset, offset));
            let before =
                |distance: i64| first + ((offset - first) - distance).rem_euclid(last - first);
            assert!(is_earlier(before(quarter), offset), "{offset:#x}");
            assert!(!is_earlier(before(3 * quarter), offset), "{offset:#x}");
        }
    }

    /// Returns two open file descriptions of one file.
    fn file_opened_twice() -> (File, File) {
        let file = tempfile::tempfile().expect("a temporary file");
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let other = File::options().read(true).open(path);
        (file, other.expect("a second open file description"))
    }

    fn lock(file: &File, start: i64, length: i64) {
        ofd::set(file.as_fd(), Operation::Read, start, length, Blocking::No).expect("no conflict");
    }

    #[test]
    fn the_predecessor_is_found_among_many() {
        let (file, other) = file_opened_twice();
        let first = *TICKET_RANGE.start();
        let last = i64::MAX - 1 - first;
        // Adjacent bytes would become one lock, because they have the same owner. Each names a
        // process.
        for distance in [1, 3, (1 << 40) + 1, (1 << 50) + 1, last] {
            let offset = first + distance;
            lock(&other, offset, 1);
        }
        for (distance, expected) in [
            (1, last),
            (3, 1),
            (4, 3),
            (1 << 50, (1 << 40) + 1),
            (1 << 60, (1 << 50) + 1),
        ] {
            let found = Search::short(file.as_fd()).predecessor(first + distance);
            assert_eq!(found, Some(first + expected), "{distance}");
        }
        assert!(has_waiters(file.as_fd()) && marker_exists(file.as_fd(), first + 3));
        assert!(!marker_exists(file.as_fd(), first + 4));
    }

    #[test]
    fn locks_that_are_no_markers_hide_no_others() {
        let (file, other) = file_opened_twice();
        let first = *TICKET_RANGE.start();
        let ticket = first + (1 << 40) + 1;
        // The kernel reports the first one.
        for (start, length) in [
            (0, 1),
            (first, 5),
            (ticket, 1),
            (ticket + 2, 7),
            (i64::MAX, 0),
        ] {
            lock(&other, start, length);
        }
        let predecessor = |offset| Search::short(file.as_fd()).predecessor(offset);
        assert!(has_waiters(file.as_fd()));
        assert_eq!(predecessor(ticket + (1 << 30)), Some(ticket));
        assert_eq!(predecessor(ticket), None);
    }

    #[test]
    fn a_search_ends_among_many_markers() {
        let (file, other) = file_opened_twice();
        let first = *TICKET_RANGE.start();
        let calls = MIN_CALLS * 2;
        // It was started after the markers say that it was.
        let sentinel = Sentinel::new().expect("a process");
        let pid = i64::from(sentinel.pid.as_raw_nonzero().get());
        for number in (0..i64::from(calls)).rev() {
            let offset = first + (number << 23) + pid;
            lock(&other, offset, 1);
        }
        let mut search = Search::short(file.as_fd());
        search.end = Instant::now();
        assert_eq!(search.any_waiting_predecessor(first + (1 << 50)), None);
        assert!(search.calls <= calls, "{}", search.calls);
        let mut search = Search::short(file.as_fd());
        search.deadline = Some(Instant::now());
        assert_eq!(search.waiting_predecessor(first + (1 << 50)), None);
        assert!(search.calls <= 3, "{}", search.calls);
    }

    #[test]
    fn few_places_for_a_slot_are_tried() {
        let (file, holder) = file_opened_twice();
        let (first, pid) = (ArrivalTime::now(), getpid());
        let mut arrived = first;
        let mut take_next = || {
            let offset = Marker::Slot { arrived, pid }.offset();
            lock(&holder, offset, 1);
            arrived = arrived.next();
            offset
        };
        let held = [take_next()];
        let unused = |held: &[i64]| unused_slot_offset(file.as_fd(), first, held);
        assert!(unused(&held).is_some_and(|offset| offset > held[0]));
        for _ in 0..MAX_COLLISIONS {
            take_next();
        }
        assert_eq!(unused(&held), None);
    }
}
