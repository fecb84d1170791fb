//! A signal set as the kernel stores it.

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

impl From<u64> for KernelSet {
    /// Converts a mask in which bit N−1 stands for signal N.
    fn from(mask: u64) -> Self {
        Self(to_words(mask, usize::BITS).map(|word| word as usize))
    }
}

impl From<KernelSet> for u64 {
    fn from(set: KernelSet) -> Self {
        from_words(set.0.map(|word| word as u64), usize::BITS)
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
        // Signals 1, 32, 33 and 64.
        let mask = 1 | 1 << 31 | 1 << 32 | 1 << 63;
        assert_eq!(to_words(mask, 32), [1 | 1 << 31, 1 | 1 << 31]);
        assert_eq!(to_words(1 << 32, 32), [0, 1]);
        assert_eq!(to_words(mask, 64), [mask]);
    }

    #[test]
    fn a_set_stays_the_same_on_its_way_through_the_kernel() {
        let mask = 0x8123_4567_89ab_cdef;
        let words: [u64; 2] = to_words(mask, 32);
        assert_eq!(from_words(words, 32), mask);
        assert_eq!(u64::from(KernelSet::from(mask)), mask);
    }
}
