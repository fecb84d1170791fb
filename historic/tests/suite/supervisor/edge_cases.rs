//! The leash where it is not easy: sessions, namespaces and keepers within, no descriptor to look with, and the terminal
//! while something is still to end.

use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use test_support::TestEnv;
use test_support::process::{ExitReason, send_signal};
use test_support::procfs::{is_running, is_stopped, status_field};
use test_support::wait_until;

use super::{PROCESS_TREE, spawn_successor, supervisor_of};
use test_support::can_unshare;

/// Asserts that none of these processes runs in the very moment in which the lock is free. What is late is late by less than
/// it takes to start a program that looks.
#[track_caller]
fn assert_gone_when_unlocked(env: &TestEnv, members: &[i32]) {
    let file = std::fs::File::open(env.file("l")).expect("it is there");
    let deadline = Instant::now() + Duration::from_secs(60);
    while rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        assert!(Instant::now() < deadline, "the lock is not free in time");
    }
    let late = members.iter().filter(|pid| is_running(**pid)).count();
    assert_eq!(late, 0, "of {members:?}");
}

#[test]
fn a_command_in_a_session_of_its_own_is_gone_before_the_lock_is_free() {
    for _ in 0..20 {
        let env = TestEnv::new();
        let mut loto = env.command("loto");
        loto.args([
            "-L",
            "l",
            "--",
            "test-helper",
            "in-new-session",
            "catch-signals",
            "1",
        ]);
        let mut loto = env.start(loto);
        loto.expect("ready ");
        let command: i32 = loto.read_line().parse().expect("a pid");
        loto.signal(libc::SIGKILL);
        assert_gone_when_unlocked(&env, &[command]);
    }
}

#[test]
fn what_a_command_in_a_session_of_its_own_has_started_is_gone_before_the_lock_is_free() {
    for how in ["exec-in-new-session", "fork-in-new-session"] {
        for _ in 0..10 {
            let env = TestEnv::new();
            let mut loto = env.command("loto");
            loto.args([
                "-L",
                "l",
                "--",
                "test-helper",
                how,
                "sh",
                "-c",
                PROCESS_TREE,
            ]);
            let mut loto = env.start(loto);
            let members = (0..3).map(|_| loto.read_line().parse().expect("a pid"));
            let members = members.collect::<Vec<i32>>();
            loto.signal(libc::SIGKILL);
            assert_gone_when_unlocked(&env, &members);
        }
    }
}

#[test]
fn what_was_left_behind_in_a_session_of_its_own_outlives_a_loto_that_is_killed() {
    let env = TestEnv::new();
    let script = "(test-helper in-new-session catch-signals 1 & :); echo left; read x; :";
    let mut loto = env.command("loto");
    loto.args(["-L", "l", "--", "sh", "-c", script]);
    let mut loto = env.start(loto);
    let mut said = String::new();
    while !(said.contains("ready ") && said.contains("left")) {
        said += &(loto.read_line() + "\n");
    }
    let daemon = said.lines().find_map(|line| line.strip_prefix("ready "));
    let daemon: i32 = daemon.expect("it is ready").parse().expect("a pid");
    loto.kill();
    env.run(["l", "true"]).assert_status(0);
    assert!(is_running(daemon));
    send_signal(daemon, libc::SIGKILL);
}

#[test]
fn a_loto_within_keeps_its_lock_until_its_job_is_gone_though_the_one_around_it_is_killed() {
    for victim in ["loto", "keeper"] {
        for _ in 0..10 {
            let env = TestEnv::new();
            let script = format!(
                "loto -L l -- sh -c '{}'; :",
                PROCESS_TREE.replace('\'', "'\\''")
            );
            let mut loto = env.command("loto");
            loto.args(["-L", "outer", "--", "sh", "-c", &script]);
            let mut loto = env.start(loto);
            let members = (0..3).map(|_| loto.read_line().parse().expect("a pid"));
            let members = members.collect::<Vec<i32>>();
            let pid = match victim {
                "loto" => loto.pid(),
                _ => supervisor_of(&loto),
            };
            assert!(send_signal(pid, libc::SIGKILL));
            assert_gone_when_unlocked(&env, &members);
        }
    }
}

