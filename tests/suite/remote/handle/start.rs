//! The start of the processes that watch over a lock of a descriptor.

use test_support::locks::locks_on;
use test_support::{TestEnv, wait_until};

/// The loss arrives together with the grant, so it is known before the script could go on.
#[test]
fn lock_that_is_lost_at_once_is_not_acquired() {
    let helper = "printf 'granted 7 %s\\nuntil 0\\nlost it was deleted\\n' \"$(in_ms 100000)\"
        wait_for_release";
    let env = TestEnv::with_lock_helper(helper);
    let script = "trap '' TERM; exec 8>>handle; flock 8 test://n && echo acquired; :";
    let outcome = env.sh(script);
    assert_eq!(outcome.stdout_text(), "");
    wait_until("the lock is released", || env.file("checked").exists());
    wait_until("the guards have exited", || {
        locks_on(env.file("handle")).is_empty()
    });
}
