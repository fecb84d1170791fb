//! Commands that must not outlive their `loto`: what is killed with it, what is told to stop, what is left alone; and that
//! the lock is never free while any of it runs.

mod edge_cases;

use test_support::helper::ALL_SIGNALS_RECEIVED;
use test_support::locks::{locks_on, waiter_count};
use test_support::pre_exec::{CommandPreExecExt, signal_set};
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{is_running, is_stopped, status_field};
use test_support::{TestEnv, wait_until};

/// A job of three processes: a shell, a shell in it, and one in the background of that, which each say their numbers.
/// None of them is anything's last command, so that none takes another's place.
const PROCESS_TREE: &str = "mkfifo never; echo $$; sh -c 'echo $$; (sh -c \"echo \\$\\$; read x <never; :\"; :) & read x <never; :'; :";

/// `loto` over that job, and its processes.
#[track_caller]
fn spawn_process_tree(env: &TestEnv, script: &str) -> (Process, Vec<i32>) {
    let mut loto = env.command("loto");
    loto.args(["-L", "l", "--", "sh", "-c", script]);
    let mut loto = env.start(loto);
    let members = (0..3).map(|_| loto.read_line().parse().expect("a pid"));
    let members = members.collect();
    (loto, members)
}

/// Somebody who waits for the lock, and tells how many of these processes run when he has it.
#[track_caller]
fn spawn_successor(env: &TestEnv, members: &[i32]) -> Process {
    let members: Vec<_> = members.iter().map(i32::to_string).collect();
    let script = "for p; do case $(cat /proc/$p/stat 2>/dev/null) in *') Z '*|'') ;; *) echo runs;; esac; done; echo alone";
    let mut waiter = env.flock(["l", "sh", "-c", script, "sh"]);
    waiter.args(members);
    let waiter = env.start(waiter);
    wait_until("it waits", || waiter_count(env.file("l")) == 1);
    waiter
}

/// The keeper of a `loto`.
fn supervisor_of(loto: &Process) -> i32 {
    let path = format!("/proc/{0}/task/{0}/children", loto.pid());
    let children = std::fs::read_to_string(path).expect("its children");
    children.trim().parse().expect("one child")
}

#[test]
fn a_killed_loto_takes_all_of_its_job_with_it_before_the_lock_is_free() {
    for _ in 0..20 {
        let env = TestEnv::new();
        let (mut loto, members) = spawn_process_tree(&env, PROCESS_TREE);
        let mut next = spawn_successor(&env, &members);
        loto.kill();
        next.expect_line("alone");
    }
}

#[test]
fn a_job_whose_whole_group_is_killed_does_nothing_any_more_when_the_lock_is_free() {
    let env = TestEnv::new();
    for _ in 0..10 {
        let mut loto = env.command("loto");
        let script = "echo ready; while :; do echo x; done >trace";
        loto.args(["-w", "-L", "l", "--", "sh", "-c", script]);
        let mut loto = env.start(loto);
        loto.expect_line("ready");
        let look = "a=$(wc -c <trace); [ $a = $(wc -c <trace) ] && echo still; echo alone";
        let mut next = env.start_flock(["l", "sh", "-c", look]);
        wait_until("it waits", || waiter_count(env.file("l")) == 1);
        assert!(send_signal(-loto.pid(), libc::SIGKILL));
        next.expect_line("still");
    }
}

#[test]
fn a_loto_that_is_killed_at_any_moment_leaves_nobody_behind() {
    let env = TestEnv::new();
    for moment in 0..60 {
        let mut loto = env.command("loto");
        loto.args([
            "-w",
            "-L",
            "l",
            "--",
            "sh",
            "-c",
            "echo $$ >>pids; read x; :",
        ]);
        let mut loto = env.start(loto);
        let until = std::time::Instant::now() + std::time::Duration::from_micros(moment * 60);
        while std::time::Instant::now() < until {
            std::hint::spin_loop();
        }
        loto.signal(libc::SIGKILL);
        assert_eq!(loto.wait(), ExitReason::Signaled(libc::SIGKILL));
        // Once the lock can be had, whoever was started has ended.
        env.run([
            "l",
            "sh",
            "-c",
            "for p in $(cat pids 2>/dev/null); do
            case $(cat /proc/$p/stat 2>/dev/null) in *') Z '*|'') ;; *) echo runs;; esac; done",
        ])
        .assert_stdout("");
    }
    assert!(env.file("pids").exists(), "no command was ever started");
}

#[test]
fn a_killed_loto_takes_a_stopped_job_with_it() {
    let env = TestEnv::new();
    let (mut loto, members) = spawn_process_tree(&env, PROCESS_TREE);
    let mut next = spawn_successor(&env, &members);
    assert!(send_signal(members[0], libc::SIGSTOP));
    // Outside a terminal's session nobody but the command stops.
    wait_until("it stops", || is_stopped(members[0]));
    loto.kill();
    next.expect_line("alone");
}

