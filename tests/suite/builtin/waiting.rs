//! While the builtin waits for a lock, bash is bash: traps run, signals end it, and afterwards all is as it was.

use test_support::builtin::for_each_bash;
use test_support::locks::waiter_count;
use test_support::pre_exec::{CommandPreExecExt, signal_set};
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{is_stopped, voluntary_switches};
use test_support::{TestEnv, wait_until};

/// The ways to wait in the shell itself.
const WAITS: [&str; 4] = [
    "flock 8",
    "flock -w 1000 8",
    "flock --fcntl 8",
    "flock l got",
];

/// A lock that `WAITS` have to wait for: one of either kind.
#[track_caller]
fn hold(env: &TestEnv) -> Process {
    env.hold(&[], "l")
}

/// Somebody who waits in `wait`, after `before`; when it is over, he says `got` and the status.
#[track_caller]
fn waiting(env: &TestEnv, before: &str, wait: &str, after: &str) -> Process {
    let script =
        format!("got() {{ echo got; }}\nexec 8<>l\n{before}\n{wait}\necho over $?\n{after}");
    let waiter = env.start_with_builtin(script);
    wait_queued(env, 1);
    waiter
}

#[track_caller]
fn wait_queued(env: &TestEnv, count: usize) {
    wait_until("they wait", || waiter_count(env.file("l")) == count);
}

/// The holder for a wait, which may be for a range.
#[track_caller]
fn holder_for(env: &TestEnv, wait: &str) -> Process {
    match wait.contains("--fcntl") {
        true => env.hold(&["--fcntl"], "l"),
        false => hold(env),
    }
}

