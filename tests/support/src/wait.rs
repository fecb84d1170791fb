//! Waiting for what must come, but not for ever.

use std::time::{Duration, Instant};

use crate::HUNG;

/// Waits for something that a process of the test is about to bring about.
#[track_caller]
pub fn wait_until(what: &str, holds: impl FnMut() -> bool) {
    assert!(holds_within(HUNG, holds), "not in time: {what}");
}

pub(crate) fn holds_within(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    while !holds() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}
