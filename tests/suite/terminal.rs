//! Signals of a terminal: the keys that interrupt, quit and stop, hangups, and a shell's job
//! control.

use libc::{SIGHUP, SIGINT, SIGQUIT, SIGSTOP, SIGWINCH};
use rstest::rstest;
use rustix::termios::{tcgetwinsize, tcsetwinsize};

use test_support::helper::ALL_SIGNALS_RECEIVED;
use test_support::leftovers::kill_processes_in;
use test_support::locks::{locks_on, waiter_count};
use test_support::pre_exec::{CommandPreExecExt, signal_set};
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{is_running, is_stopped, status_field};
use test_support::{TestEnv, differs_from_util_linux, wait_until};

const CTRL_C: &str = "\x03";
const CTRL_BACKSLASH: &str = "\x1c";
const CTRL_Z: &str = "\x1a";

const DIES: &str = "it dies of the signal, whatever its command does about it";
const STOPS: &str = "it goes on waiting for a command that is stopped";

/// Starts `flock` with a command that catches all signals, has the terminal send a signal many
/// times, and asserts that the command receives each exactly once.
fn assert_received_once(env: &TestEnv, command: &[&str], signal: i32, send: impl Fn(&mut Process)) {
    let rounds = 25;
    let count = (2 * rounds).to_string();
    let args = [&["flock", "l"], command, &["catch-signals", &count]].concat();
    let mut flock = env.start_at_terminal(env.session_leader(&args));
    flock.expect("ready");
    flock.read_line();
    for round in 0..rounds {
        send(&mut flock);
        let line = flock.read_line();
        assert!(line.starts_with(&format!("received {signal} ")), "{line}");
        // The highest signal is received after a second one of those that is pending.
        flock.signal(64);
        let line = flock.read_line();
        assert!(line.starts_with("received 64 "), "{round}: {line}");
    }
    assert_eq!(flock.wait(), ExitReason::Exited(ALL_SIGNALS_RECEIVED));
}

#[rstest]
#[case::interrupt(&["test-helper"], SIGINT, CTRL_C)]
#[case::quit(&["test-helper"], SIGQUIT, CTRL_BACKSLASH)]
#[case::under_two_locks(&["flock", "k", "test-helper"], SIGINT, CTRL_C)]
#[case::in_another_session(&["test-helper", "in-new-session"], SIGINT, CTRL_C)]
fn key_reaches_the_command_once(#[case] command: &[&str], #[case] signal: i32, #[case] key: &str) {
    differs_from_util_linux(DIES, |env| {
        assert_received_once(env, command, signal, |flock| flock.send(key));
    });
}

#[test]
fn window_size_change_reaches_the_command_once() {
    differs_from_util_linux("it dies of the signal that ends each round", |env| {
        assert_received_once(env, &["test-helper"], SIGWINCH, |flock| {
            let mut size = tcgetwinsize(flock.stdin()).expect("a terminal");
            size.ws_row += 1;
            tcsetwinsize(flock.stdin(), size).expect("a size");
        });
    });
}

#[test]
fn interrupt_ends_a_loop_around_flock() {
    let env = TestEnv::new();
    let script = "while :; do flock l sh -c 'echo turn; read x'; done";
    let mut bash = env.start_at_terminal(env.session_leader(&["bash", "-c", script]));
    bash.expect_line("turn");
    bash.send_line("again");
    bash.expect_line("turn");
    bash.send(CTRL_C);
    // Bash dies of it only if the child that it waited for did.
    assert_eq!(bash.wait(), ExitReason::Signaled(SIGINT));
}

#[test]
fn interrupt_ends_a_loop_around_a_waiting_flock() {
    for option in ["-x", "-w1000"] {
        let env = TestEnv::new();
        let _holder = env.hold(&[], "l");
        let script = format!("while :; do flock {option} l echo never; done");
        let mut bash = env.start_at_terminal(env.session_leader(&["bash", "-c", &script]));
        wait_until("flock waits", || waiter_count(env.file("l")) == 1);
        bash.send(CTRL_C);
        assert_eq!(bash.wait(), ExitReason::Signaled(SIGINT));
    }
}

#[test]
fn loop_goes_on_if_the_command_handles_the_interrupt() {
    differs_from_util_linux(DIES, |env| {
        // bash would not notice a signal that comes just before it reads.
        let command = "trap \"echo caught; exit 5\" INT; echo turn; while :; do sleep 0.1; done";
        let script = format!("while :; do flock l bash -c '{command}'; echo status $?; done");
        let mut bash = env.start_at_terminal(env.session_leader(&["bash", "-c", &script]));
        for _ in 0..3 {
            bash.expect_line("turn");
            bash.send(CTRL_C);
            bash.expect_line("caught");
            bash.expect_line("status 5");
        }
    });
}

