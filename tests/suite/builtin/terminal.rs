//! The builtin at a terminal: Ctrl-C and Ctrl-Z, in an interactive shell and in a script.

use test_support::builtin::{LIBRARY, for_each_bash};
use test_support::locks::{locks_on, waiter_count};
use test_support::process::{ExitReason, Process};
use test_support::procfs::is_stopped;
use test_support::{TestEnv, wait_until};

const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";

fn waits(env: &TestEnv) {
    wait_until("it waits", || waiter_count(env.file("l")) == 1);
}

/// An interactive bash that waits for a lock in this command.
#[track_caller]
fn interactive(env: &TestEnv, command: &str) -> Process {
    let mut bash = env.start_builtin_at_terminal();
    bash.send_line("exec 8>l; f() { echo got; }");
    bash.send_line(command);
    waits(env);
    bash
}

/// Asserts that the shell is alive, and shows this as the last status.
#[track_caller]
fn shows(bash: &mut Process, status: i32) {
    bash.send_line("echo status $?");
    bash.expect(&format!("status {status}\n"));
}

#[test]
fn an_interrupt_ends_the_wait_and_not_the_shell() {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        for command in [
            "flock 8",
            "flock -w 1000 8",
            "flock l f",
            "flock -w 1000 l f",
            "flock l echo got",
        ] {
            let mut bash = interactive(env, command);
            for _ in 0..3 {
                bash.send(CTRL_C);
                shows(&mut bash, 130);
                wait_until("nobody waits", || waiter_count(env.file("l")) == 0);
                bash.send_line(command);
                waits(env);
            }
            bash.send(CTRL_C);
            bash.send_line("exit 3");
            assert_eq!(bash.wait(), ExitReason::Exited(3), "{command}");
        }
        holder.release();
    });
}

#[test]
fn a_wait_that_was_stopped_goes_on_in_the_foreground_or_behind() {
    for_each_bash(|env| {
        for command in ["flock 8", "flock -w 1000 8"] {
            for how in ["fg", "bg; wait"] {
                let holder = env.hold(&[], "l");
                let mut bash = interactive(env, command);
                bash.send(CTRL_Z);
                bash.expect("Stopped");
                bash.read_line();
                shows(&mut bash, 128 + libc::SIGTSTP);
                bash.send_line(how);
                waits(env);
                holder.release();
                shows(&mut bash, 0);
                // The lock is the shell's.
                bash.send_line("bin/flock -n l true; echo held $?; flock -u 8; bin/flock -n l true; echo free $?; exit 4");
                bash.expect("held 1\n");
                bash.expect("free 0\n");
                assert_eq!(bash.wait(), ExitReason::Exited(4), "{command} {how}");
            }
        }
    });
}

#[test]
fn a_timeout_ends_a_wait_in_an_interactive_shell() {
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
fn the_wait_for_a_functions_lock_is_not_stopped() {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        // Without noflsh, a key that is handled late throws away what is said meanwhile.
        let command = "stty noflsh; trap 'echo caught' INT; flock l f";
        let mut bash = interactive(env, command);
        bash.send(CTRL_Z);
        // The keys are handled one after the other.
        bash.send(CTRL_C);
        bash.expect("caught\n");
        waits(env);
        holder.release();
        bash.expect("got\n");
        shows(&mut bash, 0);
    });
}

#[test]
fn what_is_stopped_in_a_function_keeps_the_lock() {
    for_each_bash(|env| {
        let mut bash = env.start_builtin_at_terminal();
        bash.send_line("g() { sh -c 'echo in; read x; echo $x'; }; flock l g");
        bash.expect("in\n");
        bash.send(CTRL_Z);
        bash.expect("Stopped");
        bash.read_line();
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
fn an_interrupt_in_a_function_releases_its_lock() {
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
            shows(&mut bash, 130);
            // What it has left behind has the descriptor.
            assert!(locks_on(env.file("l")).is_empty());
        }
        bash.send_line("flock l f; kill $(jobs -p); exit 5");
        bash.expect("got\n");
        assert_eq!(bash.wait(), ExitReason::Exited(5));
    });
}

#[test]
fn errors_in_a_function_release_its_lock_though_the_shell_goes_on() {
    for_each_bash(|env| {
        let mut bash = env.start_builtin_at_terminal();
        for error in [
            "echo ${nothing:?}",
            "set -u; echo $nothing",
            "readonly r=1; r=2",
            "eval 'r=3'",
            ". ./nothing",
            "return 1",
        ] {
            bash.send_line(&format!("g() {{ sleep 1000 & {error}; }}"));
            bash.send_line("flock l g");
            bash.send_line("set +u; bin/flock -n l true; echo free $?");
            bash.expect("free 0\n");
        }
        bash.send_line("kill $(jobs -p); exit 6");
        assert_eq!(bash.wait(), ExitReason::Exited(6));
    });
}

/// A script at a terminal, alone.
#[track_caller]
fn script(env: &TestEnv, script: &str) -> Process {
    let script =
        format!("enable -f {LIBRARY} flock || exit; exec 8>l; f() {{ echo got; }}; {script}");
    env.start_at_terminal(env.session_leader(&["bash", "-c", &script]))
}

#[test]
fn an_interrupt_ends_a_script_that_waits() {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        for wait in [
            "flock 8",
            "flock -w 1000 8",
            "flock l f",
            "flock l echo got",
        ] {
            let mut bash = script(env, &format!("while :; do {wait}; echo no; done"));
            waits(env);
            bash.send(CTRL_C);
            assert_eq!(bash.wait(), ExitReason::Signaled(libc::SIGINT), "{wait}");
        }
        holder.release();
    });
}

#[test]
fn an_interrupt_that_the_script_handles_does_not_end_its_wait() {
    for_each_bash(|env| {
        for wait in ["flock 8", "flock l f"] {
            let holder = env.hold(&[], "l");
            let mut bash = script(
                env,
                &format!("trap 'echo caught' INT; {wait}; echo status $?"),
            );
            for _ in 0..5 {
                waits(env);
                bash.send(CTRL_C);
                bash.expect_line("caught");
            }
            holder.release();
            bash.expect("status 0\n");
        }
    });
}

#[test]
fn a_script_that_waits_is_stopped_and_continued_whole() {
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
                waits(env);
                bash.send(CTRL_Z);
                bash.expect("Stopped");
                bash.read_line();
                wait_until("it is stopped", || is_stopped(pid));
                bash.send_line("fg");
                wait_until("it goes on", || !is_stopped(pid));
            }
            holder.release();
            bash.expect("status 0\n");
        }
    });
}

#[test]
fn a_script_with_job_control_has_its_wait_in_a_job() {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        let mut bash = script(
            env,
            "set -m; flock 8; echo status $?; fg; echo status $?; bin/flock -n l true; echo held $?",
        );
        waits(env);
        bash.send(CTRL_Z);
        bash.expect("status 148\n");
        waits(env);
        holder.release();
        bash.expect("status 0\n");
        bash.expect("held 1\n");
    });
}
