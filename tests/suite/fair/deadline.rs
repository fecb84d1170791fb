//! `--fair` with `-w`: one deadline for everything, wherever in the queue one is.

use super::{WHY, nothing_is_left, queue_is, queuing, queuing_by};
use test_support::departure;
use test_support::locks::turns;
use test_support::pre_exec::{Inherit, signal_set};
use test_support::process::{End, Live};

#[test]
fn a_timeout_fires_wherever_in_the_queue_one_is() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        // The first ones are the head of the queue themselves.
        let mut queue: Vec<Live> = Vec::new();
        for place in 0..3 {
            for how in ["-x", "-s", "-F", "-o"] {
                lab.run(["--fair", how, "-w0.01", "-E42", "l", "true"])
                    .expect_code(42)
                    .expect_err("");
            }
            lab.sh("exec 8<>l; flock --fair -w 0.01 8; echo $?; flock --fair -s -w 0.01 --fd 8 true; echo $?")
                .expect_err("")
                .expect_out("1\n1\n");
            assert_eq!(turns(lab.file("l")).len(), place);
            queue.push(queuing(lab, ["--fair", "l", "true"]));
        }
        holder.let_go();
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn a_timeout_of_a_microsecond_fires() {
    let script = "for i in 0 1 2 3 4 5 6 7 8 9; do
        for time in 0.000001 0.000002 .000005 1e-5 0.00005 0.0001 0.0002 0.0005 0.001; do
            flock --fair -w $time l true; [ $? -eq 1 ] || exit 9
            flock --fair -s -w $time -E 42 8; [ $? -eq 42 ] || exit 9
        done
    done";
    departure(WHY, |lab| {
        let script = format!("exec 8<l; {script}");
        lab.run(["l", "sh", "-c", &script])
            .expect_code(0)
            .expect_err("");
        assert_eq!(turns(lab.file("l")), []);
        let holder = lab.hold(&[], "l");
        let mut first = queuing(lab, ["--fair", "l", "echo", "done"]);
        lab.sh(script).expect_code(0).expect_err("");
        queue_is(lab, 1);
        holder.let_go();
        first.hears("done");
        assert_eq!(first.end(), End::Exited(0));
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn a_timeout_fires_for_a_caller_that_blocks_and_ignores_what_it_can() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        let try_it = || {
            let mut timed = lab.flock(["--fair", "-w0.01", "-E42", "l", "true"]);
            timed.ignoring((1..=31).filter(|signal| ![9, 19].contains(signal)));
            timed.blocking(u64::MAX);
            lab.finish(timed).expect_code(42);
            let mut timed = lab.flock(["--fair", "-w0.01", "-E43", "l", "true"]);
            timed.blocking(signal_set([libc::SIGALRM, 64]));
            lab.finish(timed).expect_code(43);
        };
        try_it();
        let first = queuing(lab, ["--fair", "l", "true"]);
        try_it();
        drop(first);
        holder.let_go();
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn the_time_does_not_begin_again_when_the_queue_moves() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        let mut queue: Vec<Live> = (0..20)
            .map(|_| queuing(lab, ["--fair", "l", "true"]))
            .collect();
        let mut timed = queuing(lab, ["--fair", "-w1.5", "-E42", "l", "true"]);
        // Each time the one goes that it waits for. All that takes four seconds; were its time counted from the last
        // move, it would still have most of it.
        while queue.pop().is_some() {
            lab.run(["-w0.2", "l", "true"]).expect_code(1);
        }
        assert!(timed.is_over());
        assert_eq!(timed.end(), End::Exited(42));
        holder.let_go();
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn whoever_has_time_left_is_served() {
    departure(WHY, |lab| {
        for (before, how) in [(0, "-x"), (2, "-x"), (2, "-s")] {
            let holder = lab.hold(&["--fair"], "l");
            let queue: Vec<Live> = (0..before)
                .map(|_| queuing(lab, ["--fair", "l", "true"]))
                .collect();
            let mut timed = queuing(lab, ["--fair", how, "-w1000", "l", "echo", "got"]);
            holder.let_go();
            timed.hears("got");
            assert_eq!(timed.end(), End::Exited(0));
            drop(queue);
        }
    });
}

#[test]
fn the_callers_own_alarm_is_handed_on_in_place_after_a_wait() {
    departure(WHY, |lab| {
        for patience in ["-x", "-w1000"] {
            let holder = lab.hold(&["--fair"], "l");
            let words = ["--fair", "-F", patience, "l", "probe", "world", "world"];
            let mut timed = lab.flock(words);
            timed.with_alarm_in(1_000_000_000);
            let mut timed = queuing_by(lab, timed);
            holder.let_go();
            assert_eq!(timed.end(), End::Exited(0));
            let world = std::fs::read_to_string(lab.file("world")).expect("a report");
            assert!(world.contains("alarm true\n"), "{patience}: {world}");
        }
    });
}
