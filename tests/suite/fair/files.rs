//! Whatever can be locked can be queued for.

use std::process::Command;

use super::waiter_pool::WaiterPool;
use super::{WHY, assert_clean, assert_queue_len, spawn_waiter, spawn_waiter_command};
use test_support::locks::{locks_on, tickets};
use test_support::process::ExitReason;
use test_support::{TestEnv, differs_from_util_linux, is_installed};

/// A line of shell.
fn line(env: &TestEnv, script: &str) -> Command {
    let mut shell = env.command("sh");
    shell.args(["-c", script]);
    shell
}

/// Asserts that these two are served in the order in which they come, to a lock that a script with descriptor 7 holds.
#[track_caller]
fn queue_up(env: &TestEnv, holds: &str, first: Command, second: Command) {
    let script = format!("{holds}; flock 7 || exit; echo held; read x; flock -u 7; read x; exit 0");
    let mut holder = env.start(line(env, &script));
    holder.expect_line("held");
    let mut first = spawn_waiter_command(env, first);
    let mut second = spawn_waiter_command(env, second);
    assert_queue_len(env, 2);
    holder.send_line("go");
    for waiter in [&mut first, &mut second] {
        assert_eq!(waiter.wait(), ExitReason::Exited(0), "{holds}");
    }
    holder.release();
    let order = std::fs::read_to_string(env.file("order")).expect("the order");
    assert_eq!(order, "first\nsecond\n", "{holds}");
    std::fs::remove_file(env.file("order")).expect("the order");
}

/// A script that has a descriptor 8 and locks it.
fn by_descriptor(env: &TestEnv, opens: &str, name: &str) -> Command {
    let script = format!("{opens}; flock --fair 8 || exit; echo {name} >>order");
    line(env, &script)
}

#[test]
fn descriptors_of_every_kind_queue() {
    differs_from_util_linux(WHY, |env| {
        for opens in ["exec 8<l", "exec 8>l", "exec 8>>l", "exec 8<>l"] {
            queue_up(
                env,
                "exec 7<>l",
                by_descriptor(env, opens, "first"),
                by_descriptor(env, opens, "second"),
            );
        }
    });
}

#[test]
fn a_file_that_may_only_be_read_queues() {
    differs_from_util_linux(WHY, |env| {
        std::fs::write(env.file("l"), "").expect("a file");
        env.sh("chmod 444 l").assert_status(0);
        let by_path = "exec flock --fair l sh -c 'echo first >>order'";
        let by_descriptor = "exec 8<l; flock --fair 8 || exit; echo second >>order";
        if let (Some(first), Some(second)) =
            (env.unprivileged(by_path), env.unprivileged(by_descriptor))
        {
            queue_up(env, "exec 7<l", first, second);
        }
        assert!(env.run(["--fair", "-n", "l", "true"]).code() == 0);
    });
}

#[test]
fn a_file_that_may_only_be_written_queues() {
    differs_from_util_linux(WHY, |env| {
        std::fs::write(env.file("l"), "").expect("a file");
        env.sh("chmod 222 l").assert_status(0);
        let wait = |name: &str| {
            env.unprivileged(&format!(
                "exec 8>>l; flock --fair -w1000 8 || exit; echo {name} >>order"
            ))
        };
        if let (Some(first), Some(second)) = (wait("first"), wait("second")) {
            queue_up(env, "exec 7>>l", first, second);
        }
        // The second kind of ticket is seen by those who have the first kind, and the other way round.
        let all = |name: &str| by_descriptor(env, "exec 8<>l", name);
        if let Some(second) = wait("second") {
            queue_up(env, "exec 7>>l", all("first"), second);
        }
        if let Some(first) = wait("first") {
            queue_up(env, "exec 7>>l", first, all("second"));
        }
        assert!(env.run(["--fair", "-n", "bin", "true"]).code() == 0);
    });
}

#[test]
fn a_folder_queues() {
    differs_from_util_linux(WHY, |env| {
        std::fs::create_dir(env.file("l")).expect("a folder");
        queue_up(
            env,
            "exec 7<l",
            env.flock(["--fair", "l", "sh", "-c", "echo first >>order"]),
            by_descriptor(env, "exec 8<l", "second"),
        );
        assert_clean(env, &[]);
    });
}

#[test]
fn a_script_that_runs_locks_itself() {
    differs_from_util_linux(WHY, |env| {
        env.install_script(
            "l",
            "#!/bin/sh\n[ \"$LOCKED\" ] || LOCKED=1 exec flock --fair -x \"$0\" \"$0\" \"$@\"\necho $1 | tee -a order; $2\n",
        );
        let run = |name: &str| {
            let mut script = env.command("./l");
            script.arg(name);
            script
        };
        let mut holder = env.command("./l");
        holder.args(["holder", "cat"]);
        let mut holder = env.start(holder);
        holder.expect_line("holder");
        let mut first = spawn_waiter_command(env, run("first"));
        let mut second = spawn_waiter_command(env, run("second"));
        holder.close_stdin();
        for script in [&mut holder, &mut first, &mut second] {
            assert_eq!(script.wait(), ExitReason::Exited(0));
        }
        let order = std::fs::read_to_string(env.file("order")).expect("the order");
        assert_eq!(order, "holder\nfirst\nsecond\n");
    });
}

