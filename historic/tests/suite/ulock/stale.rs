//! Taking over locks that were left behind, and no others.

use std::os::unix::fs::MetadataExt;

use rstest::rstest;
use test_support::process::{ExitReason, Process};
use test_support::procfs::is_stopped;
use test_support::{TestEnv, wait_until};

use super::{assert_files, start_reader, start_writer};
use crate::{CommandLineEnv, env};

/// Creates a lock and waits until it is more than two seconds old, with a timeout as the clock.
#[track_caller]
fn leave_lock(env: &TestEnv) {
    env.sh("ulock lock; ulock --timeout=2.1 lock")
        .assert_status(1);
}

#[rstest]
#[case::lock("lock", &["lock"])]
#[case::writer("-w lock counter", &["counter", "lock"])]
#[case::reader("-r lock counter true", &["counter"])]
fn stale_lock_is_taken_over(env: TestEnv, #[case] args: &str, #[case] files: &[&str]) {
    env.sh(format!(": >lock; ulock --invalid=0.1 {args}"))
        .assert_all(0, "", "");
    assert_files(&env, files);
}

#[rstest]
fn fresh_lock_is_not_taken_over(env: TestEnv) {
    env.sh(
        ": >lock; stat -c %i lock >before; ulock --timeout=0.2 lock; echo $?
            ulock --timeout=0.2 --invalid=3600 lock; echo $?
            stat -c %i lock | cmp - before",
    )
    .assert_all(0, "1\n1\n", "");
}

#[rstest]
fn stale_lock_is_taken_over_with_zero_timeout(env: TestEnv) {
    leave_lock(&env);
    env.sh(
        "ulock --timeout=0 --invalid=2 lock; echo $?; ulock --timeout=0 --invalid=2 lock; echo $?",
    )
    .assert_stdout("0\n1\n");
    assert_files(&env, &["lock"]);
}

/// Over NFS, a LOCK that another process removes between two calls is an error of the second.
#[rstest]
fn lock_that_is_removed_meanwhile_is_no_error(
    env: TestEnv,
    #[values("statx:error=ESTALE:when=1", "statx:error=ESTALE:when=2")] inject: &str,
) {
    env.sh(": >lock").assert_status(0);
    let args = ["--timeout=0", "lock"];
    let inject = format!("inject={inject}");
    if let Some(ulock) = env.with_fault_injection_into("ulock", "lock", &inject, &args) {
        env.run_command(ulock).assert_all(1, "", "");
    }
}

#[rstest]
fn stale_lock_that_is_removed_meanwhile_is_no_error(env: TestEnv) {
    env.sh(": >lock").assert_status(0);
    let inject = "inject=renameat2:error=EINVAL inject=rename,renameat:error=ESTALE:when=1";
    if let Some(ulock) = env.injected(inject, "ulock --invalid=0.1 lock") {
        env.run_command(ulock).assert_all(0, "", "");
        assert_files(&env, &["lock"]);
    }
}

#[rstest]
#[case::no_exchange("inject=renameat2:error=EINVAL")]
#[case::no_renameat2("inject=renameat2:error=ENOSYS")]
#[case::no_statx("inject=renameat2:error=ENOSYS inject=statx:error=ENOSYS")]
fn stale_lock_is_taken_over_without_exchange(env: TestEnv, #[case] inject: &str) {
    if let Some(ulock) = env.injected(inject, "ulock --invalid=0.1 lock") {
        env.sh(": >lock").assert_status(0);
        env.run_command(ulock).assert_all(0, "", "");
        assert_files(&env, &["lock"]);
    }
}

#[rstest]
fn failed_takeover_is_reported(env: TestEnv) {
    let inject = "inject=renameat2:error=EPERM inject=rename,renameat:error=EPERM";
    if let Some(ulock) = env.injected(inject, "ulock --invalid=0.1 lock") {
        env.sh(": >lock").assert_status(0);
        let message = "ulock: cannot take over stale lock lock: Operation not permitted\n";
        env.run_command(ulock).assert_all(1, "", message);
        assert_files(&env, &["lock"]);
    }
}

#[rstest]
fn one_of_many_takes_over_stale_lock(env: TestEnv) {
    for _ in 0..2 {
        env.sh("rm -f lock").assert_status(0);
        let script = "read x; exec ulock --timeout=0 --invalid=2 lock";
        let mut contenders: Vec<_> = (0..8).map(|_| env.start_script("", script)).collect();
        leave_lock(&env);
        contenders.iter_mut().for_each(Process::close_stdin);
        let reasons: Vec<_> = contenders.iter_mut().map(Process::wait).collect();
        let count = |status| {
            let is_equal = |reason: &&ExitReason| **reason == ExitReason::Exited(status);
            reasons.iter().filter(is_equal).count()
        };
        assert_eq!((count(0), count(1)), (1, 7), "{reasons:?}");
        assert_files(&env, &["lock"]);
    }
}

#[rstest]
#[case::exchange("inject=renameat2:delay_enter=1s")]
#[case::rename("inject=renameat2:error=EINVAL inject=rename,renameat:delay_enter=1s")]
fn delayed_takeover_does_not_succeed_too(env: TestEnv, #[case] inject: &str) {
    let Some(delayed) = env.injected(inject, "ulock --timeout=0 --invalid=2 lock") else {
        return;
    };
    leave_lock(&env);
    let mut delayed = env.start(delayed);
    // It has checked the age and created the file that is to replace the lock.
    wait_until("it is about to take over", || env.file_names().len() == 2);
    let other = env.sh("ulock --timeout=0 --invalid=2 lock").code();
    let reasons = [delayed.wait(), ExitReason::Exited(other)];
    for status in [0, 1] {
        assert!(reasons.contains(&ExitReason::Exited(status)), "{reasons:?}");
    }
    assert_files(&env, &["lock"]);
}

#[rstest]
fn lock_of_waiting_writer_does_not_become_stale(env: TestEnv) {
    let reader = start_reader(&env, "");
    let mut writer = start_writer(&env, "--invalid=2");
    env.sh("ulock --invalid=2 --timeout=3 lock")
        .assert_status(1);
    reader.release();
    assert_eq!(writer.wait(), ExitReason::Exited(0));
    assert_files(&env, &["counter", "lock"]);
}

#[rstest]
fn stopped_writer_starts_over_after_takeover(env: TestEnv) {
    let reader = start_reader(&env, "");
    let mut writer = start_writer(&env, "--invalid=0.2");
    writer.signal(libc::SIGSTOP);
    wait_until("it stops", || is_stopped(writer.pid()));
    // Another reader takes over the lock of the writer, which seems to be dead.
    let late = start_reader(&env, "--invalid=0.2");
    env.sh("ulock lock").assert_status(0);
    let inode = || {
        std::fs::metadata(env.file("lock"))
            .expect("it exists")
            .ino()
    };
    let other_lock = inode();
    reader.release();
    late.release();
    writer.signal(libc::SIGCONT);
    // There are no readers, but the lock is another's: the writer waits and takes it over as stale.
    assert_eq!(writer.wait(), ExitReason::Exited(0));
    assert_ne!(inode(), other_lock);
    assert_files(&env, &["counter", "lock"]);
}
