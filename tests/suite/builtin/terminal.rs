//! The builtin at a terminal: Ctrl-C and Ctrl-Z, in an interactive shell and in a script.

use rstest::rstest;

use crate::queue::assert_clean;
use test_support::builtin::{LIBRARY, for_each_bash};
use test_support::locks::{assert_unlocked, tickets, waiter_count};
use test_support::process::{ExitReason, Process};
use test_support::procfs::{is_sentinel, is_stopped};
use test_support::{TestEnv, wait_until};

const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";

#[track_caller]
fn wait_blocked(env: &TestEnv) {
    wait_until("it waits", || waiter_count(env.file("l")) == 1);
}

/// Starts an interactive bash, and returns when it waits for a lock in this command.
#[track_caller]
fn start_interactive_waiter(env: &TestEnv, command: &str) -> Process {
    let mut bash = env.start_builtin_at_terminal();
    bash.send_line("exec 8<>l; f() { echo got; }");
    bash.send_line(command);
    wait_blocked(env);
    bash
}

/// Asserts that an interactive bash is at its prompt, with this `$?`.
#[track_caller]
pub(super) fn assert_last_status(bash: &mut Process, status: i32) {
    bash.send_line("echo status $?");
    bash.expect(&format!("status {status}\n"));
}

/// Types Ctrl-Z, and waits until bash reports that the job is stopped.
#[track_caller]
pub(super) fn stop_job(bash: &mut Process) {
    bash.send(CTRL_Z);
    bash.expect("Stopped");
    bash.read_line();
}

#[rstest]
fn interrupt_ends_the_wait_but_not_the_shell(
    #[values(
        "flock 8",
        "flock -w 1000 8",
        "flock -o 8",
        "flock l f",
        "flock -w 1000 l f",
        "flock l echo got",
        "flock --fair 8",
        "flock --fair -w 1000 l f"
    )]
    command: &str,
) {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        let mut bash = start_interactive_waiter(env, command);
        for round in 1..=3 {
            let tickets_before = tickets(env.file("l"));
            bash.send(CTRL_C);
            assert_last_status(&mut bash, 130);
            wait_until("no process waits", || {
                waiter_count(env.file("l")) == 0 && tickets(env.file("l")).is_empty()
            });
            for ticket in tickets_before {
                wait_until("the sentinel exits", || !is_sentinel(ticket.sentinel));
            }
            if round < 3 {
                bash.send_line(command);
                wait_blocked(env);
            }
        }
        bash.send_line("read c </proc/$$/task/$$/children || echo no child $c; exit 3");
        bash.expect("no child\n");
        assert_eq!(bash.wait(), ExitReason::Exited(3));
        holder.release();
        assert_clean(env, &[]);
    });
}

#[test]
fn stopped_wait_can_be_continued_with_fg_or_bg() {
    for_each_bash(|env| {
        for command in ["flock 8", "flock -w 1000 8"] {
            for how in ["fg", "bg; wait"] {
                let holder = env.hold(&[], "l");
                let mut bash = start_interactive_waiter(env, command);
                stop_job(&mut bash);
                assert_last_status(&mut bash, 128 + libc::SIGTSTP);
                bash.send_line(how);
                wait_blocked(env);
                holder.release();
                assert_last_status(&mut bash, 0);
                // The shell holds the lock.
                bash.send_line("bin/flock -n l true; echo held $?; flock -u 8; bin/flock -n l true; echo free $?; exit 4");
                bash.expect("held 1\n");
                bash.expect("free 0\n");
                assert_eq!(bash.wait(), ExitReason::Exited(4), "{command} {how}");
            }
        }
    });
}

#[test]
fn timeout_ends_the_wait_of_an_interactive_shell() {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        let mut bash = env.start_builtin_at_terminal();
        bash.send_line("exec 8>l; f() { echo got; }; flock -w 0.01 -E 42 8; echo status $?; flock -w 0.01 -E 43 l f; echo status $?");
        bash.expect_line("status 42");
        bash.expect_line("status 43");
        holder.release();
    });
}

#[test]
fn wait_for_a_functions_lock_cannot_be_stopped() {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        // Without noflsh, a key that is processed late discards the output of the meantime.
        let command = "stty noflsh; trap 'echo caught' INT; flock l f";
        let mut bash = start_interactive_waiter(env, command);
        bash.send(CTRL_Z);
        // The keys are processed one after the other.
        bash.send(CTRL_C);
        bash.expect("caught\n");
        wait_blocked(env);
        holder.release();
        bash.expect("got\n");
        assert_last_status(&mut bash, 0);
    });
}

