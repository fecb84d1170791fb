//! The builtin waits as usual if there is no room for a timer, or the shell has inherited a mask
//! that blocks every signal that a timer could send.

use rstest::rstest;
use test_support::TestEnv;
use test_support::builtin::for_each_bash;
use test_support::pre_exec::{CommandPreExecExt, signal_set};
use test_support::process::{ExitReason, Process};
use test_support::sandbox::{CommandSandboxExt, RefusedCall, can_refuse_calls};

use super::{assert_acquires, for_each_wait, hold_against, wait_blocked, wait_script};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Obstacle {
    NoRoom,
    BlockedSignals,
    /// And no process shares memory, as in qemu-user.
    NoSharedMemory,
}

/// Starts a shell with a [`wait_script`], and returns when it waits.
#[track_caller]
fn start_waiter(env: &TestEnv, obstacle: Obstacle, before: &str, wait: &str) -> Process {
    let no_room = match obstacle {
        Obstacle::NoRoom => "ulimit -i 0",
        Obstacle::BlockedSignals | Obstacle::NoSharedMemory => ":",
    };
    let before = format!("{no_room}; {before}");
    let mut bash = env.builtin_command(wait_script(&before, wait, ""));
    if obstacle != Obstacle::NoRoom {
        bash.block_signals(signal_set(34..=64)).raise_signal(64);
    }
    if obstacle == Obstacle::NoSharedMemory && can_refuse_calls() {
        bash.refuse(RefusedCall::SHARED_MEMORY);
    }
    let waiter = env.start(bash);
    wait_blocked(env, 1);
    waiter
}

#[rstest]
fn traps_run_and_the_wait_continues(
    #[values(Obstacle::NoRoom, Obstacle::BlockedSignals, Obstacle::NoSharedMemory)]
    obstacle: Obstacle,
) {
    for_each_wait(|env, wait| {
        let holder = hold_against(env, wait);
        let trap = "trap 'echo trapped' USR1";
        let mut waiter = start_waiter(env, obstacle, trap, wait);
        for _ in 0..3 {
            waiter.signal(libc::SIGUSR1);
            waiter.expect_line("trapped");
            wait_blocked(env, 1);
        }
        holder.release();
        assert_acquires(&mut waiter);
    });
}

#[rstest]
fn signals_end_the_wait(
    #[values(Obstacle::NoRoom, Obstacle::BlockedSignals, Obstacle::NoSharedMemory)]
    obstacle: Obstacle,
) {
    for_each_wait(|env, wait| {
        let holder = hold_against(env, wait);
        let mut waiter = start_waiter(env, obstacle, "trap 'exit 3' USR1", wait);
        waiter.signal(libc::SIGUSR1);
        assert_eq!(waiter.wait(), ExitReason::Exited(3));
        wait_blocked(env, 0);
        for signal in [libc::SIGTERM, libc::SIGKILL] {
            let mut waiter = start_waiter(env, obstacle, "", wait);
            waiter.signal(signal);
            assert_eq!(waiter.wait(), ExitReason::Signaled(signal));
            wait_blocked(env, 0);
        }
        holder.release();
    });
}

#[rstest]
#[case::last_blocked(&[64])]
#[case::all_blocked(&Vec::from_iter(34..=64))]
fn pending_signals_stay_pending_in_the_shell(#[case] blocked: &[i32]) {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        let mut bash = env.builtin_command(
            "exec 8<>l; got() { echo got; }; pending() { grep ShdPnd /proc/$$/status; }; pending >before
             for wait in '8' 'l got' '--fair 8'; do flock -w 0.01 $wait; echo $?; done
             pending | cmp - before && grep -c 8000000000000000 before
             read c </proc/$$/task/$$/children || echo no child $c",
        );
        bash.block_signals(signal_set(blocked.iter().copied()));
        bash.raise_signal(64);
        let expected = "1\n1\n1\n1\nno child\n";
        env.run_command(bash).assert_all(0, expected, "");
        holder.release();
    });
}

#[test]
fn timeouts_fire_without_room_for_a_timer() {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        env.run_with_builtin(
            "ulimit -i 0; exec 8<>l; got() { echo got; }
             for wait in 8 'l got' '--fair 8' '--fair l got'; do flock -w 0.01 $wait; echo $?; done
             read c </proc/$$/task/$$/children || echo no child $c",
        )
        .assert_all(0, "1\n1\n1\n1\nno child\n", "");
        holder.release();
    });
}
