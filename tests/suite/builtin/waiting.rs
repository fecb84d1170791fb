//! While the builtin waits for a lock, bash is bash: traps run, signals end it, and afterwards all is as it was.

use test_support::builtin::in_every_bash;
use test_support::locks::{naps, stopped, waiters};
use test_support::pre_exec::{Inherit, signal_set};
use test_support::process::{End, Live, send};
use test_support::{Lab, wait_until};

/// The ways to wait in the shell itself.
const WAITS: [&str; 4] = [
    "flock 8",
    "flock -w 1000 8",
    "flock --fcntl 8",
    "flock l got",
];

/// A lock that `WAITS` have to wait for: one of either kind.
#[track_caller]
fn hold(lab: &Lab) -> Live {
    lab.hold(&[], "l")
}

/// Somebody who waits in `wait`, after `before`; when it is over, he says `got` and the status.
#[track_caller]
fn waiting(lab: &Lab, before: &str, wait: &str, after: &str) -> Live {
    let script =
        format!("got() {{ echo got; }}\nexec 8<>l\n{before}\n{wait}\necho over $?\n{after}");
    let waiter = lab.start_builtin(script);
    queues(lab, 1);
    waiter
}

#[track_caller]
fn queues(lab: &Lab, count: usize) {
    wait_until("they wait", || waiters(lab.file("l")) == count);
}

/// The holder for a wait, which may be for a range.
#[track_caller]
fn holder_for(lab: &Lab, wait: &str) -> Live {
    match wait.contains("--fcntl") {
        true => lab.hold(&["--fcntl"], "l"),
        false => hold(lab),
    }
}

/// The end of a wait that has got the lock.
#[track_caller]
fn gets_it(waiter: &mut Live, holder: Live) {
    holder.let_go();
    let said = waiter.comes_to("over 0\n");
    assert!(["over 0\n", "got\nover 0\n"].contains(&&said[..]), "{said}");
    assert_eq!(waiter.end(), End::Exited(0));
}

#[test]
fn a_trap_runs_while_the_lock_is_waited_for() {
    in_every_bash(|lab| {
        for wait in WAITS {
            let holder = holder_for(lab, wait);
            let mut waiter = waiting(lab, "trap 'echo trapped' USR1", wait, "");
            for _ in 0..20 {
                waiter.signal(libc::SIGUSR1);
                waiter.hears("trapped");
                // bash loses a signal that comes at the end of its own trap.
                queues(lab, 1);
            }
            gets_it(&mut waiter, holder);
        }
    });
}

#[test]
fn traps_on_every_signal_run() {
    in_every_bash(|lab| {
        let holder = hold(lab);
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
            let mut waiter = waiting(lab, &traps, wait, "");
            for signal in &all {
                waiter.signal(*signal);
                waiter.hears(&format!("trapped {signal}"));
            }
            queues(lab, 1);
        }
        drop(holder);
    });
}

#[test]
fn the_end_of_a_child_is_seen_at_once() {
    in_every_bash(|lab| {
        let holder = hold(lab);
        let script = "mkfifo end; trap 'echo child' CHLD; (read x <end; exit 7) & child=$!";
        let mut waiter = waiting(lab, script, "flock 8", "trap - CHLD; wait $child; echo $?");
        std::fs::write(lab.file("end"), "\n").expect("a FIFO");
        if lab.bash_is_before("5") {
            // It keeps that trap for later, whatever the builtin: `read`, for one.
            holder.let_go();
            waiter.comes_to("7\n");
        } else {
            waiter.hears("child");
            queues(lab, 1);
            holder.let_go();
            waiter.hears("over 0");
            waiter.hears("7");
        }
    });
}

