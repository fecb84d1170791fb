//! Readers and writers: nobody starves, and nobody waits for longer than he must.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::{WHY, holder_to_be, nothing_is_left, queue_is, queuing};
use test_support::locks::{locks_on, turns};
use test_support::process::{End, Live};
use test_support::{Lab, departure, wait_until};

/// How many hold the lock on `l`.
fn holders(lab: &Lab) -> usize {
    let locks = locks_on(lab.file("l"));
    let held = locks.iter().filter(|lock| lock.kind == "FLOCK");
    held.filter(|lock| !lock.waits).count()
}

/// The kernel's table may be incomplete for a moment.
#[track_caller]
fn holders_are(lab: &Lab, count: usize) {
    wait_until("so many have the lock", || holders(lab) == count);
}

#[test]
fn a_reader_does_not_pass_a_writer_that_waits() {
    departure(WHY, |lab| {
        let reader = lab.hold(&["--fair", "-s"], "l");
        let mut writer = holder_to_be(lab, &["--fair"]);
        // Whoever would get the lock here is never seen to wait.
        let mut late = holder_to_be(lab, &["--fair", "-s"]);
        queue_is(lab, 2);
        holders_are(lab, 1);
        reader.let_go();
        writer.hears("held");
        queue_is(lab, 1);
        writer.let_go();
        late.hears("held");
        late.let_go();
    });
}

#[test]
fn a_writer_waits_for_the_readers_that_came_before_it_and_for_no_other() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        let mut before: Vec<Live> = (0..3)
            .map(|_| holder_to_be(lab, &["--fair", "-s"]))
            .collect();
        let mut writer = holder_to_be(lab, &["--fair"]);
        let mut after: Vec<Live> = (0..3)
            .map(|_| holder_to_be(lab, &["--fair", "-s"]))
            .collect();
        holder.let_go();
        // Readers that follow each other hold together.
        for reader in &mut before {
            reader.hears("held");
        }
        holders_are(lab, 3);
        queue_is(lab, 4);
        for reader in before {
            assert_eq!(turns(lab.file("l")).len(), 4);
            reader.let_go();
        }
        writer.hears("held");
        queue_is(lab, 3);
        holders_are(lab, 1);
        writer.let_go();
        for reader in &mut after {
            reader.hears("held");
        }
        holders_are(lab, 3);
        after.into_iter().for_each(Live::let_go);
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn a_reader_joins_the_readers_that_hold_when_nobody_waits() {
    departure(WHY, |lab| {
        let _readers: Vec<Live> = (0..3).map(|_| lab.hold(&["--fair", "-s"], "l")).collect();
        holders_are(lab, 3);
        assert_eq!(turns(lab.file("l")), []);
    });
}

#[test]
fn a_writer_gets_in_between_readers_of_whom_there_is_always_one() {
    departure(WHY, |lab| {
        let served = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (first, second) = (
                lab.hold(&["--fair", "-s"], "l"),
                lab.hold(&["--fair", "-s"], "l"),
            );
            let mut writer = queuing(lab, ["--fair", "l", "echo", "wrote"]);
            for mut reader in [first, second] {
                let served = &served;
                scope.spawn(move || {
                    // No reader goes before the next one of its row has asked, and has the lock if that can be had.
                    // There are so many that a writer who is let in after them all is told apart.
                    for _ in 0..200 {
                        let words = ["--fair", "-s", "l", "sh", "-c", "echo held; read x; exit 0"];
                        let mut next = lab.start_flock(words);
                        next.lives_until("it has asked", || {
                            holders(lab) > 2
                                || !turns(lab.file("l")).is_empty()
                                || served.load(Relaxed)
                        });
                        reader.let_go();
                        reader = next;
                        if served.load(Relaxed) {
                            return;
                        }
                        reader.hears("held");
                    }
                    panic!("the writer starves");
                });
            }
            writer.hears("wrote");
            served.store(true, Relaxed);
            assert_eq!(writer.end(), End::Exited(0));
        });
    });
}

#[test]
fn whoever_does_not_want_to_wait_never_gets_in_before_one_that_waits() {
    departure(WHY, |lab| {
        let reader = lab.hold(&["--fair", "-s"], "l");
        let mut writer = holder_to_be(lab, &["--fair"]);
        let refused = || {
            for words in [["--fair", "-n"], ["--fair", "-ns"], ["--fair", "-sw0"]] {
                lab.run(words.iter().chain(&["l", "true"])).expect_code(1);
            }
            lab.sh("exec 8<l; flock --fair -n -s 8; exit $?")
                .expect_code(1);
        };
        refused();
        // Nobody is kept out who has not promised to queue.
        lab.run(["-ns", "l", "true"]).expect_code(0);
        std::thread::scope(|scope| {
            let served = scope.spawn(|| {
                reader.let_go();
                writer.hears("held");
                writer
            });
            while !served.is_finished() {
                refused();
            }
            refused();
            served.join().expect("it is served").let_go();
        });
        lab.run(["--fair", "-n", "l", "true"]).expect_code(0);
    });
}
