//! The lock file: opened, locked and compared, and removed after use.

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
