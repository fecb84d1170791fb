//! Handles: descriptors of a script to which a lock elsewhere is tied (`flock 8 SCHEME://…`).
//!
//! The lock lasts as long as a process has the open file description of the descriptor, as a lock
//! of flock(2) does. `flock` acquires it, marks the description, leaves three processes behind, the
//! **guards**, and exits.
//!
//! * The [mark](crate::lock::mark) is an fcntl(2) lock of the open file description on one byte far beyond any
//!   data. The kernel releases it when the last process has closed the descriptor, however that
//!   process ends.
//! * The `watcher` blocks in a request for that byte, so the kernel wakes it at that moment, and
//!   then it exits.
//! * The `timekeeper`, the parent of the other two, reads what the helper sends, and has the lock
//!   released when the watcher has exited and the mark has gone. When the lease runs out, it asks
//!   all processes that have the description to terminate, and kills them before the lock is lost:
//!   the stop rule of [`Terms`](crate::remote::terms::Terms).
//! * The `deputy` replaces a timekeeper that has been killed, continues one that has been stopped,
//!   and kills the processes if that does not help.
//!
//! The guards are in a session of their own, and no signal that can be blocked reaches them.
//!
//! *Races.* One guard may be killed or stopped at any time:
//!
//! * The timekeeper is killed: the kernel kills the watcher, and the deputy becomes the timekeeper
//!   and starts both again. What the first one has read and decided is in shared memory. It takes a
//!   line from the socket only after it has stored what the line says, so no loss is overlooked.
//! * The watcher or the deputy is killed: the timekeeper starts it again. The mark tells whether
//!   the watcher was killed or has found it gone. A mark that has gone does not come back.
//! * The timekeeper is stopped: the deputy continues it before the command would be stopped.
//! * The watcher or the deputy is stopped: its parent, the timekeeper, notices that, and
//!   continues it.
//! * The helper is killed or stopped: the time runs out.
//! * All processes with the descriptor are killed, and the timekeeper with them: the deputy finds
//!   no mark, and has the lock released.
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

pub use descriptor::{Handle, Marked, marked, may_be_marked, release, token};
pub use error::Error;

pub use record::Record;
pub use start::Lease;