#[test]
fn interrupt_before_the_command_starts_reaches_it() {
    differs_from_util_linux("fork does not pass on pending signals", |env| {
        let holder = env.hold(&[], "l");
        let mut flock = env.session_leader(&["flock", "l", "test-helper", "catch-signals", "1"]);
        flock.block_signals(signal_set([SIGINT]));
        let mut flock = env.start_at_terminal(flock);
        wait_until("flock waits", || waiter_count(env.file("l")) == 1);
        flock.send(CTRL_C);
        let is_pending = || status_field(flock.pid(), "ShdPnd") == "0000000000000002";
        wait_until("the interrupt is pending", is_pending);
        holder.release();
        flock.expect("ready");
        flock.expect("received 2 ");
    });
}

#[test]
fn quit_kills_flock_and_its_command() {
    let env = TestEnv::new();
    let script = "ulimit -c 0; echo ready; read x";
    let mut flock = env.start_at_terminal(env.session_leader(&["flock", "l", "sh", "-c", script]));
    flock.expect_line("ready");
    flock.send(CTRL_BACKSLASH);
    assert_eq!(flock.wait(), ExitReason::Signaled(SIGQUIT));
}

/// Starts `flock` as the leader of a session, with its output in a pipe, and waits until its
/// command has printed `ready PID`.
#[track_caller]
fn start_session(env: &TestEnv, command: &[&str]) -> (Process, i32) {
    let flock = env.session_leader(&[&["flock", "l"], command].concat());
    let mut flock = env.start_at_terminal_with_piped_output(flock);
    flock.expect("ready ");
    let command = flock.read_line().parse().expect("a pid");
    (flock, command)
}

#[test]
fn hangup_reaches_the_command_of_a_session_leader() {
    let env = TestEnv::new();
    let (mut flock, _) = start_session(&env, &["test-helper", "catch-signals", "1"]);
    flock.close_stdin();
    // util-linux's flock has died by then.
    let received = flock.read_until("received 1 ");
    assert!(received.is_ok() || env.is_reference(), "{received:?}");
}

#[rstest]
#[case::running(false)]
// The kernel also sends a SIGCONT, before which the SIGHUP stays pending.
#[case::stopped(true)]
fn hangup_kills_a_session_leader_and_its_command(#[case] stop: bool) {
    let env = TestEnv::new();
    // It does not read from the terminal, where it would see the end of the input.
    let script = "mkfifo never; echo ready $$; read x <never";
    let (mut flock, command) = start_session(&env, &["sh", "-c", script]);
    if stop {
        assert!(send_signal(command, SIGSTOP));
        wait_until("the command stops", || is_stopped(command));
    }
    flock.close_stdin();
    assert_eq!(flock.wait(), ExitReason::Signaled(SIGHUP));
    wait_until("the lock is released", || {
        locks_on(env.file("l")).is_empty()
    });
}

/// Starts a job in an interactive bash whose command begins with printing `ready PID`.
#[track_caller]
fn start_job(env: &TestEnv, line: &str) -> (Process, i32) {
    let mut bash = env.start_bash_at_terminal();
    bash.send_line(line);
    bash.expect("ready ");
    let command = bash.read_line().parse().expect("a pid");
    (bash, command)
}

/// Waits until bash reports that the job is stopped, and its command is.
#[track_caller]
fn expect_stopped(bash: &mut Process, command: i32) {
    bash.expect("Stopped");
    bash.read_line();
    // Bash only knows about flock. A command that has not stopped yet would read what the test
    // sends next.
    wait_until("the command stops", || is_stopped(command));
}

/// Makes bash continue the job with `fg` or `bg`, and waits until the command is continued.
#[track_caller]
fn resume(bash: &mut Process, how: &str, command: i32) {
    bash.send_line(&format!("{how}; echo status $?"));
    wait_until("the command continues", || !is_stopped(command));
}

/// Calls of `flock` that a shell cannot tell from one another.
const CALLS: [&str; 4] = ["flock l", "flock k flock l", "flock -o l", "flock -w1000 l"];

#[test]
fn stop_key_stops_both_and_fg_continues_both() {
    let env = TestEnv::new();
    for flock in CALLS.iter().chain(&["flock -F l"]) {
        let script = "echo ready $$; read x; echo got $x; exit 7";
        let (mut bash, command) = start_job(&env, &format!("{flock} sh -c '{script}'"));
        for _ in 0..5 {
            bash.send(CTRL_Z);
            expect_stopped(&mut bash, command);
            resume(&mut bash, "fg", command);
        }
        bash.send_line("this");
        bash.expect("got this\n");
        bash.expect_line("status 7");
        bash.send_line("exit 3");
        assert_eq!(bash.wait(), ExitReason::Exited(3));
    }
}

#[test]
fn fg_sends_the_command_a_single_sigcont() {
    let env = TestEnv::new();
    let script =
        "trap \"echo continued\" CONT; echo ready $$; while :; do read x && echo got $x; done";
    let (mut bash, command) = start_job(&env, &format!("flock l bash -c '{script}'"));
    for _ in 0..10 {
        // The command's bash does not run the trap of a signal that arrives just before its
        // read(2) until that returns.
        wait_until("the command reads", || {
            status_field(command, "State").starts_with('S')
        });
        bash.send(CTRL_Z);
        expect_stopped(&mut bash, command);
        resume(&mut bash, "fg", command);
        bash.expect("continued\n");
        for word in ["this", "that"] {
            bash.send_line(word);
            bash.expect_line(&format!("got {word}"));
        }
    }
}