#[test]
fn a_trap_may_change_the_traps() {
    in_every_bash(|lab| {
        let holder = hold(lab);
        let before =
            "trap 'trap \"trap - USR2; echo second\" USR2; trap \"\" USR1; echo first' USR1";
        let mut waiter = waiting(lab, before, "flock 8", "");
        waiter.signal(libc::SIGUSR1);
        waiter.hears("first");
        // Now it is ignored.
        waiter.signal(libc::SIGUSR1);
        waiter.signal(libc::SIGUSR2);
        waiter.hears("second");
        waiter.signal(libc::SIGUSR2);
        assert_eq!(waiter.end(), End::Killed(libc::SIGUSR2));
        drop(holder);
    });
}

#[test]
fn exit_in_a_trap_ends_the_shell() {
    in_every_bash(|lab| {
        for wait in WAITS {
            let holder = holder_for(lab, wait);
            let mut waiter = waiting(lab, "trap 'exit 3' TERM; trap 'echo bye' EXIT", wait, "");
            waiter.signal(libc::SIGTERM);
            waiter.hears("bye");
            assert_eq!(waiter.end(), End::Exited(3));
            holder.let_go();
        }
    });
}

#[test]
fn return_in_a_trap_leaves_the_function_that_waits() {
    in_every_bash(|lab| {
        for wait in WAITS {
            let holder = holder_for(lab, wait);
            let before = format!("trap 'return 5' USR1; f() {{ {wait}; echo no; }}");
            let mut waiter = waiting(
                lab,
                &before,
                "f",
                "wait_again() { flock -w 1000 l got; }; wait_again; echo $?",
            );
            waiter.signal(libc::SIGUSR1);
            waiter.hears("over 5");
            holder.let_go();
            waiter.hears("got");
            waiter.hears("0");
        }
    });
}

#[test]
fn a_deadly_signal_is_deadly() {
    in_every_bash(|lab| {
        let holder = hold(lab);
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
                let mut waiter = waiting(lab, "", wait, "");
                waiter.signal(signal);
                assert_eq!(waiter.end(), End::Killed(signal), "{wait}");
            }
        }
        holder.let_go();
    });
}

#[test]
fn an_ignored_signal_is_ignored() {
    in_every_bash(|lab| {
        for wait in ["flock 8", "flock -w 1000 8"] {
            let holder = hold(lab);
            let mut waiter = waiting(
                lab,
                "trap '' TERM USR1 RTMAX CHLD; trap 'echo heard' USR2",
                wait,
                "",
            );
            for signal in [libc::SIGTERM, libc::SIGUSR1, 64, libc::SIGCHLD] {
                waiter.signal(signal);
            }
            waiter.signal(libc::SIGUSR2);
            waiter.hears("heard");
            gets_it(&mut waiter, holder);
        }
    });
}

#[test]
fn a_wait_that_was_stopped_and_continued_goes_on() {
    in_every_bash(|lab| {
        for wait in WAITS {
            let holder = holder_for(lab, wait);
            let mut waiter = waiting(lab, "", wait, "");
            waiter.signal(libc::SIGSTOP);
            wait_until("it stops", || stopped(waiter.pid()));
            waiter.signal(libc::SIGCONT);
            wait_until("it goes on", || !stopped(waiter.pid()));
            gets_it(&mut waiter, holder);
        }
    });
}

#[test]
fn a_trap_may_wait_for_locks_itself() {
    in_every_bash(|lab| {
        let (holder, other) = (hold(lab), lab.hold(&[], "other"));
        let before = "exec 9>other
            trap 'echo in; flock -n 8; echo $?; flock -w 0.01 8; echo $?; flock 9; echo $?; flock -u 9' USR1
            trap 'echo deep' USR2";
        let mut waiter = waiting(lab, before, "flock 8", "");
        waiter.signal(libc::SIGUSR1);
        for line in ["in", "1", "1"] {
            waiter.hears(line);
        }
        wait_until("the trap waits", || waiters(lab.file("other")) == 1);
        waiter.signal(libc::SIGUSR2);
        waiter.hears("deep");
        other.let_go();
        waiter.hears("0");
        queues(lab, 1);
        gets_it(&mut waiter, holder);
    });
}

