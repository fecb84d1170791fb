//! The supervisor between a tool and its command: which processes it kills when `loto` is killed,
//! which it asks to terminate, which it leaves alone, and that the lock is not free before the
//! command's processes have exited.

mod edge_cases;

use libc::{SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGSTOP, SIGTERM, SIGURG, SIGUSR1};
use rstest::rstest;
use test_support::helper::ALL_SIGNALS_RECEIVED;
use test_support::locks::{assert_unlocked, assert_waiters, waiter_count};
use test_support::pre_exec::{CommandPreExecExt, signal_set};
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{children_of, is_running, is_stopped, parent_of, status_field};
use test_support::{TestEnv, wait_until};

use crate::{CommandLineEnv, assert_inherits_state, env, read_pid, spin};

/// A command of three processes: a shell, a shell in it, and a background process of that. Each
/// prints its pid. The `:` keeps the shells from executing their last command in place.
const PROCESS_TREE: &str = r#"mkfifo never; echo $$
    sh -c 'echo $$; (sh -c "echo \$\$; read x <never; :"; :) & read x <never; :'; :"#;

/// Prints `alive` if the process `$p` exists and is not a zombie.
const REPORT_ALIVE: &str =
    "case $(cat /proc/$p/stat 2>/dev/null) in *') Z '*|'') ;; *) echo alive;; esac";

/// Starts `loto` with that command, and returns it with the pids of the three processes.
#[track_caller]
fn start_process_tree(env: &TestEnv) -> (Process, Vec<i32>) {
    let mut loto = env.start_script("loto -L l --", PROCESS_TREE);
    let pids = read_tree(&mut loto);
    (loto, pids)
}

/// Reads the pids that [`PROCESS_TREE`] prints.
fn read_tree(loto: &mut Process) -> Vec<i32> {
    (0..3).map(|_| read_pid(loto)).collect()
}

/// Starts a waiter that, when it gets the lock, prints `alive` for each of these processes that has
/// not exited, and then `locked`.
#[track_caller]
fn start_waiter(env: &TestEnv, pids: &[i32]) -> Process {
    let script = format!("for p; do {REPORT_ALIVE}; done; echo locked");
    let mut waiter = env.flock(["l", "sh", "-c", &script, "sh"]);
    waiter.args(pids.iter().map(i32::to_string));
    let waiter = env.start(waiter);
    wait_until("it waits", || waiter_count(env.file("l")) == 1);
    waiter
}

#[track_caller]
fn start_at_terminal(env: &TestEnv, line: &str) -> Process {
    let words: Vec<&str> = line.split(' ').collect();
    env.start_at_terminal(env.session_leader(&words))
}

#[track_caller]
fn supervisor_of(loto: &Process) -> i32 {
    let children = children_of(loto.pid());
    assert_eq!(children.len(), 1);
    children[0]
}

#[rstest]
#[case::sigkill(SIGKILL, 20)]
#[case::sigterm(SIGTERM, 1)]
#[case::sighup(SIGHUP, 1)]
fn descendants_terminate_before_lock_is_free(#[case] signal: i32, #[case] rounds: u32) {
    for _ in 0..rounds {
        let env = TestEnv::new();
        let (mut loto, pids) = start_process_tree(&env);
        let mut waiter = start_waiter(&env, &pids);
        loto.signal(signal);
        assert_eq!(loto.wait(), ExitReason::Signaled(signal));
        waiter.expect_line("locked");
    }
}

#[rstest]
fn killed_group_is_inactive_when_lock_is_free(env: TestEnv) {
    for _ in 0..10 {
        let script = "echo ready; while :; do echo x; done >trace";
        let mut loto = env.start_script("loto -w -L l --", script);
        loto.expect_line("ready");
        let script = "a=$(wc -c <trace); [ $a = $(wc -c <trace) ] && echo inactive; echo locked";
        let mut waiter = env.start_flock(["l", "sh", "-c", script]);
        wait_until("it waits", || waiter_count(env.file("l")) == 1);
        assert!(send_signal(-loto.pid(), SIGKILL));
        waiter.expect_line("inactive");
    }
}

#[rstest]
fn loto_killed_at_any_time_leaves_no_process(env: TestEnv) {
    for round in 0..60 {
        let mut loto = env.start_script("loto -w -L l --", "echo $$ >>pids; read x; :");
        spin(round * 60);
        loto.kill();
        let script = format!("for p in $(cat pids 2>/dev/null); do {REPORT_ALIVE}; done");
        env.run(["l", "sh", "-c", &script]).assert_stdout("");
    }
    assert!(env.file("pids").exists(), "no command was ever started");
}

#[rstest]
fn stopped_command_of_killed_loto_is_killed(env: TestEnv) {
    let (mut loto, pids) = start_process_tree(&env);
    let mut waiter = start_waiter(&env, &pids);
    assert!(send_signal(pids[0], SIGSTOP));
    // `loto` and the supervisor stop with it only in the session of a terminal.
    wait_until("it stops", || is_stopped(pids[0]));
    loto.kill();
    waiter.expect_line("locked");
}

#[rstest]
fn descendants_of_killed_supervisor_are_killed(env: TestEnv) {
    let (mut loto, pids) = start_process_tree(&env);
    let mut waiter = start_waiter(&env, &pids);
    assert!(send_signal(supervisor_of(&loto), SIGKILL));
    assert_eq!(loto.wait(), ExitReason::Exited(128 + SIGKILL));
    waiter.expect_line("locked");
}

