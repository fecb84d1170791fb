//! Locks on another machine that are tied to descriptors of a script.

use test_support::process::ExitReason;
use test_support::procfs::is_stopped;
use test_support::wait_until;

use super::{SshTest, processes};
use crate::remote::handle::Guards;

const CTRL_Z: &str = "\x1a";

#[test]
fn script_holds_the_lock() {
    let Some(test) = SshTest::new() else { return };
    let guards = Guards(&test.env);
    let url = test.url();
    let script = format!(
        "exec 8>>handle; flock --ttl=2m 8 {url} || exit; flock -n 8 {url} || exit; echo locked
        read x; flock -u 8; flock -n lock true; echo $?; flock --ttl=2m -n 8 {url}; echo $?; read x"
    );
    let mut script = test.env.start(test.env.sh_command(script));
    script.expect_line("locked");
    test.assert_there(&[], 1);
    test.env.run(["-n", &url, "true"]).assert_all(1, "", "");
    script.send_line("");
    script.expect("0\n0\n");
    test.assert_there(&[], 1);
    let mut next = test.start(&[], "echo next");
    test.wait_for_waiters(1);
    script.kill();
    next.expect_line("next");
    assert_eq!(next.wait(), ExitReason::Exited(0));
    test.wait_for_nothing_there();
    guards.assert_nothing_left();
}

#[test]
fn child_of_a_killed_script_keeps_the_lock() {
    let Some(test) = SshTest::new() else { return };
    let lock = format!("exec 8>>handle; flock --ttl=2m 8 {} || exit", test.url());
    let child = "(echo ready; read x; :) <&3 & wait";
    let script = format!("{lock}; exec 3<&0; {child}");
    let mut script = test.env.start(test.env.sh_command(script));
    script.expect_line("ready");
    script.kill();
    test.assert_there(&[], 1);
    script.send_line("");
    test.wait_for_nothing_there();
    test.assert_there(&[], 0);
    Guards(&test.env).assert_nothing_left();
}

#[test]
fn two_descriptors_have_locks_of_their_own() {
    let Some(test) = SshTest::new() else { return };
    let (url, other) = (test.url(), test.url() + "2");
    let script = format!(
        "exec 8>>handle 9>>handle; flock --ttl=2m 8 {url} && flock --ttl=2m -s 9 {other} || exit
        for options in lock lock2 '-s lock2'; do flock -n $options true; echo $?; done
        flock -u 8; for file in lock lock2; do flock -n $file true; echo $?; done"
    );
    let expected = "1\n1\n0\n0\n1\n";
    test.env.sh(script).assert_all(0, expected, "");
    test.wait_for_nothing_there();
    test.env.run(["-n", "lock2", "true"]).assert_all(0, "", "");
    Guards(&test.env).assert_nothing_left();
}

#[test]
fn stopped_waiter_keeps_its_place_and_lets_others_pass() {
    let Some(test) = SshTest::new() else { return };
    let first = test.hold(&[]);
    let mut stopped = test.env.start_bash_at_terminal();
    let url = test.url();
    stopped.send_line(&format!("exec 8>>handle; flock --ttl=2m 8 {url}"));
    test.wait_for_waiters(1);
    stopped.send(CTRL_Z);
    stopped.expect("Stopped");
    let mut second = test.start(&[], "echo second; read x; exit 0");
    test.wait_for_waiters(2);
    let mut third = test.start(&[], "echo third");
    test.wait_for_waiters(3);
    first.release();
    second.expect_line("second");
    stopped.send_line("fg; echo status $?");
    wait_until("all waiters go on", || {
        let path = test.env.file("lock").display().to_string();
        let waiters = processes(|command| command.contains(&path));
        !waiters.into_iter().any(is_stopped)
    });
    second.release();
    stopped.expect("status 0\n");
    test.wait_for_waiters(1);
    test.assert_there(&[], 1);
    stopped.send_line("flock -u 8; exit 3");
    third.expect_line("third");
    assert_eq!(third.wait(), ExitReason::Exited(0));
    assert_eq!(stopped.wait(), ExitReason::Exited(3));
    test.wait_for_nothing_there();
    Guards(&test.env).assert_nothing_left();
}

#[test]
fn lock_of_a_handle_is_listed() {
    let Some(test) = SshTest::new() else { return };
    let url = test.url();
    let lock = format!("exec 8>>handle; flock --ttl=2m 8 {url} || exit");
    let script = format!("{lock}; flock --who --json handle; echo; flock --who --fd 8");
    let outcome = test.env.sh(script).assert_stderr("").assert_status(0);
    let stdout = outcome.stdout_text();
    let (json, table) = stdout.split_once("\n\n").expect("two lists");
    let list: serde_json::Value = serde_json::from_str(json).expect("JSON");
    let (here, there) = (&list[0], &list[1]);
    assert_eq!(
        (&here["role"], &here["kind"]),
        (&"holder".into(), &"ELSEWHERE".into())
    );
    assert_eq!(
        (&there["role"], &there["url"]),
        (&"holder".into(), &url.clone().into())
    );
    assert_eq!(there["pid"], here["pid"]);
    assert!(table.contains(&format!("\n{url}\nROLE ")), "{table}");
    test.wait_for_nothing_there();
}
