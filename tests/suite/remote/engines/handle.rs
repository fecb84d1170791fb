//! Locks of real systems that are tied to a descriptor of a script.

use std::time::Duration;

use libc::{SIGKILL, SIGSTOP};
use rstest::rstest;
use test_support::process::{ExitReason, send_signal};
use test_support::procfs::is_stopped;
use test_support::wait_until;

use super::failures::assert_no_overlap;
use super::proxy::{Mode, Proxy};
use super::{Engine, EngineTest, TTL, storm};
use crate::remote::form::{Form, NOT_RENEWED};
use crate::remote::handle::storm::Storm;
use crate::remote::handle::{GUARDS, Guards};

const CTRL_Z: &str = "\x1a";

#[rstest]
fn script_holds_the_lock(#[values(Engine::Etcd, Engine::Postgres)] engine: Engine) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let guards = Guards(&test.env);
    let url = test.url();
    let script = format!(
        "exec 8>>handle; flock --ttl=1h 8 {url} || exit; flock -n 8 {url} || exit; echo locked
        read x; flock -u 8; echo unlocked; read x; flock -n 8 {url}; echo $?; read x"
    );
    let mut script = test.env.start(test.env.sh_command(script));
    script.expect_line("locked");
    test.wait_for_keys(1);
    test.env.run(["-n", &url, "true"]).assert_all(1, "", "");
    script.send_line("");
    script.expect_line("unlocked");
    assert_eq!(test.system.keys(&test.name()), [""; 0]);
    script.send_line("");
    script.expect_line("0");
    let mut next = test.start(&[], "echo next");
    test.wait_for_keys(2);
    script.kill();
    next.expect_line("next");
    assert_eq!(next.wait(), ExitReason::Exited(0));
    test.wait_for_keys(0);
    guards.assert_nothing_left();
}

#[rstest]
fn killed_guards_keep_the_lock(#[values(Engine::Etcd, Engine::Postgres)] engine: Engine) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let guards = Guards(&test.env);
    let (mut script, next) = test.start_pair(Form::Descriptor, &test.system.hosts());
    for name in GUARDS {
        guards.replace(name);
    }
    assert!(!script.has_exited());
    send_signal(-script.pid(), SIGKILL);
    assert_no_overlap(next);
    script.wait();
    test.wait_for_keys(0);
    guards.assert_nothing_left();
}

/// The timekeeper is continued shortly before it would be too late for a renewal.
#[rstest]
fn stopped_guards_keep_the_lock(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
    #[values("lock-timekeeper", "lock-watcher", "lock-deputy")] name: &str,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let script = test.hold_by(Form::Descriptor, TTL);
    let pid = script.find(name);
    assert!(send_signal(pid, SIGSTOP));
    if name == "lock-timekeeper" {
        wait_until("it stops", || is_stopped(pid));
    }
    wait_until("it is continued", || !is_stopped(pid));
    test.assert_held();
    script.finish();
    test.wait_for_keys(0);
}

/// They keep the lock, and are killed if it is lost.
#[rstest]
fn processes_that_a_killed_script_leaves_are_stopped(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let proxy = Proxy::start(test.system.hosts(), Mode::Forward);
    let (mut script, next) = test.start_pair(Form::Descriptor, &proxy.host());
    script.kill();
    test.assert_held();
    proxy.set(Mode::Reset);
    script.expect_loss(NOT_RENEWED);
    assert_no_overlap(next);
    drop(proxy);
    script.guards().assert_nothing_left();
    test.wait_for_keys(0);
}

#[rstest]
fn deleted_entry_stops_the_script(#[values(Engine::Etcd, Engine::Postgres)] engine: Engine) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let guards = Guards(&test.env);
    let url = test.url();
    let script = format!("exec 8>>handle; flock {TTL} 8 {url} || exit; echo locked; read x");
    let mut script = test.env.start(test.env.sh_command(script));
    script.expect_line("locked");
    let keys = test.wait_for_keys(1);
    test.system.delete(&keys[0]);
    wait_until("it is killed", || script.has_exited());
    // Another process may have the lock already, so there may be no time to say why.
    if script.read_until("are being stopped: ").is_ok() {
        script.expect_line(test.system.deletion());
    }
    guards.assert_nothing_left();
}

#[rstest]
fn work_of_scripts_never_overlaps(#[values(Engine::Etcd, Engine::Postgres)] engine: Engine) {
    if !storm::is_wanted() {
        return;
    }
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let storm = Storm {
        env: &test.env,
        url: &test.url(),
        options: TTL,
        helper: Some(test.system.helper()),
    };
    storm.run(Duration::from_secs(2));
    // Those whose helper was killed vanish after their time.
    test.wait_for_keys(0);
}

/// The `flock` of a script waits on, as one for a file does, and the lock passes through.
#[rstest]
fn script_that_is_killed_as_a_waiter_leaves_nothing(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let holder = test.hold(&[]);
    let script = format!(
        "exec 8>>handle; flock --ttl=1h 8 {}; echo never",
        test.url()
    );
    let mut script = test.env.start(test.env.sh_command(script));
    test.wait_for_keys(2);
    script.kill();
    let mut next = test.start(&[], "echo next");
    test.wait_for_keys(3);
    holder.release();
    next.expect_line("next");
    assert_eq!(next.wait(), ExitReason::Exited(0));
    test.wait_for_keys(0);
    Guards(&test.env).assert_nothing_left();
}

#[rstest]
fn stopped_waiter_keeps_its_place_and_lets_others_pass(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let first = test.hold(&[]);
    let mut stopped = test.env.start_bash_at_terminal();
    let url = test.url();
    stopped.send_line(&format!("exec 8>>handle; flock --verbose --ttl=1h 8 {url}"));
    test.wait_for_keys(2);
    stopped.send(CTRL_Z);
    stopped.expect("Stopped");
    let mut second = test.start(&[], "echo second; read x; exit 0");
    test.wait_for_keys(3);
    first.release();
    second.expect_line("second");
    let mut third = test.start(&[], "echo third");
    test.wait_for_keys(3);
    stopped.send_line("fg; echo status $?");
    // It knows which process holds the lock now.
    stopped.expect("waiting for process ");
    second.release();
    stopped.expect("status 0\n");
    test.wait_for_keys(2);
    test.assert_held();
    stopped.send_line("flock -u 8; exit 3");
    third.expect_line("third");
    assert_eq!(third.wait(), ExitReason::Exited(0));
    assert_eq!(stopped.wait(), ExitReason::Exited(3));
    test.wait_for_keys(0);
    Guards(&test.env).assert_nothing_left();
}