#[test]
fn nothing_is_left_behind_for_want_of_descriptors_to_look_with() {
    for signal in [libc::SIGKILL, libc::SIGTERM] {
        let env = TestEnv::new();
        // Loto gets one, for the lock; the job has what it needs.
        let job = format!("ulimit -S -n 100; {PROCESS_TREE}");
        let script = r#"ulimit -S -n 4; exec loto -L l -- sh -c "$0""#;
        let mut shell = env.command("sh");
        shell.args(["-c", script, &job]);
        let mut loto = env.start(shell);
        let members = (0..3).map(|_| loto.read_line().parse().expect("a pid"));
        let members = members.collect::<Vec<i32>>();
        let mut next = spawn_successor(&env, &members);
        loto.signal(signal);
        assert_eq!(loto.wait(), ExitReason::Signaled(signal));
        next.expect_line("alone");
    }
}

#[test]
fn nothing_is_left_behind_where_proc_has_other_numbers() {
    let env = TestEnv::new();
    if !can_unshare(&env, "-rpf") {
        return;
    }
    env.sh("mkfifo never up");
    // The shell in the background is not killed with the command, and has the witness while it lives.
    env.install_script(
        "job",
        "#!/bin/sh\n(flock -s 9; echo up >up; read x <never; :) 9>witness & read x <never; :\n",
    );
    let script =
        "loto -L l -- ./job & read x <up; kill -KILL $!; flock l flock -n witness echo gone";
    let mut command = env.command("unshare");
    command.args(["-rpf", "sh", "-c", script]);
    env.run_command(command).assert_stdout("gone\n");
}

#[test]
fn a_caller_whose_children_are_in_another_namespace_can_run_a_command_under_a_lock() {
    let env = TestEnv::new();
    if can_unshare(&env, "-rp") {
        env.sh("unshare -rp loto -L l -- sh -c 'flock -n l true; echo $?; exit 3'; echo $?")
            .assert_stderr("")
            .assert_stdout("1\n3\n");
    }
}

#[test]
fn ctrl_z_stops_and_fg_continues_what_a_terminated_job_has_left() {
    let env = TestEnv::new();
    env.sh("mkfifo never");
    let left = "trap 'echo told' TERM; echo left $$; while :; do read x <never; done";
    env.install_script("left", &format!("#!/bin/sh\n{left}\n"));
    env.install_script(
        "job",
        "#!/bin/sh\n./left & echo job $PPID $$; read x <never; :\n",
    );
    let mut bash = env.start_bash_at_terminal();
    bash.send_line("loto -L l -- ./job; echo first $?");
    let mut left = 0;
    let mut keeper_and_job = String::new();
    for _ in 0..2 {
        let line = bash.read_line();
        match line.split_once(' ').expect("two words") {
            ("left", pid) => left = pid.parse::<i32>().expect("a pid"),
            (_, pids) => keeper_and_job = pids.to_owned(),
        }
    }
    let (keeper, job) = keeper_and_job.split_once(' ').expect("two");
    let (keeper, job): (i32, i32) = (keeper.parse().expect("a pid"), job.parse().expect("a pid"));
    assert!(send_signal(keeper, libc::SIGTERM));
    bash.expect("told");
    assert!(!is_running(job));
    bash.send("\x1a");
    bash.expect("first 148");
    assert!(is_stopped(keeper));
    bash.send_line("fg; echo second $?");
    wait_until("it goes on", || !is_stopped(keeper));
    bash.send("\x1a");
    bash.expect("second 148");
    // Nobody says fg: the lock must not wait for that.
    assert!(send_signal(left, libc::SIGKILL));
    wait_until("the keeper ends", || !is_running(keeper));
}

#[test]
fn ctrl_c_reaches_what_the_command_leaves_behind_once() {
    let env = TestEnv::new();
    let mut loto = env.start_at_terminal(env.session_leader(&[
        "loto",
        "-L",
        "l",
        "--",
        "test-helper",
        "in-child",
        "catch-signals",
        "2",
    ]));
    loto.expect("ready ");
    let left: i32 = loto.read_line().parse().expect("a pid");
    loto.send("\x03");
    let heard = loto.read_line();
    assert!(heard.starts_with("received 2 "), "{heard}");
    // By now it is our keeper's child, and all that was to be told has been.
    wait_until("the command ends", || {
        status_field(left, "PPid") == supervisor_of(&loto).to_string()
    });
    loto.signal(libc::SIGTERM);
    let heard = loto.read_line();
    assert!(heard.starts_with("received 15 "), "{heard}");
    assert_eq!(loto.wait(), ExitReason::Signaled(libc::SIGINT));
}