#[test]
fn a_trap_that_waits_is_interrupted_by_its_own_signal() {
    in_every_bash(|lab| {
        let holder = hold(lab);
        let before = "trap 'echo in; flock 8; echo $?' USR1; trap 'echo other' USR2";
        let mut waiter = lab.start_builtin(format!("exec 8>l; {before}; kill -USR1 $$; :"));
        for signal in [libc::SIGUSR1, libc::SIGUSR1, libc::SIGUSR2] {
            waiter.hears("in");
            queues(lab, 1);
            waiter.signal(signal);
        }
        waiter.hears("other");
        holder.let_go();
        for _ in 0..3 {
            waiter.hears("0");
        }
        assert_eq!(waiter.end(), End::Exited(0));
    });
}

#[test]
fn a_signal_that_bash_leaves_alone_keeps_nobody_busy() {
    in_every_bash(|lab| {
        let holder = hold(lab);
        // bash leaves a SIGWINCH alone while its own trap runs.
        let before = "trap 'echo in; flock 8; echo $?; trap - WINCH' WINCH";
        let mut waiter = lab.start_builtin(format!("exec 8>l; {before}; kill -WINCH $$; :"));
        waiter.hears("in");
        queues(lab, 1);
        waiter.signal(libc::SIGWINCH);
        falls_asleep(waiter.pid());
        queues(lab, 1);
        holder.let_go();
        waiter.comes_to("0\n");
    });
}

/// Waits until it sleeps for a while. Somebody who polls, or whose timer ticks, never does.
fn falls_asleep(pid: i32) {
    let mut before = String::new();
    wait_until("it sleeps", || {
        std::thread::sleep(std::time::Duration::from_millis(15));
        let now = naps(pid);
        std::mem::replace(&mut before, now.clone()) == now
    });
}

#[test]
fn a_wait_is_no_polling() {
    in_every_bash(|lab| {
        for wait in WAITS {
            let holder = holder_for(lab, wait);
            let mut waiter = waiting(lab, "trap 'echo trapped' USR1", wait, "");
            falls_asleep(waiter.pid());
            waiter.signal(libc::SIGUSR1);
            waiter.hears("trapped");
            queues(lab, 1);
            falls_asleep(waiter.pid());
            gets_it(&mut waiter, holder);
        }
    });
}

#[test]
fn a_timeout_ends_the_wait() {
    in_every_bash(|lab| {
        let holder = hold(lab);
        lab.builtin(
            "exec 8>l; f() { echo never; }
             for t in 0 0.000001 0.001 20ms; do flock -w $t 8; echo $?; flock -E 9 -w $t l f; echo $?; done",
        )
        .expect_err("")
        .expect_out(&"1\n9\n".repeat(4));
        holder.let_go();
    });
}

