//! Locks in the order of arrival: a queue of tickets, and slots.
//!
//! * [`marker`] – what a locked byte far beyond the data says.
//! * [`ticket`] – a place in the queue, published by a marker.
//! * `queue` – waiting for one's turn.
//! * `slots` – a limited number of holders at once.

pub mod marker;
pub(super) mod queue;
pub(super) mod slots;
pub mod ticket;
