//! Everything that is read from `/proc`.

pub mod liveness;
pub mod stat;
pub mod syscall;
