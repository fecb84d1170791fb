//! Section 3: who excludes whom, how long one waits and how, and how long a lock lives.

use test_support::locks::{locks_on, waiter_count};
use test_support::pre_exec::{CommandPreExecExt, signal_set};
use test_support::process::{ExitReason, Process};
use test_support::procfs::{is_stopped, voluntary_switches};
use test_support::{TestEnv, differs_from_util_linux, wait_until};

/// Starts `flock` on a lock that is held, and comes back when it waits in the kernel.
#[track_caller]
fn waiting<const N: usize>(env: &TestEnv, words: [&str; N]) -> Process {
    let before = waiter_count(env.file("l"));
    let waiter = env.start_flock(words);
    wait_until("it waits in the kernel", || {
        waiter_count(env.file("l")) > before
    });
    waiter
}

#[test]
fn shared_locks_go_together_and_an_exclusive_one_is_alone() {
    let env = TestEnv::new();
    for (held, asked, status) in [
        ("-s", "-s", 0),
        ("-s", "-x", 1),
        ("-x", "-s", 1),
        ("-x", "-e", 1),
    ] {
        env.run([held, "l", "flock", "-n", asked, "l", "true"])
            .assert_status(status);
        env.sh(format!(
            "exec 8>l 9>l; flock {held} 8 || exit 9; flock -n {asked} 9"
        ))
        .assert_status(status);
    }
}

#[test]
fn exclusive_is_the_default_and_the_last_kind_named_wins() {
    let env = TestEnv::new();
    for (kinds, reader_may_enter) in [
        (&[][..], 1),
        (&["-s", "-x"], 1),
        (&["-x", "-s"], 0),
        (&["-s", "-e", "-s"], 0),
        (&["-x", "-u"], 0),
        (&["-u", "-x"], 1),
    ] {
        let rest = ["l", "flock", "-ns", "l", "true"];
        env.run(kinds.iter().chain(&rest))
            .assert_status(reader_may_enter);
    }
}

#[test]
fn a_waiter_sleeps_in_the_kernel_until_its_turn() {
    for how in ["-x", "-s", "-w1000"] {
        let env = TestEnv::new();
        let holder = env.hold(&[], "l");
        let mut waiter = waiting(&env, [how, "l", "echo", "mine"]);
        let asked = locks_on(env.file("l"));
        let asked = asked.iter().find(|lock| lock.is_waiting).expect("it waits");
        assert_eq!(asked.pid, i64::from(waiter.pid()), "nobody waits for it");

        // Somebody else's timeout is the clock: one that polls has woken up meanwhile.
        let clock = || env.run(["-w0.2", "l", "true"]).assert_status(1);
        clock();
        let before = voluntary_switches(waiter.pid());
        clock();
        assert_eq!(
            voluntary_switches(waiter.pid()),
            before,
            "{how}: it woke up for nothing"
        );

        holder.release();
        waiter.expect_line("mine");
        assert_eq!(waiter.wait(), ExitReason::Exited(0));
    }
}

#[test]
fn waiters_are_served_in_the_order_they_came() {
    let env = TestEnv::new();
    let holder = env.hold(&[], "l");
    let mut queue: Vec<Process> = ["-x", "-w1000", "-x", "-w1000"]
        .iter()
        .enumerate()
        .map(|(place, how)| {
            let note = format!("echo {place} >>order");
            waiting(&env, [how, "l", "sh", "-c", &note])
        })
        .collect();
    holder.release();
    for waiter in &mut queue {
        assert_eq!(waiter.wait(), ExitReason::Exited(0));
    }
    let order = std::fs::read_to_string(env.file("order")).expect("the order");
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
    let env = TestEnv::new();
    env.run(["l", "sh", "-c", &format!("exec 8<l; {script}")])
        .assert_status(0)
        .assert_stderr("");
}

#[test]
fn a_timeout_ends_with_the_status_for_conflicts_and_in_silence() {
    let env = TestEnv::new();
    for (words, status) in [
        (&["-w0.01", "l", "echo", "never"][..], 1),
        (&["-w", ".01", "-E", "42", "l", "echo", "never"], 42),
        (&["-w", "0.01", "-E0", "l", "-c", "echo never"], 0),
    ] {
        env.run(["l", "flock"].iter().chain(words))
            .assert_status(status)
            .assert_stdout("")
            .assert_stderr("");
    }
    env.run(["l", "sh", "-c", "exec 9>l; flock -w 0.01 -E 42 9"])
        .assert_status(42)
        .assert_stderr("");
}

