//! A set of signals, as a mask.

/// A set of signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalSet(pub(super) u64);

impl SignalSet {
    /// No signal.
    pub const EMPTY: Self = Self(0);
    /// All signals, including the real-time ones.
    pub const ALL: Self = Self(u64::MAX);
    /// The signals that terminate a process by default, except those that a fault of its own raises.
    pub const TERMINATING: Self = Self::single(libc::SIGHUP)
        .with(libc::SIGINT)
        .with(libc::SIGQUIT)
        .with(libc::SIGTERM)
        .with(libc::SIGUSR1)
        .with(libc::SIGUSR2)
        .with(libc::SIGPIPE)
        .with(libc::SIGALRM)
        .with(libc::SIGVTALRM)
        .with(libc::SIGPROF)
        .with(libc::SIGXCPU)
        .with(libc::SIGIO)
        .with(libc::SIGPWR)
        // SIGSTKFLT, which libc does not define for every architecture. Where 16 is another signal,
        // that one is already in the set, or is ignored by default.
        .with(16)
        // The real-time signals.
        .union(Self::from_bits(u64::MAX << 33));

    /// Converts a mask in which bit N−1 stands for signal N, as in `/proc/PID/status`.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the set of one signal.
    pub const fn single(signal: i32) -> Self {
        Self(1 << (signal - 1))
    }

    /// Returns the set of several signals.
    pub fn from_signals(signals: &[i32]) -> Self {
        signals.iter().copied().fold(Self::EMPTY, Self::with)
    }

    /// Returns this set and one more signal.
    #[must_use]
    pub const fn with(self, signal: i32) -> Self {
        Self(self.0 | Self::single(signal).0)
    }

    /// Returns this set without one signal.
    #[must_use]
    pub const fn without(self, signal: i32) -> Self {
        Self(self.0 & !Self::single(signal).0)
    }

    /// Returns the signals of this set that are not in the other one.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Returns the signals that are in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns whether the set contains the signal.
    pub const fn contains(self, signal: i32) -> bool {
        self.0 & Self::single(signal).0 != 0
    }
}
