//! Failures of processes here and of connections. Commands and scripts never overlap: each of them has a
//! local lock on the file `witness`, ignores `SIGTERM`, and works in a grandchild.
//!
//! What ends with the time of a lease takes 6 s, so such cases run side by side in one test, each
//! with a server of its own.

use std::fmt::Debug;

use libc::{SIGCONT, SIGKILL, SIGSTOP};
use rstest::rstest;
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{children_of, is_running, is_stopped, parent_of};
use test_support::wait_until;

use super::SshTest;
use crate::remote::engines::failures::{NEXT, assert_no_overlap};
use crate::remote::engines::proxy::{Mode, Proxy};
use crate::remote::form::{FORMS, Form, Holder, NOT_RENEWED, child};
use crate::remote::handle::GUARDS;

/// A lease that ends soon, but not before a command has started on a busy machine.
const SHORT: [&str; 2] = ["--ttl=6s", "--grace=1s"];

/// Kills the process of sshd that serves the connection of a holder.
pub fn kill_session_of(holder: i32) {
    assert!(send_signal(session_of(holder), SIGKILL));
}

/// Returns the process of sshd. A shell is between the two.
fn session_of(holder: i32) -> i32 {
    parent_of(parent_of(holder))
}

impl SshTest {
    /// Starts a process that is hard to stop, over a host, and waits until it works. Then starts the
    /// next one, on the other machine, and waits until it queues.
    #[track_caller]
    pub fn start_pair(&self, form: Form, host: &str) -> (Holder<'_>, Process) {
        let holder = form.start_stubborn(&self.env, &SHORT, &self.url_by(host));
        let next = self.env.flock(["lock"].iter().chain(&NEXT));
        let next = self.env.start(next);
        self.wait_for_waiters(1);
        (holder, next)
    }

    /// Starts a process that holds the lock.
    #[track_caller]
    pub fn hold_by(&self, form: Form) -> Holder<'_> {
        form.hold(&self.env, &["--ttl=2m"], &self.url())
    }

    /// Starts a proxy in front of the server.
    fn proxy(&self) -> Proxy {
        Proxy::start(self.server.host(), Mode::Forward)
    }
}

/// Runs cases at the same time, in both forms, each in an environment of its own.
pub fn side_by_side<T: Copy + Send + Debug>(cases: &[T], run: impl Fn(&SshTest, Form, T) + Sync) {
    std::thread::scope(|scope| {
        let in_form = |form: Form| cases.iter().map(move |case| (form, *case));
        for (form, case) in FORMS.into_iter().flat_map(in_form) {
            let run = &run;
            scope.spawn(move || {
                let Some(test) = SshTest::new() else { return };
                // Shown if it fails.
                println!("{form:?} {case:?}");
                run(&test, form, case);
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
    let (mut flock, next) = test.start_pair(Form::Command, "machine");
    let status = match name {
        "" => {
            flock.kill();
            ExitReason::Signaled(SIGKILL)
        }
        name => {
            assert!(send_signal(flock.find(name), SIGKILL));
            let is_supervisor = name == "lock-keeper";
            ExitReason::Exited(if is_supervisor { 128 + SIGKILL } else { 75 })
        }
    };
    assert_eq!(flock.wait(), status);
    assert_no_overlap(next);
    test.wait_for_nothing_there();
}

#[test]
fn killed_guards_of_a_script_keep_the_lock() {
    let Some(test) = SshTest::new() else { return };
    let (mut script, next) = test.start_pair(Form::Descriptor, "machine");
    for name in GUARDS {
        script.guards().replace(name);
    }
    assert!(!script.has_exited() && !next.has_exited());
    send_signal(-script.pid(), SIGKILL);
    assert_no_overlap(next);
    script.wait();
    script.guards().assert_nothing_left();
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
    fn find(self, test: &SshTest, holder: &Holder<'_>) -> i32 {
        match self {
            Self::Helper => holder.find("flock-ssh"),
            Self::Ssh => children_of(holder.find("flock-ssh"))[0],
            Self::Session => session_of(test.process_there("serve")),
        }
    }
}

#[rstest]
#[case::killed(SIGKILL)]
#[case::stopped(SIGSTOP)]
fn broken_link_leads_to_no_overlap(#[case] signal: i32) {
    side_by_side(&LINKS, |test, form, link| {
        let (mut holder, next) = test.start_pair(form, "machine");
        let pid = link.find(test, &holder);
        assert!(send_signal(pid, signal));
        holder.expect_loss(NOT_RENEWED);
        assert_no_overlap(next);
        send_signal(pid, SIGCONT);
        holder.assert_stopped();
    });
}

#[test]
fn disturbed_connection_leads_to_no_overlap() {
    let modes = [Mode::Freeze, Mode::HoldReplies(0), Mode::Reset];
    side_by_side(&modes, |test, form, mode| {
        let proxy = test.proxy();
        let (mut holder, next) = test.start_pair(form, &proxy.host());
        proxy.set(mode);
        holder.expect_loss(NOT_RENEWED);
        assert_no_overlap(next);
        drop(proxy);
        holder.assert_stopped();
    });
}

#[test]
fn renewed_lock_outlasts_the_time_to_live() {
    side_by_side(&[()], |test, form, ()| {
        let script = "sleep 8; flock -n lock true; echo status $?; read x; exit 5";
        let mut holder = form.start(&test.env, &["--ttl=6s", "--grace=0"], &test.url(), script);
        holder.expect_line("status 1");
        holder.finish();
    });
}

/// The lock is kept, as a local one would be, as long as it is renewed.
#[rstest]
#[case::flock(Form::Command, "")]
#[case::supervisor(Form::Command, "lock-keeper")]
#[case::script(Form::Descriptor, "")]
fn stopped_process_keeps_the_lock(#[case] form: Form, #[case] name: &str) {
    let Some(test) = SshTest::new() else { return };
    let holder = test.hold_by(form);
    let pid = match name {
        "" => holder.pid(),
        name => holder.find(name),
    };
    assert!(send_signal(pid, SIGSTOP));
    wait_until("it stops", || is_stopped(pid));
    test.assert_there(&[], 1);
    send_signal(pid, SIGCONT);
    holder.finish();
    test.assert_there(&[], 0);
}

#[rstest]
fn short_disturbance_does_not_matter(#[values(Form::Command, Form::Descriptor)] form: Form) {
    let Some(test) = SshTest::new() else { return };
    let proxy = test.proxy();
    let holder = form.hold(&test.env, &["--ttl=2m"], &test.url_by(&proxy.host()));
    proxy.set(Mode::Freeze);
    test.assert_there(&[], 1);
    proxy.set(Mode::Forward);
    holder.finish();
    test.assert_there(&[], 0);
}

/// As a virtual machine that is paused: the processes go on after the lock has passed to another.
#[test]
fn process_that_was_paused_too_long_is_killed() {
    side_by_side(&[()], |test, form, ()| {
        let work = "trap '' TERM; echo $$; while :; do sleep 0.01; done";
        let mut holder = form.start(&test.env, &SHORT, &test.url(), work);
        let line = holder.read_line();
        let worker = line.parse().unwrap_or_else(|_| panic!("no PID: {line}"));
        let paused = holder.pause("flock-ssh", worker);
        let next = test.env.run(["lock", "echo", "next"]);
        next.assert_all(0, "next\n", "");
        paused.resume();
        holder.assert_stopped();
    });
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
