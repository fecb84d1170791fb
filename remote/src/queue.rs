//! The queue of a lock: who holds the lock, given the entries of all that ask for it.
//!
//! Each process has an entry in the system: a key in etcd, a row in PostgreSQL. The system numbers
//! the entries in the order in which they appear. The number is the place in the queue, and the token
//! of the holder.
//!
//! Everything here is a function of the entries at one moment: it knows neither the network nor the
//! time.
//!
//! *Why the lock excludes, and no waiter misses its turn:* the order of the entries never changes, no
//! entry appears before one that others have seen, and entries before one can only vanish. A model has
//! a process wait for the deletion of the obstacle that [`Place::Waits`] names, from the reading on,
//! and then read the entries again, unless it was the last one: see `docs/design/protocols.md`. It
//! has no shared locks and slots, but as long as that entry exists, a process that asks for one does
//! not get it either, whatever other entries vanish. One that waits for a slot reads the entries
//! after every deletion.

/// The entry of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What identifies it.
    pub key: Vec<u8>,
    /// The number that it got when it was created, which is different for each.
    pub created: u64,
    /// What its process asks for.
    pub claim: Claim,
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
        /// The entry: of those in its way, the last one.
        obstacle: &'a Entry,
        /// The entry in its way before that. If there is none, the process holds the lock as soon as
        /// the obstacle has vanished, unless it asks for a slot.
        next: Option<&'a Entry>,
    },
    /// It must wait until any entry has vanished that is before its own.
    WaitsForSlot,
    /// Its own entry has vanished: the lease has expired, or it was deleted. It holds nothing, even if no
    /// other process does.
    Lost,
}

/// Returns the place of the process with this key among all entries, in any order.
pub fn place<'a>(entries: &'a [Entry], key: &[u8]) -> Place<'a> {
    let Some(own) = entries.iter().find(|entry| entry.key == key) else {
        return Place::Lost;
    };
    let earlier = || entries.iter().filter(|entry| entry.created < own.created);
    let excluded = || earlier().filter(|entry| !may_share(own.claim, entry.claim));
    // The last of them, so that a deletion wakes one waiter, not all.
    if let Some(obstacle) = excluded().max_by_key(|entry| entry.created) {
        let others = excluded().filter(|entry| entry.created < obstacle.created);
        let next = others.max_by_key(|entry| entry.created);
        return Place::Waits { obstacle, next };
    }
    match own.claim {
        // Only slots are before it.
        Claim::Slot(limit) if earlier().count() >= limit as usize => Place::WaitsForSlot,
        _ => Place::Holds { token: own.created },
    }
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
