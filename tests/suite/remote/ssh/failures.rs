//! Failures of processes and connections. Commands never overlap: each of them has a local lock on
//! the file `witness`, ignores `SIGTERM`, and works in a grandchild.
//!
//! What ends with the time of a lease takes 6 s, so such cases run side by side in one test, each
//! with a server of its own.

use libc::{SIGCONT, SIGHUP, SIGKILL, SIGSTOP, SIGTERM};
use rstest::rstest;
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{children_of, is_running, is_stopped, parent_of};
use test_support::{can_unshare, wait_until};

use super::SshTest;
use crate::remote::engines::failures::{NEXT, assert_no_overlap};
use crate::remote::engines::proxy::{Mode, Proxy};
use crate::remote::form::child;
use crate::remote::lease::STUBBORN;

/// A lease that ends soon, but not before a command has started on a busy machine.
const SHORT: [&str; 2] = ["--ttl=6s", "--grace=1s"];

const NOT_RENEWED: &str = "flock: lock lost, command stopped: its lease was not renewed in time\n";

/// Kills the process of sshd that serves the connection of a holder.
pub fn kill_session_of(holder: i32) {
    assert!(send_signal(session_of(holder), SIGKILL));
}

/// Returns the process of sshd. A shell is between the two.
fn session_of(holder: i32) -> i32 {
    parent_of(parent_of(holder))
}

impl SshTest {
    /// Starts a command that is hard to stop, over a host, and waits until it works. Then starts the
    /// next one, on the other machine, and waits until it queues.
    #[track_caller]
    fn start_pair(&self, host: &str) -> (Process, Process) {
        let url = self.url_by(host);
        let mut flock = self.env.flock(SHORT);
        flock.arg(url).args(STUBBORN);
        let mut flock = self.env.start(flock);
        flock.expect_line("working");
        let next = self.env.flock(["lock"].iter().chain(&NEXT));
        let next = self.env.start(next);
        self.wait_for_waiters(1);
        (flock, next)
    }

    /// Starts a proxy in front of the server.
    fn proxy(&self) -> Proxy {
        Proxy::start(self.server.host(), Mode::Forward)
    }
}

/// Runs cases at the same time, each in an environment of its own.
fn side_by_side<T: Copy + Send + std::fmt::Debug>(cases: &[T], run: impl Fn(&SshTest, T) + Sync) {
    std::thread::scope(|scope| {
        for case in cases.iter().copied() {
            let run = &run;
            scope.spawn(move || {
                let Some(test) = SshTest::new() else { return };
                // Shown if it fails.
                println!("{case:?}");
                run(&test, case);
                test.wait_for_nothing_there();
            });
        }
    });
}

#[rstest]
#[case::flock("")]
#[case::supervisor("lock-keeper")]
#[case::timekeeper("lock-timekeeper")]
fn killed_process_leads_to_no_overlap(#[case] name: &str) {
    let Some(test) = SshTest::new() else { return };
    let (mut flock, next) = test.start_pair("machine");
    let status = match name {
        "" => {
            flock.kill();
            ExitReason::Signaled(SIGKILL)
        }
        name => {
            assert!(send_signal(child(&flock, name), SIGKILL));
            let is_supervisor = name == "lock-keeper";
            ExitReason::Exited(if is_supervisor { 128 + SIGKILL } else { 75 })
        }
    };
    assert_eq!(flock.wait(), status);
    assert_no_overlap(next);
    test.wait_for_nothing_there();
}

/// What is between the command and its lock.
#[derive(Clone, Copy, Debug)]
enum Link {
    Helper,
    Ssh,
    Session,
}

const LINKS: [Link; 3] = [Link::Helper, Link::Ssh, Link::Session];

impl Link {
    fn find(self, test: &SshTest, flock: &Process) -> i32 {
        match self {
            Self::Helper => child(flock, "flock-ssh"),
            Self::Ssh => children_of(child(flock, "flock-ssh"))[0],
            Self::Session => session_of(test.process_there("serve")),
        }
    }
}

#[test]
fn killed_link_leads_to_no_overlap() {
    side_by_side(&LINKS, |test, link| {
        let (mut flock, next) = test.start_pair("machine");
        assert!(send_signal(link.find(test, &flock), SIGKILL));
        flock.expect(NOT_RENEWED);
        assert_no_overlap(next);
        assert_eq!(flock.wait(), ExitReason::Exited(75));
    });
}

#[test]
fn stopped_link_leads_to_no_overlap() {
    side_by_side(&LINKS, |test, link| {
        let (mut flock, next) = test.start_pair("machine");
        let pid = link.find(test, &flock);
        assert!(send_signal(pid, SIGSTOP));
        flock.expect(NOT_RENEWED);
        assert_no_overlap(next);
        send_signal(pid, SIGCONT);
        assert_eq!(flock.wait(), ExitReason::Exited(75));
    });
}

