//! Section 3: who excludes whom, how long one waits and how, and how long a lock lives.

use test_support::locks::{locks_on, naps, stopped, waiters};
use test_support::pre_exec::{Inherit, signal_set};
use test_support::process::{End, Live};
use test_support::{Lab, departure, wait_until};

/// Starts `flock` on a lock that is held, and comes back when it waits in the kernel.
#[track_caller]
fn waiting<const N: usize>(lab: &Lab, words: [&str; N]) -> Live {
    let before = waiters(lab.file("l"));
    let waiter = lab.start_flock(words);
    wait_until("it waits in the kernel", || waiters(lab.file("l")) > before);
    waiter
}

#[test]
fn shared_locks_go_together_and_an_exclusive_one_is_alone() {
    let lab = Lab::new();
    for (held, asked, status) in [
        ("-s", "-s", 0),
        ("-s", "-x", 1),
        ("-x", "-s", 1),
        ("-x", "-e", 1),
    ] {
        lab.run([held, "l", "flock", "-n", asked, "l", "true"])
            .expect_code(status);
        lab.sh(format!(
            "exec 8>l 9>l; flock {held} 8 || exit 9; flock -n {asked} 9"
        ))
        .expect_code(status);
    }
}

#[test]
fn exclusive_is_the_default_and_the_last_kind_named_wins() {
    let lab = Lab::new();
    for (kinds, reader_may_enter) in [
        (&[][..], 1),
        (&["-s", "-x"], 1),
        (&["-x", "-s"], 0),
        (&["-s", "-e", "-s"], 0),
        (&["-x", "-u"], 0),
        (&["-u", "-x"], 1),
    ] {
        let rest = ["l", "flock", "-ns", "l", "true"];
        lab.run(kinds.iter().chain(&rest))
            .expect_code(reader_may_enter);
    }
}

#[test]
fn a_waiter_sleeps_in_the_kernel_until_its_turn() {
    for how in ["-x", "-s", "-w1000"] {
        let lab = Lab::new();
        let holder = lab.hold(&[], "l");
        let mut waiter = waiting(&lab, [how, "l", "echo", "mine"]);
        let asked = locks_on(lab.file("l"));
        let asked = asked.iter().find(|lock| lock.waits).expect("it waits");
        assert_eq!(asked.pid, i64::from(waiter.pid()), "nobody waits for it");

        // Somebody else's timeout is the clock: one that polls has woken up meanwhile.
        let clock = || lab.run(["-w0.2", "l", "true"]).expect_code(1);
        clock();
        let before = naps(waiter.pid());
        clock();
        assert_eq!(naps(waiter.pid()), before, "{how}: it woke up for nothing");

        holder.let_go();
        waiter.hears("mine");
        assert_eq!(waiter.end(), End::Exited(0));
    }
}

#[test]
fn waiters_are_served_in_the_order_they_came() {
    let lab = Lab::new();
    let holder = lab.hold(&[], "l");
    let mut queue: Vec<Live> = ["-x", "-w1000", "-x", "-w1000"]
        .iter()
        .enumerate()
        .map(|(place, how)| {
            let note = format!("echo {place} >>order");
            waiting(&lab, [how, "l", "sh", "-c", &note])
        })
        .collect();
    holder.let_go();
    for waiter in &mut queue {
        assert_eq!(waiter.end(), End::Exited(0));
    }
    let order = std::fs::read_to_string(lab.file("order")).expect("the order");
    assert_eq!(order, "0\n1\n2\n3\n");
}

#[test]
fn a_timeout_of_a_microsecond_fires() {
    let script = "for i in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19; do
        for time in 0.000001 0.000002 .000005 1e-5 0.00005 0.0001; do
            flock -w $time l true; [ $? -eq 1 ] || exit 9
            flock -s -w $time -E 42 8; [ $? -eq 42 ] || exit 9
        done
    done";
    let lab = Lab::new();
    lab.run(["l", "sh", "-c", &format!("exec 8<l; {script}")])
        .expect_code(0)
        .expect_err("");
}

#[test]
fn a_timeout_ends_with_the_status_for_conflicts_and_in_silence() {
    let lab = Lab::new();
    for (words, status) in [
        (&["-w0.01", "l", "echo", "never"][..], 1),
        (&["-w", ".01", "-E", "42", "l", "echo", "never"], 42),
        (&["-w", "0.01", "-E0", "l", "-c", "echo never"], 0),
    ] {
        lab.run(["l", "flock"].iter().chain(words))
            .expect_code(status)
            .expect_out("")
            .expect_err("");
    }
    lab.run(["l", "sh", "-c", "exec 9>l; flock -w 0.01 -E 42 9"])
        .expect_code(42)
        .expect_err("");
}

