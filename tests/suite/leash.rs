//! Commands that must not outlive their `loto`: what is killed with it, what is told to stop, what is left alone; and that
//! the lock is never free while any of it runs.

mod hard_places;

use test_support::helper::HEARD_ALL;
use test_support::locks::{locks_on, runs, status_field, stopped, waiters};
use test_support::pre_exec::{Inherit, signal_set};
use test_support::process::{End, Live, send};
use test_support::{Lab, wait_until};

/// A job of three processes: a shell, a shell in it, and one in the background of that, which each say their numbers.
/// None of them is anything's last command, so that none takes another's place.
const FAMILY: &str = "mkfifo never; echo $$; sh -c 'echo $$; (sh -c \"echo \\$\\$; read x <never; :\"; :) & read x <never; :'; :";

/// `loto` over that job, and its processes.
#[track_caller]
fn family(lab: &Lab, script: &str) -> (Live, Vec<i32>) {
    let mut loto = lab.command("loto");
    loto.args(["-L", "l", "--", "sh", "-c", script]);
    let mut loto = lab.start(loto);
    let members = (0..3).map(|_| loto.line().parse().expect("a pid"));
    let members = members.collect();
    (loto, members)
}

/// Somebody who waits for the lock, and tells how many of these processes run when he has it.
#[track_caller]
fn successor(lab: &Lab, members: &[i32]) -> Live {
    let members: Vec<_> = members.iter().map(i32::to_string).collect();
    let script = "for p; do case $(cat /proc/$p/stat 2>/dev/null) in *') Z '*|'') ;; *) echo runs;; esac; done; echo alone";
    let mut waiter = lab.flock(["l", "sh", "-c", script, "sh"]);
    waiter.args(members);
    let waiter = lab.start(waiter);
    wait_until("it waits", || waiters(lab.file("l")) == 1);
    waiter
}

/// The keeper of a `loto`.
fn keeper(loto: &Live) -> i32 {
    let path = format!("/proc/{0}/task/{0}/children", loto.pid());
    let children = std::fs::read_to_string(path).expect("its children");
    children.trim().parse().expect("one child")
}

#[test]
fn a_killed_loto_takes_all_of_its_job_with_it_before_the_lock_is_free() {
    for _ in 0..20 {
        let lab = Lab::new();
        let (mut loto, members) = family(&lab, FAMILY);
        let mut next = successor(&lab, &members);
        loto.murder();
        next.hears("alone");
    }
}

#[test]
fn a_job_whose_whole_group_is_killed_does_nothing_any_more_when_the_lock_is_free() {
    let lab = Lab::new();
    for _ in 0..10 {
        let mut loto = lab.command("loto");
        let script = "echo ready; while :; do echo x; done >trace";
        loto.args(["-w", "-L", "l", "--", "sh", "-c", script]);
        let mut loto = lab.start(loto);
        loto.hears("ready");
        let look = "a=$(wc -c <trace); [ $a = $(wc -c <trace) ] && echo still; echo alone";
        let mut next = lab.start_flock(["l", "sh", "-c", look]);
        wait_until("it waits", || waiters(lab.file("l")) == 1);
        assert!(send(-loto.pid(), libc::SIGKILL));
        next.hears("still");
    }
}

#[test]
fn a_loto_that_is_killed_at_any_moment_leaves_nobody_behind() {
    let lab = Lab::new();
    for moment in 0..60 {
        let mut loto = lab.command("loto");
        loto.args([
            "-w",
            "-L",
            "l",
            "--",
            "sh",
            "-c",
            "echo $$ >>pids; read x; :",
        ]);
        let mut loto = lab.start(loto);
        let until = std::time::Instant::now() + std::time::Duration::from_micros(moment * 60);
        while std::time::Instant::now() < until {
            std::hint::spin_loop();
        }
        loto.signal(libc::SIGKILL);
        assert_eq!(loto.end(), End::Killed(libc::SIGKILL));
        // Once the lock can be had, whoever was started has ended.
        lab.run([
            "l",
            "sh",
            "-c",
            "for p in $(cat pids 2>/dev/null); do
            case $(cat /proc/$p/stat 2>/dev/null) in *') Z '*|'') ;; *) echo runs;; esac; done",
        ])
        .expect_out("");
    }
    assert!(lab.file("pids").exists(), "no command was ever started");
}

#[test]
fn a_killed_loto_takes_a_stopped_job_with_it() {
    let lab = Lab::new();
    let (mut loto, members) = family(&lab, FAMILY);
    let mut next = successor(&lab, &members);
    assert!(send(members[0], libc::SIGSTOP));
    // Outside a terminal's session nobody but the command stops.
    wait_until("it stops", || stopped(members[0]));
    loto.murder();
    next.hears("alone");
}

