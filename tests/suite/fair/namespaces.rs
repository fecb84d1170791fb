//! Queues of several users and of several namespaces, without `/proc`, and on other file systems.

use std::process::Command;

use super::combinations::assert_silent_success;
use crate::queue::waiter_pool::WaiterPool;
use crate::queue::{
    assert_clean, assert_clean_after, assert_order, assert_queue_len, assert_served,
    other_user_command, sentinels, spawn_noting_waiter, spawn_waiter_command, spawn_waiter_script,
    spawn_waiting_holder, unshared_flock,
};
use rstest::rstest;
use test_support::locks::{tickets, waiter_count};
use test_support::{TestEnv, can_unshare};

/// Returns a command that runs `sh` under unshare(1) with these options.
fn unshared_shell(env: &TestEnv, unshare: &str, script: &str) -> Command {
    let mut command = env.command("unshare");
    command.args(unshare.split(' ')).args(["sh", "-c", script]);
    command
}

#[test]
fn different_users_queue_together() {
    let env = &TestEnv::new();
    let holder = env.hold(&["--fair"], "l");
    let mut waiters = Vec::new();
    let mut names = Vec::new();
    for number in 0..6 {
        let name = format!("user {number}");
        let script = format!("exec flock --fair l sh -c 'echo {name} >>order'");
        let Some(other) = other_user_command(env, 65534, &script) else {
            return;
        };
        waiters.push(spawn_waiter_command(env, other));
        names.push(name);
        let name = format!("root {number}");
        let script = format!("exec 8<l; flock --fair 8; echo {name} >>order");
        waiters.push(spawn_waiter_script(env, &script));
        names.push(name);
    }
    let sentinels = sentinels(env);
    holder.release();
    let names: Vec<&str> = names.iter().map(|name| &name[..]).collect();
    assert_order(env, waiters, &names);
    assert_clean(env, &sentinels);
}

#[test]
fn stopped_process_of_another_user_is_passed() {
    let env = &TestEnv::new();
    let holder = env.hold(&["--fair"], "l");
    let other_user = |name| {
        let script = format!("exec flock --fair l sh -c 'echo {name} >>order'");
        other_user_command(env, 65534, &script)
    };
    let Some(stopped) = other_user("stopped") else {
        return;
    };
    let stopped = spawn_waiter_command(env, stopped);
    let second = spawn_waiting_holder(env, &["--fair"]);
    stopped.signal(libc::SIGSTOP);
    stopped.wait_stopped();
    let mut third = spawn_waiter_command(env, other_user("third").expect("as before"));
    holder.release();
    assert_served(second);
    third.wait();
    stopped.signal(libc::SIGCONT);
    assert_order(env, [stopped, third], &["third", "stopped"]);
    assert_clean(env, &[]);
}

#[test]
fn waiters_in_different_pid_namespaces_are_served() {
    let env = &TestEnv::new();
    std::fs::write(env.file("counter"), "0\n").expect("a file");
    let step = "mkdir alone || echo two at once
        read n <counter; echo $((n + 1)) >counter; rmdir alone";
    let namespaces = ["-rpf", "-rpf --mount-proc"];
    if !namespaces.iter().all(|options| can_unshare(env, options)) {
        return;
    }
    // All of them arrive before one of them is served.
    let holder = env.hold(&["--fair"], "l");
    let args = ["--fair", "l", "sh", "-c", step];
    let mut waiters = Vec::new();
    for options in namespaces {
        for flock in [unshared_flock(env, options, &args), env.flock(args)] {
            waiters.push(spawn_waiter_command(env, flock));
        }
    }
    holder.release();
    waiters.into_iter().for_each(assert_silent_success);
    assert_eq!(env.read_file("counter"), "4\n");
    assert_clean(env, &[]);
}

#[rstest]
fn order_is_kept_within_a_pid_namespace(#[values("-rpf --mount-proc", "-rpf")] options: &str) {
    let env = &TestEnv::new();
    if !can_unshare(env, options) {
        return;
    }
    // The lock is held inside; a waiter is started when the ticket of the previous one is visible.
    let script = r#"exec 9<>l; flock --fair 9
        queue_len() { grep -c "OFDLCK.*:$(stat -c %i l) " /proc/locks; }
        for i in 0 1 2 3 4 5 6 7; do
            flock --fair l sh -c "echo $i >>order" 9>&- &
            until [ "$(queue_len)" -gt $i ]; do :; done
        done
        flock -u 9; wait; cat order"#;
    env.run_command(unshared_shell(env, options, script))
        .assert_all(0, "0\n1\n2\n3\n4\n5\n6\n7\n", "");
    assert_clean(env, &[]);
}

#[test]
fn lock_can_be_waited_for_without_proc() {
    let env = &TestEnv::new();
    let inside = |script: &str| {
        let script = format!("mount -t tmpfs none /proc || exit 99; {script}");
        unshared_shell(env, "-rm", &script)
    };
    if !can_unshare(env, "-rm") || env.run_command(inside("exit 0")).code() == 99 {
        return;
    }
    env.run_command(inside("exec flock --fair -n l echo ran"))
        .assert_all(0, "ran\n", "");
    let holder = env.hold(&["--fair"], "l");
    for option in ["-n", "-w0.01"] {
        let script = format!(
            "flock --fair {option} -E42 l true; echo $?; exec 8<>l; flock --fair {option} -E42 8"
        );
        env.run_command(inside(&script)).assert_all(42, "42\n", "");
    }
    let script = "flock --fair -w1000 l true; echo $?; exec 8<>l; flock --fair 8; echo $?";
    let mut waiter = env.start(inside(script));
    waiter.wait_alive_until("it waits", || {
        waiter_count(env.file("l")) + tickets(env.file("l")).len() > 0
    });
    holder.release();
    waiter.expect("0\n0\n");
    assert_clean_after(env, waiter);
}

