//! How long a slot lives: as long as anybody has the descriptor that the command inherits.

use super::{WHY, hold, holder_to_be, taken, taken_is, try_for};
use crate::fair::{nothing_is_left, queue_is};
use test_support::locks::{busy, children_of, turns};
use test_support::pre_exec::Inherit;
use test_support::process::End;
use test_support::{Lab, departure, wait_until};

#[test]
fn the_command_keeps_its_slot_when_flock_is_killed() {
    departure(WHY, |lab| {
        let mut flock = hold(lab, "1");
        flock.murder();
        taken_is(lab, 1);
        try_for(lab, "1", 1);
        flock.hush();
        // The command is nobody's child any more: its slot tells when it has ended.
        taken_is(lab, 0);
        try_for(lab, "1", 0);
    });
}

#[test]
fn what_the_command_leaves_running_keeps_the_slot() {
    departure(WHY, |lab| {
        lab.sh(
            "mkfifo end; flock --slots 2 l sh -c 'read x <end &' </dev/null
                flock --slots 1 -n l true; echo $?; flock --slots 2 -n l true; echo $?
                echo >end; flock --slots 1 l true; echo $?",
        )
        .expect_err("")
        .expect_out("1\n0\n0\n");
        assert_eq!(taken(lab), []);
    });
}

#[test]
fn those_who_wait_see_the_end_of_a_command_whose_flock_was_killed_and_are_not_busy_meanwhile() {
    departure(WHY, |lab| {
        let mut flock = hold(lab, "1");
        let mut first = holder_to_be(lab, &["--slots", "1"]);
        let mut second = holder_to_be(lab, &["--slots", "1"]);
        flock.murder();
        let worked = || busy(first.pid()) + busy(second.pid());
        let before = worked();
        // Somebody else's timeout is the clock.
        lab.run(["--slots", "1", "-w0.5", "l", "true"])
            .expect_code(1);
        let worked = worked() - before;
        assert!(worked < 100_000_000, "{worked} ns");
        queue_is(lab, 2);
        flock.hush();
        for waiter in [&mut first, &mut second] {
            waiter.hears("held");
            waiter.hush();
            assert_eq!(waiter.end(), End::Exited(0));
        }
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn those_who_wait_see_the_end_of_what_a_command_has_left_running() {
    departure(WHY, |lab| {
        let leaves = "flock --slots 1 l sh -c 'read x <end &' </dev/null >/dev/null 2>&1";
        lab.sh(format!("mkfifo end; {leaves}")).expect_code(0);
        assert_eq!(taken(lab).len(), 1);
        let mut waiter = holder_to_be(lab, &["--slots", "1"]);
        let before = busy(waiter.pid());
        lab.run(["--slots", "1", "-w0.5", "l", "true"])
            .expect_code(1);
        assert!(busy(waiter.pid()) - before < 100_000_000);
        std::fs::write(lab.file("end"), "\n").expect("a FIFO");
        waiter.hears("held");
        waiter.let_go();
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn whatever_kills_them_all_frees_the_slot() {
    departure(WHY, |lab| {
        for way in ["-x", "-o", "-F"] {
            for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGHUP] {
                let mut flock = lab.hold(&["--slots", "1", way], "l");
                assert_eq!(taken(lab).len(), 1);
                assert!(test_support::process::send(-flock.pid(), signal));
                flock.end();
                taken_is(lab, 0);
                try_for(lab, "1", 0);
            }
        }
    });
}

#[test]
fn a_signal_reaches_the_command_and_the_slot_goes_with_it() {
    departure(WHY, |lab| {
        let mut flock = hold(lab, "1");
        flock.signal(libc::SIGTERM);
        assert_eq!(flock.end(), End::Killed(libc::SIGTERM));
        assert_eq!(taken(lab), []);
        try_for(lab, "1", 0);
    });
}

#[test]
fn a_slot_that_is_closed_to_the_command_goes_with_flock() {
    departure(WHY, |lab| {
        let script = "flock --slots 1 -n l true; echo $?; ls -l /proc/self/fd | grep -c '/l$'";
        lab.run(["--slots", "1", "-o", "l", "sh", "-c", script])
            .expect_out("1\n0\n");
        let mut flock = lab.hold(&["--slots", "1", "-o"], "l");
        assert_eq!(taken(lab).len(), 1);
        flock.murder();
        taken_is(lab, 0);
        try_for(lab, "1", 0);
        lab.sh(
            "mkfifo end; flock --slots 1 -o l sh -c 'read x <end &' </dev/null
                flock --slots 1 -n l true; echo $?; echo >end",
        )
        .expect_out("0\n");
    });
}

#[test]
fn in_place_the_command_is_the_one_that_has_the_slot() {
    departure(WHY, |lab| {
        let command = lab.hold(&["--slots", "1", "-F"], "l");
        assert_eq!(taken(lab)[0].taker, command.pid());
        command.let_go();
        assert_eq!(taken(lab), []);
    });
}

/// What a command was given, that waited or did not.
#[track_caller]
fn world(lab: &Lab, options: &[&str], waits: bool, closed: &'static [i32]) -> Vec<String> {
    let _ = std::fs::remove_file(lab.file("world"));
    let holder = waits.then(|| lab.hold(&[], "l"));
    let mut under = lab.flock(options.iter().chain(&["l", "probe", "world", "world"]));
    under.closing(closed);
    let mut under = lab.start(under);
    if let Some(holder) = holder {
        under.lives_until("it waits", || turns(lab.file("l")).len() == 1);
        holder.let_go();
    }
    assert_eq!(under.end(), End::Exited(0), "{options:?}");
    let world = std::fs::read_to_string(lab.file("world")).expect("a report");
    // The pipes are new each time.
    let known = world.lines().filter(|line| !line.contains(" pipe:"));
    known.map(str::to_owned).collect()
}

#[test]
fn the_command_inherits_what_it_inherits_with_a_lock() {
    departure(WHY, |lab| {
        for way in ["-x", "-F", "-o", "-w1000"] {
            for closed in [&[][..], &[0], &[0, 1, 2]] {
                let plain = world(lab, &[way], false, closed);
                for waits in [false, true] {
                    let under = world(lab, &["--slots", "1", way], waits, closed);
                    assert_eq!(under, plain, "{way} {closed:?} {waits}");
                }
            }
        }
    });
}

#[test]
fn while_the_command_runs_it_is_the_only_child() {
    departure(WHY, |lab| {
        let holder = hold(lab, "1");
        let mut waiter = holder_to_be(lab, &["--slots", "1"]);
        holder.let_go();
        waiter.hears("held");
        wait_until("it has one child", || children_of(waiter.pid()).len() == 1);
        waiter.let_go();
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn statuses_are_passed_on() {
    departure(WHY, |lab| {
        for (way, script, code) in [
            ("-x", "exit 0", 0),
            ("-o", "exit 7", 7),
            ("-F", "exit 255", 255),
            ("-x", "kill -9 $$", 137),
        ] {
            lab.run(["--slots", "2", way, "l", "sh", "-c", script])
                .expect_code(code);
        }
        let mut ignored = lab.flock(["--slots", "2", "l", "sh", "-c", "exit 7"]);
        ignored.ignoring([libc::SIGCHLD]);
        lab.finish(ignored).expect_code(7);
        assert_eq!(taken(lab), []);
    });
}