#[test]
fn stopped_job_can_finish_in_the_background() {
    let env = TestEnv::new();
    for flock in CALLS {
        env.sh("rm -f end; mkfifo end");
        let script = "echo ready $$; read x <end; echo got $x; exit 7";
        let (mut bash, command) = start_job(&env, &format!("{flock} sh -c '{script}'"));
        bash.send(CTRL_Z);
        expect_stopped(&mut bash, command);
        resume(&mut bash, "bg", command);
        bash.expect("status 0\n");
        bash.send_line("echo this >end; wait %1; echo status $?");
        bash.expect("got this\n");
        bash.expect("status 7\n");
    }
}

#[test]
fn command_that_stops_itself_gives_back_the_terminal() {
    differs_from_util_linux(STOPS, |env| {
        for flock in CALLS {
            for stop in ["STOP", "TSTP"] {
                let script = format!("echo ready $$; kill -{stop} $$; echo on; exit 7");
                let (mut bash, command) = start_job(env, &format!("{flock} sh -c '{script}'"));
                expect_stopped(&mut bash, command);
                resume(&mut bash, "fg", command);
                bash.expect("on\n");
                bash.expect("status 7\n");
            }
        }
    });
}

#[test]
fn background_job_stops_until_it_gets_the_terminal() {
    let env = TestEnv::new();
    for flock in CALLS {
        let script = "echo ready $$; read x; echo got $x; exit 7";
        let (mut bash, command) = start_job(&env, &format!("{flock} sh -c '{script}' &"));
        wait_until("the command stops", || is_stopped(command));
        bash.send_line("until jobs | grep Stopped; do :; done");
        expect_stopped(&mut bash, command);
        resume(&mut bash, "fg", command);
        bash.send_line("this");
        bash.expect("got this\n");
        bash.expect("status 7\n");
    }
}

#[test]
fn killing_a_stopped_job_kills_its_command() {
    differs_from_util_linux(STOPS, |env| {
        let script = "echo ready $$; kill -STOP $$; read x";
        let (mut bash, command) = start_job(env, &format!("flock l sh -c '{script}'"));
        expect_stopped(&mut bash, command);
        // Bash's `wait` would return at once, because bash still considers the job stopped.
        bash.send_line("kill %1; until jobs | grep Terminated; do :; done");
        bash.expect("Terminated");
        wait_until("the command exits", || !is_running(command));
    });
}

/// Starts an interactive bash with another one as the command of `flock`.
#[track_caller]
fn start_nested_shell(env: &TestEnv) -> Process {
    let mut bash = env.start_bash_at_terminal();
    bash.send_line("flock l bash --norc --noprofile --noediting -i; echo status $?");
    bash
}

#[test]
fn command_may_be_a_shell_with_its_own_jobs() {
    let env = TestEnv::new();
    let mut bash = start_nested_shell(&env);
    bash.send_line("echo inner $((6 * 7))");
    bash.expect("inner 42\n");
    bash.send_line("sh -c 'echo ready $$; read x; echo got $x; read x'");
    bash.expect("ready ");
    let command = bash.read_line().parse().expect("a pid");
    bash.send(CTRL_Z);
    expect_stopped(&mut bash, command);
    resume(&mut bash, "fg", command);
    bash.send_line("this");
    bash.expect("got this\n");
    bash.send(CTRL_C);
    wait_until("the command exits", || !is_running(command));
    bash.send_line("exit 5");
    bash.expect("status 5\n");
}

#[test]
fn suspended_shell_gets_the_terminal_again_after_fg() {
    differs_from_util_linux(STOPS, |env| {
        let mut bash = start_nested_shell(env);
        bash.send_line("echo inner $$");
        bash.expect("inner ");
        let inner = bash.read_line().parse().expect("a pid");
        bash.send_line("suspend");
        expect_stopped(&mut bash, inner);
        resume(&mut bash, "fg", inner);
        bash.send_line("echo inner $((6 * 7)); exit 5");
        bash.expect("inner 42\n");
        bash.expect("status 5\n");
    });
}

/// Of util-linux's program, which does not exit, the test environment kills all processes.
#[test]
fn stopped_jobs_of_a_test_are_killed_after_it() {
    let env = TestEnv::without_builtin();
    let mut bash = env.command("bash");
    bash.args(["-c", "set -m; sh -c 'kill -STOP $$' & echo $!; read x"]);
    let mut bash = env.start(bash);
    let job = bash.read_line().parse().expect("a pid");
    wait_until("the job stops", || is_stopped(job));
    kill_processes_in(env.path());
    assert!(!is_running(job));
}
