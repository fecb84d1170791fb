//! Processes that wait for each other, or for themselves.

use std::fs::File;

use rstest::rstest;
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use super::{assert_fields, lock_users, parse_rows, start_script};
use test_support::locks::waiter_count;
use test_support::process::Process;
use test_support::{TestEnv, can_unshare, wait_until};

/// Waits until a process is listed as a waiter for `f`.
#[track_caller]
fn wait_until_listed(env: &TestEnv, waiter: i32) {
    wait_until("it waits", || {
        let mut users = lock_users(env, &["f"]).into_iter();
        users.any(|(what, pid)| what.starts_with("waiter") && pid == i64::from(waiter))
    });
}

/// Returns the PIDs of the waiters that are in a deadlock, and the notes.
#[track_caller]
fn deadlocked(env: &TestEnv, files: &[&str]) -> (Vec<i32>, String) {
    let outcome = env.run(["--who", "--json"].iter().chain(files));
    let rows = parse_rows(&outcome.stdout);
    let is_deadlocked = |row: &&Value| row["deadlock"].as_bool().expect("true or false");
    let deadlocked = rows.iter().filter(is_deadlocked).map(|row| {
        assert_fields(row, &json!({"role": "waiter"}));
        row["pid"].as_i64().expect("a pid") as i32
    });
    (deadlocked.collect(), outcome.stderr_text())
}

/// Starts a process that holds a file and, on request, asks for the other one.
#[track_caller]
fn hold_then_request(env: &TestEnv, held: &str, requested: &str) -> Process {
    let script = format!("echo held; read x; exec flock {requested} true");
    let mut process = env.start_flock(["-F", held, "sh", "-c", &script]);
    process.expect_line("held");
    process
}

#[test]
fn processes_that_wait_for_each_other_are_marked() {
    let env = TestEnv::new();
    let mut one = hold_then_request(&env, "f", "g");
    let mut two = hold_then_request(&env, "g", "f");
    for process in [&mut one, &mut two] {
        process.send_line("now");
    }
    wait_until("both wait", || {
        waiter_count(env.file("f")) == 1 && waiter_count(env.file("g")) == 1
    });
    let outsider = env.start_flock(["f", "true"]);
    wait_until("it waits", || waiter_count(env.file("f")) == 2);
    let (pids, notes) = deadlocked(&env, &["f"]);
    assert_eq!(pids, [two.pid()]);
    let note = |one: &Process, two: &Process| {
        let (one, two) = (one.pid(), two.pid());
        format!("flock: deadlock: PID {one} waits for PID {two}, which waits for PID {one}\n")
    };
    assert!(
        notes == note(&one, &two) || notes == note(&two, &one),
        "{notes}"
    );
    let table = env.run(["--who", "f"]).stdout_text();
    let role_of = |pid: i32| {
        let line = table.lines().find(|line| {
            line.starts_with("waiter")
                && line.split_whitespace().any(|word| word == pid.to_string())
        });
        line.expect("a row")
            .split("  ")
            .next()
            .expect("a role")
            .to_owned()
    };
    assert_eq!(role_of(two.pid()), "waiter, deadlock");
    assert_eq!(role_of(outsider.pid()), "waiter");
}

#[rstest]
#[case::in_the_kernel("-x")]
#[case::in_the_queue("--fair")]
fn process_that_waits_for_itself_is_marked(#[case] option: &str) {
    let env = TestEnv::without_builtin();
    let script = format!("exec 8>>f; flock 8; flock {option} f true & echo $!; wait");
    let mut shell = env.command("/bin/sh");
    shell.args(["-c", &script]);
    let mut shell = env.start(shell);
    let waiter: i32 = shell.read_line().parse().expect("a pid");
    wait_until_listed(&env, waiter);
    let note = format!("flock: deadlock: PID {waiter} waits for a lock that it holds itself\n");
    assert_eq!(deadlocked(&env, &["f"]), (vec![waiter], note));
}

#[test]
fn waiter_for_a_process_that_does_not_wait_is_not_marked() {
    let env = TestEnv::new();
    let _holder = env.hold(&[], "f");
    let mut waiter = hold_then_request(&env, "g", "f");
    waiter.send_line("now");
    wait_until("it waits", || waiter_count(env.file("f")) == 1);
    let _next = env.start_flock(["g", "true"]);
    wait_until("it waits", || waiter_count(env.file("g")) == 1);
    assert_eq!(deadlocked(&env, &["f", "g"]), (Vec::new(), String::new()));
}

#[test]
fn lock_that_is_converted_is_no_deadlock() {
    let env = TestEnv::without_builtin();
    let _reader = env.hold(&["--fcntl", "-s"], "f");
    let script = "exec 8<>f; flock --fcntl -s 8; echo held; flock --fcntl 8; exit";
    let _writer = start_script(&env, script, "held");
    wait_until("it waits", || waiter_count(env.file("f")) == 1);
    assert_eq!(deadlocked(&env, &["f"]), (Vec::new(), String::new()));
}

/// The thread that does not wait may release the lock.
#[test]
fn process_with_several_threads_is_not_marked() {
    let env = TestEnv::new();
    let open = || File::create(env.file("f")).expect("a file");
    let held = open();
    flock(&held, FlockOperation::LockExclusive).expect("no other process locks it");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| flock(open(), FlockOperation::LockExclusive));
        wait_until("it waits", || waiter_count(env.file("f")) == 1);
        let found = deadlocked(&env, &["f"]);
        drop(held);
        let acquired = waiter.join().expect("no panic");
        acquired.expect("the lock is free");
        assert_eq!(found, (Vec::new(), String::new()));
    });
}

/// The kernel's table does not contain the lock there, because its acquirer has exited.
#[test]
fn deadlock_in_a_pid_namespace_is_found() {
    let env = TestEnv::without_builtin();
    if !can_unshare(&env, "-rpf --mount-proc") {
        return;
    }
    let script = "exec 8>>f; flock 8; flock f true & waiter=$!
        until flock --who f 2>/dev/null | grep ^waiter >out; do :; done
        flock --who f 2>&1 >out | sed s/$waiter/self/; kill $waiter; exit 0";
    env.install_script("script", script);
    let note = "flock: deadlock: PID self waits for a lock that it holds itself\n";
    env.sh("exec unshare -rpf --mount-proc sh ./script")
        .assert_stdout(note);
    assert!(env.read_file("out").contains("waiter, deadlock"));
}

/// A reader that holds the lock already queues behind a writer, which waits for the reader.
#[test]
fn deadlock_through_the_queue_is_marked() {
    let env = TestEnv::without_builtin();
    let script = "exec 8>>f; flock -s 8; flock --fair f true 8>&- & echo $!; read x
        flock --fair -s f true & echo $!; wait";
    let mut shell = env.command("/bin/sh");
    shell.args(["-c", script]);
    let mut shell = env.start(shell);
    let writer: i32 = shell.read_line().parse().expect("a pid");
    wait_until_listed(&env, writer);
    shell.send_line("now");
    let reader: i32 = shell.read_line().parse().expect("a pid");
    wait_until_listed(&env, reader);
    assert_eq!(deadlocked(&env, &["f"]).0, [writer, reader]);
}
