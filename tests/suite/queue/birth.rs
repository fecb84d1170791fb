//! Tokens that have only just been born.

use super::{WHY, assert_queue_len};
use test_support::differs_from_util_linux;
use test_support::process::send_signal;
use test_support::procfs::{children_of, is_running};

#[test]
fn a_token_that_is_stopped_at_its_birth_leaves_no_turn_when_its_owner_is_killed() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        for _ in 0..60 {
            // The shell is in the group too, so the kernel does not continue it.
            let mut shell = env.command("sh");
            shell.args(["-c", "flock --fair l true & echo $!; read x"]);
            let mut shell = env.start(shell);
            let waiter: i32 = shell.read_line().parse().expect("a number");
            while children_of(waiter).is_empty() {
                assert!(is_running(waiter), "it queues");
                assert!(!env.is_reference(), "it has no token");
            }
            assert!(send_signal(-shell.pid(), libc::SIGSTOP));
            assert!(send_signal(waiter, libc::SIGKILL));
            assert_queue_len(env, 0);
        }
        holder.release();
    });
}
