//! How long a slot lives: as long as anybody has the descriptor that the command inherits.

use super::{WHY, assert_slots_held, assert_try, held_slots, hold_slot, spawn_waiting_holder};
use crate::queue::{assert_clean, assert_queue_len};
use test_support::locks::tickets;
use test_support::pre_exec::CommandPreExecExt;
use test_support::process::ExitReason;
use test_support::procfs::{children_of, cpu_time_ns};
use test_support::{TestEnv, differs_from_util_linux, wait_until};

#[test]
fn the_command_keeps_its_slot_when_flock_is_killed() {
    differs_from_util_linux(WHY, |env| {
        let mut flock = hold_slot(env, "1");
        flock.kill();
        assert_slots_held(env, 1);
        assert_try(env, "1", 1);
        flock.close_stdin();
        // The command is nobody's child any more: its slot tells when it has ended.
        assert_slots_held(env, 0);
        assert_try(env, "1", 0);
    });
}

#[test]
fn what_the_command_leaves_running_keeps_the_slot() {
    differs_from_util_linux(WHY, |env| {
        env.sh(
            "mkfifo end; flock --slots 2 l sh -c 'read x <end &' </dev/null
                flock --slots 1 -n l true; echo $?; flock --slots 2 -n l true; echo $?
                echo >end; flock --slots 1 l true; echo $?",
        )
        .assert_stderr("")
        .assert_stdout("1\n0\n0\n");
        assert_eq!(held_slots(env), []);
    });
}

#[test]
fn those_who_wait_see_the_end_of_a_command_whose_flock_was_killed_and_are_not_busy_meanwhile() {
    differs_from_util_linux(WHY, |env| {
        let mut flock = hold_slot(env, "1");
        let mut first = spawn_waiting_holder(env, &["--slots", "1"]);
        let mut second = spawn_waiting_holder(env, &["--slots", "1"]);
        flock.kill();
        let worked = || cpu_time_ns(first.pid()) + cpu_time_ns(second.pid());
        let before = worked();
        // Somebody else's timeout is the clock.
        env.run(["--slots", "1", "-w0.5", "l", "true"])
            .assert_status(1);
        let worked = worked() - before;
        assert!(worked < 100_000_000, "{worked} ns");
        assert_queue_len(env, 2);
        flock.close_stdin();
        for waiter in [&mut first, &mut second] {
            waiter.expect_line("held");
            waiter.close_stdin();
            assert_eq!(waiter.wait(), ExitReason::Exited(0));
        }
        assert_clean(env, &[]);
    });
}

#[test]
fn those_who_wait_see_the_end_of_what_a_command_has_left_running() {
    differs_from_util_linux(WHY, |env| {
        let leaves = "flock --slots 1 l sh -c 'read x <end &' </dev/null >/dev/null 2>&1";
        env.sh(format!("mkfifo end; {leaves}")).assert_status(0);
        assert_eq!(held_slots(env).len(), 1);
        let mut waiter = spawn_waiting_holder(env, &["--slots", "1"]);
        let before = cpu_time_ns(waiter.pid());
        env.run(["--slots", "1", "-w0.5", "l", "true"])
            .assert_status(1);
        assert!(cpu_time_ns(waiter.pid()) - before < 100_000_000);
        std::fs::write(env.file("end"), "\n").expect("a FIFO");
        waiter.expect_line("held");
        waiter.release();
        assert_clean(env, &[]);
    });
}

#[test]
fn whatever_kills_them_all_frees_the_slot() {
    differs_from_util_linux(WHY, |env| {
        for way in ["-x", "-o", "-F"] {
            for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGHUP] {
                let mut flock = env.hold(&["--slots", "1", way], "l");
                assert_eq!(held_slots(env).len(), 1);
                assert!(test_support::process::send_signal(-flock.pid(), signal));
                flock.wait();
                assert_slots_held(env, 0);
                assert_try(env, "1", 0);
            }
        }
    });
}

