//! A waiter that survives a signal keeps its place in the queue.

use std::process::Command;

use super::{
    FAIR, ONE_SLOT, assert_clean, assert_clean_after, assert_order, assert_queue_len,
    assert_served, last_ticket, noting_flock, sentinels, spawn_noting_waiter, spawn_waiter,
    spawn_waiter_command, spawn_waiter_script, spawn_waiting_holder,
};
use libc::{SIGALRM, SIGCHLD, SIGCONT, SIGKILL, SIGSTOP, SIGURG, SIGUSR1, SIGWINCH};
use rstest::rstest;
use test_support::locks::tickets;
use test_support::pre_exec::{CommandPreExecExt, signal_set};
use test_support::process::{ExitReason, send_signal};
use test_support::procfs::{is_sentinel, is_stopped};
use test_support::{TestEnv, wait_until};

fn ignorable() -> impl Iterator<Item = i32> + Clone {
    let all = (1..=31).chain(libc::SIGRTMIN()..=64);
    all.filter(|signal| ![SIGKILL, SIGSTOP].contains(signal))
}

#[rstest]
fn harmless_signals_cost_no_place(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    let holder = env.hold(&[queue], "l");
    let plain = spawn_noting_waiter(env, queue, "plain");
    let mut ignoring = noting_flock(env, queue, "ignoring");
    ignoring.ignore_signals(ignorable());
    let ignoring = spawn_waiter_command(env, ignoring);
    let mut blocking = noting_flock(env, queue, "blocking");
    blocking.ignore_signals([SIGUSR1]).block_signals(u64::MAX);
    let blocking = spawn_waiter_command(env, blocking);
    let last = spawn_noting_waiter(env, queue, "last");
    let before = tickets(env.file("l"));
    for _ in 0..20 {
        for signal in [SIGWINCH, SIGURG, SIGCHLD, SIGCONT] {
            plain.signal(signal);
            last.signal(signal);
        }
        ignorable().for_each(|signal| ignoring.signal(signal));
        blocking.signal(SIGUSR1);
    }
    assert_eq!(tickets(env.file("l")), before);
    holder.release();
    let names = ["plain", "ignoring", "blocking", "last"];
    assert_order(env, [plain, ignoring, blocking, last], &names);
    assert_clean(env, &[]);
}

#[rstest]
fn exit_of_an_inherited_child_does_not_matter(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    let holder = env.hold(&[queue], "l");
    let script =
        format!("mkfifo go; (read x <go; exit 9) & exec flock {queue} l sh -c 'echo done; exit 3'");
    let mut waiter = spawn_waiter_script(env, &script);
    let before = tickets(env.file("l"));
    std::fs::write(env.file("go"), "\n").expect("a FIFO");
    let behind = spawn_waiting_holder(env, &[queue]);
    assert_eq!(tickets(env.file("l"))[..1], before);
    holder.release();
    waiter.expect_line("done");
    assert_eq!(waiter.wait(), ExitReason::Exited(3));
    assert_served(behind);
    assert_clean(env, &[]);
}

#[rstest]
fn caller_that_ignores_sigchld_gets_the_status(
    #[values(FAIR, ONE_SLOT)] queue: &str,
    #[values(&[SIGCHLD], &[])] ignored: &[i32],
) {
    let env = &TestEnv::new();
    let flock = || {
        let mut flock = env.flock([queue, "l", "sh", "-c", "exit 7"]);
        flock.ignore_signals(ignored.iter().copied());
        flock
    };
    env.run_command(flock()).assert_status(7);
    let holder = env.hold(&[queue], "l");
    let first = spawn_waiting_holder(env, &[queue]);
    let mut waiter = spawn_waiter_command(env, flock());
    let sentinel = last_ticket(env).sentinel;
    // The exit of the sentinel is noticed nevertheless.
    assert!(send_signal(sentinel, SIGKILL));
    wait_until("it has been replaced", || {
        let now = sentinels(env);
        now.len() == 2 && now[1] != sentinel
    });
    holder.release();
    assert_served(first);
    assert_eq!(waiter.wait(), ExitReason::Exited(7));
    assert_clean(env, &[sentinel]);
}

