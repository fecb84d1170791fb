//! The identity of a file: whether a path still leads to the file that was opened.

use std::os::fd::AsFd;

use rustix::fs::Stat;

/// The device and the inode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileId {
    /// `st_dev`
    pub device: u64,
    /// `st_ino`
    pub inode: u64,
}

impl FileId {
    /// Returns the identity that stat(2) reports.
    #[allow(clippy::unnecessary_cast)] // The widths differ between processors.
    pub fn from_stat(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
        }
    }

    /// fstat(2) – returns the identity of an open file, or `None` if the descriptor is not open.
    pub fn from_fd(fd: impl AsFd) -> Option<Self> {
        rustix::fs::fstat(fd).as_ref().map(Self::from_stat).ok()
    }
}

/// How often in a row the same two files may differ.
const MAX_MISMATCHES: u32 = 16;

/// How many errors in a row may mean that the file was replaced.
const MAX_ERRORS: u32 = 100;

/// Compares opened files with the file at their path.
///
/// A file that was replaced is a new one when it is opened next. If the same two files differ time
/// after time, the file system does not report stable identities, and trying again would never end.
///
/// Over NFS, a file that is replaced between two of our calls may also be an error: the server does
/// not know it any more. That each of many errors in a row is one of these races is not credible,
/// because each needs another process that replaces the file within a millisecond; a server that no
/// longer exports the directory returns the error forever.
#[derive(Debug, Default)]
pub struct ReplacementCheck {
    last: Option<(FileId, FileId)>,
    mismatches: u32,
    errors: u32,
}

/// The result of a comparison.
#[derive(Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The path leads to the opened file.
    Same,
    /// The path leads to another file, or to none.
    Replaced,
    /// The identities cannot be trusted.
    Unreliable,
}

impl ReplacementCheck {
    /// Counts an error that may mean that the file was replaced, and returns whether to try again.
    pub fn may_retry(&mut self) -> bool {
        self.errors += 1;
        self.errors < MAX_ERRORS
    }

    /// Compares the opened file with the file at its path, if there is one.
    pub fn compare(&mut self, opened: FileId, at_path: Option<FileId>) -> Comparison {
        self.errors = 0;
        let Some(at_path) = at_path else {
            return Comparison::Replaced;
        };
        if opened == at_path {
            return Comparison::Same;
        }
        let current = Some((opened, at_path));
        self.mismatches = if self.last == current {
            self.mismatches + 1
        } else {
            0
        };
        self.last = current;
        if self.mismatches < MAX_MISMATCHES {
            Comparison::Replaced
        } else {
            Comparison::Unreliable
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(device: u64, inode: u64) -> FileId {
        FileId { device, inode }
    }

    #[test]
    fn a_file_that_keeps_being_replaced_is_reliable() {
        let mut check = ReplacementCheck::default();
        for inode in 0..100 {
            let comparison = check.compare(id(1, inode), Some(id(1, inode + 1)));
            assert_eq!(comparison, Comparison::Replaced);
        }
        for _ in 0..100 {
            assert_eq!(check.compare(id(1, 5), None), Comparison::Replaced);
        }
        assert_eq!(check.compare(id(1, 5), Some(id(1, 5))), Comparison::Same);
    }

    #[test]
    fn only_errors_in_a_row_are_persistent() {
        let mut check = ReplacementCheck::default();
        for _ in 0..1000 {
            assert!(check.may_retry());
            check.compare(id(1, 5), None);
        }
        assert!((0..MAX_ERRORS).any(|_| !check.may_retry()));
    }

    #[test]
    fn the_same_mismatch_again_and_again_is_unreliable() {
        let mut check = ReplacementCheck::default();
        let mut compare = || check.compare(id(1, 5), Some(id(2, 5)));
        assert_eq!(compare(), Comparison::Replaced);
        assert!((0..MAX_MISMATCHES).any(|_| compare() == Comparison::Unreliable));
    }
}
