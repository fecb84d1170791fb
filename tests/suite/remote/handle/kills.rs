//! Guards, helpers and `flock` are killed or stopped.

use fastrand::Rng;
use libc::{SIGCONT, SIGKILL, SIGSTOP, SIGTERM};
use rstest::rstest;
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{is_running, is_stopped};
use test_support::stress::random_delay;
use test_support::wait_until;

use super::{GRANTS, GUARDS, HandleTest};

/// A script of three generations that ignore `SIGTERM`, the last of which does the work. All of them
/// have the descriptor, and the file `witness` locked. The first one does not exit, should it be killed
/// after its children.
pub const STUBBORN: &str = "exec 7>>witness 8>>handle; flock 7
    trap '' TERM; flock --ttl=100s --grace=1s 8 test://n || exit
    (sh -c 'echo >go; echo working; while :; do sleep 1; done' & wait; :)
    while :; do sleep 1; done";

/// A helper that grants a lease which ends 3.5 s after the script has begun to work: the script is
/// asked to terminate after 0.5 s, and killed after 1.5 s.
pub const NO_RENEWALS: &str = "echo granted 7 $(in_ms 90000); wait_for go
    end=$(in_ms 3500); echo until $end; echo >shortened
    wait_for_release";

/// The same, but when the lease ends, it takes the lock for granted to another process, without
/// waiting for anything.
pub const ENDS: &str = "echo granted 7 $(in_ms 90000); wait_for go
    end=$(in_ms 3500); echo until $end
    while [ $(in_ms 0) -lt $end ]; do sleep 0.01; done
    if flock -s -n witness true; then echo free; else echo overlap; fi >checked.new
    mv checked.new checked";

/// Starts a stubborn script, and waits until it works.
#[track_caller]
pub fn start_stubborn(test: &HandleTest) -> Process {
    let mut script = test.start_script(STUBBORN);
    script.expect_line("working");
    script
}

fn helper(test: &HandleTest) -> i32 {
    test.read_file("helper-pid").trim().parse().expect("a PID")
}

#[rstest]
fn killed_guard_is_replaced(
    #[values("lock-timekeeper", "lock-watcher", "lock-deputy")] name: &str,
) {
    let test = HandleTest::new(GRANTS);
    let script = test.start_holder();
    for _ in 0..3 {
        test.guards().replace(name);
    }
    assert!(!test.file("checked").exists(), "the lock was released");
    script.release();
    test.assert_released_last();
}

#[test]
fn guards_are_killed_at_random_moments() {
    let test = HandleTest::new(GRANTS);
    let mut rng = Rng::new();
    let script = test.start_holder();
    for _ in 0..20 {
        random_delay(&mut rng);
        test.guards().replace(GUARDS[rng.usize(..GUARDS.len())]);
    }
    assert!(!test.file("checked").exists(), "the lock was released");
    script.release();
    test.assert_released_last();
}

#[rstest]
fn guard_is_killed_as_soon_as_it_exists(
    #[values("lock-timekeeper", "lock-watcher", "lock-deputy")] name: &str,
) {
    for _ in 0..5 {
        let test = HandleTest::new(GRANTS);
        let lock = "exec 7>>witness 8>>handle; flock 7; flock 8 test://n";
        let script = format!("{lock}; echo status $?; read x");
        let mut script = test.start_script(&script);
        let mut pid = 0;
        wait_until("the guard exists", || {
            let guards = test.guards().of("");
            let found = guards.iter().find(|guard| guard.1 == name);
            pid = found.map_or(0, |guard| guard.0);
            pid != 0
        });
        send_signal(pid, SIGKILL);
        script.expect("status ");
        // The timekeeper may not have had the time to start the deputy.
        if script.read_line() == "0" {
            wait_until("it is replaced", || test.guards().pid(name) != pid);
            assert!(!test.file("checked").exists(), "the lock was released");
        }
        script.kill();
        test.assert_released_last();
    }
}