#[test]
fn a_killed_keeper_takes_the_job_with_it_too() {
    let lab = Lab::new();
    let (mut loto, members) = family(&lab, FAMILY);
    let mut next = successor(&lab, &members);
    assert!(send(keeper(&loto), libc::SIGKILL));
    assert_eq!(loto.end(), End::Exited(128 + libc::SIGKILL));
    next.hears("alone");
}

#[test]
fn the_keeper_has_a_name_of_its_own_so_that_pkill_finds_loto_alone() {
    let lab = Lab::new();
    let (loto, _) = family(&lab, FAMILY);
    assert_eq!(status_field(loto.pid(), "Name"), "loto");
    assert_eq!(status_field(keeper(&loto), "Name"), "lock-keeper");
    let line = |pid| std::fs::read(format!("/proc/{pid}/cmdline")).expect("it runs");
    let words = line(keeper(&loto));
    let end = words.iter().rposition(|byte| *byte != 0).expect("a name");
    assert_eq!(&words[..=end], b"lock-keeper");
    assert!(line(loto.pid()).starts_with(b"loto\0-L\0l\0"));
}

#[test]
fn what_a_terminated_job_leaves_behind_is_terminated_too_before_the_lock_is_free() {
    for signal in [libc::SIGTERM, libc::SIGHUP] {
        let lab = Lab::new();
        let (mut loto, members) = family(&lab, FAMILY);
        let mut next = successor(&lab, &members);
        loto.signal(signal);
        assert_eq!(loto.end(), End::Killed(signal));
        next.hears("alone");
    }
}

#[test]
fn what_is_left_behind_may_take_its_time_to_stop_and_hears_what_else_is_sent() {
    let lab = Lab::new();
    let mut loto = lab.command("loto");
    loto.args(["-L", "l", "--", "sh", "-c", "probe hear 2 & wait; :"]);
    let mut loto = lab.start(loto);
    loto.comes_to("ready");
    loto.line();
    let mut next = successor(&lab, &[]);
    loto.signal(libc::SIGTERM);
    loto.hears("heard 15 0 0");
    assert_eq!(waiters(lab.file("l")), 1);
    loto.signal(libc::SIGHUP);
    loto.hears("heard 1 0 0");
    assert_eq!(loto.end(), End::Killed(libc::SIGTERM));
    next.hears("alone");
}

#[test]
fn what_ignores_the_signal_or_made_a_session_of_its_own_is_left_alone() {
    let lab = Lab::new();
    lab.sh("mkfifo never");
    let script = "echo $$; (trap '' TERM; sh -c 'echo ready $$; read x <never; :') & probe alone hear 1 & read x; :";
    let mut loto = lab.command("loto");
    loto.args(["-L", "l", "--", "sh", "-c", script]);
    let mut loto = lab.start(loto);
    let job: i32 = loto.line().parse().expect("a pid");
    let others = [(); 2].map(|()| {
        loto.comes_to("ready ");
        loto.line().parse::<i32>().expect("a pid")
    });
    loto.signal(libc::SIGTERM);
    assert_eq!(loto.end(), End::Killed(libc::SIGTERM));
    assert!(!runs(job));
    assert!(locks_on(lab.file("l")).is_empty());
    for other in others {
        assert!(runs(other), "{other}");
        send(other, libc::SIGKILL);
    }
}

#[test]
fn what_a_job_leaves_behind_when_it_ends_by_itself_goes_on_without_the_lock() {
    let lab = Lab::new();
    lab.sh("mkfifo never");
    let script = "sh -c 'echo $$; read x <never; :' & echo $$; echo 0; read x";
    let (mut loto, members) = family(&lab, script);
    // Something that is no request to stop comes in between.
    loto.signal(libc::SIGUSR1 + 13);
    loto.say("");
    let end = loto.end();
    assert!(matches!(end, End::Exited(_) | End::Killed(_)), "{end:?}");
    let left = members.into_iter().filter(|pid| *pid != 0 && runs(*pid));
    let left = left.collect::<Vec<_>>();
    assert_eq!(left.len(), 1);
    assert!(locks_on(lab.file("l")).is_empty());
    send(left[0], libc::SIGKILL);
}

