//! Polling for a condition, with a time limit.

use std::time::{Duration, Instant};

/// How long a command may run before it is considered to hang. Much longer than any command takes
/// on a busy machine.
pub(crate) const HANG_TIMEOUT: Duration = Duration::from_secs(60);

/// Waits until a condition holds that a process of the test is about to bring about.
///
/// # Panics
///
/// If it does not hold within a minute.
#[track_caller]
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    assert!(
        holds_within(HANG_TIMEOUT, condition),
        "timed out waiting until {what}"
    );
}

/// Polls until the condition holds; false if it does not within the timeout.
pub(crate) fn holds_within(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + timeout;
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}