#[rstest]
fn guard_that_exits_with_the_script_releases(
    #[values("lock-timekeeper", "lock-watcher", "lock-deputy")] name: &str,
) {
    let mut rng = Rng::new();
    for _ in 0..5 {
        let test = HandleTest::new(GRANTS);
        let mut script = test.start_holder();
        let pid = test.guards().pid(name);
        let (first, second) = match rng.bool() {
            true => (pid, script.pid()),
            false => (script.pid(), pid),
        };
        send_signal(first, SIGKILL);
        for _ in 0..rng.u32(..4000) {
            std::hint::spin_loop();
        }
        send_signal(second, SIGKILL);
        script.wait();
        test.assert_released_last();
    }
}

#[rstest]
fn stopped_guard_is_continued(#[values("lock-watcher", "lock-deputy")] name: &str) {
    let test = HandleTest::new(GRANTS);
    let script = test.start_holder();
    let pid = test.guards().pid(name);
    for _ in 0..5 {
        assert!(send_signal(pid, SIGSTOP));
        wait_until("it is continued", || !is_stopped(pid));
    }
    assert!(is_running(pid) && !test.file("checked").exists());
    script.release();
    test.assert_released_last();
}

/// The lease lasts longer than this test waits.
#[rstest]
fn stopped_guard_does_not_delay_the_release(
    #[values("lock-timekeeper", "lock-watcher", "lock-deputy")] name: &str,
    #[values("flock -u 8", "exit 0")] end: &str,
) {
    let test = HandleTest::new("echo granted 7 $(in_ms 600000)\nwait_for_release");
    let lock = "exec 7>>witness 8>>handle; flock 7; flock --ttl=600s 8 test://n || exit;";
    let mut script = test.start_script(&format!("{lock} echo locked; read x; exec 7>&-; {end}"));
    script.expect_line("locked");
    assert!(send_signal(test.guards().pid(name), SIGSTOP));
    script.send_line("");
    assert_eq!(script.wait(), ExitReason::Exited(0));
    test.assert_released_last();
}

#[test]
fn guards_survive_the_end_of_a_service() {
    let test = HandleTest::new(GRANTS);
    let script = test.start_holder();
    let before = test.guards().of("");
    for (pid, _) in &before {
        assert!(send_signal(*pid, SIGTERM));
    }
    assert!(send_signal(helper(&test), SIGTERM));
    test.assert_held();
    assert_eq!(test.guards().pid(GUARDS[0]), before[0].0);
    script.release();
    test.assert_released_last();
}

/// The deputy continues it before the time is over.
#[test]
fn stopped_timekeeper_does_not_extend_the_lease() {
    let test = HandleTest::new("echo granted 7 $(in_ms 7000); wait_for_release");
    let mut script = start_stubborn(&test);
    assert!(send_signal(test.guards().pid("lock-timekeeper"), SIGSTOP));
    script.wait();
    test.assert_released_last();
}

/// It is stopped again whenever the deputy has continued it.
#[test]
fn deputy_stops_the_script_without_timekeeper() {
    let test = HandleTest::new(ENDS);
    let mut script = start_stubborn(&test);
    let timekeeper = test.guards().pid("lock-timekeeper");
    script.expect("are being stopped");
    wait_until("the script is killed", || {
        send_signal(timekeeper, SIGSTOP);
        script.has_exited()
    });
    assert_eq!(script.wait(), ExitReason::Signaled(SIGKILL));
    test.assert_released_last();
    send_signal(timekeeper, SIGCONT);
}

/// One guard after the other is killed, as soon as the last one was replaced.
#[test]
fn killed_guards_do_not_extend_the_lease() {
    let test = HandleTest::new(ENDS);
    let mut script = start_stubborn(&test);
    let mut rng = Rng::new();
    wait_until("the script is killed", || {
        if let Some(guards) = test.guards().complete() {
            let (pid, _) = rng.choice(&guards).expect("a guard");
            send_signal(*pid, SIGKILL);
            wait_until("it exits", || !is_running(*pid));
        }
        script.has_exited()
    });
    assert_eq!(script.wait(), ExitReason::Signaled(SIGKILL));
    test.assert_released_last();
}

