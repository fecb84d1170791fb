//! On a terminal: one line, which is kept current and disappears.

use rstest::rstest;

use super::companion_of;
use test_support::locks::{locks_on, tickets, waiter_count};
use test_support::process::ExitReason;
use test_support::procfs::{is_running, is_stopped};
use test_support::screen::Screen;
use test_support::{TestEnv, wait_until};

const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";

/// Starts a script in a window of 10 lines, after it has printed a first line.
#[track_caller]
fn start(env: &TestEnv, script: &str, columns: u16) -> Screen {
    let script = format!("echo before; {script}");
    let mut command = env.session_leader(&["sh", "-c", &script]);
    command.env("LC_ALL", "C.UTF-8");
    Screen::start(env, command, 10, columns)
}

#[track_caller]
fn line(screen: &Screen, number: usize) -> String {
    screen
        .text()
        .lines()
        .nth(number)
        .unwrap_or_default()
        .to_owned()
}

#[rstest]
#[case::command("flock --progress f echo got")]
#[case::in_place("exec flock --progress -F f echo got")]
#[case::descriptor("exec 8>>f; flock --progress 8; echo got")]
#[case::queue("flock --progress --fair f echo got")]
fn line_disappears_when_the_wait_ends(#[case] script: &str) {
    let env = TestEnv::without_builtin();
    let holder = env.hold(&["-F"], "f");
    let mut screen = start(&env, script, 100);
    screen.expect(&format!(": held by {} sh for ", holder.pid()));
    assert!(
        line(&screen, 1).starts_with("waiting for "),
        "{}",
        screen.text()
    );
    assert!(line(&screen, 1).contains(" · 0:0"), "{}", screen.text());
    holder.release();
    screen.draw_rest();
    assert_eq!(screen.text(), "before\ngot");
    assert_eq!(screen.process.wait(), ExitReason::Exited(0));
}

#[test]
fn line_is_kept_current_until_the_time_is_over() {
    let env = TestEnv::without_builtin();
    let _holder = env.hold(&["-F"], "f");
    let mut screen = start(&env, "flock --progress -w4 f true; echo status $?", 120);
    // Only some of the seconds may be drawn on a busy machine.
    for seconds in [0, 1] {
        screen.wait_until(&format!("at least {seconds} seconds"), |screen| {
            let line = line(screen, 1);
            let clock = line.split(" · 0:0").nth(1);
            let shown = clock.and_then(|clock| clock.split_once(" of 0:04 ["));
            shown.is_some_and(|(elapsed, bar)| {
                let filled = bar.matches('#').count() / 5;
                elapsed.parse() == Ok(filled) && filled >= seconds
            })
        });
        assert_eq!(screen.text().lines().count(), 2, "{}", screen.text());
    }
    screen.draw_rest();
    assert_eq!(screen.text(), "before\nstatus 1");
}

#[rstest]
fn waiters_ahead_are_counted(#[values("-x", "--fair")] order: &str) {
    let env = TestEnv::without_builtin();
    let _holder = env.hold(&["-F"], "f");
    let wait = |count| {
        let waiter = env.start_flock([order, "f", "true"]);
        wait_until("it waits", || match order {
            "--fair" => tickets(env.file("f")).len() == count,
            _ => waiter_count(env.file("f")) == count,
        });
        waiter
    };
    let ahead = [wait(1), wait(2)];
    let mut screen = start(&env, &format!("flock --progress {order} f true"), 120);
    screen.expect(" · 2 ahead of you · 0:");
    drop(ahead);
    screen.wait_until("none is ahead", |screen| !screen.text().contains("ahead"));
    assert!(
        line(&screen, 1).starts_with("waiting for f"),
        "{}",
        screen.text()
    );
}

#[test]
fn line_is_never_wrapped() {
    let env = TestEnv::without_builtin();
    env.sh("mkdir -p a/directory/with/a/long/name");
    let file = "a/directory/with/a/long/name/f";
    let _holder = env.hold(&["-F"], file);
    let mut screen = start(&env, &format!("flock --progress {file} true"), 50);
    screen.expect("waiting for f: held by");
    assert_eq!(screen.text().lines().count(), 2, "{}", screen.text());
    // A line of the old length may just be on its way.
    screen.resize_window(10, 30);
    screen.wait_until("a short line", |screen| {
        let line = line(screen, 1);
        line.starts_with("waiting for f · 0:") && line.chars().count() < 30
    });
    screen.resize(10, 120);
    screen.expect(&format!("waiting for {file}: held by "));
    let is_waiting = || waiter_count(env.file(file)) == 1;
    wait_until("the wait itself is one call", is_waiting);
}