#[test]
fn a_timeout_of_nothing_fails_at_once_and_takes_a_free_lock() {
    let env = TestEnv::new();
    for zero in ["-w0", "-w0.0", "-w.0", "--timeout=0"] {
        env.run(["-s", "l", "flock", zero, "l", "true"])
            .assert_status(1);
        env.run(["-s", "l", "flock", "-s", zero, "l", "echo", "in"])
            .assert_status(0)
            .assert_stdout("in\n");
    }
}

#[test]
fn to_fail_rather_than_wait_beats_a_timeout_on_either_side_of_it() {
    let env = TestEnv::new();
    for words in [["-n", "-w1000"], ["-w1000", "-n"]] {
        env.run(["l", "flock"].iter().chain(&words).chain(&["l", "true"]))
            .assert_status(1);
    }
}

#[test]
fn a_timeout_fires_for_a_caller_that_blocks_the_alarm() {
    differs_from_util_linux(
        "the reference waits for a SIGALRM that cannot come",
        |env| {
            // The outer one hands its mask down to the inner.
            let mut nested = env.flock(["l", "flock", "-w0.01", "l", "true"]);
            nested.block_signals(signal_set([libc::SIGALRM]));
            env.run_command(nested).assert_status(1);
        },
    );
}

#[test]
fn a_timeout_fires_for_a_caller_that_blocks_and_ignores_what_it_can() {
    differs_from_util_linux(
        "the reference waits for a SIGALRM that cannot come",
        |env| {
            let mut nested = env.flock(["l", "flock", "-w0.01", "l", "true"]);
            nested.ignore_signals((1..=31).filter(|signal| ![9, 17, 19].contains(signal)));
            nested.block_signals(u64::MAX);
            env.run_command(nested).assert_status(1);
        },
    );
}

#[test]
fn a_timeout_fires_for_a_caller_that_ignores_the_alarm() {
    let env = TestEnv::new();
    let mut nested = env.flock(["l", "flock", "-w0.01", "l", "true"]);
    nested.ignore_signals([libc::SIGALRM]);
    env.run_command(nested).assert_status(1);
}

#[test]
fn the_callers_own_alarm_is_handed_on_in_place() {
    let env = TestEnv::new();
    for how in ["-n", "-w1000", "-x"] {
        let mut timed = env.flock(["-F", how, "l", "test-helper", "inherited-state", "state"]);
        timed.set_alarm(1_000_000_000);
        let (state, _) = env.inherited_state_of(timed);
        assert!(state.contains("alarm true\n"), "{how}: {state}");
    }
}

#[test]
fn the_callers_own_alarm_ends_a_wait() {
    let env = TestEnv::new();
    let _holder = env.hold(&[], "l");
    let mut timed = env.flock(["l", "true"]);
    timed.set_alarm(50_000);
    assert_eq!(env.start(timed).wait(), ExitReason::Signaled(libc::SIGALRM));
}

#[test]
fn the_callers_own_alarm_ends_a_timed_wait() {
    differs_from_util_linux(
        "the reference takes it for no alarm of its own and drops it",
        |env| {
            let _holder = env.hold(&[], "l");
            let mut timed = env.flock(["-w1000", "l", "true"]);
            timed.set_alarm(50_000);
            assert_eq!(env.start(timed).wait(), ExitReason::Signaled(libc::SIGALRM));
        },
    );
}

#[test]
fn a_signal_ends_a_wait_and_the_holder_stays() {
    let env = TestEnv::new();
    let holder = env.hold(&[], "l");
    for how in ["-x", "-s", "-w1000"] {
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, 34] {
            let mut waiter = waiting(&env, [how, "l", "touch", "ran"]);
            waiter.signal(signal);
            assert_eq!(waiter.wait(), ExitReason::Signaled(signal), "{how}");
        }
    }
    assert!(!env.file("ran").exists());
    env.run(["-n", "l", "true"]).assert_status(1);
    holder.release();
}

#[test]
fn no_signal_is_the_timeouts_own_so_that_it_would_end_no_wait() {
    let env = TestEnv::new();
    let _holder = env.hold(&[], "l");
    for signal in (34..=64).chain([libc::SIGVTALRM, libc::SIGPROF]) {
        let mut waiter = waiting(&env, ["-w1000", "l", "true"]);
        waiter.signal(signal);
        assert_eq!(waiter.wait(), ExitReason::Signaled(signal));
    }
}

#[test]
fn a_waiter_that_was_stopped_and_continued_still_gets_the_lock() {
    for how in ["-x", "-w1000"] {
        let env = TestEnv::new();
        let holder = env.hold(&[], "l");
        let mut waiter = waiting(&env, [how, "l", "echo", "mine"]);
        for signal in [libc::SIGWINCH, libc::SIGURG, libc::SIGCHLD, libc::SIGCONT] {
            waiter.signal(signal);
        }
        waiter.signal(libc::SIGSTOP);
        wait_until("it stops", || is_stopped(waiter.pid()));
        waiter.signal(libc::SIGCONT);
        wait_until("it goes on", || !is_stopped(waiter.pid()));
        holder.release();
        waiter.expect_line("mine");
        assert_eq!(waiter.wait(), ExitReason::Exited(0), "{how}");
    }
}

