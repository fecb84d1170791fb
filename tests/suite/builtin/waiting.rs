//! While the builtin waits for a lock, traps run and signals end the wait as in any bash;
//! afterwards everything is as before.

mod children;
mod timeouts;
mod traps;
mod without_timer;

use std::time::Duration;

use super::{assert_acquires, wait_script};
use crate::queue::assert_clean;
use test_support::builtin::for_each_bash;
use test_support::locks::{Ticket, tickets, waiter_count};
use test_support::pre_exec::{CommandPreExecExt, signal_set};
use test_support::process::{ExitReason, Process};
use test_support::procfs::{is_sentinel, is_stopped, voluntary_switches};
use test_support::{TestEnv, wait_until};

/// The ways to wait in the shell itself: on a descriptor or for a function, without and with a
/// timeout, without and with a queue.
const WAITS: [&str; 6] = [
    "flock 8",
    "flock -w 1000 8",
    "flock --fcntl 8",
    "flock l got",
    "flock --fair 8",
    "flock --fair -w 1000 l got",
];

/// Runs a test for each way to wait, and asserts that it leaves no lock and no ticket.
#[track_caller]
fn for_each_wait(body: impl Fn(&TestEnv, &str)) {
    for_each_bash(|env| {
        for wait in WAITS {
            println!("{wait}");
            body(env, wait);
            assert_clean(env, &[]);
        }
    });
}

/// Starts a process that holds the lock for which `wait` waits.
#[track_caller]
fn hold_against(env: &TestEnv, wait: &str) -> Process {
    let options = wait.contains("--fcntl").then_some("--fcntl");
    env.hold(options.as_slice(), "l")
}

/// Starts a shell with a [`wait_script`], and returns when it waits.
#[track_caller]
fn start_waiter(env: &TestEnv, before: &str, wait: &str, after: &str) -> Process {
    let waiter = env.start_with_builtin(wait_script(before, wait, after));
    wait_blocked(env, 1);
    waiter
}

/// Waits until `count` processes block in the kernel. The first in a queue does so, too.
#[track_caller]
fn wait_blocked(env: &TestEnv, count: usize) {
    wait_until("they wait", || waiter_count(env.file("l")) == count);
}

/// Returns the sentinels of the tickets: none if the waiters do not queue.
fn sentinels(env: &TestEnv) -> Vec<i32> {
    let tickets = tickets(env.file("l"));
    tickets.iter().map(|ticket| ticket.sentinel).collect()
}

/// Asserts that the tickets have kept their arrival times. They get new sentinels after a trap.
#[track_caller]
fn assert_places_kept(env: &TestEnv, before: &[Ticket]) {
    let arrivals = |tickets: &[Ticket]| Vec::from_iter(tickets.iter().map(|ticket| ticket.arrived));
    assert_eq!(arrivals(&tickets(env.file("l"))), arrivals(before));
}

/// Waits until the waiters have left the queue, and their sentinels have exited.
#[track_caller]
fn wait_left(env: &TestEnv, sentinels: &[i32]) {
    wait_until("the waiters have left the queue", || {
        waiter_count(env.file("l")) == 0
            && tickets(env.file("l")).is_empty()
            && !sentinels.iter().any(|sentinel| is_sentinel(*sentinel))
    });
}

/// Waits until the process sleeps for a while, which a process that polls, or whose timer ticks,
/// never does.
#[track_caller]
fn wait_asleep(pid: i32) {
    let mut before = None;
    wait_until("it sleeps", || {
        std::thread::sleep(Duration::from_millis(15));
        let now = Some(voluntary_switches(pid));
        std::mem::replace(&mut before, now) == now
    });
}

#[test]
fn fatal_signals_kill_a_waiting_shell() {
    for_each_wait(|env, wait| {
        let holder = hold_against(env, wait);
        use libc::{SIGALRM, SIGHUP, SIGINT, SIGKILL, SIGTERM, SIGUSR1};
        for signal in [SIGTERM, SIGKILL, SIGHUP, SIGINT, SIGUSR1, SIGALRM, 34, 64] {
            let mut waiter = start_waiter(env, "", wait, "");
            let sentinels = sentinels(env);
            waiter.signal(signal);
            assert_eq!(waiter.wait(), ExitReason::Signaled(signal));
            wait_left(env, &sentinels);
        }
        holder.release();
    });
}

