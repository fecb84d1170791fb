//! Random numbers that identify something.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Returns a random number with 63 bits that is not zero.
///
/// The hash keys of the standard library are random numbers of the system.
pub fn positive() -> u64 {
    (RandomState::new().build_hasher().finish() >> 1) | 1
}