#[test]
fn a_timeout_of_nothing_fails_at_once_and_takes_a_free_lock() {
    let lab = Lab::new();
    for zero in ["-w0", "-w0.0", "-w.0", "--timeout=0"] {
        lab.run(["-s", "l", "flock", zero, "l", "true"])
            .expect_code(1);
        lab.run(["-s", "l", "flock", "-s", zero, "l", "echo", "in"])
            .expect_code(0)
            .expect_out("in\n");
    }
}

#[test]
fn to_fail_rather_than_wait_beats_a_timeout_on_either_side_of_it() {
    let lab = Lab::new();
    for words in [["-n", "-w1000"], ["-w1000", "-n"]] {
        lab.run(["l", "flock"].iter().chain(&words).chain(&["l", "true"]))
            .expect_code(1);
    }
}

#[test]
fn a_timeout_fires_for_a_caller_that_blocks_the_alarm() {
    departure(
        "the reference waits for a SIGALRM that cannot come",
        |lab| {
            // The outer one hands its mask down to the inner.
            let mut nested = lab.flock(["l", "flock", "-w0.01", "l", "true"]);
            nested.blocking(signal_set([libc::SIGALRM]));
            lab.finish(nested).expect_code(1);
        },
    );
}

#[test]
fn a_timeout_fires_for_a_caller_that_blocks_and_ignores_what_it_can() {
    departure(
        "the reference waits for a SIGALRM that cannot come",
        |lab| {
            let mut nested = lab.flock(["l", "flock", "-w0.01", "l", "true"]);
            nested.ignoring((1..=31).filter(|signal| ![9, 17, 19].contains(signal)));
            nested.blocking(u64::MAX);
            lab.finish(nested).expect_code(1);
        },
    );
}

#[test]
fn a_timeout_fires_for_a_caller_that_ignores_the_alarm() {
    let lab = Lab::new();
    let mut nested = lab.flock(["l", "flock", "-w0.01", "l", "true"]);
    nested.ignoring([libc::SIGALRM]);
    lab.finish(nested).expect_code(1);
}

#[test]
fn the_callers_own_alarm_is_handed_on_in_place() {
    let lab = Lab::new();
    for how in ["-n", "-w1000", "-x"] {
        let mut timed = lab.flock(["-F", how, "l", "probe", "world", "world"]);
        timed.with_alarm_in(1_000_000_000);
        let (world, _) = lab.world_of(timed);
        assert!(world.contains("alarm true\n"), "{how}: {world}");
    }
}

#[test]
fn the_callers_own_alarm_ends_a_wait() {
    let lab = Lab::new();
    let _holder = lab.hold(&[], "l");
    let mut timed = lab.flock(["l", "true"]);
    timed.with_alarm_in(50_000);
    assert_eq!(lab.start(timed).end(), End::Killed(libc::SIGALRM));
}

#[test]
fn the_callers_own_alarm_ends_a_timed_wait() {
    departure(
        "the reference takes it for no alarm of its own and drops it",
        |lab| {
            let _holder = lab.hold(&[], "l");
            let mut timed = lab.flock(["-w1000", "l", "true"]);
            timed.with_alarm_in(50_000);
            assert_eq!(lab.start(timed).end(), End::Killed(libc::SIGALRM));
        },
    );
}

#[test]
fn a_signal_ends_a_wait_and_the_holder_stays() {
    let lab = Lab::new();
    let holder = lab.hold(&[], "l");
    for how in ["-x", "-s", "-w1000"] {
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, 34] {
            let mut waiter = waiting(&lab, [how, "l", "touch", "ran"]);
            waiter.signal(signal);
            assert_eq!(waiter.end(), End::Killed(signal), "{how}");
        }
    }
    assert!(!lab.file("ran").exists());
    lab.run(["-n", "l", "true"]).expect_code(1);
    holder.let_go();
}

#[test]
fn no_signal_is_the_timeouts_own_so_that_it_would_end_no_wait() {
    let lab = Lab::new();
    let _holder = lab.hold(&[], "l");
    for signal in (34..=64).chain([libc::SIGVTALRM, libc::SIGPROF]) {
        let mut waiter = waiting(&lab, ["-w1000", "l", "true"]);
        waiter.signal(signal);
        assert_eq!(waiter.end(), End::Killed(signal));
    }
}

