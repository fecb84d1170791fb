//! Traps that run during the wait.

use super::{
    assert_acquires, assert_places_kept, for_each_wait, hold_against, sentinels, start_waiter,
    wait_asleep, wait_blocked, wait_left,
};
use crate::queue::assert_clean;
use test_support::builtin::for_each_bash;
use test_support::locks::{tickets, waiter_count};
use test_support::process::ExitReason;
use test_support::wait_until;

#[test]
fn traps_run_during_a_wait_that_does_not_poll() {
    for_each_wait(|env, wait| {
        let holder = hold_against(env, wait);
        let mut waiter = start_waiter(env, "trap 'echo trapped' USR1", wait, "");
        wait_asleep(waiter.pid());
        for _ in 0..20 {
            waiter.signal(libc::SIGUSR1);
            waiter.expect_line("trapped");
            // bash loses a signal that arrives at the end of its own trap.
            wait_blocked(env, 1);
        }
        wait_asleep(waiter.pid());
        holder.release();
        assert_acquires(&mut waiter);
    });
}

#[test]
fn traps_on_every_signal_run() {
    for_each_bash(|env| {
        let _holder = env.hold(&[], "l");
        // Except SIGKILL and SIGSTOP, those that the C library reserves for itself, and SIGCHLD,
        // whose trap is for children.
        let signals: Vec<i32> = (1..=64)
            .filter(|signal| ![9, 17, 19, 32, 33].contains(signal))
            .collect();
        let traps: String = signals
            .iter()
            .map(|signal| format!("trap 'echo trapped {signal}' {signal}\n"))
            .collect();
        for wait in ["flock 8", "flock -w 1000 8"] {
            let mut waiter = start_waiter(env, &traps, wait, "");
            for signal in &signals {
                waiter.signal(*signal);
                waiter.expect_line(&format!("trapped {signal}"));
            }
            wait_blocked(env, 1);
        }
    });
}

#[test]
fn trap_may_change_traps() {
    for_each_bash(|env| {
        let _holder = env.hold(&[], "l");
        let before =
            "trap 'trap \"trap - USR2; echo second\" USR2; trap \"\" USR1; echo first' USR1";
        let mut waiter = start_waiter(env, before, "flock 8", "");
        waiter.signal(libc::SIGUSR1);
        waiter.expect_line("first");
        // Now it is ignored.
        waiter.signal(libc::SIGUSR1);
        waiter.signal(libc::SIGUSR2);
        waiter.expect_line("second");
        waiter.signal(libc::SIGUSR2);
        assert_eq!(waiter.wait(), ExitReason::Signaled(libc::SIGUSR2));
    });
}

#[test]
fn exit_in_a_trap_ends_the_shell() {
    for_each_wait(|env, wait| {
        let holder = hold_against(env, wait);
        let traps = "trap 'exit 3' TERM; trap 'echo bye' EXIT";
        let mut waiter = start_waiter(env, traps, wait, "");
        let sentinels = sentinels(env);
        waiter.signal(libc::SIGTERM);
        waiter.expect_line("bye");
        assert_eq!(waiter.wait(), ExitReason::Exited(3));
        wait_left(env, &sentinels);
        holder.release();
    });
}

#[test]
fn return_in_a_trap_leaves_the_waiting_function() {
    for_each_wait(|env, wait| {
        let holder = hold_against(env, wait);
        let before = format!("trap 'return 5' USR1; f() {{ {wait}; echo no; }}");
        let after = format!("read x; trap - USR1; {wait}; echo then $?");
        let mut waiter = start_waiter(env, &before, "f", &after);
        let sentinels = sentinels(env);
        waiter.signal(libc::SIGUSR1);
        waiter.expect_line("over 5");
        wait_left(env, &sentinels);
        waiter.send_line("");
        wait_blocked(env, 1);
        holder.release();
        waiter.expect("then 0\n");
        assert_eq!(waiter.wait(), ExitReason::Exited(0));
    });
}

#[test]
fn trap_may_wait_for_locks_itself() {
    for_each_bash(|env| {
        for fair in ["", "--fair"] {
            let (holder, other) = (env.hold(&[], "l"), env.hold(&[], "other"));
            let before = format!(
                "exec 9<>other; trap 'echo deep' USR2
                 trap 'echo in; flock {fair} -n 8; echo $?; flock {fair} -w 0.01 8; echo $?
                     flock {fair} 9; echo $?; flock -u 9' USR1"
            );
            let mut waiter = start_waiter(env, &before, &format!("flock {fair} 8"), "");
            let before = tickets(env.file("l"));
            waiter.signal(libc::SIGUSR1);
            for line in ["in", "1", "1"] {
                waiter.expect_line(line);
            }
            wait_until("the trap waits", || waiter_count(env.file("other")) == 1);
            waiter.signal(libc::SIGUSR2);
            waiter.expect_line("deep");
            other.release();
            waiter.expect_line("0");
            wait_blocked(env, 1);
            assert_places_kept(env, &before);
            holder.release();
            assert_acquires(&mut waiter);
            assert_eq!(tickets(env.file("other")), []);
            assert_clean(env, &[]);
        }
    });
}

#[test]
fn waiting_trap_is_interrupted_by_its_own_signal() {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        let before = "trap 'echo in; flock 8; echo $?' USR1; trap 'echo other' USR2";
        let mut waiter = env.start_with_builtin(format!("exec 8>l; {before}; kill -USR1 $$; :"));
        for signal in [libc::SIGUSR1, libc::SIGUSR1, libc::SIGUSR2] {
            waiter.expect_line("in");
            wait_blocked(env, 1);
            waiter.signal(signal);
        }
        waiter.expect_line("other");
        holder.release();
        for _ in 0..3 {
            waiter.expect_line("0");
        }
        assert_eq!(waiter.wait(), ExitReason::Exited(0));
    });
}

#[test]
fn signal_left_pending_by_bash_causes_no_busy_loop() {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        // bash leaves a SIGWINCH pending while its own trap runs.
        let before = "trap 'echo in; flock 8; echo $?; trap - WINCH' WINCH";
        let mut waiter = env.start_with_builtin(format!("exec 8>l; {before}; kill -WINCH $$; :"));
        waiter.expect_line("in");
        wait_blocked(env, 1);
        waiter.signal(libc::SIGWINCH);
        wait_asleep(waiter.pid());
        wait_blocked(env, 1);
        holder.release();
        waiter.expect("0\n");
    });
}
