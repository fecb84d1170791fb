//! Processes that find a stale lock file at the same time: only one of them gets the lock.

use std::path::Path;
use std::process::Command;

use rstest::rstest;
use test_support::locks::waiter_count;
use test_support::pre_exec::CommandPreExecExt;
use test_support::process::{ExitReason, send_signal};
use test_support::procfs::{children_of, is_running};
use test_support::{TestEnv, wait_until};

use super::stale::{DEAD_PID, file_content};
use super::{
    STILL_LOCKED, assert_still_locked, assert_unlocked, hold_runlock, unlocked, write_lock_file,
};
use crate::{CommandLineEnv, env};

#[rstest]
fn new_lock_in_place_of_stale_one_is_not_removed(env: TestEnv) {
    write_lock_file(&env, &format!("{DEAD_PID}\n"));
    // It stops between opening the file and reading it.
    let inject = "inject=?open,openat:signal=STOP:when=1";
    let args = ["l", "echo", "ran"];
    let Some(runlock) = env.with_fault_injection_into("runlock", "l.lock", inject, &args) else {
        return;
    };
    let mut late = env.start(runlock);
    let mut pid = 0;
    wait_until("it has opened the file", || {
        pid = children_of(late.pid()).first().copied().unwrap_or(0);
        has_open(pid, &env.file("l.lock"))
    });
    assert_unlocked(&env, &unlocked(DEAD_PID));
    let _holder = hold_runlock(&env);
    wait_until("it exits", || {
        send_signal(pid, libc::SIGCONT);
        !is_running(late.pid())
    });
    late.expect_line(STILL_LOCKED.trim_end());
    assert_eq!(late.wait(), ExitReason::Exited(0));
    assert_still_locked(&env, "");
}

/// Whether a process has a file open.
fn has_open(pid: i32, file: &Path) -> bool {
    let file = std::fs::canonicalize(file).expect("it exists");
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"));
    let mut descriptors = descriptors.into_iter().flatten().flatten();
    descriptors.any(|fd| std::fs::read_link(fd.path()).is_ok_and(|path| path == file))
}

/// Starts processes that find the same file at the same time. Those that get the lock keep it until
/// each process has reported whether it did. Returns the sorted output.
fn race(env: &TestEnv, contenders: usize) -> Vec<String> {
    let gate = env.hold(&[], "gate");
    let script = "flock -s gate true; exec runlock l sh -c 'echo won; read x; :'";
    let start = |_| env.start_script("", script);
    let mut processes: Vec<_> = (0..contenders).map(start).collect();
    wait_until("they wait", || waiter_count(env.file("gate")) == contenders);
    gate.release();
    let mut lines = Vec::new();
    for process in &mut processes {
        let is_report = |line: &String| line == "won" || *line == STILL_LOCKED.trim_end();
        lines.push(process.read_line());
        while !lines.last().is_some_and(is_report) {
            lines.push(process.read_line());
        }
    }
    for mut process in processes {
        process.close_stdin();
        assert_eq!(process.wait(), ExitReason::Exited(0));
        process.read_until("\n").expect_err("no further output");
    }
    lines.sort();
    lines
}

#[rstest]
fn stale_lock_is_won_by_one_process(env: TestEnv, #[values(2, 3, 8)] contenders: usize) {
    for _ in 0..10 {
        for text in [format!("{DEAD_PID}\n"), file_content(DEAD_PID, 1, "")] {
            write_lock_file(&env, &text);
            let unlocked = unlocked(DEAD_PID);
            let mut expected = vec![STILL_LOCKED.trim_end(); contenders - 1];
            expected.extend([unlocked.trim_end(), "won"]);
            assert_eq!(race(&env, contenders), expected);
            assert_eq!(env.file_names(), ["gate"]);
        }
    }
}

/// Makes a command run on the first CPU only.
fn pin_to_first_cpu(command: &mut Command) {
    command.before_exec(|| {
        let all = rustix::thread::sched_getaffinity(None)?;
        let first = (0..rustix::thread::CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu));
        let mut cpus = rustix::thread::CpuSet::new();
        cpus.set(first.expect("a CPU"));
        Ok(rustix::thread::sched_setaffinity(None, &cpus)?)
    });
}

#[rstest]
fn lock_of_killed_process_is_broken_before_it_has_exited(env: TestEnv) {
    // A busy process on the same CPU delays the owner's exit.
    let mut busy = env.script("", "echo busy; while :; do :; done");
    pin_to_first_cpu(&mut busy);
    let mut busy = env.start(busy);
    busy.expect_line("busy");
    for _ in 0..5 {
        let mut owner = env.script("runlock l", "echo ready; read x");
        pin_to_first_cpu(&mut owner);
        owner.before_exec(|| {
            rustix::process::nice(19)?;
            Ok(())
        });
        let mut owner = env.start(owner);
        owner.expect("ready");
        owner.signal(libc::SIGKILL);
        env.run_line("runlock l echo in").assert_stdout("in\n");
        assert_eq!(owner.wait(), ExitReason::Signaled(libc::SIGKILL));
    }
}
