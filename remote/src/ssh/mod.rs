//! Locks on other machines, by ssh: the lock is that machine's flock(2) on a file.
//!
//! On this machine:
//!
//! * [`target`] – the machine and the file, from the URL.
//! * [`session`] – a lock, from the connection to its release.
//! * [`connection`] – `ssh`, and what it is started with.
//! * [`failure`] – why `ssh` has exited.
//! * [`renewals`] – how long the lock is ours.
//! * [`list`] – the list of all holders and waiters.
//!
//! On the other machine:
//!
//! * [`holder`] – the process that holds the lock as long as it is renewed.
//!
//! Between them:
//!
//! * [`message`] – what the holder sends.
//! * [`lines`] – from bytes to lines.

pub mod connection;
pub mod failure;
pub mod holder;
pub mod lines;
pub mod list;
pub mod message;
pub mod renewals;
pub mod session;
pub mod target;

use std::time::Duration;

/// How much longer than the time to live the holder keeps the lock after the last renewal.
///
/// *Clocks:* a renewal is received after it was sent, and both machines count the time to live from
/// there, each by its own clock. If the clock of the other machine is faster, by up to this part of
/// the time to live, the lock is still held there when its time is over here.
pub fn extra_time(ttl: Duration) -> Duration {
    (ttl / 50).max(Duration::from_millis(500))
}
