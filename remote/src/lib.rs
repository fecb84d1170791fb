//! Locks in other systems, for the helpers that `docs/design/remote.md` describes.
//!
//! * [`etcd`] – the queue of a lock in etcd.

pub mod etcd;