#[test]
fn job_stopped_in_a_function_keeps_the_lock() {
    for_each_bash(|env| {
        let mut bash = env.start_builtin_at_terminal();
        bash.send_line("g() { sh -c 'echo in; read x; echo $x'; }; flock l g");
        bash.expect("in\n");
        stop_job(&mut bash);
        bash.send_line("bin/flock -n l true; echo held $?");
        bash.expect("held 1\n");
        bash.send_line("fg");
        bash.expect("read x; echo");
        bash.read_line();
        bash.send_line("on");
        bash.expect("on\n");
        bash.send_line("bin/flock -n l true; echo free $?");
        bash.expect("free 0\n");
    });
}

#[test]
fn interrupt_in_a_function_releases_its_lock() {
    for_each_bash(|env| {
        let mut bash = env.start_builtin_at_terminal();
        bash.send_line(
            "g() { sleep 1000 & sh -c 'echo in; exec sleep 1000'; echo no; }; f() { echo got; }",
        );
        for _ in 0..3 {
            bash.send_line("flock l g");
            bash.expect("in\n");
            env.run(["-n", "l", "true"]).assert_status(1);
            bash.send(CTRL_C);
            assert_last_status(&mut bash, 130);
            // Although the first sleep has inherited the descriptor.
            assert_unlocked(env.file("l"));
        }
        bash.send_line("flock l f; kill $(jobs -p); exit 5");
        bash.expect("got\n");
        assert_eq!(bash.wait(), ExitReason::Exited(5));
    });
}

#[test]
fn error_in_a_function_releases_its_lock() {
    for_each_bash(|env| {
        let mut bash = env.start_builtin_at_terminal();
        for error in [
            "echo ${nothing:?}",
            "set -u; echo $nothing",
            "readonly r=1; r=2",
            "eval 'r=3'",
            ". ./nothing",
            "return 1",
            "h() { h; }; FUNCNEST=9; h",
        ] {
            bash.send_line(&format!("g() {{ sleep 1000 & {error}; }}"));
            bash.send_line("flock l g");
            bash.send_line("set +u; unset FUNCNEST; bin/flock -n l true; echo free $?");
            bash.expect("free 0\n");
        }
        bash.send_line("kill $(jobs -p); exit 6");
        assert_eq!(bash.wait(), ExitReason::Exited(6));
    });
}

/// Starts a script as the only process at a terminal.
#[track_caller]
fn start_script(env: &TestEnv, script: &str) -> Process {
    let script =
        format!("enable -f {LIBRARY} flock || exit; exec 8>l; f() {{ echo got; }}; {script}");
    env.start_at_terminal(env.session_leader(&["bash", "-c", &script]))
}

#[rstest]
fn interrupt_ends_a_waiting_script(
    #[values("flock 8", "flock -w 1000 8", "flock l f", "flock l echo got")] wait: &str,
) {
    for_each_bash(|env| {
        let _holder = env.hold(&[], "l");
        let mut bash = start_script(env, &format!("while :; do {wait}; echo no; done"));
        wait_blocked(env);
        bash.send(CTRL_C);
        assert_eq!(bash.wait(), ExitReason::Signaled(libc::SIGINT));
    });
}

#[test]
fn trapped_interrupt_does_not_end_the_wait() {
    for_each_bash(|env| {
        for wait in ["flock 8", "flock l f"] {
            let holder = env.hold(&[], "l");
            let script = format!("trap 'echo caught' INT; {wait}; echo status $?");
            let mut bash = start_script(env, &script);
            for _ in 0..5 {
                wait_blocked(env);
                bash.send(CTRL_C);
                bash.expect_line("caught");
            }
            holder.release();
            bash.expect("status 0\n");
        }
    });
}

#[test]
fn waiting_script_is_stopped_and_continued() {
    for_each_bash(|env| {
        for wait in ["flock 8", "flock -w 1000 8", "flock l f"] {
            let holder = env.hold(&[], "l");
            std::fs::write(
                env.file("script"),
                format!("enable -f {LIBRARY} flock || exit; echo pid $$; exec 8>l; f() {{ :; }}; {wait}; echo status $?\n"),
            )
            .expect("a script");
            let mut bash = env.start_bash_at_terminal();
            bash.send_line("bash script");
            bash.expect("pid ");
            let pid = bash.read_line().parse().expect("a pid");
            for _ in 0..3 {
                wait_blocked(env);
                stop_job(&mut bash);
                wait_until("it is stopped", || is_stopped(pid));
                bash.send_line("fg");
                wait_until("it is continued", || !is_stopped(pid));
            }
            holder.release();
            bash.expect("status 0\n");
        }
    });
}

#[test]
fn script_with_job_control_waits_in_a_job() {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        let mut bash = start_script(
            env,
            "set -m; flock 8; echo status $?; fg; echo status $?; bin/flock -n l true; echo held $?",
        );
        wait_blocked(env);
        bash.send(CTRL_Z);
        bash.expect("status 148\n");
        wait_blocked(env);
        holder.release();
        bash.expect("status 0\n");
        bash.expect("held 1\n");
    });
}