#[test]
fn a_killed_keeper_takes_the_job_with_it_too() {
    let env = TestEnv::new();
    let (mut loto, members) = spawn_process_tree(&env, PROCESS_TREE);
    let mut next = spawn_successor(&env, &members);
    assert!(send_signal(supervisor_of(&loto), libc::SIGKILL));
    assert_eq!(loto.wait(), ExitReason::Exited(128 + libc::SIGKILL));
    next.expect_line("alone");
}

#[test]
fn the_keeper_has_a_name_of_its_own_so_that_pkill_finds_loto_alone() {
    let env = TestEnv::new();
    let (loto, _) = spawn_process_tree(&env, PROCESS_TREE);
    assert_eq!(status_field(loto.pid(), "Name"), "loto");
    assert_eq!(status_field(supervisor_of(&loto), "Name"), "lock-keeper");
    let line = |pid| std::fs::read(format!("/proc/{pid}/cmdline")).expect("it runs");
    let words = line(supervisor_of(&loto));
    let end = words.iter().rposition(|byte| *byte != 0).expect("a name");
    assert_eq!(&words[..=end], b"lock-keeper");
    assert!(line(loto.pid()).starts_with(b"loto\0-L\0l\0"));
}

#[test]
fn what_a_terminated_job_leaves_behind_is_terminated_too_before_the_lock_is_free() {
    for signal in [libc::SIGTERM, libc::SIGHUP] {
        let env = TestEnv::new();
        let (mut loto, members) = spawn_process_tree(&env, PROCESS_TREE);
        let mut next = spawn_successor(&env, &members);
        loto.signal(signal);
        assert_eq!(loto.wait(), ExitReason::Signaled(signal));
        next.expect_line("alone");
    }
}

#[test]
fn what_is_left_behind_may_take_its_time_to_stop_and_hears_what_else_is_sent() {
    let env = TestEnv::new();
    let mut loto = env.command("loto");
    loto.args([
        "-L",
        "l",
        "--",
        "sh",
        "-c",
        "test-helper catch-signals 2 & wait; :",
    ]);
    let mut loto = env.start(loto);
    loto.expect("ready");
    loto.read_line();
    let mut next = spawn_successor(&env, &[]);
    loto.signal(libc::SIGTERM);
    loto.expect_line("received 15 0 0");
    assert_eq!(waiter_count(env.file("l")), 1);
    loto.signal(libc::SIGHUP);
    loto.expect_line("received 1 0 0");
    assert_eq!(loto.wait(), ExitReason::Signaled(libc::SIGTERM));
    next.expect_line("alone");
}

#[test]
fn what_ignores_the_signal_or_made_a_session_of_its_own_is_left_alone() {
    let env = TestEnv::new();
    env.sh("mkfifo never");
    let script = "echo $$; (trap '' TERM; sh -c 'echo ready $$; read x <never; :') & test-helper in-new-session catch-signals 1 & read x; :";
    let mut loto = env.command("loto");
    loto.args(["-L", "l", "--", "sh", "-c", script]);
    let mut loto = env.start(loto);
    let job: i32 = loto.read_line().parse().expect("a pid");
    let others = [(); 2].map(|()| {
        loto.expect("ready ");
        loto.read_line().parse::<i32>().expect("a pid")
    });
    loto.signal(libc::SIGTERM);
    assert_eq!(loto.wait(), ExitReason::Signaled(libc::SIGTERM));
    assert!(!is_running(job));
    assert!(locks_on(env.file("l")).is_empty());
    for other in others {
        assert!(is_running(other), "{other}");
        send_signal(other, libc::SIGKILL);
    }
}

#[test]
fn what_a_job_leaves_behind_when_it_ends_by_itself_goes_on_without_the_lock() {
    let env = TestEnv::new();
    env.sh("mkfifo never");
    let script = "sh -c 'echo $$; read x <never; :' & echo $$; echo 0; read x";
    let (mut loto, members) = spawn_process_tree(&env, script);
    // Something that is no request to stop comes in between.
    loto.signal(libc::SIGUSR1 + 13);
    loto.send_line("");
    let end = loto.wait();
    assert!(
        matches!(end, ExitReason::Exited(_) | ExitReason::Signaled(_)),
        "{end:?}"
    );
    let left = members
        .into_iter()
        .filter(|pid| *pid != 0 && is_running(*pid));
    let left = left.collect::<Vec<_>>();
    assert_eq!(left.len(), 1);
    assert!(locks_on(env.file("l")).is_empty());
    send_signal(left[0], libc::SIGKILL);
}