#[test]
fn a_signal_reaches_the_command_and_the_slot_goes_with_it() {
    differs_from_util_linux(WHY, |env| {
        let mut flock = hold_slot(env, "1");
        flock.signal(libc::SIGTERM);
        assert_eq!(flock.wait(), ExitReason::Signaled(libc::SIGTERM));
        assert_eq!(held_slots(env), []);
        assert_try(env, "1", 0);
    });
}

#[test]
fn a_slot_that_is_closed_to_the_command_goes_with_flock() {
    differs_from_util_linux(WHY, |env| {
        let script = "flock --slots 1 -n l true; echo $?; ls -l /proc/self/fd | grep -c '/l$'";
        env.run(["--slots", "1", "-o", "l", "sh", "-c", script])
            .assert_stdout("1\n0\n");
        let mut flock = env.hold(&["--slots", "1", "-o"], "l");
        assert_eq!(held_slots(env).len(), 1);
        flock.kill();
        assert_slots_held(env, 0);
        assert_try(env, "1", 0);
        env.sh(
            "mkfifo end; flock --slots 1 -o l sh -c 'read x <end &' </dev/null
                flock --slots 1 -n l true; echo $?; echo >end",
        )
        .assert_stdout("0\n");
    });
}

#[test]
fn in_place_the_command_is_the_one_that_has_the_slot() {
    differs_from_util_linux(WHY, |env| {
        let command = env.hold(&["--slots", "1", "-F"], "l");
        assert_eq!(held_slots(env)[0].pid, command.pid());
        command.release();
        assert_eq!(held_slots(env), []);
    });
}

/// What a command was given, that waited or did not.
#[track_caller]
fn inherited_state(
    env: &TestEnv,
    options: &[&str],
    waits: bool,
    closed: &'static [i32],
) -> Vec<String> {
    let _ = std::fs::remove_file(env.file("state"));
    let holder = waits.then(|| env.hold(&[], "l"));
    let mut under =
        env.flock(
            options
                .iter()
                .chain(&["l", "test-helper", "inherited-state", "state"]),
        );
    under.close_fds(closed);
    let mut under = env.start(under);
    if let Some(holder) = holder {
        under.wait_alive_until("it waits", || tickets(env.file("l")).len() == 1);
        holder.release();
    }
    assert_eq!(under.wait(), ExitReason::Exited(0), "{options:?}");
    let state = std::fs::read_to_string(env.file("state")).expect("a report");
    // The pipes are new each time.
    let known = state.lines().filter(|line| !line.contains(" pipe:"));
    known.map(str::to_owned).collect()
}

#[test]
fn the_command_inherits_what_it_inherits_with_a_lock() {
    differs_from_util_linux(WHY, |env| {
        for way in ["-x", "-F", "-o", "-w1000"] {
            for closed in [&[][..], &[0], &[0, 1, 2]] {
                let plain = inherited_state(env, &[way], false, closed);
                for waits in [false, true] {
                    let under = inherited_state(env, &["--slots", "1", way], waits, closed);
                    assert_eq!(under, plain, "{way} {closed:?} {waits}");
                }
            }
        }
    });
}

#[test]
fn while_the_command_runs_it_is_the_only_child() {
    differs_from_util_linux(WHY, |env| {
        let holder = hold_slot(env, "1");
        let mut waiter = spawn_waiting_holder(env, &["--slots", "1"]);
        holder.release();
        waiter.expect_line("held");
        wait_until("it has one child", || children_of(waiter.pid()).len() == 1);
        waiter.release();
        assert_clean(env, &[]);
    });
}

#[test]
fn statuses_are_passed_on() {
    differs_from_util_linux(WHY, |env| {
        for (way, script, code) in [
            ("-x", "exit 0", 0),
            ("-o", "exit 7", 7),
            ("-F", "exit 255", 255),
            ("-x", "kill -9 $$", 137),
        ] {
            env.run(["--slots", "2", way, "l", "sh", "-c", script])
                .assert_status(code);
        }
        let mut ignored = env.flock(["--slots", "2", "l", "sh", "-c", "exit 7"]);
        ignored.ignore_signals([libc::SIGCHLD]);
        env.run_command(ignored).assert_status(7);
        assert_eq!(held_slots(env), []);
    });
}
