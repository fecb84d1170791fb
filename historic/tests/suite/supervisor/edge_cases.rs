//! The supervisor in special environments: sessions, namespaces, nested tools, a lack of
//! descriptors, and terminals while descendants still have to terminate.

use std::time::{Duration, Instant};

use rstest::rstest;
use rustix::fs::FlockOperation;
use test_support::process::{ExitReason, send_signal};
use test_support::procfs::{is_running, is_stopped, parent_of, status_field};
use test_support::{TestEnv, can_unshare, wait_until};

use super::{PROCESS_TREE, read_tree, start_at_terminal, start_waiter, supervisor_of};
use crate::{CommandLineEnv, env, read_pid};

/// Asserts that none of these processes runs at the moment when the lock becomes free. A process
/// that is late is late by less than it takes to start a program, so this polls the lock.
#[track_caller]
fn assert_exited_when_unlocked(env: &TestEnv, file: &str, pids: &[i32]) {
    let file = std::fs::File::open(env.file(file)).expect("the lock file exists");
    let deadline = Instant::now() + Duration::from_secs(60);
    while rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        assert!(Instant::now() < deadline, "the lock does not become free");
    }
    assert!(!pids.iter().any(|pid| is_running(*pid)), "{pids:?}");
}

#[test]
fn command_in_own_session_exits_before_lock_is_free() {
    for _ in 0..20 {
        let env = TestEnv::new();
        let mut loto = env.start_line("loto -L l -- test-helper in-new-session catch-signals 1");
        let command = read_pid(&mut loto);
        loto.signal(libc::SIGKILL);
        assert_exited_when_unlocked(&env, "l", &[command]);
    }
}

#[rstest]
fn descendants_in_own_session_exit_before_lock_is_free(
    #[values("exec-in-new-session", "fork-in-new-session")] mode: &str,
) {
    for _ in 0..10 {
        let env = TestEnv::new();
        let mut loto = env.start_script(&format!("loto -L l -- test-helper {mode}"), PROCESS_TREE);
        let pids = read_tree(&mut loto);
        loto.signal(libc::SIGKILL);
        assert_exited_when_unlocked(&env, "l", &pids);
    }
}

#[rstest]
fn daemon_outlives_killed_loto(env: TestEnv) {
    let script = "(test-helper in-new-session catch-signals 1 & :); read x; :";
    let mut loto = env.start_script("loto -L l --", script);
    let daemon = read_pid(&mut loto);
    wait_until("the supervisor adopts it", || {
        parent_of(daemon) == supervisor_of(&loto)
    });
    loto.kill();
    env.run(["l", "true"]).assert_status(0);
    assert!(is_running(daemon));
    send_signal(daemon, libc::SIGKILL);
}

#[rstest]
#[case::loto("loto -L l --", "l")]
#[case::runlock("runlock l", "l.lock")]
fn nested_tool_keeps_lock_until_its_descendants_exit(
    #[case] inner: &str,
    #[case] file: &str,
    #[values("loto", "supervisor")] outer_victim: &str,
) {
    for _ in 0..10 {
        let env = TestEnv::new();
        let tree = PROCESS_TREE.replace('\'', "'\\''");
        let script = format!("{inner} sh -c '{tree}'; :");
        let mut loto = env.start_script("loto -L outer --", &script);
        let pids = read_tree(&mut loto);
        let victim = match outer_victim {
            "loto" => loto.pid(),
            _ => supervisor_of(&loto),
        };
        assert!(send_signal(victim, libc::SIGKILL));
        assert_exited_when_unlocked(&env, file, &pids);
    }
}

/// The name of a process is no evidence that it is a supervisor.
#[rstest]
#[case::script("exec ./lock-keeper")]
#[case::program(
    "cp \"$(command -v bash)\" lock-keeper; echo $$; PATH=.:$PATH; exec lock-keeper <>never"
)]
#[case::link_to_loto(
    "rm lock-keeper; ln -s \"$(readlink -f \"$(command -v loto)\")\" lock-keeper
     exec ./lock-keeper -L k -- sh -c 'echo $$; read x <never; :'"
)]
#[case::link_to_loto_in_path(
    "rm lock-keeper; ln -s \"$(readlink -f \"$(command -v loto)\")\" lock-keeper; PATH=.:$PATH
     exec lock-keeper -L k -- sh -c 'echo $$; read x <never; :'"
)]
fn impostor_is_killed_with_loto(env: TestEnv, #[case] impostor: &str) {
    env.sh("mkfifo never");
    env.install_script("lock-keeper", "#!/bin/sh\necho $$; read x <never; :\n");
    let mut script = env.script("loto -L l --", "sh -c \"$0\" & read x <never; :");
    script.arg(impostor);
    let mut loto = env.start(script);
    let pid = read_pid(&mut loto);
    wait_until("it has the name", || {
        let name = |pid| status_field(pid, "Name") == "lock-keeper";
        name(pid) || name(parent_of(parent_of(pid)))
    });
    loto.kill();
    assert_exited_when_unlocked(&env, "l", &[pid]);
}

