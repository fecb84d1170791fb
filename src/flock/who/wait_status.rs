//! What a waiter waits for, for `--progress`.

use std::ops::RangeInclusive;
use std::time::Instant;

use rustix::process::Pid;

use super::blockers::{HolderText, blocks, describe_holders, is_relevant};
use super::notes;
use crate::flock::LockRequest;
use crate::holders::{self, Caller, File, LockUser, Lookup, Namespace, Role, TimeLimit};
use crate::lock::Timeout;
use crate::lock::advisory::LockApi;
use crate::lock::fair::marker::{SLOT_RANGE, TICKET_RANGE};
use crate::sys::procfs::locks::{LockRecord, LockType};

/// What is known about a wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::flock) struct WaitStatus {
    /// Which process holds the lock, and when it was looked up.
    holder: Option<(HolderText, Instant)>,
    /// Why no such process is known, or what follows from it.
    note: Option<String>,
    /// How many processes are ahead of the waiter; `None` if its place is not known.
    pub ahead: Option<usize>,
}

impl WaitStatus {
    /// Returns which process holds the lock, if anything is known about it: `held by 4711 rsync for
    /// 3m 12s`.
    pub fn held(&self) -> Option<String> {
        let Some((holder, looked_up)) = &self.holder else {
            return self.note.clone();
        };
        let note = self.note.as_deref().unwrap_or_default();
        let text = holder.text(" for ", looked_up.elapsed());
        Some(format!("held by {text}{note}"))
    }

    /// Creates the status of a waiter whose lock is held, according to this note.
    #[cfg(test)]
    pub fn with_note(note: &str, ahead: usize) -> Self {
        Self {
            holder: None,
            note: Some(note.to_owned()),
            ahead: Some(ahead),
        }
    }
}

/// Looks up the holders of a file that a process waits for with this request, and its place in the
/// queue. A process that is about to wait has the last place. Returns `None` if nothing can be found
/// out.
pub(in crate::flock) fn wait_status(
    file: &File,
    request: &LockRequest,
    waiter: Option<Pid>,
    is_about_to_wait: bool,
    limit: TimeLimit,
) -> Option<WaitStatus> {
    let lookup = Lookup {
        is_wanted: match request.api {
            LockApi::Flock => has_queue,
            LockApi::Ofd { .. } => is_relevant(request),
        },
        limit: Some(limit),
    };
    let snapshot = holders::snapshot(file, Caller::Process, lookup).ok()?;
    let namespace = snapshot.visibility.namespace;
    let is_waiter = |user: &&LockUser| user.pid.is_some() && user.pid == waiter;
    let blockers = snapshot.users.iter().filter(|user| blocks(user, request));
    let (own, others): (Vec<&LockUser>, Vec<&LockUser>) = blockers.partition(is_waiter);
    let others: Vec<LockUser> = others.into_iter().copied().collect();
    let holder = describe_holders(&others, namespace, limit);
    let note = match &holder {
        Some(holder) if holder.is_ancestor && request.timeout == Timeout::Infinite => {
            Some("; if it waits for this process, neither can continue".to_owned())
        }
        Some(_) => None,
        None if !others.is_empty() => Some(notes::unseen_holder(&snapshot)),
        None if !own.is_empty() => Some("held by this process itself".to_owned()),
        None => None,
    };
    let mut waiters = Vec::new();
    let queue = snapshot
        .users
        .iter()
        .filter(|user| user.role == Role::Waiter);
    for user in queue {
        if user.pid.is_none() || !waiters.contains(&user.pid) {
            waiters.push(user.pid);
        }
    }
    let is_certain = namespace == Namespace::Whole || waiters.iter().all(Option::is_some);
    let ahead = waiters
        .iter()
        .position(|pid| pid.is_some() && *pid == waiter)
        .or_else(|| {
            let is_last = is_about_to_wait && waiter.is_some();
            let is_last = is_last && !snapshot.visibility.is_cut_short;
            is_last.then_some(waiters.len())
        });
    Some(WaitStatus {
        holder: holder.map(|holder| (holder, Instant::now())),
        note,
        ahead: ahead.filter(|_| is_certain),
    })
}

/// Returns whether a lock may belong to a queue, or to a process that the queue waits for.
fn has_queue(record: &LockRecord) -> bool {
    let is_in = |range: RangeInclusive<i64>| range.contains(&record.first);
    record.lock_type == LockType::Flock || is_in(SLOT_RANGE) || is_in(TICKET_RANGE)
}