#[test]
fn interruptions_do_not_prolong_a_timeout() {
    let env = TestEnv::new();
    let _holder = env.hold(&[], "l");
    let waiter = waiting(&env, ["-w0.5", "-E42", "l", "true"]);
    std::thread::scope(|scope| {
        let mut waiter = waiter;
        let pid = waiter.pid();
        let ended = scope.spawn(move || (waiter.wait(), waiter).0);
        // The zombie keeps its id until the thread is joined.
        while !ended.is_finished() {
            test_support::process::send_signal(pid, libc::SIGSTOP);
            test_support::process::send_signal(pid, libc::SIGCONT);
        }
        assert_eq!(ended.join().expect("it ends"), ExitReason::Exited(42));
    });
}

#[test]
fn a_shared_lock_becomes_an_exclusive_one_and_back() {
    let env = TestEnv::new();
    env.sh("exec 8>l
            flock -s 8; flock -ns l true; echo $?; flock -n l true; echo $?
            flock -x 8; flock -ns l true; echo $?
            flock -s 8; flock -ns l true; echo $?")
        .assert_stdout("0\n1\n1\n0\n");
}

#[test]
fn a_shared_lock_with_company_does_not_become_an_exclusive_one() {
    let env = TestEnv::new();
    env.sh("exec 8>l 9>l; flock -s 8; flock -s 9
            flock -nx 8; echo $?
            flock -w 0.01 -x 9; echo $?")
        .assert_stdout("1\n0\n");
}

#[test]
fn a_conversion_waits_for_the_last_of_the_company() {
    let env = TestEnv::new();
    let reader = env.hold(&["-s"], "l");
    let script = "exec 8>l; flock -s 8; flock -x 8; echo alone";
    let mut command = env.command("sh");
    command.args(["-c", script]);
    let mut converter = env.start(command);
    wait_until("it waits", || waiter_count(env.file("l")) == 1);
    reader.release();
    converter.expect_line("alone");
}

#[test]
fn unlocking_frees_the_descriptor_given_and_no_other() {
    let env = TestEnv::new();
    env.sh("exec 7>k 8>l; flock 7; flock 8; flock -u 8
            flock -n l true; echo $?; flock -n k true; echo $?")
        .assert_stdout("0\n1\n");
}

#[test]
fn unlocking_what_is_not_locked_succeeds() {
    let env = TestEnv::new();
    env.sh("exec 8>l; flock -u 8").assert_status(0);
    env.sh("exec 8>l 9>l; flock 8; flock -u 9; echo $?; flock -n l true; echo $?")
        .assert_stdout("0\n1\n");
    env.run(["-u", "l", "echo", "ran"]).assert_stdout("ran\n");
}

#[test]
fn a_child_unlocks_the_descriptor_that_it_inherited() {
    let env = TestEnv::new();
    env.sh("exec 8>l; flock 8; (flock -u 8); flock -n l true")
        .assert_status(0);
    env.run([
        "l",
        "sh",
        "-c",
        "flock -n l true; echo $?; flock -u 3; flock -n l true; echo $?",
    ])
    .assert_stdout("1\n0\n");
}

#[test]
fn a_lock_lives_as_long_as_its_open_file_description() {
    let env = TestEnv::new();
    env.sh("(flock 8; flock -n l true; echo $?) 8>l; flock -n l true; echo $?")
        .assert_stdout("1\n0\n");
    env.sh("exec 8>l; flock 8; exec 9>&8 8>&-; flock -n l true; echo $?; exec 9>&-; flock -n l true; echo $?")
        .assert_stdout("1\n0\n");
    // Another descriptor of the same file, opened anew, is another description: closing it frees nothing.
    env.sh("exec 8>l 9>l; flock 8; exec 9>&-; flock -n l true; echo $?")
        .assert_stdout("1\n");
}

#[test]
fn a_background_child_that_inherits_the_descriptor_keeps_the_lock() {
    let env = TestEnv::new();
    env.sh("mkfifo end; exec 8>l; flock 8
            read x <end & exec 8>&-
            flock -n l true; echo $?
            echo >end; wait; flock -n l true; echo $?")
        .assert_stdout("1\n0\n");
    env.sh("flock l sh -c 'read x <end &'
            flock -n l true; echo $?
            echo >end; flock l true; echo $?")
        .assert_stdout("1\n0\n");
}
