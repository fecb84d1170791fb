//! The lock file: it is not changed, it can be replaced, and it can have other locks too.

use std::os::unix::fs::MetadataExt;

use super::{
    FAIR, ONE_SLOT, assert_clean, assert_clean_after, assert_queue_len, assert_served,
    spawn_waiter, spawn_waiter_script, spawn_waiting_holder,
};
use rstest::rstest;
use test_support::TestEnv;
use test_support::locks::{assert_unlocked, tickets};
use test_support::process::ExitReason;

#[rstest]
fn lock_file_is_not_changed(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    std::fs::write(env.file("l"), "contents\n").expect("a file");
    let state = || {
        let file = std::fs::metadata(env.file("l")).expect("it exists");
        let times = (
            file.mtime(),
            file.mtime_nsec(),
            file.ctime(),
            file.ctime_nsec(),
        );
        (
            file.len(),
            file.blocks(),
            file.mode(),
            times,
            env.read_file("l"),
        )
    };
    let before = state();
    let holder = env.hold(&[queue], "l");
    let first = spawn_waiting_holder(env, &[queue]);
    env.run([queue, "-w0.01", "l", "true"]).assert_status(1);
    holder.release();
    assert_served(first);
    assert_eq!(state(), before);
    let descriptors = (queue == FAIR).then_some(["8<l", "8>>l", "8<>l"]);
    for redirection in descriptors.into_iter().flatten() {
        let holder = env.hold(&[], "l");
        let script = format!("exec {redirection}; flock --fair -w1000 8; echo got");
        let mut waiter = spawn_waiter_script(env, &script);
        holder.release();
        waiter.expect_line("got");
        waiter.release();
        assert_eq!(state(), before, "{redirection}");
    }
    assert_eq!(env.file_names(), ["l"]);
}

#[rstest]
fn waiters_queue_at_the_new_file_after_a_replacement(
    #[values(FAIR, ONE_SLOT)] queue: &str,
    #[values("mv new l", "rm l", "rm l; ln -s new l", "mv l older; : >l")] replace: &str,
) {
    let env = &TestEnv::new();
    // Prints whether the command has the file open that the path names, and whether that is locked.
    let script = format!(
        "for f in /proc/$$/fd/*; do [ $f -ef l ] && same=same; done
        flock {queue} -n l true; echo ${{same-other}} $?"
    );
    let holder = env.hold(&[queue], "l");
    let shared = if queue == FAIR { "-s" } else { "-x" };
    let waiters = [
        spawn_waiter(env, [queue, "l", "sh", "-c", &script]),
        spawn_waiter(env, [queue, "-w1000", shared, "l", "sh", "-c", &script]),
        spawn_waiter(env, [queue, "-F", "l", "sh", "-c", &script]),
    ];
    env.sh(format!(": >new; ln l old; {replace}"))
        .assert_status(0);
    holder.release();
    for mut waiter in waiters {
        waiter.expect_line("same 1");
        waiter.release();
    }
    assert_unlocked(env.file("old"));
    assert_clean(env, &[]);
}

#[rstest]
fn timeout_includes_the_wait_at_the_old_file(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    let holder = env.hold(&[queue], "l");
    let mut waiter = spawn_waiter(env, [queue, "-w1", "-E42", "l", "true"]);
    env.sh("mv l old").assert_status(0);
    let new_holder = env.hold(&[queue], "l");
    holder.release();
    // It waits at the new file now, or has timed out already.
    assert_eq!(waiter.wait(), ExitReason::Exited(42));
    assert_unlocked(env.file("old"));
    assert_eq!(tickets(env.file("l")), []);
    assert_clean_after(env, new_holder);
}

#[rstest]
fn locks_on_the_data_do_not_interfere(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    let other = env.hold(&["--start", "0", "--length", "1G"], "l");
    let holder = env.hold(&[queue], "l");
    let mut first = spawn_waiting_holder(env, &[queue]);
    let second = spawn_waiting_holder(env, &[queue]);
    // Nor do tickets interfere with locks on the data.
    let args = "-n --start 1G --length 1G l true";
    env.run(args.split(' ')).assert_status(0);
    env.run(["-n", queue, "l", "true"]).assert_status(1);
    holder.release();
    first.expect_line("held");
    assert_queue_len(env, 1);
    first.release();
    assert_served(second);
    assert_clean_after(env, other);
}
