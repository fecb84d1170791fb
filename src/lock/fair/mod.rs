//! Locks in arrival order: a queue of tickets, and slots.
//!
//! * [`claim`] – which of the processes that replace a holder is the newest.
//! * [`marker`] – what a locked byte far beyond the data means.
//! * [`ticket`] – a place in the queue, published by a marker and represented by a sentinel
//!   process.
//! * `search`, `owner` – the search for the tickets of other waiters, among forged ones.
//! * `queue` – the order of arrival, and the steps of its protocol.
//! * `waiter` – waits until all earlier tickets are over, then for the lock.
//! * `shared` – its wait for a description that others may share.
//! * `places` – a bounded number of waiters.
//! * `slots` – a limited number of holders at once.

pub mod claim;
pub mod marker;
mod owner;
pub(super) mod places;
pub(super) mod queue;
pub(super) mod search;
mod shared;
pub(super) mod slots;
pub mod ticket;
mod waiter;