#[test]
fn signals_reach_the_command_once_and_decide_nothing_by_themselves() {
    let lab = Lab::new();
    for signal in [
        libc::SIGTERM,
        libc::SIGINT,
        libc::SIGHUP,
        libc::SIGUSR1,
        libc::SIGCONT,
        40,
    ] {
        let mut loto = lab.command("loto");
        loto.args(["-L", "l", "--", "probe", "hear", "2"]);
        let mut loto = lab.start(loto);
        loto.comes_to("ready");
        loto.line();
        loto.signal(signal);
        loto.hears(&format!("heard {signal} 0 0"));
        loto.signal(64);
        loto.hears("heard 64 0 0");
        assert_eq!(loto.end(), End::Exited(HEARD_ALL));
    }
}

#[test]
fn the_keys_of_a_terminal_reach_the_command_once() {
    let lab = Lab::new();
    let mut loto = lab.at_terminal(lab.leader(&["loto", "-L", "l", "--", "probe", "hear", "20"]));
    loto.comes_to("ready");
    loto.line();
    for _ in 0..10 {
        loto.types("\x03");
        let heard = loto.line();
        assert!(heard.starts_with("heard 2 "), "{heard}");
        loto.signal(64);
        let heard = loto.line();
        assert!(heard.starts_with("heard 64 "), "{heard}");
    }
    assert_eq!(loto.end(), End::Exited(HEARD_ALL));
}

#[test]
fn ctrl_z_and_fg_stop_and_continue_all_of_it() {
    let lab = Lab::new();
    let mut bash = lab.bash_at_terminal();
    bash.say("loto -L l -- sh -c 'echo ready $$; read x; echo got $x; exit 5'; echo first $?");
    bash.comes_to("ready ");
    let command: i32 = bash.line().parse().expect("a pid");
    bash.types("\x1a");
    bash.comes_to("first 148");
    assert!(stopped(command));
    bash.say("fg; echo second $?");
    bash.comes_to("loto");
    wait_until("it goes on", || !stopped(command));
    bash.say("something");
    bash.comes_to("got something");
    bash.comes_to("second 5");
}

#[test]
fn a_loto_that_is_killed_while_all_of_it_is_stopped_takes_its_job_with_it() {
    let lab = Lab::new();
    let mut bash = lab.bash_at_terminal();
    bash.say("loto -L l -- sh -c 'echo ready $PPID $$; read x; :'; echo stopped");
    bash.comes_to("ready ");
    let line = bash.line();
    let mut pids = line
        .split(' ')
        .map(|pid| pid.parse::<i32>().expect("a pid"));
    let (keeper, command) = (pids.next().expect("two"), pids.next().expect("two"));
    bash.types("\x1a");
    bash.comes_to("stopped");
    assert!(stopped(keeper) && stopped(command));
    let mut next = successor(&lab, &[command]);
    let loto: i32 = status_field(keeper, "PPid").parse().expect("a pid");
    assert!(send(loto, libc::SIGKILL));
    next.hears("alone");
}

#[test]
fn the_command_gets_the_callers_world() {
    let lab = Lab::new();
    let make = |command: &mut std::process::Command| {
        command
            .blocking(signal_set([libc::SIGINT, libc::SIGCHLD, 33, 64]))
            .ignoring([libc::SIGHUP, libc::SIGCHLD, libc::SIGPIPE])
            .before_exec(|| {
                rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o137));
                Ok(())
            });
    };
    let mut direct = lab.command("probe");
    make(direct.args(["world", "world"]));
    let mut under = lab.command("loto");
    make(under.args(["-L", "l", "--", "probe", "world", "world"]));
    let known = |world: String| {
        let lines = world.lines().filter(|line| !line.contains(" pipe:"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let (direct, _) = lab.world_of(direct);
    let (under, outcome) = lab.world_of(under);
    outcome.expect_err("").expect_code(0);
    assert_eq!(known(under), known(direct));
}

#[test]
fn children_that_the_caller_left_behind_are_left_alone() {
    let lab = Lab::new();
    lab.sh("mkfifo never");
    let script = "sh -c 'read x <never; :' & echo $!; exec loto -L l -- sh -c 'echo $$; read x; :'";
    let mut shell = lab.command("sh");
    shell.args(["-c", script]);
    let mut loto = lab.start(shell);
    let stranger: i32 = loto.line().parse().expect("a pid");
    loto.line();
    let children = format!("/proc/{0}/task/{0}/children", loto.pid());
    let children = std::fs::read_to_string(children).expect("its children");
    let mut children = children
        .split_whitespace()
        .map(|pid| pid.parse().expect("a pid"));
    let keeper = children.find(|pid| *pid != stranger).expect("a keeper");
    assert!(send(keeper, libc::SIGKILL));
    assert_eq!(loto.end(), End::Exited(128 + libc::SIGKILL));
    assert!(runs(stranger));
}