#[test]
fn disturbed_connection_leads_to_no_overlap() {
    let modes = [Mode::Freeze, Mode::HoldReplies(0), Mode::Reset];
    side_by_side(&modes, |test, mode| {
        let proxy = test.proxy();
        let (mut flock, next) = test.start_pair(&proxy.host());
        proxy.set(mode);
        flock.expect(NOT_RENEWED);
        assert_no_overlap(next);
        drop(proxy);
        assert_eq!(flock.wait(), ExitReason::Exited(75));
    });
}

#[test]
fn renewed_lock_outlasts_the_time_to_live() {
    let Some(test) = SshTest::new() else { return };
    let script = "sleep 8; flock -n lock true; echo $?; exit 5";
    let url = test.url();
    let args = ["--ttl=6s", "--grace=0", &url, "sh", "-c", script];
    test.env.run(args).assert_all(5, "1\n", "");
}

/// A lock there is not passed on while its process is stopped.
#[test]
fn stopped_holder_leads_to_no_overlap() {
    let Some(test) = SshTest::new() else { return };
    let (mut flock, next) = test.start_pair("machine");
    let holder = test.process_there("serve");
    assert!(send_signal(holder, SIGSTOP));
    flock.expect(NOT_RENEWED);
    assert_eq!(flock.wait(), ExitReason::Exited(75));
    test.wait_for_waiters(1);
    send_signal(holder, SIGCONT);
    assert_no_overlap(next);
    test.wait_for_nothing_there();
}

/// The guard keeps the lock for the time to live.
#[test]
fn killed_holder_leads_to_no_overlap() {
    let Some(test) = SshTest::new() else { return };
    let (mut flock, next) = test.start_pair("machine");
    assert!(send_signal(test.process_there("serve"), SIGKILL));
    flock.expect("flock: lock lost, command stopped: the process that held it there has exited\n");
    assert_eq!(flock.wait(), ExitReason::Exited(75));
    assert_no_overlap(next);
    test.wait_for_nothing_there();
}

#[test]
fn guard_keeps_the_lock_of_a_killed_holder() {
    let Some(test) = SshTest::new() else { return };
    let mut flock = test.hold(&[]);
    assert!(send_signal(test.process_there("serve"), SIGKILL));
    assert_eq!(flock.wait(), ExitReason::Exited(75));
    test.assert_there(&[], 1);
    // It would do so for an hour.
    assert!(send_signal(test.process_there("guard"), SIGKILL));
    test.wait_for_nothing_there();
    test.assert_there(&[], 0);
}

/// The command is killed at once, for no process is left that holds the lock.
#[test]
fn command_without_holder_and_guard_is_killed() {
    let Some(test) = SshTest::new() else { return };
    let mut flock = test.start(&[], "trap 'echo asked' TERM; echo held; read x");
    flock.expect_line("held");
    for word in ["guard", "serve"] {
        assert!(send_signal(test.process_there(word), SIGKILL));
    }
    flock.expect_line(
        "flock: lock lost, command stopped: the process that held it there has exited",
    );
    assert_eq!(flock.wait(), ExitReason::Exited(75));
    test.wait_for_nothing_there();
    test.assert_there(&[], 0);
}

#[rstest]
#[case::killed(SIGKILL)]
#[case::stopped(SIGSTOP)]
fn lock_does_not_depend_on_the_guard(#[case] signal: i32) {
    let Some(test) = SshTest::new() else { return };
    let mut holder = test.hold(&[]);
    let guard = test.process_there("guard");
    assert!(send_signal(guard, signal));
    wait_until("that has happened", || {
        !is_running(guard) || is_stopped(guard)
    });
    test.assert_there(&[], 1);
    holder.send_line("");
    assert_eq!(holder.wait(), ExitReason::Exited(0));
    test.assert_there(&[], 0);
    test.wait_for_nothing_there();
}

/// As at the end of a session, by a service manager.
#[test]
fn terminated_holder_keeps_the_lock() {
    let Some(test) = SshTest::new() else { return };
    let mut holder = test.hold(&[]);
    for word in ["serve", "guard"] {
        let pid = test.process_there(word);
        for signal in [SIGHUP, SIGTERM] {
            assert!(send_signal(pid, signal));
        }
    }
    test.assert_there(&[], 1);
    holder.send_line("");
    assert_eq!(holder.wait(), ExitReason::Exited(0));
    test.assert_there(&[], 0);
}

/// The lock is kept, as a local one would be, as long as it is renewed.
#[rstest]
#[case::flock("")]
#[case::supervisor("lock-keeper")]
fn stopped_process_keeps_the_lock(#[case] name: &str) {
    let Some(test) = SshTest::new() else { return };
    let mut holder = test.hold(&[]);
    let pid = match name {
        "" => holder.pid(),
        name => child(&holder, name),
    };
    assert!(send_signal(pid, SIGSTOP));
    wait_until("it stops", || is_stopped(pid));
    test.assert_there(&[], 1);
    send_signal(pid, SIGCONT);
    holder.send_line("");
    assert_eq!(holder.wait(), ExitReason::Exited(0));
    test.assert_there(&[], 0);
}

