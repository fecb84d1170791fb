//! Tokens that have only just been born.

use super::{WHY, queue_is};
use test_support::departure;
use test_support::locks::{children_of, runs};
use test_support::process::send;

#[test]
fn a_token_that_is_stopped_at_its_birth_leaves_no_turn_when_its_owner_is_killed() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        for _ in 0..60 {
            // The shell is in the group too, so the kernel does not continue it.
            let mut shell = lab.command("sh");
            shell.args(["-c", "flock --fair l true & echo $!; read x"]);
            let mut shell = lab.start(shell);
            let waiter: i32 = shell.line().parse().expect("a number");
            while children_of(waiter).is_empty() {
                assert!(runs(waiter), "it queues");
                assert!(!lab.is_reference(), "it has no token");
            }
            assert!(send(-shell.pid(), libc::SIGSTOP));
            assert!(send(waiter, libc::SIGKILL));
            queue_is(lab, 0);
        }
        holder.let_go();
    });
}