#[test]
fn dumb_terminal_gets_sentences() {
    let env = TestEnv::without_builtin();
    let holder = env.hold(&["-F"], "f");
    let mut command = env.session_leader(&["flock", "--progress", "f", "echo", "got"]);
    command.env("TERM", "dumb");
    let mut waiter = env.start_at_terminal(command);
    let sentence = waiter.read_line();
    let expected = format!("flock: waiting for f: held by {} sh for ", holder.pid());
    assert!(sentence.starts_with(&expected), "{sentence}");
    holder.release();
    waiter.expect_line("got");
}

#[test]
fn nothing_but_the_line_is_controlled() {
    let env = TestEnv::without_builtin();
    let holder = env.hold(&["-F"], "f");
    let mut command = env.session_leader(&["flock", "--progress", "f", "echo", "got"]);
    command.env("TERM", "xterm");
    let mut waiter = env.start_at_terminal(command);
    waiter.expect("waiting for f");
    holder.release();
    let output = waiter.expect("got\n");
    // There are no colours, whether or not NO_COLOR is set.
    assert!(!output.replace("\x1b[K", "").contains('\x1b'), "{output:?}");
    assert!(output.ends_with("\r\x1b[Kgot\n"), "{output:?}");
}

#[test]
fn several_waiters_share_one_line() {
    let env = TestEnv::without_builtin();
    let (f, g) = (env.hold(&["-F"], "f"), env.hold(&["-F"], "g"));
    let script = "flock --progress f echo one & sleep 0; flock --progress g echo two & wait";
    let mut screen = start(&env, script, 100);
    wait_until("both wait", || {
        waiter_count(env.file("f")) == 1 && waiter_count(env.file("g")) == 1
    });
    screen.expect("waiting for ");
    let (first, second, other) = match line(&screen, 1).starts_with("waiting for f") {
        true => (f, g, "waiting for g"),
        false => (g, f, "waiting for f"),
    };
    first.release();
    // The other one takes the line over.
    screen.expect(other);
    second.release();
    screen.draw_rest();
    let text = screen.text();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["before", "one", "two"], "{text}");
}

#[test]
fn stopped_waiter_draws_nothing_until_it_is_continued() {
    let env = TestEnv::without_builtin();
    let holder = env.hold(&["-F"], "f");
    let mut bash = env.session_leader(&["bash", "--norc", "--noprofile", "--noediting", "-i"]);
    bash.env("PS1", "").env("TERM", "xterm");
    let mut screen = Screen::start(&env, bash, 12, 100);
    screen.process.send_line("flock --progress f echo got");
    screen.expect("waiting for f: held by");
    let mut waiter = 0;
    wait_until("it waits", || {
        let mut locks = locks_on(env.file("f")).into_iter();
        waiter = locks
            .find(|lock| lock.is_waiting)
            .map_or(0, |lock| lock.pid as i32);
        waiter != 0
    });
    let companion = companion_of(waiter).expect("it draws");
    screen.process.send(CTRL_Z);
    screen.expect("Stopped");
    assert!(is_stopped(waiter));
    wait_until("the other process is stopped", || is_stopped(companion));
    screen.process.send_line("echo in between; fg");
    screen.expect("in between");
    screen.wait_until("the line again", |screen| {
        let text = screen.text();
        text.lines()
            .last()
            .is_some_and(|line| line.starts_with("waiting for f: held by"))
    });
    holder.release();
    screen.process.send_line("echo status $?; exit");
    screen.expect("status 0");
    let text = screen.text();
    assert!(text.contains("\ngot\n"), "{text}");
}

#[test]
fn background_waiter_leaves_the_terminal_alone() {
    let env = TestEnv::without_builtin();
    let holder = env.hold(&["-F"], "f");
    let mut bash = env.session_leader(&["bash", "--norc", "--noprofile", "--noediting", "-i"]);
    bash.env("PS1", "").env("TERM", "xterm");
    let mut screen = Screen::start(&env, bash, 12, 100);
    screen
        .process
        .send_line("flock --progress f echo got & echo started");
    screen.expect("started");
    let waiting = || waiter_count(env.file("f")) == 1;
    wait_until("it waits", waiting);
    // Moved to the foreground, it shows what it waits for.
    screen.process.send_line("fg");
    screen.expect("waiting for f: held by");
    let text = screen.text();
    assert_eq!(text.matches("waiting for").count(), 1, "{text}");
    holder.release();
    screen.expect("\ngot");
    assert!(!screen.text().contains("waiting for"), "{}", screen.text());
}

#[test]
fn interrupt_ends_the_wait_and_the_display() {
    let env = TestEnv::without_builtin();
    let _holder = env.hold(&["-F"], "f");
    let mut screen = start(&env, "exec flock --progress f true", 100);
    screen.expect("waiting for f");
    let companion = companion_of(screen.process.pid()).expect("it draws");
    screen.process.send(CTRL_C);
    assert_eq!(screen.process.wait(), ExitReason::Signaled(libc::SIGINT));
    wait_until("the other process has exited", || !is_running(companion));
}
