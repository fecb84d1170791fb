//! The warning of `--verbose` about directories on file servers.

use std::os::fd::BorrowedFd;

use rustix::fs::FileType;

use crate::report::Report;
use crate::sys::filesystem::locks_directories_locally;

/// Warns if one of these files is a directory whose lock other machines do not see.
pub(super) fn warn<'f>(fds: impl Iterator<Item = BorrowedFd<'f>>, report: &Report) {
    let is_directory = |fd: &BorrowedFd<'_>| {
        let stat = rustix::fs::fstat(fd);
        stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    };
    if fds.filter(is_directory).any(locks_directories_locally) {
        report.error(
            "warning: the lock of a directory on a file server holds on this machine only; use a \
             lock file",
        );
    }
}