#[test]
fn signals_do_not_prolong_a_timeout() {
    in_every_bash(|lab| {
        for wait in ["flock -w 0.3 8", "flock -w 0.3 l got"] {
            let holder = hold(lab);
            let mut waiter = waiting(lab, "trap 'n=$((n + 1))' USR1", wait, "[ $n -gt 5 ]");
            let pid = waiter.pid();
            std::thread::scope(|scope| {
                // It stays a zombie until it is dropped here.
                let ended = scope.spawn(|| waiter.end());
                while !ended.is_finished() {
                    send(pid, libc::SIGUSR1);
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                assert_eq!(ended.join().expect("it ends"), End::Exited(0), "{wait}");
            });
            waiter.hears("over 1");
            holder.let_go();
        }
    });
}

#[test]
fn the_shells_own_timers_and_waits_are_left_alone() {
    in_every_bash(|lab| {
        let holder = hold(lab);
        lab.builtin(
            "mkfifo never; exec 8>l 7<>never; trap 'echo alarm' ALRM; mkfifo end
             (read x <end; exit 7) & child=$!
             flock -w 0.01 8; echo $?
             read -t 0.01 x <&7; echo $(($? > 128)); (TMOUT=1; read x <&7; echo $(($? > 128)))
             echo >end; wait $child; echo $?
             (flock -w 0.01 8; echo sub $?) & wait $!; x=$(flock -w 0.01 8; echo $?); echo $x
             (kill -ALRM $$); flock -w 0.01 8; echo $?; sleep 0.01; echo $?",
        )
        .expect_err("")
        .expect_out("1\n1\n1\n7\nsub 1\n1\nalarm\n1\n0\n");
        holder.let_go();
    });
}

#[test]
fn a_subshell_in_the_background_waits_for_itself() {
    in_every_bash(|lab| {
        let holder = hold(lab);
        let script = "(flock 8; echo sub $?) & (exec 9>l 8>&-; flock 9; echo other $?) & echo on; exec 8>&-; wait; echo all";
        let mut shell = lab.start_builtin(format!("exec 8>l; {script}"));
        shell.hears("on");
        queues(lab, 2);
        holder.let_go();
        let mut said = [shell.line(), shell.line()];
        said.sort();
        assert_eq!(said, ["other 0", "sub 0"]);
        shell.hears("all");
    });
}

/// For scripts: `state` prints what the kernel knows of the shell's signals and timers, with builtins only. The status is read
/// in one piece: how many signals wait for all of the user's processes is in it too, and in between it may take a digit more.
const STATE: &str = r#"state() { local all line; mapfile -t all </proc/$BASHPID/status
    for line in "${all[@]}"; do case $line in Sig[CIB]*) echo "$line";; esac; done
    if [ -e /proc/$BASHPID/timers ]; then while read -r line; do echo "$line"; done </proc/$BASHPID/timers; fi; }"#;

#[test]
fn signals_and_timers_are_as_before_whichever_way_a_wait_has_ended() {
    in_every_bash(|lab| {
        let holder = hold(lab);
        let traps =
            "trap 'echo trapped' USR1; trap return USR2; trap '' TERM; trap : RTMAX-1 CHLD; (:)";
        let before = format!("{STATE}; {traps}; r() {{ flock -w 1000 8; }}; state >before");
        let mut waiter = waiting(
            lab,
            &before,
            "r",
            "state >after; flock -w 0.01 8; state >timeout; flock -w 0.01 l got; state >function
             flock 8; state >lock; for file in after timeout function lock; do cmp before $file; echo $?; done
             grep -c Sig before",
        );
        for _ in 0..5 {
            waiter.signal(libc::SIGUSR1);
            waiter.hears("trapped");
            queues(lab, 1);
        }
        waiter.signal(libc::SIGUSR2);
        waiter.comes_to("over ");
        waiter.line();
        wait_until("it waits for the lock", || lab.file("function").exists());
        queues(lab, 1);
        holder.let_go();
        for line in ["0", "0", "0", "0", "3"] {
            waiter.hears(line);
        }
    });
}

#[test]
fn the_timers_signal_stays_blocked_for_whoever_blocks_it() {
    in_every_bash(|lab| {
        let holder = hold(lab);
        let mut shell = lab.with_builtin(
            "exec 8>l; probe world one; flock -w 0.01 8; echo $?; probe world two
             grep SigBlk one; grep Sig one >s1; grep Sig two >s2; cmp s1 s2; echo $?",
        );
        shell.blocking(signal_set([64]));
        lab.finish(shell)
            .expect_out("1\nSigBlk 8000000000000000\n0\n");
        holder.let_go();
    });
}

#[test]
fn what_is_started_after_a_wait_has_the_signals_of_before() {
    in_every_bash(|lab| {
        let holder = hold(lab);
        lab.builtin(
            "exec 8>l; trap : USR1; probe world one; flock -w 0.01 8; probe world two
             grep Sig one >s1; grep Sig two >s2; cmp s1 s2; echo $?",
        )
        .expect_out("0\n");
        holder.let_go();
    });
}