#[test]
fn stopped_timekeeper_is_continued_for_renewals() {
    let renews = "wait_for stopped; echo until $(in_ms 90000); echo >renewed; wait_for_release";
    let test = HandleTest::new(&format!("echo granted 7 $(in_ms 7000)\n{renews}"));
    let lock = "exec 7>>witness 8>>handle; flock 7; flock --ttl=100s --grace=1s 8 test://n";
    let script = format!("{lock} || exit; echo working; read x; exit 5");
    let mut script = test.start_script(&script);
    script.expect_line("working");
    let timekeeper = test.guards().pid("lock-timekeeper");
    assert!(send_signal(timekeeper, SIGSTOP));
    wait_until("it stops", || is_stopped(timekeeper));
    test.sh("echo >stopped").assert_status(0);
    wait_until("the lease is renewed", || test.file("renewed").exists());
    wait_until("it is continued", || !is_stopped(timekeeper));
    // It has read that, or it would stop the script now.
    test.assert_held();
    script.send_line("");
    assert_eq!(script.wait(), ExitReason::Exited(5));
    test.assert_released_last();
}

#[rstest]
#[case::killed(SIGKILL)]
#[case::stopped(SIGSTOP)]
fn time_runs_out_without_the_helper(#[case] signal: i32) {
    let test = HandleTest::new(NO_RENEWALS);
    let mut script = start_stubborn(&test);
    let helper = helper(&test);
    wait_until("the end is near", || test.file("shortened").exists());
    assert!(send_signal(helper, signal));
    assert_eq!(script.wait(), ExitReason::Signaled(SIGKILL));
    wait_until("all its processes exit", || {
        test.run(["-s", "-n", "witness", "true"]).code() == 0
    });
    send_signal(helper, SIGKILL);
}

#[test]
fn stopped_script_is_killed_in_time() {
    let test = HandleTest::new(ENDS);
    let lock = "exec 7>>witness 8>>handle; flock 7; flock --ttl=100s --grace=1s 8 test://n";
    let mut script = test.start_script(&format!(
        "{lock} || exit; trap : TERM; echo >go; while :; do kill -STOP $$; done"
    ));
    wait_until("it works", || test.file("go").exists());
    // It is continued to be asked, and must not be stopped then.
    wait_until("it is killed", || {
        send_signal(script.pid(), SIGSTOP);
        script.has_exited()
    });
    assert_eq!(script.wait(), ExitReason::Signaled(SIGKILL));
    test.assert_released_last();
}

/// The helper of a waiter withdraws from the queue.
#[test]
fn helper_of_a_killed_waiter_is_notified() {
    let test = HandleTest::without_builtin("echo waits db1\nwait_for_release");
    let script = "exec 8>>handle; flock --verbose 8 test://n & echo $! >new; mv new waiter; read x";
    let mut script = test.start_script(script);
    script.expect("flock: waiting for db1");
    wait_until("its PID is known", || test.file("waiter").exists());
    let waiter = test.read_file("waiter").trim().parse().expect("a PID");
    assert!(send_signal(waiter, SIGKILL));
    wait_until("the helper withdraws", || test.file("checked").exists());
    test.guards().assert_nothing_left();
}

/// The script has the lock, or it is released.
#[test]
fn flock_is_killed_around_the_grant() {
    let test = HandleTest::without_builtin("");
    test.install_script("libexec/fdlock/flock-test", super::EXCLUDES);
    let mut rng = Rng::new();
    for round in 0..20 {
        let script = format!(
            "exec 8>>handle; flock 8 test://n & echo $!; wait $!; flock -w60 8 test://n || echo failed
            flock -n store-n true && echo free; echo {round} >>rounds; echo end"
        );
        let mut script = test.start_script(&script);
        let flock = script.read_line().parse().expect("a PID");
        random_delay(&mut rng);
        send_signal(flock, SIGKILL);
        // The shell may report that the process was killed.
        let output = script.expect("end\n");
        let is_held = !output.contains("failed") && !output.contains("free");
        assert!(is_held, "{output}");
        assert_eq!(script.wait(), ExitReason::Exited(0));
    }
    test.guards().assert_nothing_left();
}
