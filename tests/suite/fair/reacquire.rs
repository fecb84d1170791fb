//! Requests for an open file description that already has a lock, and requests of several processes
//! for the same open file description.

use super::assert_held;
use crate::queue::{
    assert_clean, assert_clean_after, assert_order, assert_queue_len, assert_served,
    assert_served_after, spawn_waiter_script, spawn_waiting_holder,
};
use rstest::rstest;
use test_support::TestEnv;
use test_support::locks::tickets;
use test_support::process::Process;
use test_support::wait_until;

/// Starts a shell that has `l` open as descriptor 8. It runs a command and then each line of its
/// stdin, and prints `got STATUS` after each.
#[track_caller]
fn start_shell(env: &TestEnv, command: &str) -> Process {
    let script = format!(
        "exec 8<>l; {command}; echo got $?
        while read -r line; do eval \"$line\"; echo got $?; done"
    );
    let mut shell = env.start(env.sh_command(&script));
    shell.expect_line("got 0");
    shell
}

/// Makes the shell run a line, and waits until that succeeds.
#[track_caller]
fn run_line(shell: &mut Process, line: &str) {
    shell.send_line(line);
    shell.expect_line("got 0");
}

#[rstest]
#[case("-s", "-s", "READ")]
#[case("-x", "-x", "WRITE")]
#[case("-x", "-s", "READ")]
fn held_lock_is_granted_again_past_a_waiting_writer(
    #[case] held: &str,
    #[case] requested: &str,
    #[case] expected: &str,
) {
    let env = &TestEnv::new();
    let mut shell = start_shell(env, &format!("flock --fair {held} 8"));
    let writer = spawn_waiting_holder(env, &["--fair"]);
    for option in ["", "-n", "-w1000"] {
        run_line(&mut shell, &format!("flock --fair {option} {requested} 8"));
        assert_held(env, &[expected]);
        assert_queue_len(env, 1);
    }
    run_line(&mut shell, "flock -u 8");
    assert_served(writer);
    assert_clean(env, &[]);
}

#[test]
fn only_reader_becomes_writer_at_once() {
    let env = TestEnv::new();
    env.sh("exec 8<>l; flock --fair -s 8; flock --fair -n 8; echo $?; flock -ns l true; echo $?")
        .assert_all(0, "0\n1\n", "");
}

#[test]
fn reader_that_becomes_writer_lets_waiters_go_first() {
    let env = &TestEnv::new();
    let mut shell = start_shell(env, "flock --fair -s 8");
    let mut writer = spawn_waiting_holder(env, &["--fair"]);
    // If it kept its lock, both would wait for each other forever.
    shell.send_line("flock --fair 8");
    writer.expect_line("held");
    assert_queue_len(env, 1);
    assert_held(env, &["WRITE"]);
    writer.release();
    shell.expect_line("got 0");
    assert_held(env, &["WRITE"]);
    assert_clean_after(env, shell);
}

#[test]
fn reader_releases_its_lock_while_it_waits_to_write() {
    let env = &TestEnv::new();
    let other = env.hold(&["--fair", "-s"], "l");
    let mut shell = start_shell(env, "flock --fair -s 8");
    assert_held(env, &["READ", "READ"]);
    shell.send_line("flock --fair -x 8");
    assert_queue_len(env, 1);
    assert_held(env, &["READ"]);
    let behind = spawn_waiting_holder(env, &["--fair", "-s"]);
    other.release();
    shell.expect_line("got 0");
    assert_held(env, &["WRITE"]);
    assert_served_after(env, shell, [behind]);
}

#[test]
fn readers_become_writers_one_after_the_other() {
    let env = &TestEnv::new();
    let reader = env.hold(&["--fair", "-s"], "l");
    let mut shells = [(); 2].map(|()| start_shell(env, "flock --fair -s 8"));
    for (number, shell) in shells.iter_mut().enumerate() {
        shell.send_line(&format!("flock --fair 8; echo {number} >>order"));
        assert_queue_len(env, number + 1);
    }
    reader.release();
    for shell in &mut shells {
        shell.expect_line("got 0");
        shell.close_stdin();
    }
    assert_order(env, shells, &["0", "1"]);
    assert_clean(env, &[]);
}

#[test]
fn inherited_lock_counts_as_held() {
    let env = &TestEnv::new();
    let mut shell = start_shell(env, "flock --fair 8");
    let writer = spawn_waiting_holder(env, &["--fair"]);
    // Another process, the same open file description.
    run_line(&mut shell, "(flock --fair -n 8); sh -c 'flock --fair 8'");
    run_line(&mut shell, "exec 9>&8 8>&-; flock --fair 9");
    assert_held(env, &["WRITE"]);
    run_line(&mut shell, "flock -u 9");
    assert_served(writer);
}

#[test]
fn second_description_of_a_script_has_to_queue() {
    let env = &TestEnv::new();
    env.sh("exec 8<>l 9<>l; flock --fair 8; flock --fair -n 9; echo $?
            flock --fair -w 0.01 9; echo $?; flock --fair -u 8; flock --fair -n 9; echo $?")
        .assert_all(0, "1\n1\n0\n", "");
    let waiter = spawn_waiter_script(env, "exec 8<>l 9<>l; flock --fair 8; flock --fair 9");
    assert_queue_len(env, 1);
    drop(waiter);
    assert_clean(env, &[]);
}

/// What one process acquires for a shared open file description, a waiter with the same description
/// must not release.
#[test]
fn waiter_keeps_the_lock_of_a_shared_description() {
    let env = &TestEnv::new();
    let holder = env.hold(&["--fair"], "l");
    let mut shell = start_shell(env, "true");
    run_line(&mut shell, "flock --fair 8 & first=$!");
    assert_queue_len(env, 1);
    let outsider = spawn_waiting_holder(env, &["--fair"]);
    // Long enough for a check whether the queue is stalled.
    run_line(&mut shell, "flock --fair -w2.5 8 & second=$!");
    assert_queue_len(env, 3);
    holder.release();
    run_line(&mut shell, "wait $first");
    // Granted or timed out: from here on the script has the lock.
    shell.send_line("wait $second");
    let result = shell.read_line();
    assert!(["got 0", "got 1"].contains(&&*result), "{result}");
    assert!(!outsider.has_exited(), "the lock is held twice");
    assert_eq!(tickets(env.file("l")).len(), 1);
    env.run(["-n", "l", "true"]).assert_status(1);
    run_line(&mut shell, "flock -u 8");
    assert_served(outsider);
    assert_clean_after(env, shell);
}

/// As soon as one of them has the lock, all have it: it belongs to the descriptor.
#[test]
fn waiters_on_one_descriptor_all_get_the_lock() {
    let env = TestEnv::new();
    let holder = env.hold(&[], "l");
    let script = "exec 8>l; flock --fair 8 & flock --fair 8 & wait; echo both";
    let mut waiters = env.start(env.sh_command(script));
    wait_until("they queue", || tickets(env.file("l")).len() == 2);
    holder.release();
    waiters.expect_line("both");
    waiters.wait();
}
