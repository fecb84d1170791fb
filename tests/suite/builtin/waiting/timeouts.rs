//! Timeouts of the wait.

use std::time::Duration;

use super::start_waiter;
use crate::queue::{assert_clean, last_ticket};
use test_support::TestEnv;
use test_support::builtin::for_each_bash;
use test_support::locks::tickets;
use test_support::process::{ExitReason, send_signal};

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