/// So that pkill(1) finds `loto` alone.
#[rstest]
fn supervisor_has_its_own_name_and_command_line(env: TestEnv) {
    let (loto, _) = start_process_tree(&env);
    let supervisor = supervisor_of(&loto);
    assert_eq!(status_field(loto.pid(), "Name"), "loto");
    assert_eq!(status_field(supervisor, "Name"), "lock-keeper");
    let command_line =
        |pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("it runs");
    // The rest of the original command line is overwritten with NULs.
    assert_eq!(
        command_line(supervisor).trim_end_matches('\0'),
        "lock-keeper"
    );
    assert!(command_line(loto.pid()).starts_with("loto\0-L\0l\0"));
}

#[rstest]
fn descendants_may_terminate_late_and_get_later_signals(env: TestEnv) {
    let mut loto = env.start_script("loto -L l --", "test-helper catch-signals 2 & wait; :");
    read_pid(&mut loto);
    let mut waiter = start_waiter(&env, &[]);
    loto.signal(SIGTERM);
    loto.expect_line("received 15 0 0");
    assert_waiters(env.file("l"), 1);
    loto.signal(SIGHUP);
    loto.expect_line("received 1 0 0");
    assert_eq!(loto.wait(), ExitReason::Signaled(SIGTERM));
    waiter.expect_line("locked");
}

#[rstest]
fn daemons_and_ignorers_of_signal_are_left_alone(env: TestEnv) {
    let script = "mkfifo never; echo $$; (trap '' TERM; sh -c 'echo ready $$; read x <never; :') &
        test-helper in-new-session catch-signals 1 & read x; :";
    let mut loto = env.start_script("loto -L l --", script);
    let command = read_pid(&mut loto);
    let others = [read_pid(&mut loto), read_pid(&mut loto)];
    loto.signal(SIGTERM);
    assert_eq!(loto.wait(), ExitReason::Signaled(SIGTERM));
    assert!(!is_running(command));
    assert_unlocked(env.file("l"));
    for other in others {
        assert!(is_running(other), "{other}");
        send_signal(other, SIGKILL);
    }
}

#[rstest]
fn background_process_outlives_command_without_lock(env: TestEnv) {
    let script = "mkfifo never; sh -c 'echo $$; read x <never; :' & read x";
    let mut loto = env.start_script("loto -L l --", script);
    let background = read_pid(&mut loto);
    // This signal does not request termination.
    loto.signal(SIGURG);
    loto.send_line("");
    assert_eq!(loto.wait(), ExitReason::Exited(0));
    assert!(is_running(background));
    assert_unlocked(env.file("l"));
    send_signal(background, SIGKILL);
}

#[rstest]
fn signals_reach_command_once_and_do_not_terminate_loto(env: TestEnv) {
    for signal in [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCONT, 40] {
        let mut loto = env.start_line("loto -L l -- test-helper catch-signals 2");
        read_pid(&mut loto);
        for signal in [signal, 64] {
            loto.signal(signal);
            loto.expect_line(&format!("received {signal} 0 0"));
        }
        assert_eq!(loto.wait(), ExitReason::Exited(ALL_SIGNALS_RECEIVED));
    }
}

#[rstest]
fn ctrl_c_reaches_command_once(env: TestEnv) {
    let mut loto = start_at_terminal(&env, "loto -L l -- test-helper catch-signals 20");
    read_pid(&mut loto);
    for _ in 0..10 {
        loto.send("\x03");
        let line = loto.read_line();
        assert!(line.starts_with("received 2 "), "{line}");
        loto.signal(64);
        let line = loto.read_line();
        assert!(line.starts_with("received 64 "), "{line}");
    }
    assert_eq!(loto.wait(), ExitReason::Exited(ALL_SIGNALS_RECEIVED));
}

#[rstest]
fn ctrl_z_and_fg_stop_and_continue_everything(env: TestEnv) {
    let mut bash = env.start_bash_at_terminal();
    bash.send_line(
        "loto -L l -- sh -c 'echo ready $$; read x; echo got $x; exit 5'; echo first $?",
    );
    let command = read_pid(&mut bash);
    bash.send("\x1a");
    bash.expect("first 148");
    assert!(is_stopped(command));
    bash.send_line("fg; echo second $?");
    bash.expect("loto");
    wait_until("it continues", || !is_stopped(command));
    bash.send_line("something");
    bash.expect("got something");
    bash.expect("second 5");
}

#[rstest]
fn loto_killed_after_ctrl_z_kills_command(env: TestEnv) {
    let mut bash = env.start_bash_at_terminal();
    bash.send_line("loto -L l -- sh -c 'echo ready $$; read x; :'; echo stopped");
    let command = read_pid(&mut bash);
    let supervisor = parent_of(command);
    bash.send("\x1a");
    bash.expect("stopped");
    assert!(is_stopped(supervisor) && is_stopped(command));
    let mut waiter = start_waiter(&env, &[command]);
    assert!(send_signal(parent_of(supervisor), SIGKILL));
    waiter.expect_line("locked");
}

#[rstest]
fn command_inherits_state_of_caller(env: TestEnv) {
    assert_inherits_state(&env, "loto -L l --", |command| {
        command
            .block_signals(signal_set([SIGINT, SIGCHLD, 33, 64]))
            .ignore_signals([SIGHUP, SIGCHLD, SIGPIPE])
            .before_exec(|| {
                rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o137));
                Ok(())
            });
    });
}

#[rstest]
fn children_of_caller_are_left_alone(env: TestEnv) {
    let script = "mkfifo never; sh -c 'read x <never; :' & echo $!
        exec loto -L l -- sh -c 'echo $$; read x; :'";
    let mut loto = env.start_script("", script);
    let child_of_caller = read_pid(&mut loto);
    let supervisor = parent_of(read_pid(&mut loto));
    assert!(send_signal(supervisor, SIGKILL));
    assert_eq!(loto.wait(), ExitReason::Exited(128 + SIGKILL));
    assert!(is_running(child_of_caller));
}
