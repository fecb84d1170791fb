//! Locks elsewhere: URLs, and the helper programs that hold these locks in another system.
//!
//! * [`url`] – the operands that name such a lock.
//! * [`terms`] – how long a lock outlasts its last renewal, and when its command is stopped.
//! * [`protocol`] – the lines that are exchanged with a helper: see `docs/design/remote.md`.
//! * [`helper`] – starting a helper and talking to it.
//! * [`stops`] – telling it that this process is stopped.
//! * [`error`] – what can fail.

pub mod error;
pub mod helper;
pub mod protocol;
pub mod stops;
pub mod terms;
pub mod url;

pub use error::Error;
