//! `--watch`: what is to be seen on a terminal.

use libc::{SIGINT, SIGTERM};
use test_support::locks::locks_on;
use test_support::process::ExitReason;
use test_support::screen::Screen;
use test_support::{TestEnv, wait_until};

const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";

const MESSAGE: &str = "flock: --watch requires a terminal that can move its cursor; without --watch, the table is printed once\n";

/// Starts `flock --who --watch f` in a window of 20 lines, with something above it on the screen.
#[track_caller]
fn watch(env: &TestEnv, columns: u16) -> Screen {
    let script = "printf 'before\\n'; exec flock --who --watch f";
    let mut screen = Screen::start(env, env.session_leader(&["sh", "-c", script]), 20, columns);
    screen.expect("q quits");
    screen
}

#[track_caller]
fn assert_restored(screen: &Screen) {
    assert!(!screen.is_alternate() && !screen.is_cursor_hidden());
    assert!(screen.text().starts_with("before"), "{}", screen.text());
    assert!(screen.echoes());
}

#[test]
fn table_is_refreshed_in_place() {
    let env = TestEnv::without_builtin();
    let holder = env.hold(&["-F"], "f");
    let mut screen = watch(&env, 100);
    screen.expect("echo held; read x; exit 0");
    let text = screen.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "1 holder, 0 waiters; every 2 seconds, q quits");
    assert!(lines[2].starts_with("ROLE    LOCK   MODE"), "{text}");
    assert!(
        lines[3].contains(&format!("  {}  ", holder.pid())),
        "{text}"
    );
    assert!(screen.is_alternate() && screen.is_cursor_hidden() && !screen.echoes());
    let waiter = env.start_flock(["f", "true"]);
    screen.expect("1 holder, 1 waiter;");
    let text = screen.text();
    let line = text.lines().nth(4).expect("a waiter");
    assert!(line.starts_with("waiter"), "{text}");
    assert!(line.contains(&format!("  {}  ", waiter.pid())), "{text}");
    drop(waiter);
    holder.release();
    // Any key refreshes the table at once.
    wait_until("the lock is free", || locks_on(env.file("f")).is_empty());
    screen.process.send(" ");
    screen.expect("0 holders, 0 waiters;");
    assert_eq!(screen.text().trim_end().lines().count(), 1);
}

#[test]
fn q_ends_it() {
    let env = TestEnv::without_builtin();
    env.sh(": >f");
    let mut screen = watch(&env, 80);
    screen.process.send("q");
    screen.draw_rest();
    assert_eq!(screen.process.wait(), ExitReason::Exited(0));
    assert_restored(&screen);
}

#[test]
fn signals_end_it_after_the_terminal_is_restored() {
    for signal in [SIGINT, SIGTERM] {
        let env = TestEnv::without_builtin();
        env.sh(": >f");
        let mut screen = watch(&env, 80);
        match signal {
            SIGINT => screen.process.send(CTRL_C),
            _ => screen.process.signal(signal),
        }
        screen.draw_rest();
        assert_eq!(screen.process.wait(), ExitReason::Signaled(signal));
        assert_restored(&screen);
    }
}

#[test]
fn stopping_restores_the_terminal_until_it_is_continued() {
    let env = TestEnv::without_builtin();
    let _holder = env.hold(&["-F"], "f");
    let mut bash = env.session_leader(&["bash", "--norc", "--noprofile", "--noediting", "-i"]);
    bash.env("PS1", "").env("TERM", "xterm");
    let mut screen = Screen::start(&env, bash, 20, 80);
    screen
        .process
        .send_line("echo before; flock --who --watch f");
    screen.expect("q quits");
    screen.process.send(CTRL_Z);
    screen.expect("Stopped");
    assert!(!screen.is_alternate() && !screen.is_cursor_hidden());
    assert!(screen.text().contains("before"), "{}", screen.text());
    screen.process.send_line("fg");
    screen.expect("q quits");
    assert!(screen.is_alternate());
    screen.process.send("q");
    screen.wait_until("the first screen", |screen| !screen.is_alternate());
    screen.process.send_line("echo status $?; exit");
    screen.expect("status 0");
}

#[test]
fn lines_are_cut_and_the_rest_is_counted() {
    let env = TestEnv::without_builtin();
    let _holders: Vec<_> = (0..8).map(|_| env.hold(&["-F", "-s"], "f")).collect();
    let mut screen = watch(&env, 100);
    screen.expect("8 holders, 0 waiters;");
    screen.resize(6, 30);
    screen.expect("6 more lines");
    let text = screen.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 6, "{text}");
    assert_eq!(lines[0], "8 holders, 0 waiters; every 2");
    assert_eq!(lines[5], "6 more lines");
    screen.resize(20, 100);
    screen.wait_until("all lines", |screen| {
        screen.text().trim().lines().count() == 11
    });
}

#[test]
fn without_a_terminal_it_is_refused() {
    let env = TestEnv::new();
    env.run(["--who", "--watch"]).assert_all(64, "", MESSAGE);
    let mut dumb = env.session_leader(&["flock", "--who", "--watch"]);
    dumb.env("TERM", "dumb");
    let mut dumb = env.start_at_terminal(dumb);
    dumb.expect(MESSAGE);
    assert_eq!(dumb.wait(), ExitReason::Exited(64));
}
