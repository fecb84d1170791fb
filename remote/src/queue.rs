//! The queue of a lock: who holds the lock, given the entries of all that ask for it.
//!
//! Each process has an entry in the system: a key in etcd, a row in PostgreSQL. The system numbers
//! the entries in the order in which they appear. The number is the place in the queue, and the token
//! of the holder.
//!
//! A waiter that is stopped (Ctrl-Z) does not hold up the others: one that would hold the lock
//! without it [moves it behind itself](overtaken). So it keeps its place before all that do not hold
//! the lock yet, and as its new number is less than theirs, tokens rise with every grant.
//!
//! Everything here is a function of the entries at one moment: it knows neither the network nor the
//! time.
//!
//! *Why the lock excludes, and no waiter misses its turn:* no entry appears before one that others
//! have seen, and entries before one can only vanish, or move behind it. A model has
//! a process wait for the deletion of the obstacle that [`Place::Waits`] names, from the reading on,
//! and then read the entries again, unless it was the last one: see `docs/design/protocols.md`. It
//! has no shared locks and slots, but as long as that entry exists, a process that asks for one does
//! not get it either, whatever other entries vanish. One that waits for a slot reads the entries
//! after every deletion.

/// The distance between the numbers of new entries, so that there are numbers between them for
/// entries that are moved.
pub const SPACING: u64 = 1 << 20;

/// The entry of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What identifies it.
    pub key: Vec<u8>,
    /// Its number, which is different for each.
    pub number: u64,
    /// What its process asks for.
    pub claim: Claim,
    /// Its process is stopped, and does not hold the lock, even if it is the first one.
    pub is_stopped: bool,
}

/// What a process asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// To be the only holder. Entries of other programs, such as `etcdctl lock`, count as this.
    Exclusive,
    /// To exclude only processes that do not ask for the same.
    Shared,
    /// To be one of at most this many holders that ask for a slot. As on one machine, each process
    /// counts the others against its own number.
    Slot(u32),
}

/// The place of a process in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// It holds the lock, with this token.
    Holds {
        /// The number of its entry.
        token: u64,
    },
    /// It must wait at least until an entry has vanished.
    Waits {
        /// The entry: of those in its way that are not stopped, the last one.
        obstacle: &'a Entry,
        /// Such an entry in its way before that.
        next: Option<&'a Entry>,
        /// Whether nothing else is in its way. Then it holds the lock as soon as the obstacle has
        /// vanished, unless it asks for a slot.
        is_last: bool,
    },
    /// It must wait until any entry has vanished that is before its own.
    WaitsForSlot,
    /// It is stopped.
    Stopped,
    /// Its own entry has vanished: the lease has expired, or it was deleted. It holds nothing, even if no
    /// other process does.
    Lost,
}

/// Returns the place of the process with this key among all entries, in any order.
pub fn place<'a>(entries: &'a [Entry], key: &[u8]) -> Place<'a> {
    let Some(own) = entries.iter().find(|entry| entry.key == key) else {
        return Place::Lost;
    };
    if own.is_stopped {
        return Place::Stopped;
    }
    // No other has the same number; if one had, none of them would hold the lock.
    let earlier = || {
        let others = entries.iter().filter(|entry| entry.key != key);
        others.filter(|entry| entry.number <= own.number)
    };
    let excluded = || earlier().filter(|entry| !may_share(own.claim, entry.claim));
    // The last of them, so that a deletion wakes one waiter, not all.
    let last_before = |number| {
        let before = excluded().filter(|entry| entry.number < number);
        before.max_by_key(|entry| (!entry.is_stopped, entry.number))
    };
    if let Some(obstacle) = last_before(u64::MAX) {
        if obstacle.is_stopped && matches!(own.claim, Claim::Slot(_)) {
            // It can be overtaken when there is a slot.
            return Place::WaitsForSlot;
        }
        let next = last_before(obstacle.number).filter(|next| !next.is_stopped);
        let is_last = excluded().nth(1).is_none();
        return Place::Waits {
            obstacle,
            next,
            is_last,
        };
    }
    match own.claim {
        // Only slots are before it.
        Claim::Slot(limit) if earlier().count() >= limit as usize => Place::WaitsForSlot,
        _ => Place::Holds { token: own.number },
    }
}

/// Returns what the process with this key is to do about stopped ones in its way, if it would hold the
/// lock without them: each is to get the number beside it, all at one moment and if they have not
/// changed. That moves them behind the process, in the same order.
///
/// *Why nothing else changes:* the others only have less before them. The number of an entry that
/// was moved is between two others, and only the process before it can have given it away.
pub fn overtaken<'a>(entries: &'a [Entry], key: &[u8]) -> Vec<(&'a Entry, u64)> {
    let is_held = |entries: &[Entry]| matches!(place(entries, key), Place::Holds { .. });
    let running = entries.iter().filter(|entry| !entry.is_stopped);
    let running = Vec::from_iter(running.cloned());
    let own = running.iter().find(|entry| entry.key == key);
    let Some(own) = own.filter(|_| !is_held(entries) && is_held(&running)) else {
        return Vec::new();
    };
    let (earlier, later): (Vec<_>, Vec<_>) = entries
        .iter()
        .filter(|entry| entry.key != key)
        .partition(|entry| entry.number <= own.number);
    let later = later.iter().map(|entry| entry.number);
    let end = later.fold((own.number / SPACING + 1) * SPACING, u64::min);
    let mut stopped = Vec::from_iter(earlier.into_iter().filter(|entry| entry.is_stopped));
    stopped.sort_by_key(|entry| entry.number);
    let step = (end - own.number) / (stopped.len() as u64 + 1);
    if step == 0 {
        // After twenty processes that were moved and have moved others in turn.
        return Vec::new();
    }
    let numbers = (1..).map(|index| own.number + index * step);
    stopped.into_iter().zip(numbers).collect()
}

/// Returns whether a process may hold the lock although an earlier one holds it or waits for it.
fn may_share(own: Claim, earlier: Claim) -> bool {
    matches!(
        (own, earlier),
        (Claim::Shared, Claim::Shared) | (Claim::Slot(_), Claim::Slot(_))
    )
}

#[cfg(test)]
mod tests;
