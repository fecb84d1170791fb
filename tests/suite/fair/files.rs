//! Files of all types, and descriptors of all access modes.

use std::process::Command;

use crate::queue::waiter_pool::WaiterPool;
use crate::queue::{
    assert_clean, assert_order, assert_served, spawn_waiter_command, spawn_waiter_script,
    spawn_waiting_holder,
};
use rstest::rstest;
use test_support::locks::{assert_unlocked, tickets};
use test_support::{TestEnv, is_installed};

/// Asserts that these two are served in the order in which they are started, while a script holds
/// the lock of its descriptor 7, which this redirection opens.
#[track_caller]
fn assert_queue_in_order(env: &TestEnv, redirection: &str, first: Command, second: Command) {
    let script = format!("exec 7{redirection}; flock 7 || exit; echo held; read x; exit 0");
    let mut holder = env.start(env.sh_command(&script));
    holder.expect_line("held");
    let waiters = [first, second].map(|waiter| spawn_waiter_command(env, waiter));
    holder.release();
    assert_order(env, waiters, &["first", "second"]);
}

/// Returns a script that locks its descriptor 8, which this redirection opens.
fn descriptor_script(redirection: &str, name: &str) -> String {
    format!("exec 8{redirection}; flock --fair 8 || exit; echo {name} >>order")
}

#[rstest]
fn descriptor_of_any_mode_queues(#[values("<l", ">l", ">>l", "<>l")] redirection: &str) {
    let env = &TestEnv::new();
    let script = |name| env.sh_command(descriptor_script(redirection, name));
    assert_queue_in_order(env, "<>l", script("first"), script("second"));
}

#[test]
fn read_only_file_queues() {
    let env = &TestEnv::new();
    env.sh(": >l; chmod 444 l").assert_status(0);
    let by_path = "exec flock --fair l sh -c 'echo first >>order'";
    let by_descriptor = descriptor_script("<l", "second");
    let unprivileged = [by_path, &by_descriptor].map(|script| env.unprivileged(script));
    if let [Some(first), Some(second)] = unprivileged {
        assert_queue_in_order(env, "<l", first, second);
    }
}

#[test]
fn write_only_file_queues() {
    let env = &TestEnv::new();
    env.sh(": >l; chmod 222 l").assert_status(0);
    let write = |name| env.unprivileged(&descriptor_script(">>l", name));
    let (Some(first), Some(second)) = (write("first"), write("second")) else {
        return;
    };
    assert_queue_in_order(env, ">>l", first, second);
    // Tickets of files opened for writing and for reading are visible to each other.
    if rustix::process::geteuid().is_root() {
        let unprivileged = |name| write(name).expect("as before");
        let privileged = |name| env.sh_command(descriptor_script("<>l", name));
        assert_queue_in_order(env, ">>l", privileged("first"), unprivileged("second"));
        assert_queue_in_order(env, ">>l", unprivileged("first"), privileged("second"));
    }
}

#[test]
fn directory_queues() {
    let env = &TestEnv::new();
    std::fs::create_dir(env.file("l")).expect("a directory");
    let by_path = env.flock(["--fair", "l", "sh", "-c", "echo first >>order"]);
    let by_descriptor = env.sh_command(descriptor_script("<l", "second"));
    assert_queue_in_order(env, "<l", by_path, by_descriptor);
    assert_clean(env, &[]);
}

#[test]
fn script_that_locks_itself_queues() {
    let env = &TestEnv::new();
    env.install_script(
        "l",
        "#!/bin/sh\n[ \"$LOCKED\" ] || LOCKED=1 exec flock --fair -x \"$0\" \"$0\" \"$@\"\n\
        echo $1 | tee -a order; $2\n",
    );
    let mut holder = env.start(env.sh_command("exec ./l holder cat"));
    holder.expect_line("holder");
    let first = spawn_waiter_script(env, "exec ./l first");
    let second = spawn_waiter_script(env, "exec ./l second");
    holder.close_stdin();
    let names = ["holder", "first", "second"];
    assert_order(env, [holder, first, second], &names);
}

#[test]
fn running_program_queues() {
    let env = &TestEnv::new();
    // A running program cannot be opened for writing.
    env.sh("cp /bin/cat l").assert_status(0);
    let mut holder = env.start(env.flock(["--fair", "l", "./l"]));
    holder.send_line("held");
    holder.expect_line("held");
    let mut pool = WaiterPool::new(env);
    (0..3).for_each(|_| pool.spawn(&["--fair"]));
    pool.assert_served_after(holder, 0..3);
}

#[test]
fn deleted_file_queues() {
    let env = &TestEnv::new();
    // An open file description for each waiter, because all users of one would have its lock.
    let script = "exec 7<>l 8<>l; rm l; flock 7; echo held
        for i in 0 1 2; do
            read x
            (exec 8<>/proc/$$/fd/8; flock --fair 8 || exit; echo $i >>order; flock -u 8) &
        done
        read x; flock -u 7; wait; echo over";
    let mut shell = env.start(env.sh_command(script));
    shell.expect_line("held");
    let file = format!("/proc/{}/fd/7", shell.pid());
    for count in 1..=3 {
        shell.send_line("next");
        shell.wait_alive_until("the next one queues", || tickets(&file).len() == count);
    }
    shell.send_line("release");
    shell.expect_line("over");
    assert_order(env, [shell], &["0", "1", "2"]);
    assert!(env.file_names().is_empty());
}

#[test]
fn links_to_a_file_share_its_queue() {
    let env = &TestEnv::new();
    let holder = env.hold(&["--fair"], "l");
    env.sh("ln -s l s; ln l h").assert_status(0);
    let waiters = ["s", "h", "l"].map(|name| {
        let note = format!("echo {name} >>order");
        spawn_waiter_command(env, env.flock(["--fair", name, "sh", "-c", &note]))
    });
    holder.release();
    assert_order(env, waiters, &["s", "h", "l"]);
}

#[test]
fn files_without_a_queue_are_locked_as_usual() {
    let env = TestEnv::new();
    // FIFOs, pipes, devices and sockets give the same results with and without --fair.
    env.sh("mkfifo f; exec 7<>f 8<>f; for fair in -x --fair; do
            flock $fair -n 7; echo $?; flock $fair -n 8; echo $?; flock $fair -w0.01 8; echo $?
            flock -u 7
        done")
        .assert_all(0, "0\n1\n1\n0\n1\n1\n", "");
    env.sh("echo | { flock --fair -n 0; echo $?; }; exec 8</dev/null; flock --fair -n 8; echo $?")
        .assert_all(0, "0\n0\n", "");
    if is_installed("python3") {
        let script = "import socket, subprocess
for end in socket.socketpair():
    print([subprocess.run(['flock', option, '-n', '0'], stdin=end).returncode
        for option in ['-x', '--fair']])";
        let mut python = env.command("python3");
        python.args(["-c", script]);
        env.run_command(python)
            .assert_all(0, "[0, 0]\n[0, 0]\n", "");
    }
}

#[test]
fn each_file_has_its_own_queue() {
    let env = &TestEnv::new();
    let holder = env.hold(&["--fair"], "l");
    let _other_holder = env.hold(&["--fair"], "other");
    let waiter = spawn_waiting_holder(env, &["--fair"]);
    let mut other = env.start_flock(["--fair", "other", "true"]);
    other.wait_alive_until("it queues", || tickets(env.file("other")).len() == 1);
    assert_eq!(tickets(env.file("l")).len(), 1);
    holder.release();
    assert_served(waiter);
    assert_unlocked(env.file("l"));
    assert_eq!(tickets(env.file("other")).len(), 1);
}