/// The supervisor cannot read `/proc`.
#[rstest]
#[case::sigkill(libc::SIGKILL)]
#[case::sigterm(libc::SIGTERM)]
fn descendants_terminate_without_free_descriptors(env: TestEnv, #[case] signal: i32) {
    // `loto` gets one descriptor, for the lock; the command gets what it needs.
    let mut shell = env.script("", r#"ulimit -S -n 4; exec loto -L l -- sh -c "$0""#);
    shell.arg(format!("ulimit -S -n 100; {PROCESS_TREE}"));
    let mut loto = env.start(shell);
    let pids = read_tree(&mut loto);
    let mut waiter = start_waiter(&env, &pids);
    loto.signal(signal);
    assert_eq!(loto.wait(), ExitReason::Signaled(signal));
    waiter.expect_line("locked");
}

#[rstest]
fn descendants_are_killed_if_proc_is_of_other_namespace(env: TestEnv) {
    if !can_unshare(&env, "-rpf") {
        return;
    }
    env.sh("mkfifo never up");
    // The background shell is not killed with the command, and has `witness` locked while it lives.
    let command = "(flock -s 9; echo up >up; read x <never; :) 9>witness & read x <never; :";
    env.install_script("command", &format!("#!/bin/sh\n{command}\n"));
    let script =
        "loto -L l -- ./command & read x <up; kill -KILL $!; flock l flock -n witness echo exited";
    env.run_script("unshare -rpf", script)
        .assert_stdout("exited\n");
}

#[rstest]
fn command_runs_if_children_are_in_other_namespace(env: TestEnv) {
    if can_unshare(&env, "-rp") {
        env.sh("unshare -rp loto -L l -- sh -c 'flock -n l true; echo $?; exit 3'; echo $?")
            .assert_all(0, "1\n3\n", "");
    }
}

#[rstest]
fn ctrl_z_and_fg_stop_and_continue_descendants(env: TestEnv) {
    env.sh("mkfifo never");
    let descendant = "trap 'echo signaled' TERM; echo $$; while :; do read x <never; done";
    env.install_script("descendant", &format!("#!/bin/sh\n{descendant}\n"));
    let command = "#!/bin/sh\necho $$; ./descendant & read x <never; :\n";
    env.install_script("command", command);
    let mut bash = env.start_bash_at_terminal();
    bash.send_line("loto -L l -- ./command; echo first $?");
    let (command, descendant) = (read_pid(&mut bash), read_pid(&mut bash));
    let supervisor = parent_of(command);
    assert!(send_signal(supervisor, libc::SIGTERM));
    bash.expect("signaled");
    assert!(!is_running(command));
    bash.send("\x1a");
    bash.expect("first 148");
    assert!(is_stopped(supervisor));
    bash.send_line("fg; echo second $?");
    wait_until("it continues", || !is_stopped(supervisor));
    bash.send("\x1a");
    bash.expect("second 148");
    // Without another `fg` the lock must become free nevertheless.
    assert!(send_signal(descendant, libc::SIGKILL));
    wait_until("the supervisor exits", || !is_running(supervisor));
}

#[rstest]
fn ctrl_c_reaches_descendants_once(env: TestEnv) {
    let mut loto = start_at_terminal(&env, "loto -L l -- test-helper in-child catch-signals 2");
    let descendant = read_pid(&mut loto);
    loto.send("\x03");
    let line = loto.read_line();
    assert!(line.starts_with("received 2 "), "{line}");
    // Once the supervisor has adopted it, it has passed on all earlier signals.
    wait_until("the command exits", || {
        parent_of(descendant) == supervisor_of(&loto)
    });
    loto.signal(libc::SIGTERM);
    let line = loto.read_line();
    assert!(line.starts_with("received 15 "), "{line}");
    assert_eq!(loto.wait(), ExitReason::Signaled(libc::SIGINT));
}
