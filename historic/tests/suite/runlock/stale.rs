//! Which lock files are stale.

use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use rstest::rstest;
use test_support::locks::waiter_count;
use test_support::process::{ExitReason, Process};
use test_support::procfs::{is_running, status_field};
use test_support::{TestEnv, is_installed, wait_until};

use super::{
    STILL_LOCKED, assert_still_locked, assert_unlocked, hold_runlock, pid_in_lock_file,
    run_injected, unlocked, write_lock_file,
};
use crate::{CommandLineEnv, env, read_pid};

/// A pid above the kernel's limit, which no process has.
pub(super) const DEAD_PID: i32 = 2_000_000_000;

/// Starts a process that waits, and returns it with its start time.
#[track_caller]
fn start_idle_process(env: &TestEnv) -> (Process, u64) {
    let mut process = env.start_script("", "echo ready; read x; :");
    process.expect_line("ready");
    let start = start_time(process.pid());
    (process, start)
}

/// Returns when a process was started, in clock ticks.
fn start_time(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, fields) = stat.rsplit_once(") ").expect("a name");
    let start = fields.split(' ').nth(19).expect("a start time");
    start.parse().expect("a number")
}

/// Returns what `runlock` writes to its file for a process with this pid and start time, with one
/// field changed.
pub(super) fn file_content(pid: i32, start: u64, change: &str) -> String {
    let read = |path: &str| std::fs::read_to_string(path).expect("it is readable");
    let boot = read("/proc/sys/kernel/random/boot_id");
    let host = read("/proc/sys/kernel/hostname");
    let namespace = std::fs::metadata("/proc/self/ns/pid").expect("it exists");
    let mut fields = vec![
        format!("start={start}"),
        format!("pidns={}", namespace.ino()),
        format!("boot={}", boot.trim()),
        format!("host={}", host.trim()),
    ];
    if let Some((name, _)) = change.split_once('=') {
        fields.retain(|field| !field.starts_with(name));
        fields.push(change.to_owned());
    }
    format!("{pid}\n{}\n", fields.join(" "))
}

#[rstest]
fn file_content_is_as_these_tests_write_it(env: TestEnv) {
    let _holder = hold_runlock(&env);
    let pid = pid_in_lock_file(&env);
    let fields = |text: &str| {
        let mut fields: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
        fields.sort();
        fields
    };
    let expected = file_content(pid, start_time(pid), "");
    assert_eq!(fields(&env.read("l.lock")), fields(&expected));
}

#[rstest]
fn lock_of_dead_process_is_broken(env: TestEnv) {
    let long = "x".repeat(100_000);
    for text in [
        format!("{DEAD_PID}\n"),
        file_content(DEAD_PID, 1, ""),
        format!("{DEAD_PID}\n{long}\n"),
    ] {
        write_lock_file(&env, &text);
        assert_unlocked(&env, &unlocked(DEAD_PID));
        assert!(env.file_names().is_empty());
    }
}

#[rstest]
fn lock_of_killed_runlock_is_broken_after_command_exits(env: TestEnv) {
    for _ in 0..20 {
        let mut killed = env.start_script("runlock l", "trap '' TERM; echo $$; read x; :");
        let command = read_pid(&mut killed);
        killed.kill();
        assert_unlocked(&env, &unlocked(killed.pid()));
        assert!(!is_running(command));
    }
}

#[rstest]
fn lock_of_running_process_is_not_broken(env: TestEnv) {
    let (owner, start) = start_idle_process(&env);
    let pid = owner.pid();
    for text in [
        format!("{pid}\n"),
        format!("{pid}"),
        format!("{pid}\nsomething\n"),
        file_content(pid, start, ""),
        file_content(pid, start, "host=elsewhere"),
    ] {
        write_lock_file(&env, &text);
        env.sh("touch -d 1990-01-01 l.lock").assert_status(0);
        assert_still_locked(&env, "");
        assert_eq!(env.read("l.lock"), text);
    }
}