/// The end of a wait that has got the lock.
#[track_caller]
fn assert_acquires(waiter: &mut Process, holder: Process) {
    holder.release();
    let said = waiter.expect("over 0\n");
    assert!(["over 0\n", "got\nover 0\n"].contains(&&said[..]), "{said}");
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[test]
fn a_trap_runs_while_the_lock_is_waited_for() {
    for_each_bash(|env| {
        for wait in WAITS {
            let holder = holder_for(env, wait);
            let mut waiter = waiting(env, "trap 'echo trapped' USR1", wait, "");
            for _ in 0..20 {
                waiter.signal(libc::SIGUSR1);
                waiter.expect_line("trapped");
                // bash loses a signal that comes at the end of its own trap.
                wait_queued(env, 1);
            }
            assert_acquires(&mut waiter, holder);
        }
    });
}

#[test]
fn traps_on_every_signal_run() {
    for_each_bash(|env| {
        let holder = hold(env);
        // But for those that cannot be trapped, those that the C library keeps to itself, and SIGCHLD, whose trap is for
        // children.
        let all: Vec<i32> = (1..=64)
            .filter(|signal| ![9, 17, 19, 32, 33].contains(signal))
            .collect();
        let traps: String = all
            .iter()
            .map(|signal| format!("trap 'echo trapped {signal}' {signal}\n"))
            .collect();
        for wait in ["flock 8", "flock -w 1000 8"] {
            let mut waiter = waiting(env, &traps, wait, "");
            for signal in &all {
                waiter.signal(*signal);
                waiter.expect_line(&format!("trapped {signal}"));
            }
            wait_queued(env, 1);
        }
        drop(holder);
    });
}

#[test]
fn the_end_of_a_child_is_seen_at_once() {
    for_each_bash(|env| {
        let holder = hold(env);
        let script = "mkfifo end; trap 'echo child' CHLD; (read x <end; exit 7) & child=$!";
        let mut waiter = waiting(env, script, "flock 8", "trap - CHLD; wait $child; echo $?");
        std::fs::write(env.file("end"), "\n").expect("a FIFO");
        if env.bash_is_older_than("5") {
            // It keeps that trap for later, whatever the builtin: `read`, for one.
            holder.release();
            waiter.expect("7\n");
        } else {
            waiter.expect_line("child");
            wait_queued(env, 1);
            holder.release();
            waiter.expect_line("over 0");
            waiter.expect_line("7");
        }
    });
}

#[test]
fn a_trap_may_change_the_traps() {
    for_each_bash(|env| {
        let holder = hold(env);
        let before =
            "trap 'trap \"trap - USR2; echo second\" USR2; trap \"\" USR1; echo first' USR1";
        let mut waiter = waiting(env, before, "flock 8", "");
        waiter.signal(libc::SIGUSR1);
        waiter.expect_line("first");
        // Now it is ignored.
        waiter.signal(libc::SIGUSR1);
        waiter.signal(libc::SIGUSR2);
        waiter.expect_line("second");
        waiter.signal(libc::SIGUSR2);
        assert_eq!(waiter.wait(), ExitReason::Signaled(libc::SIGUSR2));
        drop(holder);
    });
}

#[test]
fn exit_in_a_trap_ends_the_shell() {
    for_each_bash(|env| {
        for wait in WAITS {
            let holder = holder_for(env, wait);
            let mut waiter = waiting(env, "trap 'exit 3' TERM; trap 'echo bye' EXIT", wait, "");
            waiter.signal(libc::SIGTERM);
            waiter.expect_line("bye");
            assert_eq!(waiter.wait(), ExitReason::Exited(3));
            holder.release();
        }
    });
}

#[test]
fn return_in_a_trap_leaves_the_function_that_waits() {
    for_each_bash(|env| {
        for wait in WAITS {
            let holder = holder_for(env, wait);
            let before = format!("trap 'return 5' USR1; f() {{ {wait}; echo no; }}");
            let mut waiter = waiting(
                env,
                &before,
                "f",
                "wait_again() { flock -w 1000 l got; }; wait_again; echo $?",
            );
            waiter.signal(libc::SIGUSR1);
            waiter.expect_line("over 5");
            holder.release();
            waiter.expect_line("got");
            waiter.expect_line("0");
        }
    });
}

#[test]
fn a_deadly_signal_is_deadly() {
    for_each_bash(|env| {
        let holder = hold(env);
        for wait in ["flock 8", "flock -w 1000 8", "flock l got"] {
            for signal in [
                libc::SIGTERM,
                libc::SIGHUP,
                libc::SIGINT,
                libc::SIGUSR1,
                libc::SIGALRM,
                34,
                64,
            ] {
                let mut waiter = waiting(env, "", wait, "");
                waiter.signal(signal);
                assert_eq!(waiter.wait(), ExitReason::Signaled(signal), "{wait}");
            }
        }
        holder.release();
    });
}

#[test]
fn an_ignored_signal_is_ignored() {
    for_each_bash(|env| {
        for wait in ["flock 8", "flock -w 1000 8"] {
            let holder = hold(env);
            let mut waiter = waiting(
                env,
                "trap '' TERM USR1 RTMAX CHLD; trap 'echo heard' USR2",
                wait,
                "",
            );
            for signal in [libc::SIGTERM, libc::SIGUSR1, 64, libc::SIGCHLD] {
                waiter.signal(signal);
            }
            waiter.signal(libc::SIGUSR2);
            waiter.expect_line("heard");
            assert_acquires(&mut waiter, holder);
        }
    });
}

#[test]
fn a_wait_that_was_stopped_and_continued_goes_on() {
    for_each_bash(|env| {
        for wait in WAITS {
            let holder = holder_for(env, wait);
            let mut waiter = waiting(env, "", wait, "");
            waiter.signal(libc::SIGSTOP);
            wait_until("it stops", || is_stopped(waiter.pid()));
            waiter.signal(libc::SIGCONT);
            wait_until("it goes on", || !is_stopped(waiter.pid()));
            assert_acquires(&mut waiter, holder);
        }
    });
}

#[test]
fn a_trap_may_wait_for_locks_itself() {
    for_each_bash(|env| {
        let (holder, other) = (hold(env), env.hold(&[], "other"));
        let before = "exec 9>other
            trap 'echo in; flock -n 8; echo $?; flock -w 0.01 8; echo $?; flock 9; echo $?; flock -u 9' USR1
            trap 'echo deep' USR2";
        let mut waiter = waiting(env, before, "flock 8", "");
        waiter.signal(libc::SIGUSR1);
        for line in ["in", "1", "1"] {
            waiter.expect_line(line);
        }
        wait_until("the trap waits", || waiter_count(env.file("other")) == 1);
        waiter.signal(libc::SIGUSR2);
        waiter.expect_line("deep");
        other.release();
        waiter.expect_line("0");
        wait_queued(env, 1);
        assert_acquires(&mut waiter, holder);
    });
}

#[test]
fn a_trap_that_waits_is_interrupted_by_its_own_signal() {
    for_each_bash(|env| {
        let holder = hold(env);
        let before = "trap 'echo in; flock 8; echo $?' USR1; trap 'echo other' USR2";
        let mut waiter = env.start_with_builtin(format!("exec 8>l; {before}; kill -USR1 $$; :"));
        for signal in [libc::SIGUSR1, libc::SIGUSR1, libc::SIGUSR2] {
            waiter.expect_line("in");
            wait_queued(env, 1);
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
fn a_signal_that_bash_leaves_alone_keeps_nobody_busy() {
    for_each_bash(|env| {
        let holder = hold(env);
        // bash leaves a SIGWINCH alone while its own trap runs.
        let before = "trap 'echo in; flock 8; echo $?; trap - WINCH' WINCH";
        let mut waiter = env.start_with_builtin(format!("exec 8>l; {before}; kill -WINCH $$; :"));
        waiter.expect_line("in");
        wait_queued(env, 1);
        waiter.signal(libc::SIGWINCH);
        wait_asleep(waiter.pid());
        wait_queued(env, 1);
        holder.release();
        waiter.expect("0\n");
    });
}

/// Waits until it sleeps for a while. Somebody who polls, or whose timer ticks, never does.
fn wait_asleep(pid: i32) {
    let mut before = None;
    wait_until("it sleeps", || {
        std::thread::sleep(std::time::Duration::from_millis(15));
        let now = Some(voluntary_switches(pid));
        std::mem::replace(&mut before, now) == now
    });
}

#[test]
fn a_wait_is_no_polling() {
    for_each_bash(|env| {
        for wait in WAITS {
            let holder = holder_for(env, wait);
            let mut waiter = waiting(env, "trap 'echo trapped' USR1", wait, "");
            wait_asleep(waiter.pid());
            waiter.signal(libc::SIGUSR1);
            waiter.expect_line("trapped");
            wait_queued(env, 1);
            wait_asleep(waiter.pid());
            assert_acquires(&mut waiter, holder);
        }
    });
}

#[test]
fn a_timeout_ends_the_wait() {
    for_each_bash(|env| {
        let holder = hold(env);
        env.run_with_builtin(
            "exec 8>l; f() { echo never; }
             for t in 0 0.000001 0.001 20ms; do flock -w $t 8; echo $?; flock -E 9 -w $t l f; echo $?; done",
        )
        .assert_stderr("")
        .assert_stdout(&"1\n9\n".repeat(4));
        holder.release();
    });
}

#[test]
fn signals_do_not_prolong_a_timeout() {
    for_each_bash(|env| {
        for wait in ["flock -w 0.3 8", "flock -w 0.3 l got"] {
            let holder = hold(env);
            let mut waiter = waiting(env, "trap 'n=$((n + 1))' USR1", wait, "[ $n -gt 5 ]");
            let pid = waiter.pid();
            std::thread::scope(|scope| {
                // It stays a zombie until it is dropped here.
                let ended = scope.spawn(|| waiter.wait());
                while !ended.is_finished() {
                    send_signal(pid, libc::SIGUSR1);
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                assert_eq!(
                    ended.join().expect("it ends"),
                    ExitReason::Exited(0),
                    "{wait}"
                );
            });
            waiter.expect_line("over 1");
            holder.release();
        }
    });
}

#[test]
fn the_shells_own_timers_and_waits_are_left_alone() {
    for_each_bash(|env| {
        let holder = hold(env);
        env.run_with_builtin(
            "mkfifo never; exec 8>l 7<>never; trap 'echo alarm' ALRM; mkfifo end
             (read x <end; exit 7) & child=$!
             flock -w 0.01 8; echo $?
             read -t 0.01 x <&7; echo $(($? > 128)); (TMOUT=1; read x <&7; echo $(($? > 128)))
             echo >end; wait $child; echo $?
             (flock -w 0.01 8; echo sub $?) & wait $!; x=$(flock -w 0.01 8; echo $?); echo $x
             (kill -ALRM $$); flock -w 0.01 8; echo $?; sleep 0.01; echo $?",
        )
        .assert_stderr("")
        .assert_stdout("1\n1\n1\n7\nsub 1\n1\nalarm\n1\n0\n");
        holder.release();
    });
}

#[test]
fn a_subshell_in_the_background_waits_for_itself() {
    for_each_bash(|env| {
        let holder = hold(env);
        let script = "(flock 8; echo sub $?) & (exec 9>l 8>&-; flock 9; echo other $?) & echo on; exec 8>&-; wait; echo all";
        let mut shell = env.start_with_builtin(format!("exec 8>l; {script}"));
        shell.expect_line("on");
        wait_queued(env, 2);
        holder.release();
        let mut said = [shell.read_line(), shell.read_line()];
        said.sort();
        assert_eq!(said, ["other 0", "sub 0"]);
        shell.expect_line("all");
    });
}

/// For scripts: `state` prints what the kernel knows of the shell's signals and timers, with builtins only. The status is read
/// in one piece: how many signals wait for all of the user's processes is in it too, and in between it may take a digit more.
const STATE: &str = r#"state() { local all line; mapfile -t all </proc/$BASHPID/status
    for line in "${all[@]}"; do case $line in Sig[CIB]*) echo "$line";; esac; done
    if [ -e /proc/$BASHPID/timers ]; then while read -r line; do echo "$line"; done </proc/$BASHPID/timers; fi; }"#;

#[test]
fn signals_and_timers_are_as_before_whichever_way_a_wait_has_ended() {
    for_each_bash(|env| {
        let holder = hold(env);
        let traps =
            "trap 'echo trapped' USR1; trap return USR2; trap '' TERM; trap : RTMAX-1 CHLD; (:)";
        let before = format!("{STATE}; {traps}; r() {{ flock -w 1000 8; }}; state >before");
        let mut waiter = waiting(
            env,
            &before,
            "r",
            "state >after; flock -w 0.01 8; state >timeout; flock -w 0.01 l got; state >function
             flock 8; state >lock; for file in after timeout function lock; do cmp before $file; echo $?; done
             grep -c Sig before",
        );
        for _ in 0..5 {
            waiter.signal(libc::SIGUSR1);
            waiter.expect_line("trapped");
            wait_queued(env, 1);
        }
        waiter.signal(libc::SIGUSR2);
        waiter.expect("over ");
        waiter.read_line();
        wait_until("it waits for the lock", || env.file("function").exists());
        wait_queued(env, 1);
        holder.release();
        for line in ["0", "0", "0", "0", "3"] {
            waiter.expect_line(line);
        }
    });
}

#[test]
fn the_timers_signal_stays_blocked_for_whoever_blocks_it() {
    for_each_bash(|env| {
        let holder = hold(env);
        let mut shell = env.builtin_command(
            "exec 8>l; test-helper inherited-state one; flock -w 0.01 8; echo $?; test-helper inherited-state two
             grep SigBlk one; grep Sig one >s1; grep Sig two >s2; cmp s1 s2; echo $?",
        );
        shell.block_signals(signal_set([64]));
        env.run_command(shell)
            .assert_stdout("1\nSigBlk 8000000000000000\n0\n");
        holder.release();
    });
}

#[test]
fn what_is_started_after_a_wait_has_the_signals_of_before() {
    for_each_bash(|env| {
        let holder = hold(env);
        env.run_with_builtin(
            "exec 8>l; trap : USR1; test-helper inherited-state one; flock -w 0.01 8; test-helper inherited-state two
             grep Sig one >s1; grep Sig two >s2; cmp s1 s2; echo $?",
        )
        .assert_stdout("0\n");
        holder.release();
    });
}
