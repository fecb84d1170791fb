//! Waiters that are stopped (Ctrl-Z).

use libc::{SIGKILL, SIGTSTP};
use test_support::process::{ExitReason, send_signal};
use test_support::procfs::{children_of, is_running, is_stopped};
use test_support::wait_until;

use super::{SshTest, processes};

const CTRL_Z: &str = "\x1a";

#[test]
fn stopped_waiter_keeps_its_place_and_lets_others_pass() {
    let Some(test) = SshTest::new() else { return };
    let script = "#!/bin/sh\necho token $FLOCK_TOKEN; read x; exit 0\n";
    test.env.install_script("bin/hold", script);
    let first = test.hold(&[]);
    let mut stopped = test.env.start_bash_at_terminal();
    let url = test.url();
    stopped.send_line(&format!("flock --verbose --ttl=2m {url} bin/hold"));
    test.wait_for_waiters(1);
    stopped.send(CTRL_Z);
    stopped.expect("Stopped");
    let mut second = test.start(&[], "exec bin/hold");
    test.wait_for_waiters(2);
    let mut third = test.start(&[], "exec bin/hold");
    test.wait_for_waiters(3);
    first.release();
    second.expect("token ");
    stopped.send_line("fg; echo status $?");
    wait_until("both processes go on", || {
        let path = test.env.file("lock").display().to_string();
        let waiters = processes(|command| command.contains(&path));
        !waiters.into_iter().any(is_stopped)
    });
    second.release();
    stopped.expect("token ");
    stopped.send_line("");
    stopped.expect("status 0\n");
    third.expect("token ");
    third.release();
    stopped.send_line("exit 3");
    assert_eq!(stopped.wait(), ExitReason::Exited(3));
    test.wait_for_nothing_there();
}

/// The process that waits there would stay as it is forever, as the end of its parent does not
/// continue it.
#[test]
fn killed_holder_of_a_stopped_waiter_leaves_nothing() {
    let Some(test) = SshTest::new() else { return };
    let local = test.env.hold(&[], "lock");
    let waiter = test.start(&[], "echo never");
    test.wait_for_waiters(1);
    let holder = test.process_there("serve");
    let there = children_of(holder)[0];
    assert!(send_signal(waiter.pid(), SIGTSTP));
    wait_until("it is stopped there", || is_stopped(there));
    assert!(send_signal(holder, SIGKILL));
    drop(waiter);
    local.release();
    wait_until("nothing is left", || !is_running(there));
    test.wait_for_nothing_there();
    test.assert_there(&[], 0);
}
