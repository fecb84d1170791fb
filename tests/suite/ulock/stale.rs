//! Locks that were left behind, and those that were not.

use std::os::unix::fs::MetadataExt;

use super::*;
use test_support::process::End;

/// Makes a lock and waits until it is more than two seconds old. Somebody else's timeout is the clock.
fn leave(lab: &Lab) {
    lab.sh("ulock lock; ulock --timeout=2.1 lock")
        .expect_code(1);
}

#[test]
fn a_lock_that_was_left_behind_is_taken_over_once_it_is_too_old() {
    let lab = Lab::new();
    for words in ["lock", "-w lock counter", "-r lock counter true"] {
        lab.sh(format!("rm -f lock; : >lock; ulock --invalid=0.1 {words}"))
            .expect_err("")
            .expect_code(0);
        assert_eq!(lab.file("lock").exists(), !words.starts_with("-r"));
        let names = lab.names();
        assert!(
            names.iter().all(|name| name == "lock" || name == "counter"),
            "{names:?}"
        );
    }
}

#[test]
fn a_fresh_lock_is_not_taken_over() {
    let lab = Lab::new();
    lab.sh(
        ": >lock; stat -c %i lock >before; ulock --timeout=0.2 lock; echo $?
            ulock --timeout=0.2 --invalid=3600 lock; echo $?
            stat -c %i lock | cmp - before",
    )
    .expect_out("1\n1\n")
    .expect_code(0);
}

#[test]
fn an_old_lock_is_taken_over_without_any_waiting() {
    let lab = Lab::new();
    leave(&lab);
    lab.sh(
        "ulock --timeout=0 --invalid=2 lock; echo $?; ulock --timeout=0 --invalid=2 lock; echo $?",
    )
    .expect_out("0\n1\n");
    lab.has_only(&["lock"]);
}

#[test]
fn where_names_cannot_be_exchanged_it_is_taken_over_as_well() {
    let lab = Lab::new();
    for inject in [
        "inject=renameat2:error=EINVAL",
        "inject=renameat2:error=ENOSYS",
        "inject=renameat2:error=ENOSYS inject=statx:error=ENOSYS",
    ] {
        let words = ["--invalid=0.1", "lock"];
        let Some(thief) = lab.injected_into("ulock", "", inject, &words) else {
            return;
        };
        lab.sh(": >lock").expect_code(0);
        lab.finish(thief).expect_err("").expect_code(0);
        lab.has_only(&["lock"]);
    }
}

#[test]
fn a_lock_that_may_not_be_taken_over_is_a_failure_that_is_told() {
    let lab = Lab::new();
    let inject = "inject=renameat2:error=EPERM inject=rename,renameat:error=EPERM";
    let Some(thief) = lab.injected_into("ulock", "", inject, &["--invalid=0.1", "lock"]) else {
        return;
    };
    lab.sh(": >lock").expect_code(0);
    lab.finish(thief)
        .expect_err("ulock: cannot take over the old lock lock: Operation not permitted\n")
        .expect_code(1);
    lab.has_only(&["lock"]);
}

#[test]
fn of_many_thieves_one_wins() {
    let lab = Lab::new();
    for _ in 0..2 {
        lab.sh("rm -f lock").expect_code(0);
        let mut thieves: Vec<_> = (0..8)
            .map(|_| lab.start_sh("read x; exec ulock --timeout=0 --invalid=2 lock"))
            .collect();
        leave(&lab);
        thieves.iter_mut().for_each(Live::hush);
        let mut ends: Vec<_> = thieves.iter_mut().map(Live::end).collect();
        ends.sort_by_key(|end| *end != End::Exited(0));
        assert_eq!(ends[0], End::Exited(0));
        assert!(
            ends[1..].iter().all(|end| *end == End::Exited(1)),
            "{ends:?}"
        );
        lab.has_only(&["lock"]);
    }
}

#[test]
fn a_thief_who_was_held_up_does_not_win_as_well() {
    for inject in [
        "inject=renameat2:delay_enter=1s",
        "inject=renameat2:error=EINVAL inject=rename,renameat:delay_enter=1s",
    ] {
        let lab = Lab::new();
        let words = ["--timeout=0", "--invalid=2", "lock"];
        let Some(late) = lab.injected_into("ulock", "", inject, &words) else {
            return;
        };
        leave(&lab);
        let mut late = lab.start(late);
        // He has looked at the age and made the file that he is about to put in the lock's place.
        wait_until("he is about to take over", || lab.names().len() == 2);
        let other = lab.sh("ulock --timeout=0 --invalid=2 lock").code();
        let won = [late.end(), End::Exited(other)]
            .iter()
            .filter(|end| **end == End::Exited(0))
            .count();
        assert_eq!(won, 1, "{inject}: the other's status: {other}");
        lab.has_only(&["lock"]);
    }
}

#[test]
fn a_writer_who_waits_for_readers_for_long_is_not_taken_for_gone() {
    let lab = Lab::new();
    let reader = lab.reader();
    let mut writer = lab.waiting_ulock(&["-w", "--invalid=2", "lock", "counter"]);
    lab.sh("ulock --invalid=2 --timeout=3 lock").expect_code(1);
    reader.let_go();
    assert_eq!(writer.end(), End::Exited(0));
    lab.has_only(&["counter", "lock"]);
}

#[test]
fn a_writer_who_was_stopped_until_his_lock_was_taken_over_begins_again() {
    let lab = Lab::new();
    let reader = lab.reader();
    let mut writer = lab.waiting_ulock(&["-w", "--invalid=0.2", "lock", "counter"]);
    writer.signal(libc::SIGSTOP);
    wait_until("it stops", || test_support::locks::stopped(writer.pid()));
    // Another reader gets in, as the writer is thought to be gone.
    let script = "echo reads; read x; exit 0";
    let mut late = lab.command("ulock");
    late.args(["--invalid=0.2", "-r", "lock", "counter", script]);
    let mut late = lab.start(late);
    late.hears("reads");
    lab.sh("ulock lock").expect_code(0);
    let inode = || {
        std::fs::metadata(lab.file("lock"))
            .expect("it is there")
            .ino()
    };
    let others = inode();
    reader.let_go();
    late.let_go();
    writer.signal(libc::SIGCONT);
    // Nobody reads any more, but the lock is another's: it waits for that, and takes it over when it is too old.
    assert_eq!(writer.end(), End::Exited(0));
    assert_ne!(inode(), others);
    lab.has_only(&["counter", "lock"]);
}