#[rstest]
fn process_that_may_not_be_signaled_is_running(env: TestEnv) {
    let is_root = rustix::process::geteuid().is_root();
    if is_root && !is_installed("setpriv") {
        return;
    }
    let other_user = is_root.then(|| {
        let line = "setpriv --reuid=65534 --clear-groups";
        let mut process = env.start_script(line, "echo ready; read x; :");
        process.expect_line("ready");
        process
    });
    let pid = other_user.as_ref().map_or(1, Process::pid);
    write_lock_file(&env, &format!("{pid}\n"));
    let script = format!("kill -0 {pid} 2>/dev/null || echo not permitted; runlock l echo ran");
    let command = env.unprivileged(&script).expect("setpriv is installed");
    env.run_command(command)
        .assert_all(0, "not permitted\n", STILL_LOCKED);
}

#[rstest]
fn zombie_is_dead(env: TestEnv) {
    let mut command = env.script("", "read x");
    let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
    let pid = child.id() as i32;
    let start = start_time(pid);
    drop(child.stdin.take());
    wait_until("it exits", || status_field(pid, "State").starts_with('Z'));
    for text in [format!("{pid}\n"), file_content(pid, start, "")] {
        write_lock_file(&env, &text);
        assert_unlocked(&env, &unlocked(pid));
    }
    child.wait().expect("our child");
}

#[rstest]
fn reused_pid_is_recognized_by_start_time_and_boot(env: TestEnv) {
    let (process, start) = start_idle_process(&env);
    let pid = process.pid();
    for text in [
        file_content(pid, start - 1, ""),
        file_content(pid, 1, ""),
        file_content(pid, start, "boot=another"),
    ] {
        write_lock_file(&env, &text);
        assert_unlocked(&env, &unlocked(pid));
    }
}

#[rstest]
fn pid_of_runlock_itself_is_stale(env: TestEnv) {
    env.sh("echo $$ >l.lock; exec runlock l echo ran")
        .assert_stdout("ran\n")
        .assert_status(0);
}

#[rstest]
fn owner_in_other_pid_namespace_is_probed_by_flock(env: TestEnv) {
    for pid in [1, DEAD_PID] {
        write_lock_file(&env, &file_content(pid, 1, "pidns=1"));
        let holder = env.hold(&[], "l.lock");
        assert_still_locked(&env, "");
        holder.release();
        assert_unlocked(&env, &unlocked(pid));
    }
}

#[rstest]
fn lock_of_other_host_is_not_broken_but_reported(env: TestEnv) {
    for pid in [1, DEAD_PID] {
        write_lock_file(&env, &format!("{pid}:elsewhere\n"));
        let message = format!(
            "runlock: l.lock was created by process {pid} on host elsewhere; \
             if that process no longer runs, remove the file\n"
        );
        assert_still_locked(&env, &message);
    }
    let host = rustix::system::uname();
    let host = host.nodename().to_str().expect("a name");
    write_lock_file(&env, &format!("{DEAD_PID}:{host}\n"));
    assert_unlocked(&env, &unlocked(DEAD_PID));
}

#[rstest]
fn file_without_pid_is_not_broken_but_reported(env: TestEnv) {
    let long = "9".repeat(100_000);
    for line in [
        "",
        "0",
        "-1",
        "99999999999999999999",
        &long,
        "a dog",
        "\n2000000000",
    ] {
        let text = format!("{line}\n");
        write_lock_file(&env, &text);
        assert_still_locked(
            &env,
            "runlock: l.lock does not contain a process ID; if it is not in use, remove the file\n",
        );
        assert_eq!(env.read("l.lock"), text);
    }
}

/// Over NFS, a file that another process removes is an error of any call.
#[rstest]
fn file_that_is_removed_meanwhile_is_no_error(
    env: TestEnv,
    #[values(
        "?open,?openat",
        "flock",
        "?stat,?lstat,?newfstatat,?fstat",
        "?pread64"
    )]
    call: &str,
) {
    write_lock_file(&env, &file_content(DEAD_PID, 1, ""));
    let inject = format!("inject={call}:error=ESTALE:when=1");
    let args = ["l", "echo", "ran"];
    let command = env.with_fault_injection_into("runlock", "l.lock", &inject, &args);
    if let Some(command) = command {
        env.run_command(command)
            .assert_all(0, "ran\n", &unlocked(DEAD_PID));
    }
}