#[test]
fn a_waiter_that_was_stopped_and_continued_still_gets_the_lock() {
    for how in ["-x", "-w1000"] {
        let lab = Lab::new();
        let holder = lab.hold(&[], "l");
        let mut waiter = waiting(&lab, [how, "l", "echo", "mine"]);
        for signal in [libc::SIGWINCH, libc::SIGURG, libc::SIGCHLD, libc::SIGCONT] {
            waiter.signal(signal);
        }
        waiter.signal(libc::SIGSTOP);
        wait_until("it stops", || stopped(waiter.pid()));
        waiter.signal(libc::SIGCONT);
        wait_until("it goes on", || !stopped(waiter.pid()));
        holder.let_go();
        waiter.hears("mine");
        assert_eq!(waiter.end(), End::Exited(0), "{how}");
    }
}

#[test]
fn interruptions_do_not_prolong_a_timeout() {
    let lab = Lab::new();
    let _holder = lab.hold(&[], "l");
    let waiter = waiting(&lab, ["-w0.5", "-E42", "l", "true"]);
    std::thread::scope(|scope| {
        let mut waiter = waiter;
        let pid = waiter.pid();
        let ended = scope.spawn(move || (waiter.end(), waiter).0);
        // The zombie keeps its id until the thread is joined.
        while !ended.is_finished() {
            test_support::process::send(pid, libc::SIGSTOP);
            test_support::process::send(pid, libc::SIGCONT);
        }
        assert_eq!(ended.join().expect("it ends"), End::Exited(42));
    });
}

#[test]
fn a_shared_lock_becomes_an_exclusive_one_and_back() {
    let lab = Lab::new();
    lab.sh("exec 8>l
            flock -s 8; flock -ns l true; echo $?; flock -n l true; echo $?
            flock -x 8; flock -ns l true; echo $?
            flock -s 8; flock -ns l true; echo $?")
        .expect_out("0\n1\n1\n0\n");
}

#[test]
fn a_shared_lock_with_company_does_not_become_an_exclusive_one() {
    let lab = Lab::new();
    lab.sh("exec 8>l 9>l; flock -s 8; flock -s 9
            flock -nx 8; echo $?
            flock -w 0.01 -x 9; echo $?")
        .expect_out("1\n0\n");
}

#[test]
fn a_conversion_waits_for_the_last_of_the_company() {
    let lab = Lab::new();
    let reader = lab.hold(&["-s"], "l");
    let script = "exec 8>l; flock -s 8; flock -x 8; echo alone";
    let mut command = lab.command("sh");
    command.args(["-c", script]);
    let mut converter = lab.start(command);
    wait_until("it waits", || waiters(lab.file("l")) == 1);
    reader.let_go();
    converter.hears("alone");
}

#[test]
fn unlocking_frees_the_descriptor_given_and_no_other() {
    let lab = Lab::new();
    lab.sh("exec 7>k 8>l; flock 7; flock 8; flock -u 8
            flock -n l true; echo $?; flock -n k true; echo $?")
        .expect_out("0\n1\n");
}

#[test]
fn unlocking_what_is_not_locked_succeeds() {
    let lab = Lab::new();
    lab.sh("exec 8>l; flock -u 8").expect_code(0);
    lab.sh("exec 8>l 9>l; flock 8; flock -u 9; echo $?; flock -n l true; echo $?")
        .expect_out("0\n1\n");
    lab.run(["-u", "l", "echo", "ran"]).expect_out("ran\n");
}

#[test]
fn a_child_unlocks_the_descriptor_that_it_inherited() {
    let lab = Lab::new();
    lab.sh("exec 8>l; flock 8; (flock -u 8); flock -n l true")
        .expect_code(0);
    lab.run([
        "l",
        "sh",
        "-c",
        "flock -n l true; echo $?; flock -u 3; flock -n l true; echo $?",
    ])
    .expect_out("1\n0\n");
}

#[test]
fn a_lock_lives_as_long_as_its_open_file_description() {
    let lab = Lab::new();
    lab.sh("(flock 8; flock -n l true; echo $?) 8>l; flock -n l true; echo $?")
        .expect_out("1\n0\n");
    lab.sh("exec 8>l; flock 8; exec 9>&8 8>&-; flock -n l true; echo $?; exec 9>&-; flock -n l true; echo $?")
        .expect_out("1\n0\n");
    // Another descriptor of the same file, opened anew, is another description: closing it frees nothing.
    lab.sh("exec 8>l 9>l; flock 8; exec 9>&-; flock -n l true; echo $?")
        .expect_out("1\n");
}

#[test]
fn a_background_child_that_inherits_the_descriptor_keeps_the_lock() {
    let lab = Lab::new();
    lab.sh("mkfifo end; exec 8>l; flock 8
            read x <end & exec 8>&-
            flock -n l true; echo $?
            echo >end; wait; flock -n l true; echo $?")
        .expect_out("1\n0\n");
    lab.sh("flock l sh -c 'read x <end &'
            flock -n l true; echo $?
            echo >end; flock l true; echo $?")
        .expect_out("1\n0\n");
}