#[test]
fn signals_reach_the_command_once_and_decide_nothing_by_themselves() {
    let env = TestEnv::new();
    for signal in [
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGHUP,
        libc::SIGUSR1,
        libc::SIGCONT,
        40,
    ] {
        let mut loto = env.command("loto");
        loto.args(["-L", "l", "--", "test-helper", "catch-signals", "2"]);
        let mut loto = env.start(loto);
        loto.expect("ready");
        loto.read_line();
        loto.signal(signal);
        loto.expect_line(&format!("received {signal} 0 0"));
        loto.signal(64);
        loto.expect_line("received 64 0 0");
        assert_eq!(loto.wait(), ExitReason::Exited(ALL_SIGNALS_RECEIVED));
    }
}

#[test]
fn the_keys_of_a_terminal_reach_the_command_once() {
    let env = TestEnv::new();
    let mut loto = env.start_at_terminal(env.session_leader(&[
        "loto",
        "-L",
        "l",
        "--",
        "test-helper",
        "catch-signals",
        "20",
    ]));
    loto.expect("ready");
    loto.read_line();
    for _ in 0..10 {
        loto.send("\x03");
        let heard = loto.read_line();
        assert!(heard.starts_with("received 2 "), "{heard}");
        loto.signal(64);
        let heard = loto.read_line();
        assert!(heard.starts_with("received 64 "), "{heard}");
    }
    assert_eq!(loto.wait(), ExitReason::Exited(ALL_SIGNALS_RECEIVED));
}

#[test]
fn ctrl_z_and_fg_stop_and_continue_all_of_it() {
    let env = TestEnv::new();
    let mut bash = env.start_bash_at_terminal();
    bash.send_line(
        "loto -L l -- sh -c 'echo ready $$; read x; echo got $x; exit 5'; echo first $?",
    );
    bash.expect("ready ");
    let command: i32 = bash.read_line().parse().expect("a pid");
    bash.send("\x1a");
    bash.expect("first 148");
    assert!(is_stopped(command));
    bash.send_line("fg; echo second $?");
    bash.expect("loto");
    wait_until("it goes on", || !is_stopped(command));
    bash.send_line("something");
    bash.expect("got something");
    bash.expect("second 5");
}

#[test]
fn a_loto_that_is_killed_while_all_of_it_is_stopped_takes_its_job_with_it() {
    let env = TestEnv::new();
    let mut bash = env.start_bash_at_terminal();
    bash.send_line("loto -L l -- sh -c 'echo ready $PPID $$; read x; :'; echo stopped");
    bash.expect("ready ");
    let line = bash.read_line();
    let mut pids = line
        .split(' ')
        .map(|pid| pid.parse::<i32>().expect("a pid"));
    let (keeper, command) = (pids.next().expect("two"), pids.next().expect("two"));
    bash.send("\x1a");
    bash.expect("stopped");
    assert!(is_stopped(keeper) && is_stopped(command));
    let mut next = spawn_successor(&env, &[command]);
    let loto: i32 = status_field(keeper, "PPid").parse().expect("a pid");
    assert!(send_signal(loto, libc::SIGKILL));
    next.expect_line("alone");
}

#[test]
fn the_command_gets_the_callers_world() {
    let env = TestEnv::new();
    let make = |command: &mut std::process::Command| {
        command
            .block_signals(signal_set([libc::SIGINT, libc::SIGCHLD, 33, 64]))
            .ignore_signals([libc::SIGHUP, libc::SIGCHLD, libc::SIGPIPE])
            .before_exec(|| {
                rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o137));
                Ok(())
            });
    };
    let mut direct = env.command("test-helper");
    make(direct.args(["inherited-state", "state"]));
    let mut under = env.command("loto");
    make(under.args(["-L", "l", "--", "test-helper", "inherited-state", "state"]));
    let known = |state: String| {
        let lines = state.lines().filter(|line| !line.contains(" pipe:"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let (direct, _) = env.inherited_state_of(direct);
    let (under, outcome) = env.inherited_state_of(under);
    outcome.assert_stderr("").assert_status(0);
    assert_eq!(known(under), known(direct));
}

#[test]
fn children_that_the_caller_left_behind_are_left_alone() {
    let env = TestEnv::new();
    env.sh("mkfifo never");
    let script = "sh -c 'read x <never; :' & echo $!; exec loto -L l -- sh -c 'echo $$; read x; :'";
    let mut shell = env.command("sh");
    shell.args(["-c", script]);
    let mut loto = env.start(shell);
    let stranger: i32 = loto.read_line().parse().expect("a pid");
    loto.read_line();
    let children = format!("/proc/{0}/task/{0}/children", loto.pid());
    let children = std::fs::read_to_string(children).expect("its children");
    let mut children = children
        .split_whitespace()
        .map(|pid| pid.parse().expect("a pid"));
    let keeper = children.find(|pid| *pid != stranger).expect("a keeper");
    assert!(send_signal(keeper, libc::SIGKILL));
    assert_eq!(loto.wait(), ExitReason::Exited(128 + libc::SIGKILL));
    assert!(is_running(stranger));
}
