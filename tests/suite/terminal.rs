//! Section 4 at a terminal: the keys that interrupt, quit and stop, and a shell's job control.

use rustix::termios::{Winsize, tcsetwinsize};

use test_support::helper::HEARD_ALL;
use test_support::locks::{runs, status_field, stopped, waiters};
use test_support::pre_exec::{Inherit, signal_set};
use test_support::process::{End, Live, send};
use test_support::{Lab, departure, wait_until};

const CTRL_C: &str = "\x03";
const CTRL_BACKSLASH: &str = "\x1c";
const CTRL_Z: &str = "\x1a";

const DIES: &str = "the reference dies of the key, whatever its command makes of it";
const STOPS: &str = "the reference waits on for a command that is stopped";

/// Presses a key at a `flock` whose command hears everything, many times, and asserts that it hears each once.
fn heard_once_each(lab: &Lab, words: &[&str], signal: i32, press: impl Fn(&mut Live)) {
    let rounds = 25;
    let count = (2 * rounds).to_string();
    let mut words = [words, &["hear", &count]].concat();
    words.splice(0..0, ["flock", "l"]);
    let mut flock = lab.at_terminal(lab.leader(&words));
    flock.comes_to("ready");
    flock.line();
    for round in 0..rounds {
        press(&mut flock);
        let heard = flock.line();
        assert!(heard.starts_with(&format!("heard {signal} ")), "{heard}");
        // The last number of all comes after a second one that is still on its way.
        flock.signal(64);
        let heard = flock.line();
        assert!(heard.starts_with("heard 64 "), "{round}: {heard}");
    }
    assert_eq!(flock.end(), End::Exited(HEARD_ALL));
}

#[test]
fn an_interrupt_reaches_the_command_exactly_once() {
    departure(DIES, |lab| {
        heard_once_each(lab, &["probe"], libc::SIGINT, |flock| flock.types(CTRL_C));
        heard_once_each(lab, &["probe"], libc::SIGQUIT, |flock| {
            flock.types(CTRL_BACKSLASH)
        });
    });
}

#[test]
fn an_interrupt_reaches_a_command_below_two_locks_exactly_once() {
    departure(DIES, |lab| {
        let nested = ["flock", "k", "probe"];
        heard_once_each(lab, &nested, libc::SIGINT, |flock| flock.types(CTRL_C));
    });
}

#[test]
fn an_interrupt_reaches_a_command_in_another_session_exactly_once() {
    departure(DIES, |lab| {
        let alone = ["probe", "alone"];
        heard_once_each(lab, &alone, libc::SIGINT, |flock| flock.types(CTRL_C));
    });
}

#[test]
fn a_change_of_the_windows_size_reaches_the_command_exactly_once() {
    departure(
        "the reference dies of the signal that closes each round",
        |lab| {
            let rows = std::cell::Cell::new(10);
            heard_once_each(lab, &["probe"], libc::SIGWINCH, |flock| {
                rows.set(rows.get() + 1);
                let size = Winsize {
                    ws_row: rows.get(),
                    ws_col: 80,
                    ws_xpixel: 0,
                    ws_ypixel: 0,
                };
                tcsetwinsize(flock.voice(), size).expect("a size");
            });
        },
    );
}

#[test]
fn an_interrupt_ends_a_loop_around_flock() {
    let lab = Lab::new();
    let script = "while :; do flock l sh -c 'echo turn; read x'; done";
    let mut bash = lab.at_terminal(lab.leader(&["bash", "-c", script]));
    bash.hears("turn");
    bash.say("again");
    bash.hears("turn");
    bash.types(CTRL_C);
    // Bash goes down with it only when the child that it waited for did so itself.
    assert_eq!(bash.end(), End::Killed(libc::SIGINT));
}

#[test]
fn a_quit_ends_flock_and_its_command() {
    let lab = Lab::new();
    let script = "ulimit -c 0; echo ready; read x";
    let mut flock = lab.at_terminal(lab.leader(&["flock", "l", "sh", "-c", script]));
    flock.hears("ready");
    flock.types(CTRL_BACKSLASH);
    assert_eq!(flock.end(), End::Killed(libc::SIGQUIT));
}

#[test]
fn an_interrupt_ends_a_loop_around_a_flock_that_waits() {
    for how in ["-x", "-w1000"] {
        let lab = Lab::new();
        let _holder = lab.hold(&[], "l");
        let script = format!("while :; do flock {how} l echo never; done");
        let mut bash = lab.at_terminal(lab.leader(&["bash", "-c", &script]));
        wait_until("it waits", || waiters(lab.file("l")) == 1);
        bash.types(CTRL_C);
        assert_eq!(bash.end(), End::Killed(libc::SIGINT));
    }
}