#[rstest]
fn thousands_of_signals_do_not_change_the_timeout(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    let holder = env.hold(&[queue], "l");
    let mut first = spawn_waiter(env, [queue, "-w1", "-E42", "l", "true"]);
    let mut second = spawn_waiter(env, [queue, "-w1", "-E43", "l", "true"]);
    let pids = [first.pid(), second.pid()];
    std::thread::scope(|scope| {
        let exits = scope.spawn(|| (first.wait(), second.wait()));
        // The zombies keep their pids until they are dropped.
        while !exits.is_finished() {
            for pid in pids {
                for signal in [SIGSTOP, SIGCONT, SIGWINCH] {
                    send_signal(pid, signal);
                }
            }
        }
        let expected = (ExitReason::Exited(42), ExitReason::Exited(43));
        assert_eq!(exits.join().expect("both exit"), expected);
    });
    assert_queue_len(env, 0);
    assert_clean_after(env, holder);
}

#[rstest]
fn resumed_waiter_replaces_its_dead_sentinel(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    let holder = env.hold(&[queue], "l");
    let waiter = spawn_noting_waiter(env, queue, "first");
    let ticket = last_ticket(env);
    waiter.signal(SIGSTOP);
    waiter.wait_stopped();
    assert!(send_signal(ticket.sentinel, SIGKILL));
    wait_until("it is dead", || !is_sentinel(ticket.sentinel));
    waiter.signal(SIGCONT);
    // A waiter that blocks in flock(2) replaces its sentinel later. For a moment, both tickets of a
    // waiter that replaces it are visible.
    wait_until("it continues", || {
        let tickets = tickets(env.file("l"));
        let is_replaced = tickets.len() == 1 && tickets[0].sentinel != ticket.sentinel;
        !is_stopped(waiter.pid()) && (queue == FAIR || is_replaced)
    });
    assert_eq!(last_ticket(env).arrived, ticket.arrived);
    let behind = spawn_noting_waiter(env, queue, "second");
    holder.release();
    assert_order(env, [waiter, behind], &["first", "second"]);
    assert_clean(env, &[ticket.sentinel]);
}

#[rstest]
fn alarm_of_the_caller_terminates_the_wait(
    #[values(FAIR, ONE_SLOT)] queue: &str,
    #[values("-x", "-w1000")] option: &str,
) {
    let env = &TestEnv::new();
    let holder = env.hold(&[queue], "l");
    let mut timed = env.flock([queue, option, "l", "true"]);
    timed.set_alarm(200_000);
    let mut timed = env.start(timed);
    assert_eq!(timed.wait(), ExitReason::Signaled(SIGALRM));
    assert_queue_len(env, 0);
    assert_clean_after(env, holder);
}

#[rstest]
fn wait_leaves_signal_state_unchanged(
    #[values(FAIR, ONE_SLOT)] queue: &str,
    #[values(&[], &["-F"], &["-w1000"])] options: &[&str],
    #[values(&[40, 64], &[SIGCHLD, SIGALRM], &[])] ignored: &[i32],
) {
    let env = &TestEnv::new();
    let set_up = |command: &mut Command| {
        command.ignore_signals(ignored.iter().copied());
        command.block_signals(signal_set([SIGALRM, SIGUSR1, 63, 64]));
    };
    let signal_lines = |state: &str| -> Vec<String> {
        let is_signal_line = |line: &&str| line.starts_with('S') || line.starts_with("alarm");
        let lines = state.lines().filter(is_signal_line);
        lines.map(str::to_owned).collect()
    };
    let mut direct = env.command("test-helper");
    set_up(direct.args(["inherited-state", "state"]));
    let (direct, _) = env.inherited_state_of(direct);

    let holder = env.hold(&[queue], "l");
    let helper = ["l", "test-helper", "inherited-state", "after"];
    let mut waiter = env.flock([&[queue], options, &helper].concat());
    set_up(&mut waiter);
    let waiter = spawn_waiter_command(env, waiter);
    holder.release();
    waiter.release();
    let after = env.read_file("after");
    assert_eq!(signal_lines(&after), signal_lines(&direct));
}
