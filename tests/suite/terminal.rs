//! Section 4 at a terminal: the keys that interrupt, quit and stop, and a shell's job control.

use rustix::termios::{Winsize, tcsetwinsize};

use test_support::helper::ALL_SIGNALS_RECEIVED;
use test_support::locks::waiter_count;
use test_support::pre_exec::{CommandPreExecExt, signal_set};
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{is_running, is_stopped, status_field};
use test_support::{TestEnv, differs_from_util_linux, wait_until};

const CTRL_C: &str = "\x03";
const CTRL_BACKSLASH: &str = "\x1c";
const CTRL_Z: &str = "\x1a";

const DIES: &str = "the reference dies of the key, whatever its command makes of it";
const STOPS: &str = "the reference waits on for a command that is stopped";

/// Presses a key at a `flock` whose command hears everything, many times, and asserts that it hears each once.
fn assert_received_once(env: &TestEnv, words: &[&str], signal: i32, press: impl Fn(&mut Process)) {
    let rounds = 25;
    let count = (2 * rounds).to_string();
    let mut words = [words, &["catch-signals", &count]].concat();
    words.splice(0..0, ["flock", "l"]);
    let mut flock = env.start_at_terminal(env.session_leader(&words));
    flock.expect("ready");
    flock.read_line();
    for round in 0..rounds {
        press(&mut flock);
        let heard = flock.read_line();
        assert!(heard.starts_with(&format!("received {signal} ")), "{heard}");
        // The last number of all comes after a second one that is still on its way.
        flock.signal(64);
        let heard = flock.read_line();
        assert!(heard.starts_with("received 64 "), "{round}: {heard}");
    }
    assert_eq!(flock.wait(), ExitReason::Exited(ALL_SIGNALS_RECEIVED));
}

#[test]
fn an_interrupt_reaches_the_command_exactly_once() {
    differs_from_util_linux(DIES, |env| {
        assert_received_once(env, &["test-helper"], libc::SIGINT, |flock| {
            flock.send(CTRL_C)
        });
        assert_received_once(env, &["test-helper"], libc::SIGQUIT, |flock| {
            flock.send(CTRL_BACKSLASH)
        });
    });
}

#[test]
fn an_interrupt_reaches_a_command_below_two_locks_exactly_once() {
    differs_from_util_linux(DIES, |env| {
        let nested = ["flock", "k", "test-helper"];
        assert_received_once(env, &nested, libc::SIGINT, |flock| flock.send(CTRL_C));
    });
}

#[test]
fn an_interrupt_reaches_a_command_in_another_session_exactly_once() {
    differs_from_util_linux(DIES, |env| {
        let alone = ["test-helper", "in-new-session"];
        assert_received_once(env, &alone, libc::SIGINT, |flock| flock.send(CTRL_C));
    });
}

#[test]
fn a_change_of_the_windows_size_reaches_the_command_exactly_once() {
    differs_from_util_linux(
        "the reference dies of the signal that closes each round",
        |env| {
            let rows = std::cell::Cell::new(10);
            assert_received_once(env, &["test-helper"], libc::SIGWINCH, |flock| {
                rows.set(rows.get() + 1);
                let size = Winsize {
                    ws_row: rows.get(),
                    ws_col: 80,
                    ws_xpixel: 0,
                    ws_ypixel: 0,
                };
                tcsetwinsize(flock.stdin(), size).expect("a size");
            });
        },
    );
}

#[test]
fn an_interrupt_ends_a_loop_around_flock() {
    let env = TestEnv::new();
    let script = "while :; do flock l sh -c 'echo turn; read x'; done";
    let mut bash = env.start_at_terminal(env.session_leader(&["bash", "-c", script]));
    bash.expect_line("turn");
    bash.send_line("again");
    bash.expect_line("turn");
    bash.send(CTRL_C);
    // Bash goes down with it only when the child that it waited for did so itself.
    assert_eq!(bash.wait(), ExitReason::Signaled(libc::SIGINT));
}

#[test]
fn a_quit_ends_flock_and_its_command() {
    let env = TestEnv::new();
    let script = "ulimit -c 0; echo ready; read x";
    let mut flock = env.start_at_terminal(env.session_leader(&["flock", "l", "sh", "-c", script]));
    flock.expect_line("ready");
    flock.send(CTRL_BACKSLASH);
    assert_eq!(flock.wait(), ExitReason::Signaled(libc::SIGQUIT));
}

#[test]
fn an_interrupt_ends_a_loop_around_a_flock_that_waits() {
    for how in ["-x", "-w1000"] {
        let env = TestEnv::new();
        let _holder = env.hold(&[], "l");
        let script = format!("while :; do flock {how} l echo never; done");
        let mut bash = env.start_at_terminal(env.session_leader(&["bash", "-c", &script]));
        wait_until("it waits", || waiter_count(env.file("l")) == 1);
        bash.send(CTRL_C);
        assert_eq!(bash.wait(), ExitReason::Signaled(libc::SIGINT));
    }
}

