//! Asking again for what one has, or for more.

use super::{
    WHY, assert_clean, assert_queue_len, spawn_waiter, spawn_waiter_command, spawn_waiting_holder,
};
use test_support::locks::{locks_on, tickets};
use test_support::process::Process;
use test_support::{TestEnv, differs_from_util_linux, wait_until};

/// A script with a descriptor 8 on `l`, which says what comes of each line that it is told.
#[track_caller]
pub fn script(env: &TestEnv, first: &str) -> Process {
    let mut shell = env.command("sh");
    let script = format!(
        "exec 8<>l; {first}; echo got $?; while read -r line; do eval \"$line\"; echo got $?; done"
    );
    shell.args(["-c", &script]);
    let mut shell = env.start(shell);
    shell.expect_line("got 0");
    shell
}

/// Waits until these are the modes of the locks on `l` that are held: the kernel's table may be incomplete for a
/// moment.
#[track_caller]
fn held_is(env: &TestEnv, modes: &[&str]) {
    wait_until("so many have the lock", || {
        let locks = locks_on(env.file("l")).into_iter();
        let held = locks.filter(|lock| lock.kind == "FLOCK" && !lock.is_waiting);
        held.map(|lock| lock.mode).eq(modes.iter().copied())
    });
}

#[test]
fn what_one_has_already_is_granted_at_once_though_a_writer_waits() {
    differs_from_util_linux(WHY, |env| {
        for (has, asks, stays) in [
            ("-s", "-s", "READ"),
            ("-x", "-x", "WRITE"),
            ("-x", "-s", "READ"),
        ] {
            let mut shell = script(env, &format!("flock --fair {has} 8"));
            let mut writer = spawn_waiting_holder(env, &["--fair"]);
            for how in ["", "-n", "-w1000"] {
                shell.send_line(&format!("flock --fair {how} {asks} 8"));
                shell.expect_line("got 0");
                held_is(env, &[stays]);
                assert_queue_len(env, 1);
            }
            shell.send_line("flock -u 8");
            shell.expect_line("got 0");
            writer.expect_line("held");
            writer.release();
        }
        assert_clean(env, &[]);
    });
}

#[test]
fn a_reader_alone_becomes_a_writer_at_once() {
    differs_from_util_linux(WHY, |env| {
        env.sh(
            "exec 8<>l; flock --fair -s 8; flock --fair -n 8; echo $?; flock -ns l true; echo $?",
        )
        .assert_stderr("")
        .assert_stdout("0\n1\n");
    });
}

#[test]
fn a_reader_that_is_to_become_a_writer_lets_those_before_it_in() {
    differs_from_util_linux(WHY, |env| {
        let mut shell = script(env, "flock --fair -s 8");
        let mut writer = spawn_waiting_holder(env, &["--fair"]);
        // Kept, its lock would have them wait for each other for ever.
        shell.send_line("flock --fair 8");
        writer.expect_line("held");
        assert_queue_len(env, 1);
        held_is(env, &["WRITE"]);
        writer.release();
        shell.expect_line("got 0");
        held_is(env, &["WRITE"]);
        shell.release();
        assert_clean(env, &[]);
    });
}

#[test]
fn a_reader_in_company_gives_its_lock_up_while_it_waits_to_become_a_writer() {
    differs_from_util_linux(WHY, |env| {
        let other = env.hold(&["--fair", "-s"], "l");
        let mut shell = script(env, "flock --fair -s 8");
        held_is(env, &["READ", "READ"]);
        shell.send_line("flock --fair -x 8");
        assert_queue_len(env, 1);
        held_is(env, &["READ"]);
        let mut behind = spawn_waiter(env, ["--fair", "-s", "l", "echo", "behind"]);
        other.release();
        shell.expect_line("got 0");
        held_is(env, &["WRITE"]);
        shell.release();
        behind.expect_line("behind");
        assert_clean(env, &[]);
    });
}

#[test]
fn two_readers_that_become_writers_do_so_one_after_the_other() {
    differs_from_util_linux(WHY, |env| {
        let reader = env.hold(&["--fair", "-s"], "l");
        let mut shells = [
            script(env, "flock --fair -s 8"),
            script(env, "flock --fair -s 8"),
        ];
        for (number, shell) in shells.iter_mut().enumerate() {
            shell.send_line(&format!("flock --fair 8; echo {number} >>order"));
            assert_queue_len(env, number + 1);
        }
        reader.release();
        for mut shell in shells {
            shell.expect_line("got 0");
            shell.release();
        }
        let order = std::fs::read_to_string(env.file("order")).expect("the order");
        assert_eq!(order, "0\n1\n");
        assert_clean(env, &[]);
    });
}

#[test]
fn a_lock_that_was_inherited_is_ones_own() {
    differs_from_util_linux(WHY, |env| {
        let mut shell = script(env, "flock --fair 8");
        let mut writer = spawn_waiting_holder(env, &["--fair"]);
        // Another process, the same open file description.
        shell.send_line("(flock --fair -n 8); sh -c 'flock --fair 8'");
        shell.expect_line("got 0");
        shell.send_line("exec 9>&8 8>&-; flock --fair 9");
        shell.expect_line("got 0");
        held_is(env, &["WRITE"]);
        shell.send_line("flock -u 9");
        writer.expect_line("held");
        writer.release();
    });
}

#[test]
fn another_descriptor_of_the_same_script_queues_like_anybody() {
    differs_from_util_linux(WHY, |env| {
        env.sh("exec 8<>l 9<>l; flock --fair 8; flock --fair -n 9; echo $?; flock --fair -w 0.01 9; echo $?
                flock --fair -u 8; flock --fair -n 9; echo $?")
            .assert_stderr("")
            .assert_stdout("1\n1\n0\n");
        let mut shell = env.command("sh");
        shell.args(["-c", "exec 8<>l 9<>l; flock --fair 8; flock --fair 9"]);
        let waiter = spawn_waiter_command(env, shell);
        assert_eq!(tickets(env.file("l")).len(), 1);
        drop(waiter);
        assert_clean(env, &[]);
    });
}
