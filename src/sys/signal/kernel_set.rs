//! A signal set as the kernel stores it.

use super::SignalSet;

/// The number of words of a set.
const WORDS: usize = size_of::<u64>() / size_of::<usize>();

/// The kernel's `sigset_t`: words of the size of `unsigned long`, of which the first has the lowest
/// signals. On 32-bit big-endian processors, this is not the memory of a 64-bit mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct KernelSet([usize; WORDS]);

impl KernelSet {
    /// The size in bytes.
    pub(super) const SIZE: usize = size_of::<Self>();
}

impl From<SignalSet> for KernelSet {
    fn from(set: SignalSet) -> Self {
        Self(to_words(set.0, usize::BITS).map(|word| word as usize))
    }
}

impl From<KernelSet> for SignalSet {
    fn from(set: KernelSet) -> Self {
        Self(from_words(set.0.map(|word| word as u64), usize::BITS))
    }
}

/// Splits a mask into words of this many bits, lowest first.
fn to_words<const N: usize>(mask: u64, bits: u32) -> [u64; N] {
    std::array::from_fn(|index| (mask >> (index as u32 * bits)) & (u64::MAX >> (64 - bits)))
}

/// Joins words of this many bits, lowest first.
fn from_words<const N: usize>(words: [u64; N], bits: u32) -> u64 {
    let words = words.into_iter().zip(0..);
    words.fold(0, |mask, (word, index)| mask | word << (index * bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_signals_are_in_the_first_word() {
        let mask = SignalSet::single(libc::SIGHUP).with(32).with(33).with(64).0;
        assert_eq!(to_words(mask, 32), [1 | 1 << 31, 1 | 1 << 31]);
        assert_eq!(to_words(1 << 32, 32), [0, 1]);
        assert_eq!(to_words(mask, 64), [mask]);
    }

    #[test]
    fn a_set_stays_the_same_on_its_way_through_the_kernel() {
        let mask = 0x8123_4567_89ab_cdef;
        let words: [u64; 2] = to_words(mask, 32);
        assert_eq!(from_words(words, 32), mask);
        let set = SignalSet::from_bits(mask);
        assert_eq!(SignalSet::from(KernelSet::from(set)), set);
    }
}
