//! A set of states.

use std::hash::{Hash, Hasher};

/// A set of states, each of which has a number.
pub(crate) struct States<S> {
    pub(crate) list: Vec<S>,
    /// The numbers, by hash; open addressing.
    table: Vec<u32>,
}

const UNUSED: u32 = u32::MAX;

impl<S> Default for States<S> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            table: vec![UNUSED; 1 << 10],
        }
    }
}

impl<S: Copy + Eq + Hash> States<S> {
    /// Returns the number of a state, and whether it is new.
    pub(crate) fn insert(&mut self, state: S) -> (u32, bool) {
        if self.list.len() * 2 > self.table.len() {
            self.table = vec![UNUSED; self.table.len() * 2];
            for (number, state) in self.list.iter().enumerate() {
                let free = self.slot(|slot| slot == UNUSED, state);
                self.table[free] = number as u32;
            }
        }
        let is_state = |slot| slot == UNUSED || self.list[slot as usize] == state;
        let slot = self.slot(is_state, &state);
        if self.table[slot] != UNUSED {
            return (self.table[slot], false);
        }
        let number = self.list.len() as u32;
        self.table[slot] = number;
        self.list.push(state);
        (number, true)
    }

    fn slot(&self, is_found: impl Fn(u32) -> bool, state: &S) -> usize {
        let mut hasher = WordHasher::default();
        state.hash(&mut hasher);
        let mask = self.table.len() - 1;
        let mut slot = (hasher.finish() >> 20) as usize & mask;
        while !is_found(self.table[slot]) {
            slot = (slot + 1) & mask;
        }
        slot
    }
}

/// A hash function for states of some dozen bytes, which are not hostile.
#[derive(Default)]
struct WordHasher {
    hash: u64,
    word: u64,
    bits: u32,
}

impl WordHasher {
    fn mix(&self) -> u64 {
        (self.hash.rotate_left(5) ^ self.word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl Hasher for WordHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u8(*byte));
    }

    fn write_u8(&mut self, value: u8) {
        self.word = self.word << 8 | u64::from(value);
        self.bits += 8;
        if self.bits == 64 {
            (self.hash, self.word, self.bits) = (self.mix(), 0, 0);
        }
    }

    fn write_isize(&mut self, discriminant: isize) {
        self.write_u8(discriminant as u8);
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        let hash = self.mix();
        hash ^ hash >> 29
    }
}
