//! The queue of a lock in etcd: who holds the lock, given the keys of all that ask for it.
//!
//! Each process has a key with a lease below the name of the lock, `NAME/LEASE`, where `LEASE` is
//! the lease's ID in hexadecimal. etcd numbers all changes; the revision in which a key was created
//! is its place in the queue, and the token of its holder. This is the order of `etcdctl lock`, too.
//!
//! Everything here is a function of the keys at one moment: it knows neither the network nor the
//! time.
//!
//! *Why the lock excludes, and no waiter misses its turn:* the order of the keys never changes, and
//! keys before one can only vanish. A model has a process wait for the deletion of the key that
//! [`Place::Waits`] names, from the revision of the reading on, and then read all keys again: see
//! `docs/design/protocols.md`. It has no shared locks and slots, but as long as that key exists, a
//! process that asks for one does not get it either, whatever other keys vanish. One that waits for a
//! slot reads the keys after every deletion.

/// A key below the name of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Vec<u8>,
    /// The revision in which it was created, which is different for each.
    pub created: u64,
    /// What its process asks for.
    pub claim: Claim,
}

/// What a process asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// To be the only holder. Keys of other programs, such as `etcdctl lock`, count as this.
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
        /// The revision of its key.
        token: u64,
    },
    /// It must wait at least until this entry has vanished.
    Waits(&'a Entry),
    /// It must wait until any entry has vanished that is before its own.
    WaitsForSlot,
    /// Its own key has vanished: the lease has expired or was revoked. It holds nothing, even if no
    /// other process does.
    Lost,
}

/// Returns the place of the process with this key among all entries, in any order.
pub fn place<'a>(entries: &'a [Entry], key: &[u8]) -> Place<'a> {
    let Some(own) = entries.iter().find(|entry| entry.key == key) else {
        return Place::Lost;
    };
    let earlier = || entries.iter().filter(|entry| entry.created < own.created);
    let excluded = earlier().filter(|entry| !may_share(own.claim, entry.claim));
    // The last of them, so that a deletion wakes one waiter, not all.
    if let Some(obstacle) = excluded.max_by_key(|entry| entry.created) {
        return Place::Waits(obstacle);
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

/// Returns whether a key is one of the lock's: `NAME/` and a lease ID. The lock `a` has no part in
/// the keys of a lock `a/b`.
pub fn is_entry_of(name: &[u8], key: &[u8]) -> bool {
    let id = key
        .strip_prefix(name)
        .and_then(|rest| rest.strip_prefix(b"/"));
    id.is_some_and(|id| !id.is_empty() && id.iter().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests;
