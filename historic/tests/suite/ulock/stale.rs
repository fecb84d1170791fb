//! Locks that were left behind, and those that were not.

use std::os::unix::fs::MetadataExt;

use super::*;
use test_support::process::ExitReason;

/// Makes a lock and waits until it is more than two seconds old. Somebody else's timeout is the clock.
fn leave(env: &TestEnv) {
    env.sh("ulock lock; ulock --timeout=2.1 lock")
        .assert_status(1);
}

#[test]
fn a_lock_that_was_left_behind_is_taken_over_once_it_is_too_old() {
    let env = TestEnv::new();
    for words in ["lock", "-w lock counter", "-r lock counter true"] {
        env.sh(format!("rm -f lock; : >lock; ulock --invalid=0.1 {words}"))
            .assert_stderr("")
            .assert_status(0);
        assert_eq!(env.file("lock").exists(), !words.starts_with("-r"));
        let names = env.file_names();
        assert!(
            names.iter().all(|name| name == "lock" || name == "counter"),
            "{names:?}"
        );
    }
}

#[test]
fn a_fresh_lock_is_not_taken_over() {
    let env = TestEnv::new();
    env.sh(
        ": >lock; stat -c %i lock >before; ulock --timeout=0.2 lock; echo $?
            ulock --timeout=0.2 --invalid=3600 lock; echo $?
            stat -c %i lock | cmp - before",
    )
    .assert_stdout("1\n1\n")
    .assert_status(0);
}

#[test]
fn an_old_lock_is_taken_over_without_any_waiting() {
    let env = TestEnv::new();
    leave(&env);
    env.sh(
        "ulock --timeout=0 --invalid=2 lock; echo $?; ulock --timeout=0 --invalid=2 lock; echo $?",
    )
    .assert_stdout("0\n1\n");
    env.assert_files(&["lock"]);
}

#[test]
fn where_names_cannot_be_exchanged_it_is_taken_over_as_well() {
    let env = TestEnv::new();
    for inject in [
        "inject=renameat2:error=EINVAL",
        "inject=renameat2:error=ENOSYS",
        "inject=renameat2:error=ENOSYS inject=statx:error=ENOSYS",
    ] {
        let words = ["--invalid=0.1", "lock"];
        let Some(thief) = env.with_fault_injection_into("ulock", "", inject, &words) else {
            return;
        };
        env.sh(": >lock").assert_status(0);
        env.run_command(thief).assert_stderr("").assert_status(0);
        env.assert_files(&["lock"]);
    }
}

#[test]
fn a_lock_that_may_not_be_taken_over_is_a_failure_that_is_told() {
    let env = TestEnv::new();
    let inject = "inject=renameat2:error=EPERM inject=rename,renameat:error=EPERM";
    let Some(thief) =
        env.with_fault_injection_into("ulock", "", inject, &["--invalid=0.1", "lock"])
    else {
        return;
    };
    env.sh(": >lock").assert_status(0);
    env.run_command(thief)
        .assert_stderr("ulock: cannot take over stale lock lock: Operation not permitted\n")
        .assert_status(1);
    env.assert_files(&["lock"]);
}

#[test]
fn of_many_thieves_one_wins() {
    let env = TestEnv::new();
    for _ in 0..2 {
        env.sh("rm -f lock").assert_status(0);
        let mut thieves: Vec<_> = (0..8)
            .map(|_| env.start_sh("read x; exec ulock --timeout=0 --invalid=2 lock"))
            .collect();
        leave(&env);
        thieves.iter_mut().for_each(Process::close_stdin);
        let mut ends: Vec<_> = thieves.iter_mut().map(Process::wait).collect();
        ends.sort_by_key(|end| *end != ExitReason::Exited(0));
        assert_eq!(ends[0], ExitReason::Exited(0));
        assert!(
            ends[1..].iter().all(|end| *end == ExitReason::Exited(1)),
            "{ends:?}"
        );
        env.assert_files(&["lock"]);
    }
}

#[test]
fn a_thief_who_was_held_up_does_not_win_as_well() {
    for inject in [
        "inject=renameat2:delay_enter=1s",
        "inject=renameat2:error=EINVAL inject=rename,renameat:delay_enter=1s",
    ] {
        let env = TestEnv::new();
        let words = ["--timeout=0", "--invalid=2", "lock"];
        let Some(late) = env.with_fault_injection_into("ulock", "", inject, &words) else {
            return;
        };
        leave(&env);
        let mut late = env.start(late);
        // He has looked at the age and made the file that he is about to put in the lock's place.
        wait_until("he is about to take over", || env.file_names().len() == 2);
        let other = env.sh("ulock --timeout=0 --invalid=2 lock").code();
        let won = [late.wait(), ExitReason::Exited(other)]
            .iter()
            .filter(|end| **end == ExitReason::Exited(0))
            .count();
        assert_eq!(won, 1, "{inject}: the other's status: {other}");
        env.assert_files(&["lock"]);
    }
}

#[test]
fn a_writer_who_waits_for_readers_for_long_is_not_taken_for_gone() {
    let env = TestEnv::new();
    let reader = env.start_reader();
    let mut writer = env.start_waiting_ulock(&["-w", "--invalid=2", "lock", "counter"]);
    env.sh("ulock --invalid=2 --timeout=3 lock")
        .assert_status(1);
    reader.release();
    assert_eq!(writer.wait(), ExitReason::Exited(0));
    env.assert_files(&["counter", "lock"]);
}

#[test]
fn a_writer_who_was_stopped_until_his_lock_was_taken_over_begins_again() {
    let env = TestEnv::new();
    let reader = env.start_reader();
    let mut writer = env.start_waiting_ulock(&["-w", "--invalid=0.2", "lock", "counter"]);
    writer.signal(libc::SIGSTOP);
    wait_until("it stops", || {
        test_support::procfs::is_stopped(writer.pid())
    });
    // Another reader gets in, as the writer is thought to be gone.
    let script = "echo reads; read x; exit 0";
    let mut late = env.command("ulock");
    late.args(["--invalid=0.2", "-r", "lock", "counter", script]);
    let mut late = env.start(late);
    late.expect_line("reads");
    env.sh("ulock lock").assert_status(0);
    let inode = || {
        std::fs::metadata(env.file("lock"))
            .expect("it is there")
            .ino()
    };
    let others = inode();
    reader.release();
    late.release();
    writer.signal(libc::SIGCONT);
    // Nobody reads any more, but the lock is another's: it waits for that, and takes it over when it is too old.
    assert_eq!(writer.wait(), ExitReason::Exited(0));
    assert_ne!(inode(), others);
    env.assert_files(&["counter", "lock"]);
}