#[test]
fn a_program_that_runs_is_locked_too() {
    differs_from_util_linux(WHY, |env| {
        // A binary that somebody executes may not be opened for writing.
        env.sh("cp /bin/cat l").assert_status(0);
        let mut holder = env.start(env.flock(["--fair", "l", "./l"]));
        holder.send_line("held");
        holder.expect_line("held");
        let mut pool = WaiterPool::new(env);
        pool.spawn_many(3, &["--fair"]);
        holder.release();
        pool.assert_success(0..3);
        assert_eq!(pool.order(), [0, 1, 2]);
        assert_clean(env, &pool.sentinels());
    });
}

#[test]
fn a_file_that_has_no_name_any_more_queues() {
    differs_from_util_linux(WHY, |env| {
        env.run(["--fair", "-n", "l", "true"]).assert_status(0);
        let script = "exec 7<>l 8<>l; rm l; flock 7; echo held
            for i in 0 1 2; do read x; (flock --fair 8 || exit; echo $i >>order; flock -u 8) & done
            read x; flock -u 7; wait; echo over";
        // Not one description for all of them, or they would all have the lock that one has.
        let script = script.replace("(flock", "(exec 8<>/proc/$$/fd/8; flock");
        let mut shell = env.start(line(env, &script));
        shell.expect_line("held");
        let file = format!("/proc/{}/fd/7", shell.pid());
        for count in 1..=3 {
            shell.send_line("next");
            shell.wait_alive_until("the next one queues", || tickets(&file).len() == count);
        }
        shell.send_line("go");
        shell.expect_line("over");
        let order = std::fs::read_to_string(env.file("order")).expect("the order");
        assert_eq!(order, "0\n1\n2\n");
        assert_eq!(env.file_names(), ["order"]);
    });
}

#[test]
fn a_link_queues_at_what_it_leads_to() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        env.sh("ln -s l s; ln l h").assert_status(0);
        let mut first = spawn_waiter(env, ["--fair", "s", "sh", "-c", "echo first >>order"]);
        let mut second = spawn_waiter(env, ["--fair", "h", "sh", "-c", "echo second >>order"]);
        let mut third = spawn_waiter(env, ["--fair", "l", "sh", "-c", "echo third >>order"]);
        holder.release();
        for waiter in [&mut first, &mut second, &mut third] {
            assert_eq!(waiter.wait(), ExitReason::Exited(0));
        }
        let order = std::fs::read_to_string(env.file("order")).expect("the order");
        assert_eq!(order, "first\nsecond\nthird\n");
    });
}

#[test]
fn what_is_no_file_at_all_is_locked_as_ever() {
    differs_from_util_linux(WHY, |env| {
        // Ends of pipes, FIFOs, sockets, devices, what is in memory: they are locked, or are not, as without it.
        env.sh("mkfifo f; exec 7<>f 8<>f; for fair in -x --fair; do
                    flock $fair -n 7; echo $?; flock $fair -n 8; echo $?; flock $fair -w0.01 8; echo $?; flock -u 7
                done")
            .assert_stderr("")
            .assert_stdout("0\n1\n1\n0\n1\n1\n");
        env.sh(
            "echo | { flock --fair -n 0; echo $?; }; exec 8</dev/null; flock --fair -n 8; echo $?",
        )
        .assert_stderr("")
        .assert_stdout("0\n0\n");
        if is_installed("python3") {
            let script = "import socket, subprocess
for end in socket.socketpair():
    print([subprocess.run(['flock', how, '-n', '0'], stdin=end).returncode for how in ['-x', '--fair']])";
            let mut python = env.command("python3");
            python.args(["-c", script]);
            env.run_command(python)
                .assert_stderr("")
                .assert_stdout("[0, 0]\n[0, 0]\n");
        }
    });
}

#[test]
fn two_files_have_two_queues() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let _other = env.hold(&["--fair"], "other");
        let mut waiter = spawn_waiter(env, ["--fair", "l", "echo", "got"]);
        let mut elsewhere = env.start_flock(["--fair", "other", "true"]);
        elsewhere.wait_alive_until("it queues", || tickets(env.file("other")).len() == 1);
        assert_eq!(tickets(env.file("l")).len(), 1);
        holder.release();
        waiter.expect_line("got");
        assert_eq!(waiter.wait(), ExitReason::Exited(0));
        assert!(locks_on(env.file("l")).is_empty());
        assert_eq!(tickets(env.file("other")).len(), 1);
    });
}
