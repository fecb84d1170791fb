//! The kernel's advisory locks, one file for each system call.

pub(super) mod flock;
pub(super) mod ofd;
