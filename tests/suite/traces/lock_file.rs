//! The lock file: opened, locked and compared, and removed after use.

use std::os::unix::fs::MetadataExt;

use super::record;
use models::lock_file::{FileSystem, LockFile, Others};
use rstest::rstest;
use test_support::locks::waiter_count;
use test_support::system_calls::{Call, SystemCall, assert_explained};
use test_support::{TestEnv, wait_until};

/// Names the calls that concern the lock file `l`.
pub(super) fn calls_on_lock_file(recorded: &[SystemCall]) -> Vec<Call> {
    let (mut fd, mut opened, mut calls) = (String::new(), None, Vec::new());
    for call in recorded {
        let inode = || call.value("st_ino").or(call.value("stx_ino"));
        let is_on_path = call.args.contains("\"l\"");
        let is_on_fd = !fd.is_empty() && call.args.split([',', ')']).next() == Some(&fd);
        let result = match &*call.result {
            "ENOENT" => "ENOENT",
            "EAGAIN" => "EAGAIN",
            "ERESTARTSYS" | "EINTR" => "EINTR",
            _ => "ok",
        };
        let named = match &*call.name {
            "open" | "openat" if is_on_path => {
                if result == "ok" {
                    fd.clone_from(&call.result);
                }
                let has = |flag| call.args.contains(flag);
                match (has("O_CREAT"), has("O_NOFOLLOW")) {
                    (true, _) => ("open(O_CREAT)", result),
                    (_, true) => ("open(O_NOFOLLOW)", result),
                    _ => ("open", result),
                }
            }
            // Only on a file server.
            "statx" if call.args.contains("AT_STATX_FORCE_SYNC") => match call.value("stx_nlink") {
                _ if !is_on_fd => ("statx(dir)", ""),
                Some("0") => ("statx(fd)", "nameless"),
                _ => ("statx(fd)", "named"),
            },
            "fstat" | "newfstatat" | "statx" if is_on_fd => {
                opened = inode();
                continue;
            }
            "stat" | "lstat" | "newfstatat" | "statx" if is_on_path && opened.is_some() => {
                match (result, inode() == opened) {
                    ("ENOENT", _) => ("stat", "ENOENT"),
                    (_, true) => ("stat", "same"),
                    (_, false) => ("stat", "other"),
                }
            }
            "flock" if call.args.contains("LOCK_NB") => ("flock(LOCK_NB)", result),
            "flock" => ("flock", result),
            "fcntl" | "fcntl64" if call.args.contains("F_OFD_GETLK") => {
                let is_free = call.args.contains("F_UNLCK");
                ("fcntl(F_OFD_GETLK)", if is_free { "none" } else { "some" })
            }
            "clone" | "fork" => ("clone", ""),
            "waitid" => ("waitid", ""),
            "close" if is_on_fd => ("close", ""),
            "unlink" | "unlinkat" => ("unlink", result),
            "exit_group" => {
                calls.pop_if(|(name, _)| *name == "close");
                ("exit", "")
            }
            _ => continue,
        };
        calls.push(named);
    }
    calls
}

fn explain(calls: &[Call]) -> Result<(), usize> {
    LockFile::new(2, FileSystem::Local, Others::Replace).explain(calls)
}

#[rstest]
#[case::new("l true", 7)]
#[case::removed("--unlink l true", 14)]
#[case::shared("-s l true", 7)]
#[case::with_a_timeout("-w 100 l true", 7)]
fn a_free_lock_is_a_path_of_the_model(#[case] args: &str, #[case] count: usize) {
    let env = &TestEnv::new();
    let args = Vec::from_iter(args.split(' '));
    if let Some(calls) = record(env, &args, calls_on_lock_file) {
        assert_eq!(calls.len(), count, "{calls:?}");
        assert_explained(&calls, explain);
    }
}

#[rstest]
#[case::without_waiting("-n l true")]
#[case::until_a_timeout("-w 0.01 l true")]
fn a_refusal_is_a_path_of_the_model(#[case] args: &str) {
    let env = &TestEnv::new();
    let holder = env.hold(&[], "l");
    let args = Vec::from_iter(args.split(' '));
    if let Some(calls) = record(env, &args, calls_on_lock_file) {
        assert!(calls.len() >= 3, "{calls:?}");
        assert_explained(&calls, explain);
    }
    holder.release();
}

#[rstest]
#[case::as_it_was(&[], 7)]
#[case::replaced(&["l", "new"], 11)]
fn a_wait_is_a_path_of_the_model(#[case] replaced: &[&str], #[case] count: usize) {
    let env = &TestEnv::new();
    let holder = env.hold(&[], "l");
    let Some(command) = env.with_recording("flock", ["l", "true"]) else {
        return holder.release();
    };
    let mut waiter = env.start(command);
    wait_until("it waits", || waiter_count(env.file("l")) == 1);
    if let [path, new] = replaced {
        std::fs::write(env.file(new), "").expect("a file");
        std::fs::rename(env.file(new), env.file(path)).expect("a rename");
    }
    holder.release();
    waiter.wait();
    let calls = calls_on_lock_file(&env.recorded_calls());
    assert_eq!(calls.len(), count, "{calls:?}");
    assert_explained(&calls, explain);
}

/// Makes strace show the program the type of NFS where it asks for that of the file system.
const AS_NFS: &str = "inject=fstatfs:poke_exit=@arg2=6969000000000000";

/// Without a server, on a file system in memory that looks like NFS. `None` where that is not possible.
fn record_as_on_nfs(env: &TestEnv, args: &str) -> Option<Vec<Call>> {
    env.with_fault_injection("", "trace=none", &[])?;
    let strace = |args: &[&str]| {
        let mut command = env.command("strace");
        command.args(["--quiet=all", "-v", "-o", "system-calls", "-e", AS_NFS]);
        command.args(args);
        command
    };
    // Old versions cannot do that, and a field of another size would be another one.
    let is_supported = cfg!(all(target_pointer_width = "64", target_endian = "little"))
        && env.run_command(strace(&["true"])).code() == 0;
    let dir = tempfile::tempdir_in("/dev/shm").ok()?;
    let device = std::fs::metadata(dir.path()).ok()?.dev();
    if !is_supported || rustix::fs::major(device) != 0 {
        return None;
    }
    let log = env.file("system-calls");
    let mut command = strace(&[]);
    command
        .arg("-o")
        .arg(log)
        .arg("flock")
        .args(args.split(' '));
    command.current_dir(dir.path());
    env.run_command(command);
    Some(calls_on_lock_file(&env.recorded_calls()))
}

#[rstest]
#[case::new("l true", 9)]
#[case::removed("--unlink l true", 18)]
fn a_lock_on_nfs_is_a_path_of_the_model(#[case] args: &str, #[case] count: usize) {
    let env = &TestEnv::new();
    if let Some(calls) = record_as_on_nfs(env, args) {
        assert_eq!(calls.len(), count, "{calls:?}");
        let model = LockFile::new(2, FileSystem::Nfs4, Others::Replace);
        assert_explained(&calls, |calls| model.explain(calls));
    }
}
