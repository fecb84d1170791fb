//! When there is not enough of something: an error that says so, and nothing is left.

use super::{WHY, holder_to_be, nothing_is_left, queue_is, queuing};
use test_support::locks::turns;
use test_support::process::End;
use test_support::{Lab, Outcome, departure, installed};

/// An error of the system's, in one line, and the lock as it was.
#[track_caller]
fn fails(lab: &Lab, outcome: Outcome) {
    let said = outcome.expect_code(71).expect_out("").err();
    assert!(
        said.starts_with("flock: ") && said.lines().count() == 1,
        "{said}"
    );
    assert_eq!(turns(lab.file("l")), []);
}

#[test]
fn without_descriptors_nobody_can_queue_but_a_free_lock_can_be_had() {
    departure(WHY, |lab| {
        lab.sh("exec 3<bin 8<>l; ulimit -n 9; flock --fair -n 8")
            .expect_err("")
            .expect_code(0);
        let holder = lab.hold(&["--fair"], "l");
        // A dynamic loader needs one as well, but only until the program runs.
        for limit in 4..8 {
            let script =
                format!("exec 3<bin; ulimit -n {limit}; exec flock --fair -w1000 l echo ran");
            let outcome = lab.sh(script);
            if outcome.code() == 127 {
                continue;
            }
            // Enough are enough, and then it would wait for long.
            fails(lab, outcome);
            if limit == 5 {
                break;
            }
        }
        holder.let_go();
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn few_descriptors_are_enough() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        let mut shell = lab.command("sh");
        shell.args(["-c", "ulimit -n 10; exec flock --fair -w1000 l echo ran"]);
        let mut first = super::queuing_by(lab, shell);
        let mut second = queuing(lab, ["--fair", "l", "echo", "ran"]);
        holder.let_go();
        for waiter in [&mut first, &mut second] {
            waiter.hears("ran");
            assert_eq!(waiter.end(), End::Exited(0));
        }
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn without_processes_nobody_can_queue() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        if !rustix::process::geteuid().is_root() || !installed("setpriv") {
            return;
        }
        lab.sh("chmod 755 .").expect_code(0);
        let mut poor = lab.command("setpriv");
        poor.args(["--reuid=65533", "--regid=65533", "--clear-groups"]);
        poor.args([
            "bash",
            "-c",
            "ulimit -u 1; exec flock --fair -w1000 l echo ran",
        ]);
        let outcome = lab.finish(poor);
        if outcome.code() == 126 || outcome.code() == 127 {
            println!("a stranger may not come in: {outcome:?}");
            return;
        }
        fails(lab, outcome);
        holder.let_go();
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn a_hundred_may_queue_with_readers_and_writers_that_come_and_go() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        let mut last = Vec::new();
        for number in 0..50 {
            let mode = if number % 3 == 0 { "-x" } else { "-s" };
            last.push(holder_to_be(lab, &["--fair", mode]));
            // Every third one goes again, from the middle.
            if number % 3 == 2 {
                drop(last.remove(last.len() / 2));
            }
            queue_is(lab, last.len());
        }
        holder.let_go();
        for mut waiter in last {
            waiter.hears("held");
            waiter.let_go();
        }
        nothing_is_left(lab, &[]);
    });
}
