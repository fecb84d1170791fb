//! Locks in etcd, by its JSON gateway (`/v3`, etcd 3.4 and newer).
//!
//! * [`settings`] – the servers and the secrets, from the URL and the environment.
//! * [`client`] – calls of the gateway, with the next server if one does not answer.
//! * [`api`] – what is called.
//! * [`list`] – the list of all holders and waiters.
//! * [`error`] – why a call fails.
//! * [`key`] – the keys of a lock.
//! * [`session`] – the place of one process in the queue, from its lease to its release.
//! * `acquire` – from a request to the lock.
//! * `hold` – what happens while the lock is held.
//! * `stopped` – waiters that are stopped, and let others pass.
//! * `lease` and `watch` – what belongs to that place.

mod acquire;
pub mod api;
pub mod client;
pub mod error;
mod hold;
pub mod key;
mod lease;
pub mod list;
pub mod session;
pub mod settings;
mod stopped;
mod watch;