#[test]
fn server_that_is_restarted_keeps_the_lock() {
    let Some(mut test) = SshTest::new() else {
        return;
    };
    let mut holder = test.hold(&[]);
    test.server.restart(&test.env);
    let outcome = test.env.run(["-n", &test.url(), "true"]);
    outcome.assert_all(1, "", "");
    holder.send_line("");
    assert_eq!(holder.wait(), ExitReason::Exited(0));
    test.assert_there(&[], 0);
}

/// A command may still run for which the lock was held before the restart.
#[test]
fn restarted_machine_grants_no_lock_for_a_while() {
    let Some(mut test) = SshTest::new() else {
        return;
    };
    let uptime = std::fs::read_to_string("/proc/uptime").expect("/proc can be read");
    let uptime: u64 = uptime
        .split('.')
        .next()
        .and_then(|text| text.parse().ok())
        .expect("seconds");
    let offset = format!("-{uptime}");
    if !can_unshare(&test.env, &format!("--time --boottime {offset}")) {
        return;
    }
    let program = ["unshare", "--time", "--boottime", &offset];
    test.server.restart_by(&test.env, &program);
    let url = test.url();
    // A wait that ends before that ends at once.
    for wait in ["-n", "-w1800"] {
        test.env
            .run([wait, "--ttl=1h", &url, "true"])
            .assert_all(1, "", "");
    }
    test.assert_there(&[], 0);
    test.env
        .run(["--ttl=5s", &url, "echo", "got it"])
        .assert_all(0, "got it\n", "");
}

#[test]
fn short_disturbance_does_not_matter() {
    let Some(test) = SshTest::new() else { return };
    let proxy = test.proxy();
    let url = test.url_by(&proxy.host());
    let mut command = test.env.flock(["--ttl=2m", &url, "sh", "-c"]);
    command.arg("echo held; read x; exit 5");
    let mut holder = test.env.start(command);
    holder.expect_line("held");
    proxy.set(Mode::Freeze);
    test.assert_there(&[], 1);
    proxy.set(Mode::Forward);
    holder.send_line("");
    assert_eq!(holder.wait(), ExitReason::Exited(5));
    test.assert_there(&[], 0);
}

/// As a virtual machine that is paused: the processes go on after the lock has passed to another.
#[test]
fn command_that_was_paused_too_long_is_killed() {
    let Some(test) = SshTest::new() else { return };
    let mut flock = test.start(&SHORT, "echo $$; while :; do sleep 0.01; done");
    let line = flock.read_line();
    let command = line.parse().unwrap_or_else(|_| panic!("no PID: {line}"));
    // Those that would continue others come first.
    let names = ["flock-ssh", "lock-timekeeper", "lock-keeper"];
    let mut processes = Vec::from(names.map(|name| child(&flock, name)));
    processes.extend([flock.pid(), command]);
    for pid in &processes {
        assert!(send_signal(*pid, SIGSTOP));
    }
    let next = test.env.run(["lock", "echo", "next"]);
    next.assert_all(0, "next\n", "");
    for pid in &processes {
        send_signal(*pid, SIGCONT);
    }
    assert_eq!(flock.wait(), ExitReason::Exited(75));
    assert!(!is_running(command));
}

/// Without a message, the other machine would keep it.
#[test]
fn killed_waiter_frees_a_lock_that_it_was_granted() {
    let Some(test) = SshTest::new() else { return };
    let proxy = test.proxy();
    let local = test.env.hold(&[], "lock");
    let url = test.url_by(&proxy.host());
    let mut waiter = test.env.start_flock(["--ttl=2m", &url, "echo", "never"]);
    test.wait_for_waiters(1);
    proxy.set(Mode::HoldReplies(0));
    local.release();
    let tokens = test.env.file("state/fdlock/ssh-token");
    wait_until("the lock is granted", || tokens.exists());
    waiter.kill();
    test.wait_for_nothing_there();
}

/// A machine that grants the lock some time after the last renewal.
const LATE: &str = "#!/bin/sh
echo fdlock-ssh 1
while read -r line && [ \"$line\" ]; do :; done
echo renewed 0
sleep 1.2
echo granted 7
while read -r word number; do
    case $word in
        renew) sleep 0.3; echo >renewed; echo renewed $number ;;
        release) echo released; exit ;;
    esac
done
";

#[test]
fn command_starts_with_most_of_the_time() {
    let Some(test) = SshTest::new() else { return };
    test.env.install_script("bin/ssh", LATE);
    let args = [
        "--ttl=5s",
        "--grace=0",
        &test.url(),
        "test",
        "-e",
        "renewed",
    ];
    test.env.run(args).assert_all(0, "", "");
}

#[test]
fn interrupted_wait_for_a_frozen_server_ends() {
    let Some(test) = SshTest::new() else { return };
    let proxy = test.proxy();
    proxy.set(Mode::Freeze);
    let url = test.url_by(&proxy.host());
    let mut waiter = test.env.start(test.env.flock([&url, "echo", "never"]));
    let helper = child(&waiter, "flock-ssh");
    waiter.kill();
    wait_until("the helper exits", || !is_running(helper));
}
