//! The leash where it is not easy: sessions, namespaces and keepers within, no descriptor to look with, and the terminal
//! while something is still to end.

use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use test_support::Lab;
use test_support::locks::{runs, status_field, stopped};
use test_support::process::{End, send};
use test_support::wait_until;

use super::{FAMILY, keeper, successor};
use test_support::may_unshare;

/// Asserts that none of these processes runs in the very moment in which the lock is free. What is late is late by less than
/// it takes to start a program that looks.
#[track_caller]
fn expect_gone_when_free(lab: &Lab, members: &[i32]) {
    let file = std::fs::File::open(lab.file("l")).expect("it is there");
    let deadline = Instant::now() + Duration::from_secs(60);
    while rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        assert!(Instant::now() < deadline, "the lock is not free in time");
    }
    let late = members.iter().filter(|pid| runs(**pid)).count();
    assert_eq!(late, 0, "of {members:?}");
}

#[test]
fn a_command_in_a_session_of_its_own_is_gone_before_the_lock_is_free() {
    for _ in 0..20 {
        let lab = Lab::new();
        let mut loto = lab.command("loto");
        loto.args(["-L", "l", "--", "probe", "alone", "hear", "1"]);
        let mut loto = lab.start(loto);
        loto.comes_to("ready ");
        let command: i32 = loto.line().parse().expect("a pid");
        loto.signal(libc::SIGKILL);
        expect_gone_when_free(&lab, &[command]);
    }
}

#[test]
fn what_a_command_in_a_session_of_its_own_has_started_is_gone_before_the_lock_is_free() {
    for how in ["apart", "as-su"] {
        for _ in 0..10 {
            let lab = Lab::new();
            let mut loto = lab.command("loto");
            loto.args(["-L", "l", "--", "probe", how, "sh", "-c", FAMILY]);
            let mut loto = lab.start(loto);
            let members = (0..3).map(|_| loto.line().parse().expect("a pid"));
            let members = members.collect::<Vec<i32>>();
            loto.signal(libc::SIGKILL);
            expect_gone_when_free(&lab, &members);
        }
    }
}

#[test]
fn what_was_left_behind_in_a_session_of_its_own_outlives_a_loto_that_is_killed() {
    let lab = Lab::new();
    let script = "(probe alone hear 1 & :); echo left; read x; :";
    let mut loto = lab.command("loto");
    loto.args(["-L", "l", "--", "sh", "-c", script]);
    let mut loto = lab.start(loto);
    let mut said = String::new();
    while !(said.contains("ready ") && said.contains("left")) {
        said += &(loto.line() + "\n");
    }
    let daemon = said.lines().find_map(|line| line.strip_prefix("ready "));
    let daemon: i32 = daemon.expect("it is ready").parse().expect("a pid");
    loto.murder();
    lab.run(["l", "true"]).expect_code(0);
    assert!(runs(daemon));
    send(daemon, libc::SIGKILL);
}

#[test]
fn a_loto_within_keeps_its_lock_until_its_job_is_gone_though_the_one_around_it_is_killed() {
    for victim in ["loto", "keeper"] {
        for _ in 0..10 {
            let lab = Lab::new();
            let script = format!("loto -L l -- sh -c '{}'; :", FAMILY.replace('\'', "'\\''"));
            let mut loto = lab.command("loto");
            loto.args(["-L", "outer", "--", "sh", "-c", &script]);
            let mut loto = lab.start(loto);
            let members = (0..3).map(|_| loto.line().parse().expect("a pid"));
            let members = members.collect::<Vec<i32>>();
            let pid = match victim {
                "loto" => loto.pid(),
                _ => keeper(&loto),
            };
            assert!(send(pid, libc::SIGKILL));
            expect_gone_when_free(&lab, &members);
        }
    }
}

