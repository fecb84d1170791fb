//! What an attempt at a call leads to, and what outlasts it.

use fdlock::flock::run::AcquireParams;
use fdlock::flock::verbose::VerboseLog;

use crate::ffi::WordList;
use crate::function::GuardedCall;

/// What the caller has to do next. No value needs to be dropped: bash may jump across the frame
/// that holds it.
#[derive(Clone, Copy, Debug)]
pub enum Next {
    /// Return this exit status.
    Return(u8),
    /// Let bash handle its pending signals, then make another attempt.
    HandleSignals,
    /// The lock is held: call the shell function that is the first of these words.
    CallFunction(*mut WordList, GuardedCall),
    /// Run the external program.
    RunExternal,
}

/// The state that outlasts an attempt: however often a call is interrupted, it has one start time
/// and one log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// The wait for a local lock.
    pub local: Option<(AcquireParams, VerboseLog)>,
    /// The wait for a lock elsewhere, for this call of a function.
    pub remote: Option<(GuardedCall, VerboseLog)>,
}
