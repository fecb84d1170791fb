//! One open file, and several processes that ask for the lock on it: what one of them has, none of the others takes
//! away.

use super::reacquire::script;
use super::{WHY, assert_clean, assert_queue_len, spawn_waiter};
use test_support::differs_from_util_linux;
use test_support::locks::tickets;
use test_support::process::ExitReason;

#[test]
fn whoever_queues_with_the_same_open_file_does_not_drop_the_lock_that_it_has_got() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let mut shell = script(env, "true");
        shell.send_line("flock --fair 8 & first=$!");
        shell.expect_line("got 0");
        assert_queue_len(env, 1);
        let mut outsider = spawn_waiter(env, ["--fair", "l", "echo", "outsider"]);
        // Long enough for a look whether the queue stands still.
        shell.send_line("flock --fair -w4 8 & second=$!");
        shell.expect_line("got 0");
        assert_queue_len(env, 3);
        holder.release();
        shell.send_line("wait $first");
        shell.expect_line("got 0");
        // Granted or not: the lock is the script's from here on.
        shell.send_line("wait $second");
        let answer = shell.read_line();
        assert!(["got 0", "got 1"].contains(&&*answer), "{answer}");
        assert!(!outsider.has_exited(), "two have the lock");
        assert_eq!(tickets(env.file("l")).len(), 1);
        env.run(["-n", "l", "true"]).assert_status(1);
        shell.send_line("flock -u 8");
        shell.expect_line("got 0");
        outsider.expect_line("outsider");
        assert_eq!(outsider.wait(), ExitReason::Exited(0));
        shell.release();
        assert_clean(env, &[]);
    });
}