#[test]
fn an_interrupt_that_the_command_handles_ends_no_loop() {
    departure(DIES, |lab| {
        let command = "trap \"echo caught; exit 5\" INT; echo turn; while :; do read x; done";
        let script = format!("while :; do flock l bash -c '{command}'; echo status $?; done");
        let mut bash = lab.at_terminal(lab.leader(&["bash", "-c", &script]));
        for _ in 0..3 {
            bash.hears("turn");
            bash.types(CTRL_C);
            bash.hears("caught");
            bash.hears("status 5");
        }
    });
}

#[test]
fn a_hangup_reaches_the_command_of_a_flock_that_leads_the_session() {
    let lab = Lab::new();
    let mut flock = lab.half_at_terminal(lab.leader(&["flock", "l", "probe", "hear", "1"]));
    flock.comes_to("ready");
    flock.line();
    flock.hush();
    // The reference is gone by then.
    let heard = flock.until("heard 1 ");
    assert!(heard.is_ok() || lab.is_reference(), "{heard:?}");
}

#[test]
fn a_hangup_ends_a_flock_and_its_command() {
    let lab = Lab::new();
    // Not from the terminal, whose end it would notice by itself.
    let script = "mkfifo never; echo ready; read x <never";
    let mut flock = lab.half_at_terminal(lab.leader(&["flock", "l", "sh", "-c", script]));
    flock.comes_to("ready");
    flock.hush();
    assert_eq!(flock.end(), End::Killed(libc::SIGHUP));
    wait_until("the command goes too", || {
        test_support::locks::locks_on(lab.file("l")).is_empty()
    });
}

#[test]
fn an_interrupt_that_came_before_there_was_a_command_reaches_it() {
    departure("what is pending is not handed on by fork", |lab| {
        let holder = lab.hold(&[], "l");
        let mut words = lab.leader(&["flock", "l", "probe", "hear", "1"]);
        words.blocking(signal_set([libc::SIGINT]));
        let mut flock = lab.at_terminal(words);
        wait_until("it waits", || waiters(lab.file("l")) == 1);
        flock.types(CTRL_C);
        let pending = || status_field(flock.pid(), "ShdPnd") == "0000000000000002";
        wait_until("the interrupt is pending", pending);
        holder.let_go();
        flock.comes_to("ready");
        flock.comes_to("heard 2 ");
    });
}

#[test]
fn a_hangup_ends_a_flock_that_leads_the_session_though_its_command_is_stopped() {
    let lab = Lab::new();
    let script = "mkfifo never; echo ready $$; read x <never";
    let mut flock = lab.half_at_terminal(lab.leader(&["flock", "l", "sh", "-c", script]));
    flock.comes_to("ready ");
    let command = flock.line().parse().expect("a pid");
    assert!(send(command, libc::SIGSTOP));
    wait_until("the command stops", || stopped(command));
    // The kernel sends a SIGHUP, which waits behind the stop, and a SIGCONT.
    flock.hush();
    assert_eq!(flock.end(), End::Killed(libc::SIGHUP));
    wait_until("the command goes too", || {
        test_support::locks::locks_on(lab.file("l")).is_empty()
    });
}

/// Starts a job in an interactive bash whose command says `ready PID` first.
#[track_caller]
fn job(lab: &Lab, line: &str) -> (Live, i32) {
    let mut bash = lab.bash_at_terminal();
    bash.say(line);
    bash.comes_to("ready ");
    let command = bash.line().parse().expect("a pid");
    (bash, command)
}

/// Waits until bash says that the job is stopped, and its command is.
#[track_caller]
fn sees_it_stopped(bash: &mut Live, command: i32) {
    bash.comes_to("Stopped");
    bash.line();
    // Bash has it from `flock`. A command that is still about to stop would snatch what is typed now.
    wait_until("the command stops", || stopped(command));
}

/// Has bash continue the job, in the foreground or not, and waits until its command is.
#[track_caller]
fn continues(bash: &mut Live, how: &str, command: i32) {
    bash.say(&format!("{how}; echo status $?"));
    wait_until("the command goes on", || !stopped(command));
}

/// The ways to call `flock` that are one to a shell.
const FLOCKS: [&str; 4] = ["flock l", "flock k flock l", "flock -o l", "flock -w1000 l"];

#[test]
fn a_stop_at_the_terminal_stops_both_and_fg_continues_both() {
    let lab = Lab::new();
    for flock in FLOCKS.iter().chain(&["flock -F l"]) {
        let script = "echo ready $$; read x; echo got $x; exit 7";
        let (mut bash, command) = job(&lab, &format!("{flock} sh -c '{script}'"));
        for _ in 0..5 {
            bash.types(CTRL_Z);
            sees_it_stopped(&mut bash, command);
            continues(&mut bash, "fg", command);
        }
        bash.say("this");
        bash.comes_to("got this\n");
        bash.hears("status 7");
        bash.say("exit 3");
        assert_eq!(bash.end(), End::Exited(3));
    }
}

