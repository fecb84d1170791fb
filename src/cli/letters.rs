//! The letters of an option.

use std::fmt;

/// The letters of an option, of which it may have none, one or two.
///
/// They are in the option table itself, so that a program that looks for a letter does not touch
/// the texts of the options, which lie far away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letters([Option<char>; 2]);

impl Letters {
    /// For an option that has only long names.
    pub const NONE: Self = Self([None, None]);

    /// Returns the letters of an option that has one.
    pub const fn one(letter: char) -> Self {
        Self([Some(letter), None])
    }

    /// Returns the letters of an option that has two, the first of which is shown first.
    pub const fn two(first: char, second: char) -> Self {
        Self([Some(first), Some(second)])
    }

    /// Returns whether a letter is one of them.
    pub fn contains(self, letter: char) -> bool {
        self.0.contains(&Some(letter))
    }

    /// Iterates over the letters.
    pub fn chars(self) -> impl DoubleEndedIterator<Item = char> {
        self.0.into_iter().flatten()
    }
}

impl fmt::Display for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chars().try_for_each(|letter| write!(f, "{letter}"))
    }
}
