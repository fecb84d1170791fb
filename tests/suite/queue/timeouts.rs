//! `--fair` with `-w`: one deadline for everything, wherever in the queue one is.

use super::{WHY, assert_clean, assert_queue_len, spawn_waiter, spawn_waiter_command};
use test_support::differs_from_util_linux;
use test_support::locks::tickets;
use test_support::pre_exec::{CommandPreExecExt, signal_set};
use test_support::process::{ExitReason, Process};

#[test]
fn a_timeout_fires_wherever_in_the_queue_one_is() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        // The first ones are the head of the queue themselves.
        let mut queue: Vec<Process> = Vec::new();
        for place in 0..3 {
            for how in ["-x", "-s", "-F", "-o"] {
                env.run(["--fair", how, "-w0.01", "-E42", "l", "true"])
                    .assert_status(42)
                    .assert_stderr("");
            }
            env.sh("exec 8<>l; flock --fair -w 0.01 8; echo $?; flock --fair -s -w 0.01 --fd 8 true; echo $?")
                .assert_stderr("")
                .assert_stdout("1\n1\n");
            assert_eq!(tickets(env.file("l")).len(), place);
            queue.push(spawn_waiter(env, ["--fair", "l", "true"]));
        }
        holder.release();
        assert_clean(env, &[]);
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
    differs_from_util_linux(WHY, |env| {
        let script = format!("exec 8<l; {script}");
        env.run(["l", "sh", "-c", &script])
            .assert_status(0)
            .assert_stderr("");
        assert_eq!(tickets(env.file("l")), []);
        let holder = env.hold(&[], "l");
        let mut first = spawn_waiter(env, ["--fair", "l", "echo", "done"]);
        env.sh(script).assert_status(0).assert_stderr("");
        assert_queue_len(env, 1);
        holder.release();
        first.expect_line("done");
        assert_eq!(first.wait(), ExitReason::Exited(0));
        assert_clean(env, &[]);
    });
}

#[test]
fn a_timeout_fires_for_a_caller_that_blocks_and_ignores_what_it_can() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let try_it = || {
            let mut timed = env.flock(["--fair", "-w0.01", "-E42", "l", "true"]);
            timed.ignore_signals((1..=31).filter(|signal| ![9, 19].contains(signal)));
            timed.block_signals(u64::MAX);
            env.run_command(timed).assert_status(42);
            let mut timed = env.flock(["--fair", "-w0.01", "-E43", "l", "true"]);
            timed.block_signals(signal_set([libc::SIGALRM, 64]));
            env.run_command(timed).assert_status(43);
        };
        try_it();
        let first = spawn_waiter(env, ["--fair", "l", "true"]);
        try_it();
        drop(first);
        holder.release();
        assert_clean(env, &[]);
    });
}

#[test]
fn the_time_does_not_begin_again_when_the_queue_moves() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let mut queue: Vec<Process> = (0..20)
            .map(|_| spawn_waiter(env, ["--fair", "l", "true"]))
            .collect();
        let mut timed = spawn_waiter(env, ["--fair", "-w1.5", "-E42", "l", "true"]);
        // Each time the one goes that it waits for. All that takes four seconds; were its time counted from the last
        // move, it would still have most of it.
        while queue.pop().is_some() {
            env.run(["-w0.2", "l", "true"]).assert_status(1);
        }
        assert!(timed.has_exited());
        assert_eq!(timed.wait(), ExitReason::Exited(42));
        holder.release();
        assert_clean(env, &[]);
    });
}

#[test]
fn whoever_has_time_left_is_served() {
    differs_from_util_linux(WHY, |env| {
        for (before, how) in [(0, "-x"), (2, "-x"), (2, "-s")] {
            let holder = env.hold(&["--fair"], "l");
            let queue: Vec<Process> = (0..before)
                .map(|_| spawn_waiter(env, ["--fair", "l", "true"]))
                .collect();
            let mut timed = spawn_waiter(env, ["--fair", how, "-w1000", "l", "echo", "got"]);
            holder.release();
            timed.expect_line("got");
            assert_eq!(timed.wait(), ExitReason::Exited(0));
            drop(queue);
        }
    });
}

#[test]
fn the_callers_own_alarm_is_handed_on_in_place_after_a_wait() {
    differs_from_util_linux(WHY, |env| {
        for patience in ["-x", "-w1000"] {
            let holder = env.hold(&["--fair"], "l");
            let words = [
                "--fair",
                "-F",
                patience,
                "l",
                "test-helper",
                "inherited-state",
                "state",
            ];
            let mut timed = env.flock(words);
            timed.set_alarm(1_000_000_000);
            let mut timed = spawn_waiter_command(env, timed);
            holder.release();
            assert_eq!(timed.wait(), ExitReason::Exited(0));
            let state = std::fs::read_to_string(env.file("state")).expect("a report");
            assert!(state.contains("alarm true\n"), "{patience}: {state}");
        }
    });
}
