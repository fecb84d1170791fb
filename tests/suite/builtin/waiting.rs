//! While the builtin waits for a lock, traps run and signals end the wait as in any bash;
//! afterwards everything is as before.

mod children;
mod without_timer;

use std::time::Duration;

use super::{assert_acquires, wait_script};
use crate::queue::{assert_clean, last_ticket};
use test_support::builtin::for_each_bash;
use test_support::locks::{Ticket, tickets, waiter_count};
use test_support::pre_exec::{CommandPreExecExt, signal_set};
use test_support::process::{ExitReason, Process, send_signal};
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

#[test]
fn timeout_ends_the_wait_and_leaves_nothing() {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        let script = |fair: &str| {
            format!(
                "exec 8<>l; f() {{ echo never; }}; flock {fair} -w 0.01 8; before=(/proc/$$/fd/*)
                 for i in 1 2 3; do
                     for t in 0 0.000001 0.001 10ms; do
                         flock {fair} -w $t 8; echo $?; flock {fair} -sE 9 -w $t l f; echo $?
                     done
                     flock {fair} -n 8; echo $?; flock {fair} -nE 9 l f; echo $?
                 done; after=(/proc/$$/fd/*); [ \"${{before[*]}}\" = \"${{after[*]}}\" ]; echo $?
                 read c </proc/$$/task/$$/children || echo no child $c"
            )
        };
        let expected = "1\n9\n".repeat(15) + "0\nno child\n";
        let assert_times_out = |fair: &str| {
            env.run_with_builtin(script(fair))
                .assert_all(0, &expected, "");
        };
        assert_times_out("");
        assert_times_out("--fair");
        assert_eq!(tickets(env.file("l")), []);
        // Behind another waiter, it waits for that waiter's sentinel rather than for the lock.
        let first = start_waiter(env, "", "flock --fair 8", "");
        let ticket = last_ticket(env);
        assert_times_out("--fair");
        assert_eq!(tickets(env.file("l")), [ticket]);
        drop(first);
        holder.release();
        assert_clean(env, &[ticket.sentinel]);
    });
}

#[test]
fn signals_do_not_prolong_a_timeout() {
    for_each_bash(|env| {
        for wait in ["8", "l got", "--fair 8"] {
            println!("{wait}");
            let holder = env.hold(&[], "l");
            // On a busy machine, some traps take longer to run.
            let mut timeout = 0.1;
            while traps_during_timeout(env, &format!("flock -w {timeout} {wait}")) <= 3 {
                timeout *= 2.0;
            }
            holder.release();
        }
    });
}

/// Sends signals to a shell until it exits, and returns how many traps have run until the wait
/// timed out.
#[track_caller]
fn traps_during_timeout(env: &TestEnv, wait: &str) -> u32 {
    let mut waiter = env.start_with_builtin(format!(
        "trap 'n=$((n + 1))' USR1; exec 8<>l; got() {{ echo got; }}; echo ready
         n=0; {wait}; echo $? $n"
    ));
    waiter.expect_line("ready");
    let pid = waiter.pid();
    std::thread::scope(|scope| {
        // It stays a zombie until it is dropped here.
        let exit = scope.spawn(|| waiter.wait());
        while !exit.is_finished() {
            send_signal(pid, libc::SIGUSR1);
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(exit.join().expect("it exits"), ExitReason::Exited(0));
    });
    let line = waiter.read_line();
    let traps = line.strip_prefix("1 ").and_then(|traps| traps.parse().ok());
    traps.unwrap_or_else(|| panic!("{wait}: {line}"))
}

#[test]
fn other_timers_and_waits_of_the_shell_still_work() {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        env.run_with_builtin(
            "mkfifo never; exec 8>l 7<>never; trap 'echo alarm' ALRM; mkfifo end
             (read x <end; exit 7) & child=$!
             flock -w 0.01 8; echo $?
             read -t 0.01 x <&7; echo $(($? > 128)); (TMOUT=1; read x <&7; echo $(($? > 128)))
             echo >end; wait $child; echo $?
             (flock -w 0.01 8; echo sub $?) & wait $!; x=$(flock -w 0.01 8; echo $?); echo $x
             (kill -ALRM $$); flock -w 0.01 8; echo $?; sleep 0.01; echo $?",
        )
        .assert_all(0, "1\n1\n1\n7\nsub 1\n1\nalarm\n1\n0\n", "");
        holder.release();
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
