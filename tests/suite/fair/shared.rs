//! One open file, and several processes that ask for the lock on it: what one of them has, none of the others takes
//! away.

use super::again::script;
use super::{WHY, nothing_is_left, queue_is, queuing};
use test_support::departure;
use test_support::locks::turns;
use test_support::process::End;

#[test]
fn whoever_queues_with_the_same_open_file_does_not_drop_the_lock_that_it_has_got() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        let mut shell = script(lab, "true");
        shell.say("flock --fair 8 & first=$!");
        shell.hears("got 0");
        queue_is(lab, 1);
        let mut outsider = queuing(lab, ["--fair", "l", "echo", "outsider"]);
        // Long enough for a look whether the queue stands still.
        shell.say("flock --fair -w4 8 & second=$!");
        shell.hears("got 0");
        queue_is(lab, 3);
        holder.let_go();
        shell.say("wait $first");
        shell.hears("got 0");
        // Granted or not: the lock is the script's from here on.
        shell.say("wait $second");
        let answer = shell.line();
        assert!(["got 0", "got 1"].contains(&&*answer), "{answer}");
        assert!(!outsider.is_over(), "two have the lock");
        assert_eq!(turns(lab.file("l")).len(), 1);
        lab.run(["-n", "l", "true"]).expect_code(1);
        shell.say("flock -u 8");
        shell.hears("got 0");
        outsider.hears("outsider");
        assert_eq!(outsider.end(), End::Exited(0));
        shell.let_go();
        nothing_is_left(lab, &[]);
    });
}