#[test]
fn ignored_signals_are_ignored() {
    for_each_bash(|env| {
        for wait in ["flock 8", "flock -w 1000 8"] {
            let holder = env.hold(&[], "l");
            let traps = "trap '' TERM USR1 RTMAX CHLD; trap 'echo received' USR2";
            let mut waiter = start_waiter(env, traps, wait, "");
            for signal in [libc::SIGTERM, libc::SIGUSR1, 64, libc::SIGCHLD] {
                waiter.signal(signal);
            }
            waiter.signal(libc::SIGUSR2);
            waiter.expect_line("received");
            holder.release();
            assert_acquires(&mut waiter);
        }
    });
}

#[test]
fn stopped_shell_continues_to_wait() {
    for_each_wait(|env, wait| {
        let holder = hold_against(env, wait);
        let mut waiter = start_waiter(env, "", wait, "");
        waiter.signal(libc::SIGSTOP);
        wait_until("it is stopped", || is_stopped(waiter.pid()));
        waiter.signal(libc::SIGCONT);
        wait_until("it is continued", || !is_stopped(waiter.pid()));
        holder.release();
        assert_acquires(&mut waiter);
    });
}

#[test]
fn background_subshells_wait_on_their_own() {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        let script = "(flock 8; echo sub $?) & (exec 9>l 8>&-; flock 9; echo other $?) & echo on; exec 8>&-; wait; echo all";
        let mut shell = env.start_with_builtin(format!("exec 8>l; {script}"));
        shell.expect_line("on");
        wait_blocked(env, 2);
        holder.release();
        let mut lines = [shell.read_line(), shell.read_line()];
        lines.sort();
        assert_eq!(lines, ["other 0", "sub 0"]);
        shell.expect_line("all");
    });
}

/// For scripts: `state` prints what the kernel knows about the shell's signals and timers, with
/// builtins only. The status is read in one piece: it also contains the number of signals that are
/// pending for all of the user's processes, which may get one more digit meanwhile.
const STATE: &str = r#"state() { local all line; mapfile -t all </proc/$BASHPID/status
    for line in "${all[@]}"; do case $line in Sig[CIB]*) echo "$line";; esac; done
    if [ -e /proc/$BASHPID/timers ]; then while read -r line; do echo "$line"; done </proc/$BASHPID/timers; fi; }"#;

#[test]
fn signals_and_timers_are_restored_after_every_wait() {
    for_each_bash(|env| {
        for flock in ["flock", "flock --fair"] {
            let holder = env.hold(&[], "l");
            let traps = "trap 'echo trapped' USR1; trap return USR2; trap '' TERM; trap : RTMAX-1 CHLD; (:)";
            let before = format!("{STATE}; {traps}; r() {{ {flock} -w 1000 8; }}; state >before");
            let after = format!(
                "state >after; {flock} -w 0.01 8; state >timeout; {flock} -w 0.01 l got; state >function
                 {flock} 8; state >lock; for file in after timeout function lock; do cmp before $file; echo $?; done
                 grep -c Sig before"
            );
            let mut waiter = start_waiter(env, &before, "r", &after);
            for _ in 0..5 {
                waiter.signal(libc::SIGUSR1);
                waiter.expect_line("trapped");
                wait_blocked(env, 1);
            }
            waiter.signal(libc::SIGUSR2);
            waiter.expect("over ");
            waiter.read_line();
            wait_until("it waits for the lock", || env.file("function").exists());
            wait_blocked(env, 1);
            holder.release();
            for line in ["0", "0", "0", "0", "3"] {
                waiter.expect_line(line);
            }
            std::fs::remove_file(env.file("function")).expect("it exists");
        }
    });
}

#[test]
fn commands_after_a_wait_inherit_the_same_signals() {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        // The signal of the timer stays blocked if the caller has blocked it.
        for (blocked, mask) in [(vec![], "0000000000000000"), (vec![64], "8000000000000000")] {
            let mut shell = env.builtin_command(
                "exec 8>l; trap : USR1; test-helper inherited-state one; flock -w 0.01 8; echo $?
                 test-helper inherited-state two; grep SigBlk one
                 grep Sig one >s1; grep Sig two >s2; cmp s1 s2; echo $?",
            );
            shell.block_signals(signal_set(blocked));
            env.run_command(shell)
                .assert_stdout(&format!("1\nSigBlk {mask}\n0\n"));
        }
        holder.release();
    });
}
