//! How a command exited.

/// Why a command exited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// The command exited with this status.
    Exited(u8),
    /// The command was killed by a signal that was sent to it alone.
    Signaled(i32),
    /// The command was killed by a signal that was sent to this process, too.
    SignaledToo(i32),
}