#[rstest]
fn persistent_stale_handle_is_an_error(env: TestEnv) {
    write_lock_file(&env, &file_content(DEAD_PID, 1, ""));
    let inject = "inject=flock:error=ESTALE";
    let args = ["l", "echo", "ran"];
    if let Some(command) = env.with_fault_injection_into("runlock", "l.lock", inject, &args) {
        env.run_command(command)
            .assert_all(65, "", "runlock: l.lock: Stale file handle\n");
    }
}

/// Over NFS, a process that cannot open the file for writing can only wait with a shared lock.
#[rstest]
fn file_that_cannot_be_locked_exclusively_is_waited_for(env: TestEnv) {
    write_lock_file(&env, &file_content(DEAD_PID, 1, ""));
    let holder = env.hold(&[], "l.lock");
    let inject = "inject=flock:error=EBADF:when=1..3+2";
    let Some(mut command) = env.injected(inject, "runlock l echo ran") else {
        return;
    };
    let mut runlock = command.spawn().expect("it starts");
    wait_until("it waits", || waiter_count(env.file("l.lock")) == 1);
    holder.release();
    assert!(runlock.wait().expect("a child").success());
    assert!(!env.file("l.lock").exists());
}

/// The holder stands for a supervisor that still kills the descendants of the dead process.
#[rstest]
fn stale_lock_is_waited_for_while_file_is_locked(env: TestEnv) {
    write_lock_file(&env, &file_content(DEAD_PID, 1, ""));
    let holder = env.hold(&[], "l.lock");
    let start_waiting = || {
        let runlock = env.start_line("runlock l echo ran");
        wait_until("it waits", || waiter_count(env.file("l.lock")) == 1);
        runlock
    };
    let mut terminated = start_waiting();
    terminated.signal(libc::SIGTERM);
    assert_eq!(terminated.wait(), ExitReason::Signaled(libc::SIGTERM));
    let mut runlock = start_waiting();
    holder.release();
    runlock.expect_line(unlocked(DEAD_PID).trim_end());
    runlock.expect_line("ran");
    assert_eq!(runlock.wait(), ExitReason::Exited(0));
}

#[rstest]
fn stale_lock_is_not_broken_if_file_stays_locked(env: TestEnv) {
    write_lock_file(&env, &file_content(DEAD_PID, 1, ""));
    let _holder = env.hold(&[], "l.lock");
    let message = format!(
        "runlock: l.lock is still locked, although process {DEAD_PID}, which created it, \
         seems to be dead; lslocks(8) shows the holder\n"
    );
    assert_still_locked(&env, &message);
}

#[rstest]
fn stale_lock_that_cannot_be_removed_is_error(env: TestEnv) {
    let script =
        format!("mkdir d; echo {DEAD_PID} >d/l.lock; chmod 555 d; exec runlock d/l echo ran");
    if let Some(command) = env.unprivileged(&script) {
        let message = "runlock: cannot remove lock file d/l.lock: Permission denied\n";
        env.run_command(command).assert_all(73, "", message);
    }
}

/// An NFS client refuses to lock a file that is open for reading only.
#[rstest]
fn file_is_reopened_for_writing_if_lock_requires_it(env: TestEnv) {
    let run = || run_injected(&env, "inject=flock:error=EBADF:when=1");
    write_lock_file(&env, &format!("{DEAD_PID}\n"));
    let Some(outcome) = run() else { return };
    outcome.assert_all(0, "ran\n", &unlocked(DEAD_PID));
    let assert_locked = || {
        let outcome = run().expect("it ran before");
        outcome.assert_all(0, "", STILL_LOCKED);
    };
    write_lock_file(&env, "1\n");
    assert_locked();
    env.sh("stat -c %a l.lock").assert_stdout("444\n");
    // A shared lock, which NFS permits, shows a running owner, so the mode is not even changed.
    write_lock_file(&env, &file_content(1, 1, "pidns=1"));
    let _holder = env.hold(&[], "l.lock");
    let change_time = || {
        let metadata = std::fs::metadata(env.file("l.lock")).expect("it exists");
        (metadata.ctime(), metadata.ctime_nsec())
    };
    let before = change_time();
    assert_locked();
    assert_eq!(change_time(), before);
}
