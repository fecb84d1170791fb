//! Locks in arrival order: a queue of tickets, and slots.
//!
//! * [`marker`] – what a locked byte far beyond the data means.
//! * [`ticket`] – a place in the queue, published by a marker and represented by a sentinel
//!   process.
//! * `queue` – waits until all earlier tickets are over, then for the lock.
//! * `slots` – a limited number of holders at once.

pub mod marker;
pub(super) mod queue;
pub(super) mod slots;
pub mod ticket;
