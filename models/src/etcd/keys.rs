//! The keys of a lock: their order, and what watches report of them.

use super::State;
use super::state::{Answer, Lease, Listing, Message, Place, Request};

impl State {
    /// What a listing of all keys tells the process with this lease.
    pub(super) fn listing(&self, lease: usize) -> Listing {
        let own = self.leases[lease].key;
        if own == 0 {
            let is_free = self.leases.iter().all(|lease| lease.key == 0);
            return Listing::Absent { is_free };
        }
        let earlier = (0..self.leases.len()).filter(|other| {
            let key = self.leases[*other].key;
            key != 0 && key < own
        });
        let is_only = earlier.clone().count() == 1;
        if earlier.clone().next().is_none() {
            return Listing::First;
        }
        let running = earlier.filter(|other| !self.leases[*other].is_stopped);
        let last = running.max_by_key(|other| self.leases[*other].key);
        last.map_or(Listing::BehindStopped, |lease| Listing::Behind {
            lease: lease as u8,
            is_only,
            is_deleted: false,
            is_written: false,
        })
    }

    /// Writes to the key of a lease whether its process is stopped.
    pub(super) fn write(&mut self, lease: usize, is_stopped: bool) {
        self.leases[lease].is_stopped = is_stopped;
        self.report(lease, false);
    }

    /// Moves keys before that of a lease behind it, in the same order.
    pub(super) fn move_behind(&mut self, lease: usize, is_moved: impl Fn(&Lease) -> bool) {
        let mut order =
            Vec::from_iter((0..self.leases.len()).filter(|of| self.leases[*of].key != 0));
        order.sort_by_key(|of| self.leases[*of].key);
        let own = order.iter().position(|of| *of == lease).unwrap_or(0);
        let (moved, kept): (Vec<_>, Vec<_>) = order[..own]
            .iter()
            .partition(|of| is_moved(&self.leases[**of]));
        let kept = kept.into_iter().chain([lease]);
        let order = kept
            .chain(moved.iter().copied())
            .chain(order[own + 1..].to_vec());
        for (index, of) in Vec::from_iter(order).into_iter().enumerate() {
            self.leases[of].key = index as u8 + 1;
        }
        for of in moved {
            self.report(of, false);
            self.outdate(of);
        }
    }

    /// Has the watches report a change of a key.
    fn report(&mut self, lease: usize, is_deletion: bool) {
        for process in &mut self.processes {
            let is_waiting = matches!(process.place, Place::Wait | Place::RenewWaiting);
            if is_waiting && usize::from(process.obstacle) == lease {
                process.is_notified |= is_deletion;
                process.is_written |= !is_deletion;
            }
            if let Message::Answer(
                Answer::Listed(Listing::Behind {
                    lease: of,
                    is_deleted,
                    is_written,
                    ..
                }),
                _,
            ) = &mut process.message
                && usize::from(*of) == lease
            {
                *is_deleted |= is_deletion;
                *is_written |= !is_deletion;
            }
        }
    }

    /// A key has changed, so that late transactions with that condition have no effect.
    pub(super) fn outdate(&mut self, lease: usize) {
        for process in &mut self.processes {
            if let Some((Request::Mark | Request::Unmark | Request::Move, of)) = process.late
                && usize::from(of) == lease
            {
                process.late = None;
            }
        }
    }

    /// Creates the key of a lease, as the last one.
    pub(super) fn create_key(&mut self, lease: usize) {
        let last = self.leases.iter().map(|lease| lease.key).max();
        self.leases[lease].key = last.unwrap_or(0) + 1;
        for process in &mut self.processes {
            process.is_unchanged = process.is_unchanged.map(|_| false);
        }
    }

    /// Ends a lease, and deletes its key.
    pub(super) fn end_lease(&mut self, lease: usize) {
        let key = std::mem::take(&mut self.leases[lease]).key;
        if key == 0 {
            return;
        }
        for later in &mut self.leases {
            later.key -= u8::from(later.key > key);
        }
        self.report(lease, true);
        self.outdate(lease);
    }
}