#[test]
fn a_command_that_is_brought_to_the_foreground_hears_of_it_once() {
    let lab = Lab::new();
    let script =
        "trap \"echo continued\" CONT; echo ready $$; while :; do read x && echo got $x; done";
    let (mut bash, command) = job(&lab, &format!("flock l bash -c '{script}'"));
    for _ in 0..10 {
        // bash does not hear what comes just before its read(2), until that has something to read.
        wait_until("it reads", || {
            status_field(command, "State").starts_with('S')
        });
        bash.types(CTRL_Z);
        sees_it_stopped(&mut bash, command);
        continues(&mut bash, "fg", command);
        bash.comes_to("continued\n");
        for word in ["this", "that"] {
            bash.say(word);
            bash.hears(&format!("got {word}"));
        }
    }
}

#[test]
fn a_job_that_was_stopped_at_the_terminal_ends_in_the_background() {
    let lab = Lab::new();
    for flock in FLOCKS {
        lab.sh("rm -f end; mkfifo end");
        let script = "echo ready $$; read x <end; echo got $x; exit 7";
        let (mut bash, command) = job(&lab, &format!("{flock} sh -c '{script}'"));
        bash.types(CTRL_Z);
        sees_it_stopped(&mut bash, command);
        continues(&mut bash, "bg", command);
        bash.comes_to("status 0\n");
        bash.say("echo this >end; wait %1; echo status $?");
        bash.comes_to("got this\n");
        bash.comes_to("status 7\n");
    }
}

#[test]
fn a_command_that_stops_itself_gives_the_terminal_back() {
    departure(STOPS, |lab| {
        for flock in FLOCKS {
            for stop in ["STOP", "TSTP"] {
                let script = format!("echo ready $$; kill -{stop} $$; echo on; exit 7");
                let (mut bash, command) = job(lab, &format!("{flock} sh -c '{script}'"));
                sees_it_stopped(&mut bash, command);
                continues(&mut bash, "fg", command);
                bash.comes_to("on\n");
                bash.comes_to("status 7\n");
            }
        }
    });
}

#[test]
fn a_background_command_that_wants_the_terminal_stops_until_it_has_it() {
    let lab = Lab::new();
    for flock in FLOCKS {
        let script = "echo ready $$; read x; echo got $x; exit 7";
        let (mut bash, command) = job(&lab, &format!("{flock} sh -c '{script}' &"));
        wait_until("the command stops", || stopped(command));
        bash.say("until jobs | grep Stopped; do :; done");
        sees_it_stopped(&mut bash, command);
        continues(&mut bash, "fg", command);
        bash.say("this");
        bash.comes_to("got this\n");
        bash.comes_to("status 7\n");
    }
}

#[test]
fn a_stopped_job_that_is_killed_is_gone_with_its_command() {
    departure(STOPS, |lab| {
        let script = "echo ready $$; kill -STOP $$; read x";
        let (mut bash, command) = job(lab, &format!("flock l sh -c '{script}'"));
        sees_it_stopped(&mut bash, command);
        // Bash's `wait` would still take it for stopped.
        bash.say("kill %1; while jobs | grep -q Stopped; do :; done; jobs");
        bash.comes_to("Terminated");
        wait_until("the command is gone", || !runs(command));
    });
}

#[test]
fn a_command_may_be_a_shell_with_jobs_of_its_own() {
    let lab = Lab::new();
    let mut bash = lab.bash_at_terminal();
    bash.say("flock l bash --norc --noprofile --noediting -i; echo status $?");
    bash.say("echo inner $((6 * 7))");
    bash.comes_to("inner 42\n");
    bash.say("sh -c 'echo ready $$; read x; echo got $x; read x'");
    bash.comes_to("ready ");
    let command = bash.line().parse().expect("a pid");
    bash.types(CTRL_Z);
    sees_it_stopped(&mut bash, command);
    continues(&mut bash, "fg", command);
    bash.say("this");
    bash.comes_to("got this\n");
    bash.types(CTRL_C);
    wait_until("the command is gone", || !runs(command));
    bash.say("exit 5");
    bash.comes_to("status 5\n");
}

#[test]
fn a_shell_that_suspends_itself_under_flock_has_the_terminal_again_after_fg() {
    departure(STOPS, |lab| {
        let mut bash = lab.bash_at_terminal();
        bash.say("flock l bash --norc --noprofile --noediting -i; echo status $?");
        bash.say("echo inner $$");
        bash.comes_to("inner ");
        let inner = bash.line().parse().expect("a pid");
        bash.say("suspend");
        sees_it_stopped(&mut bash, inner);
        continues(&mut bash, "fg", inner);
        bash.say("echo inner $((6 * 7)); exit 5");
        bash.comes_to("inner 42\n");
        bash.comes_to("status 5\n");
    });
}
