//! Names of abstract sockets, and the addresses that stand for them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// A name that the kernel can reserve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(OsString);

impl Name {
    /// The maximum length in bytes: `sun_path` without the NUL that makes it abstract.
    pub const MAX: usize = 107;

    /// Returns `None` if the name is empty or longer than [`Name::MAX`]: truncated, two names could
    /// become the same.
    pub fn new(name: &OsStr) -> Option<Self> {
        (1..=Self::MAX)
            .contains(&name.as_bytes().len())
            .then(|| Self(name.to_owned()))
    }

    /// Returns the name as given.
    pub fn as_os_str(&self) -> &OsStr {
        &self.0
    }

    /// Returns the addresses that stand for this name, in the order in which they are bound.
    ///
    /// There are two, because the kernel compares addresses together with their lengths: one padded
    /// with NULs, as bound by C programs that pass a whole `struct sockaddr_un` (the original
    /// `me-only` was one), and one exactly as long as the name, as bound by Python, Perl and socat.
    /// A name of the maximum length has only one.
    ///
    /// The original `me-only` used only the first 8 bytes of a longer name, so the two programs
    /// agree on names of up to 8 bytes.
    pub(super) fn addresses(&self) -> Vec<Vec<u8>> {
        let exact = self.0.as_bytes().to_owned();
        let mut padded = exact.clone();
        padded.resize(Self::MAX, 0);
        let mut addresses = vec![padded, exact];
        addresses.dedup();
        addresses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_two_addresses_unless_it_fills_one() {
        let addresses = |length: usize| {
            let name = Name::new("x".repeat(length).as_ref()).expect("a valid name");
            name.addresses()
        };
        let lengths = |length| addresses(length).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(1), [107, 1]);
        assert_eq!(lengths(106), [107, 106]);
        assert_eq!(lengths(107), [107]);
        assert_eq!(addresses(2)[0][..4], *b"xx\0\0");
    }
}