#[rstest]
#[case::missing("mount -t tmpfs none /proc")]
#[case::of_another_pid_namespace("unshare -pf mount -t proc none /proc")]
fn verbose_says_that_proc_is_no_use(
    #[case] mount: &str,
    #[values(("--fair", "--fair has no effect"), ("--slots=1", "--slots does not keep the order"))]
    (queue, effect): (&str, &str),
) {
    let env = &TestEnv::new();
    let inside = |script: &str| {
        let script = format!("{mount} || exit 99; [ ! -e /proc/self ] || exit 99; {script}");
        env.run_command(unshared_shell(env, "-rm", &script))
    };
    if !can_unshare(env, "-rm") || inside("exit 0").code() == 99 {
        return;
    }
    let reason = "there is no /proc of this PID namespace";
    let warning = format!("flock: warning: {effect}: {reason}\n");
    let assert_warned = |option: &str, status| {
        let outcome = inside(&format!(
            "exec flock {queue} --verbose {option} -E42 l true"
        ));
        let stderr = outcome.assert_status(status).stderr_text();
        assert!(stderr.ends_with(&warning), "{stderr}");
    };
    assert_warned("-E1", 0);
    let _holder = env.hold(&[], "l");
    assert_warned("-n", 42);
    assert_warned("-w0.01", 42);
}

#[test]
fn order_is_kept_across_user_namespaces() {
    let env = &TestEnv::new();
    if !can_unshare(env, "-r") {
        return;
    }
    let (holder, mut pool) = WaiterPool::behind_holder(env, "--fair", 0);
    for _ in 0..4 {
        pool.spawn(&["--fair"]);
        pool.spawn_shell("exec unshare -r flock --fair l sh -c 'NOTE'");
    }
    assert_queue_len(env, 8);
    pool.assert_served_after(holder, 0..8);
}

#[test]
fn no_queue_if_children_are_in_another_pid_namespace() {
    let env = &TestEnv::new();
    if !can_unshare(env, "-rp") {
        return;
    }
    // The command is the first process of the namespace, and no sentinel was.
    let flock = || unshared_flock(env, "-rp", &["--fair", "l", "sh", "-c", "echo $$"]);
    env.run_command(flock()).assert_all(0, "1\n", "");
    let holder = env.hold(&["--fair"], "l");
    let mut waiter = env.start(flock());
    waiter.wait_alive_until("it waits", || waiter_count(env.file("l")) == 1);
    holder.release();
    waiter.expect_line("1");
    assert_clean_after(env, waiter);
}

#[rstest]
fn order_is_kept_across_time_namespaces(
    #[values("--boottime=1000000", "--boottime=10000000", "--boottime=-1")] offset: &str,
) {
    let env = &TestEnv::new();
    let options = format!("-rTf {offset}");
    if !can_unshare(env, &options) {
        return;
    }
    let holder = env.hold(&["--fair"], "l");
    let mut waiters = Vec::new();
    for (inside, outside) in [("1", "2"), ("3", "4")] {
        let note = format!("echo {inside} >>order");
        let args = ["--fair", "l", "sh", "-c", &note];
        waiters.push(spawn_waiter_command(
            env,
            unshared_flock(env, &options, &args),
        ));
        waiters.push(spawn_noting_waiter(env, "--fair", outside));
    }
    holder.release();
    assert_order(env, waiters, &["1", "2", "3", "4"]);
    assert_clean(env, &[]);
}

/// A script for a directory of some file system: a reader has the lock and a writer waits, so the
/// queue holds up another reader.
const READERS_AND_WRITER: &str = "exec 9<>l; flock --fair -s 9; echo first
    (exec 9>&-; flock --fair l echo writer) &
    until ! flock --fair -ns l true; do :; done
    (exec 9>&-; flock --fair -s l echo reader) & reader=$!
    flock -ns l echo passes; flock -u 9; wait";

#[rstest]
#[case::tmpfs("mount -t tmpfs none m")]
#[case::overlay_file_in_lower_layer(
    "mkdir low up work; : >low/l
    mount -t overlay -o lowerdir=low,upperdir=up,workdir=work none m"
)]
#[case::overlay_new_file(
    "mkdir low up work
    mount -t overlay -o lowerdir=low,upperdir=up,workdir=work none m"
)]
#[case::bind_mount("mkdir b; mount --bind b m")]
fn other_local_file_systems_have_queues(#[case] mount: &str) {
    let env = &TestEnv::new();
    let script =
        format!("{{ mkdir m; {mount}; }} 2>&- || exit 99; cd m || exit; {READERS_AND_WRITER}");
    let outcome = env.run_command(unshared_shell(env, "-rm", &script));
    if outcome.code() == 99 || outcome.stderr_text().starts_with("unshare: ") {
        println!("skipped: not permitted here");
        return;
    }
    let stdout = outcome.assert_stderr("").stdout_text();
    assert!(stdout.starts_with("first\npasses\n"), "{stdout}");
    assert_eq!(stdout.lines().count(), 4, "{stdout}");
}