#[test]
fn an_interrupt_that_the_command_handles_ends_no_loop() {
    differs_from_util_linux(DIES, |env| {
        let command = "trap \"echo caught; exit 5\" INT; echo turn; while :; do read x; done";
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
fn a_hangup_reaches_the_command_of_a_flock_that_leads_the_session() {
    let env = TestEnv::new();
    let mut flock = env.start_at_terminal_with_piped_output(env.session_leader(&[
        "flock",
        "l",
        "test-helper",
        "catch-signals",
        "1",
    ]));
    flock.expect("ready");
    flock.read_line();
    flock.close_stdin();
    // The reference is gone by then.
    let heard = flock.read_until("received 1 ");
    assert!(heard.is_ok() || env.is_reference(), "{heard:?}");
}

#[test]
fn a_hangup_ends_a_flock_and_its_command() {
    let env = TestEnv::new();
    // Not from the terminal, whose end it would notice by itself.
    let script = "mkfifo never; echo ready; read x <never";
    let mut flock = env.start_at_terminal_with_piped_output(
        env.session_leader(&["flock", "l", "sh", "-c", script]),
    );
    flock.expect("ready");
    flock.close_stdin();
    assert_eq!(flock.wait(), ExitReason::Signaled(libc::SIGHUP));
    wait_until("the command goes too", || {
        test_support::locks::locks_on(env.file("l")).is_empty()
    });
}

#[test]
fn an_interrupt_that_came_before_there_was_a_command_reaches_it() {
    differs_from_util_linux("what is pending is not handed on by fork", |env| {
        let holder = env.hold(&[], "l");
        let mut words = env.session_leader(&["flock", "l", "test-helper", "catch-signals", "1"]);
        words.block_signals(signal_set([libc::SIGINT]));
        let mut flock = env.start_at_terminal(words);
        wait_until("it waits", || waiter_count(env.file("l")) == 1);
        flock.send(CTRL_C);
        let pending = || status_field(flock.pid(), "ShdPnd") == "0000000000000002";
        wait_until("the interrupt is pending", pending);
        holder.release();
        flock.expect("ready");
        flock.expect("received 2 ");
    });
}

#[test]
fn a_hangup_ends_a_flock_that_leads_the_session_though_its_command_is_stopped() {
    let env = TestEnv::new();
    let script = "mkfifo never; echo ready $$; read x <never";
    let mut flock = env.start_at_terminal_with_piped_output(
        env.session_leader(&["flock", "l", "sh", "-c", script]),
    );
    flock.expect("ready ");
    let command = flock.read_line().parse().expect("a pid");
    assert!(send_signal(command, libc::SIGSTOP));
    wait_until("the command stops", || is_stopped(command));
    // The kernel sends a SIGHUP, which waits behind the stop, and a SIGCONT.
    flock.close_stdin();
    assert_eq!(flock.wait(), ExitReason::Signaled(libc::SIGHUP));
    wait_until("the command goes too", || {
        test_support::locks::locks_on(env.file("l")).is_empty()
    });
}

/// Starts a job in an interactive bash whose command says `ready PID` first.
#[track_caller]
fn job(env: &TestEnv, line: &str) -> (Process, i32) {
    let mut bash = env.start_bash_at_terminal();
    bash.send_line(line);
    bash.expect("ready ");
    let command = bash.read_line().parse().expect("a pid");
    (bash, command)
}

/// Waits until bash says that the job is stopped, and its command is.
#[track_caller]
fn assert_sees_stopped(bash: &mut Process, command: i32) {
    bash.expect("Stopped");
    bash.read_line();
    // Bash has it from `flock`. A command that is still about to stop would snatch what is typed now.
    wait_until("the command stops", || is_stopped(command));
}

/// Has bash continue the job, in the foreground or not, and waits until its command is.
#[track_caller]
fn resume(bash: &mut Process, how: &str, command: i32) {
    bash.send_line(&format!("{how}; echo status $?"));
    wait_until("the command goes on", || !is_stopped(command));
}

/// The ways to call `flock` that are one to a shell.
const FLOCKS: [&str; 4] = ["flock l", "flock k flock l", "flock -o l", "flock -w1000 l"];

#[test]
fn a_stop_at_the_terminal_stops_both_and_fg_continues_both() {
    let env = TestEnv::new();
    for flock in FLOCKS.iter().chain(&["flock -F l"]) {
        let script = "echo ready $$; read x; echo got $x; exit 7";
        let (mut bash, command) = job(&env, &format!("{flock} sh -c '{script}'"));
        for _ in 0..5 {
            bash.send(CTRL_Z);
            assert_sees_stopped(&mut bash, command);
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
fn a_command_that_is_brought_to_the_foreground_hears_of_it_once() {
    let env = TestEnv::new();
    let script =
        "trap \"echo continued\" CONT; echo ready $$; while :; do read x && echo got $x; done";
    let (mut bash, command) = job(&env, &format!("flock l bash -c '{script}'"));
    for _ in 0..10 {
        // bash does not hear what comes just before its read(2), until that has something to read.
        wait_until("it reads", || {
            status_field(command, "State").starts_with('S')
        });
        bash.send(CTRL_Z);
        assert_sees_stopped(&mut bash, command);
        resume(&mut bash, "fg", command);
        bash.expect("continued\n");
        for word in ["this", "that"] {
            bash.send_line(word);
            bash.expect_line(&format!("got {word}"));
        }
    }
}

#[test]
fn a_job_that_was_stopped_at_the_terminal_ends_in_the_background() {
    let env = TestEnv::new();
    for flock in FLOCKS {
        env.sh("rm -f end; mkfifo end");
        let script = "echo ready $$; read x <end; echo got $x; exit 7";
        let (mut bash, command) = job(&env, &format!("{flock} sh -c '{script}'"));
        bash.send(CTRL_Z);
        assert_sees_stopped(&mut bash, command);
        resume(&mut bash, "bg", command);
        bash.expect("status 0\n");
        bash.send_line("echo this >end; wait %1; echo status $?");
        bash.expect("got this\n");
        bash.expect("status 7\n");
    }
}

#[test]
fn a_command_that_stops_itself_gives_the_terminal_back() {
    differs_from_util_linux(STOPS, |env| {
        for flock in FLOCKS {
            for stop in ["STOP", "TSTP"] {
                let script = format!("echo ready $$; kill -{stop} $$; echo on; exit 7");
                let (mut bash, command) = job(env, &format!("{flock} sh -c '{script}'"));
                assert_sees_stopped(&mut bash, command);
                resume(&mut bash, "fg", command);
                bash.expect("on\n");
                bash.expect("status 7\n");
            }
        }
    });
}

#[test]
fn a_background_command_that_wants_the_terminal_stops_until_it_has_it() {
    let env = TestEnv::new();
    for flock in FLOCKS {
        let script = "echo ready $$; read x; echo got $x; exit 7";
        let (mut bash, command) = job(&env, &format!("{flock} sh -c '{script}' &"));
        wait_until("the command stops", || is_stopped(command));
        bash.send_line("until jobs | grep Stopped; do :; done");
        assert_sees_stopped(&mut bash, command);
        resume(&mut bash, "fg", command);
        bash.send_line("this");
        bash.expect("got this\n");
        bash.expect("status 7\n");
    }
}

#[test]
fn a_stopped_job_that_is_killed_is_gone_with_its_command() {
    differs_from_util_linux(STOPS, |env| {
        let script = "echo ready $$; kill -STOP $$; read x";
        let (mut bash, command) = job(env, &format!("flock l sh -c '{script}'"));
        assert_sees_stopped(&mut bash, command);
        // Bash's `wait` would still take it for stopped.
        bash.send_line("kill %1; while jobs | grep -q Stopped; do :; done; jobs");
        bash.expect("Terminated");
        wait_until("the command is gone", || !is_running(command));
    });
}

#[test]
fn a_command_may_be_a_shell_with_jobs_of_its_own() {
    let env = TestEnv::new();
    let mut bash = env.start_bash_at_terminal();
    bash.send_line("flock l bash --norc --noprofile --noediting -i; echo status $?");
    bash.send_line("echo inner $((6 * 7))");
    bash.expect("inner 42\n");
    bash.send_line("sh -c 'echo ready $$; read x; echo got $x; read x'");
    bash.expect("ready ");
    let command = bash.read_line().parse().expect("a pid");
    bash.send(CTRL_Z);
    assert_sees_stopped(&mut bash, command);
    resume(&mut bash, "fg", command);
    bash.send_line("this");
    bash.expect("got this\n");
    bash.send(CTRL_C);
    wait_until("the command is gone", || !is_running(command));
    bash.send_line("exit 5");
    bash.expect("status 5\n");
}

#[test]
fn a_shell_that_suspends_itself_under_flock_has_the_terminal_again_after_fg() {
    differs_from_util_linux(STOPS, |env| {
        let mut bash = env.start_bash_at_terminal();
        bash.send_line("flock l bash --norc --noprofile --noediting -i; echo status $?");
        bash.send_line("echo inner $$");
        bash.expect("inner ");
        let inner = bash.read_line().parse().expect("a pid");
        bash.send_line("suspend");
        assert_sees_stopped(&mut bash, inner);
        resume(&mut bash, "fg", inner);
        bash.send_line("echo inner $((6 * 7)); exit 5");
        bash.expect("inner 42\n");
        bash.expect("status 5\n");
    });
}
