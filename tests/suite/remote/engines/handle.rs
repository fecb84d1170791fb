//! Locks of real systems that are tied to a descriptor of a script.

use std::time::Duration;

use libc::{SIGKILL, SIGSTOP};
use rstest::rstest;
use test_support::process::{ExitReason, Process, send_signal};
use test_support::wait_until;

use super::failures::{NEXT, assert_no_overlap};
use super::{Engine, EngineTest, TTL, storm};
use crate::remote::handle::{GUARDS, Guards, storm as handle_storm};

/// Starts a script that is hard to stop, as that of the tests with scripts as helpers, and the next
/// command, which queues.
fn start_pair(test: &EngineTest) -> (Process, Process) {
    let url = test.url();
    let lock = format!("exec 7>>witness 8>>handle; flock 7; trap '' TERM; flock {TTL} 8 {url}");
    let work = "(sh -c 'echo working; while :; do sleep 1; done' & wait; :); :";
    let script = test.env.sh_command(format!("{lock} || exit; {work}"));
    let mut script = test.env.start(script);
    script.expect_line("working");
    test.system.prolong_leases(&test.name());
    // With a time to live that a busy machine does not need for this command.
    let next = test.env.flock(["--ttl=15s", &url].iter().chain(&NEXT));
    let next = test.env.start(next);
    test.wait_for_keys(2);
    (script, next)
}

/// Returns the helper of the script, a child of the process that adopts orphans.
fn helper(test: &EngineTest) -> i32 {
    let pids = test_support::procfs::processes_in(test.env.path());
    let name = |pid: &i32| test_support::procfs::status_field(*pid, "Name");
    let is_helper = |pid: &i32| name(pid) == test.system.helper();
    let parent = |pid: &i32| name(&test_support::procfs::parent_of(*pid));
    let mut helpers = pids
        .into_iter()
        .filter(|pid| is_helper(pid) && parent(pid) != "flock");
    helpers.next().expect("a helper")
}

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
    let (mut script, next) = start_pair(&test);
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

#[rstest]
#[case::killed(SIGKILL)]
#[case::stopped(SIGSTOP)]
fn script_without_helper_is_stopped(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
    #[case] signal: i32,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let guards = Guards(&test.env);
    let (mut script, next) = start_pair(&test);
    let helper = helper(&test);
    assert!(send_signal(helper, signal));
    script.expect("lock lost, its processes are being stopped: its lease was not renewed in time");
    assert_no_overlap(next);
    assert_eq!(script.wait(), ExitReason::Signaled(SIGKILL));
    send_signal(helper, SIGKILL);
    guards.assert_nothing_left();
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
    let output = script.expect("are being stopped: ") + &script.read_line();
    assert!(output.ends_with(test.system.deletion()), "{output}");
    wait_until("it is killed", || script.has_exited());
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
    let time = Duration::from_secs(2);
    handle_storm::run(&test.env, time, TTL, &test.url());
    test.wait_for_keys(0);
}
