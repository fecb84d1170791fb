//! Handles: descriptors of a script to which a lock elsewhere is tied (`flock 8 SCHEME://…`).
//!
//! The lock lasts as long as a process has the open file description of the descriptor, as a lock
//! of flock(2) does. `flock` acquires it, marks the description, leaves three processes behind, the
//! **guards**, and exits.
//!
//! * The [mark](crate::lock::mark) is an fcntl(2) lock of the open file description on one byte far
//!   beyond any data. The kernel releases it when the last process has closed the descriptor,
//!   however that process ends.
//! * The `watcher` blocks in a request for that byte, so the kernel wakes it at that moment. It
//!   continues the timekeeper, which may be stopped, and exits.
//! * The `timekeeper`, the parent of the other two, reads what the helper sends, and has the lock
//!   released when the watcher has exited and the mark has gone. When the lease runs out, it asks
//!   all processes that have the description to terminate, and kills them before the lock is lost:
//!   the stop rule of [`Terms`](crate::remote::terms::Terms).
//! * The `deputy` replaces a timekeeper that has been killed, continues one that has been stopped,
//!   and kills the processes if that does not help.
//!
//! The guards are in a session of their own, and no signal that can be blocked reaches them.
//!
//! *Races.* A model kills and stops each of these processes at any point: see
//! `docs/design/protocols.md`, which also names what two such faults can do. It relies on:
//!
//! * What a guard has read and decided is in shared memory. A line is taken from the socket only
//!   after what it says is stored, so a loss is not overlooked if the timekeeper is killed.
//! * The kernel kills the watcher of a killed timekeeper, and ends the connection by which the
//!   deputy notices its end. The deputy continues one that is stopped before the processes would be
//!   stopped, and kills them if the timekeeper does not.
//! * The mark tells whether the watcher was killed or has found it gone. It does not come back.
//! * The timekeeper, as the parent of the other two, starts those again that were killed, and
//!   continues those that were stopped.
//! * Without the helper, the time runs out.
//!
//! `flock` itself may be killed while it starts the guards. Until the timekeeper exists, `flock` is
//! the only process with the connection to the helper, and the lock is released; the mark that
//! remains means nothing without guards. After that, the guards do all the rest.
//!
//! A `flock` that is stopped after the grant may return late. The guards have renewed the lock since,
//! or have stopped the script.

mod deputy;
mod descriptor;
mod error;
mod messages;
mod record;
mod start;
mod state;
mod stop;
mod timekeeper;
mod watched;
mod watcher;

pub use descriptor::{Handle, Locks, Marked, marked, may_be_marked, release, token};
pub use error::Error;
pub use record::Record;
pub use start::Lease;