#[test]
fn nothing_is_left_behind_for_want_of_descriptors_to_look_with() {
    for signal in [libc::SIGKILL, libc::SIGTERM] {
        let lab = Lab::new();
        // Loto gets one, for the lock; the job has what it needs.
        let job = format!("ulimit -S -n 100; {FAMILY}");
        let script = r#"ulimit -S -n 4; exec loto -L l -- sh -c "$0""#;
        let mut shell = lab.command("sh");
        shell.args(["-c", script, &job]);
        let mut loto = lab.start(shell);
        let members = (0..3).map(|_| loto.line().parse().expect("a pid"));
        let members = members.collect::<Vec<i32>>();
        let mut next = successor(&lab, &members);
        loto.signal(signal);
        assert_eq!(loto.end(), End::Killed(signal));
        next.hears("alone");
    }
}

#[test]
fn nothing_is_left_behind_where_proc_has_other_numbers() {
    let lab = Lab::new();
    if !may_unshare(&lab, "-rpf") {
        return;
    }
    lab.sh("mkfifo never up");
    // The shell in the background is not killed with the command, and has the witness while it lives.
    lab.program(
        "job",
        "#!/bin/sh\n(flock -s 9; echo up >up; read x <never; :) 9>witness & read x <never; :\n",
    );
    let script =
        "loto -L l -- ./job & read x <up; kill -KILL $!; flock l flock -n witness echo gone";
    let mut command = lab.command("unshare");
    command.args(["-rpf", "sh", "-c", script]);
    lab.finish(command).expect_out("gone\n");
}

#[test]
fn a_caller_whose_children_are_in_another_namespace_can_run_a_command_under_a_lock() {
    let lab = Lab::new();
    if may_unshare(&lab, "-rp") {
        lab.sh("unshare -rp loto -L l -- sh -c 'flock -n l true; echo $?; exit 3'; echo $?")
            .expect_err("")
            .expect_out("1\n3\n");
    }
}

#[test]
fn ctrl_z_stops_and_fg_continues_what_a_terminated_job_has_left() {
    let lab = Lab::new();
    lab.sh("mkfifo never");
    let left = "trap 'echo told' TERM; echo left $$; while :; do read x <never; done";
    lab.program("left", &format!("#!/bin/sh\n{left}\n"));
    lab.program(
        "job",
        "#!/bin/sh\n./left & echo job $PPID $$; read x <never; :\n",
    );
    let mut bash = lab.bash_at_terminal();
    bash.say("loto -L l -- ./job; echo first $?");
    let mut left = 0;
    let mut keeper_and_job = String::new();
    for _ in 0..2 {
        let line = bash.line();
        match line.split_once(' ').expect("two words") {
            ("left", pid) => left = pid.parse::<i32>().expect("a pid"),
            (_, pids) => keeper_and_job = pids.to_owned(),
        }
    }
    let (keeper, job) = keeper_and_job.split_once(' ').expect("two");
    let (keeper, job): (i32, i32) = (keeper.parse().expect("a pid"), job.parse().expect("a pid"));
    assert!(send(keeper, libc::SIGTERM));
    bash.comes_to("told");
    assert!(!runs(job));
    bash.types("\x1a");
    bash.comes_to("first 148");
    assert!(stopped(keeper));
    bash.say("fg; echo second $?");
    wait_until("it goes on", || !stopped(keeper));
    bash.types("\x1a");
    bash.comes_to("second 148");
    // Nobody says fg: the lock must not wait for that.
    assert!(send(left, libc::SIGKILL));
    wait_until("the keeper ends", || !runs(keeper));
}

#[test]
fn ctrl_c_reaches_what_the_command_leaves_behind_once() {
    let lab = Lab::new();
    let mut loto =
        lab.at_terminal(lab.leader(&["loto", "-L", "l", "--", "probe", "beside", "hear", "2"]));
    loto.comes_to("ready ");
    let left: i32 = loto.line().parse().expect("a pid");
    loto.types("\x03");
    let heard = loto.line();
    assert!(heard.starts_with("heard 2 "), "{heard}");
    // By now it is our keeper's child, and all that was to be told has been.
    wait_until("the command ends", || {
        status_field(left, "PPid") == keeper(&loto).to_string()
    });
    loto.signal(libc::SIGTERM);
    let heard = loto.line();
    assert!(heard.starts_with("heard 15 "), "{heard}");
    assert_eq!(loto.end(), End::Killed(libc::SIGINT));
}
