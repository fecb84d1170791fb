//! The files whose locks are searched for.

use crate::holders::file::Identity;
use crate::sys::procfs::locks::FileKey;

/// The files whose locks are searched for.
#[derive(Clone, Copy)]
pub(in crate::holders) enum Files<'s> {
    /// These, in the order of their keys.
    Listed(&'s [Identity]),
    /// All files of the machine.
    All,
}

impl Files<'_> {
    /// Returns the file with this key, if it is searched for.
    pub fn find(self, key: FileKey) -> Option<Identity> {
        match self {
            Self::Listed(files) => {
                let index = files.binary_search_by_key(&key, |file| file.key);
                index.ok().map(|index| files[index])
            }
            Self::All => Some(Identity { key, id: None }),
        }
    }

    /// Returns the inodes of the files, in ascending order, with their indices.
    pub(super) fn by_inode(self) -> Vec<(u64, usize)> {
        let Self::Listed(files) = self else {
            return Vec::new();
        };
        let inodes = files.iter().map(|file| file.key.inode);
        let mut by_inode: Vec<(u64, usize)> = inodes.zip(0..).collect();
        by_inode.sort_unstable();
        by_inode
    }
}
