//! A lock file that is deleted or replaced while a process waits for it: there must never be two
//! holders.

use rstest::rstest;
use test_support::{TestEnv, differs_from_util_linux};

const WHY: &str = "it accepts a lock on a file that is no longer at the path";

/// Returns a script with a waiter, a change of the file that it waits for, and the release of the
/// old file's lock. Descriptor 9 is the holder.
fn script(kind: &str, waiter: &str, change: &str) -> String {
    format!(
        "exec 9<>l; flock {kind} 9
         flock {waiter} 9>&- & waiter=$!
         queued l 1
         {change}
         flock {kind} -u 9\n"
    )
}

/// Runs the script with `same` as the waiter's command, and asserts that the file that it has
/// locked is the one at the path.
#[track_caller]
fn assert_locks_file_at_path(env: &TestEnv, script: &str) {
    env.install_queued_script();
    env.install_script(
        "same",
        "#!/bin/sh
        for f in /proc/$$/fd/*; do [ $f -ef l ] && same=same; done; echo ${same-other} >>log",
    );
    env.sh(format!("{script} wait $waiter; echo $?; cat log"))
        .assert_all(0, "0\nsame\n", "");
}

#[rstest]
#[case::created_again("l ./same", "rm l")]
#[case::created_again_shared("-s l ./same", "rm l")]
#[case::created_again_with_timeout("-w 100 l ./same", "rm l")]
#[case::created_again_without_fork("-F l ./same", "rm l")]
#[case::created_again_for_a_shell("l -c ./same", "rm l")]
#[case::renamed("l ./same", ": >new; mv new l")]
#[case::created_by_another_process("l ./same", "rm l; : >l")]
#[case::created_after_a_rename("l ./same", "mv l old; : >l")]
#[case::behind_a_symbolic_link("l ./same", "rm l; ln -s new l")]
fn a_waiter_locks_the_new_file(#[case] waiter: &str, #[case] change: &str) {
    differs_from_util_linux(WHY, |env| {
        assert_locks_file_at_path(env, &script("-x", waiter, change));
    });
}

#[test]
fn a_waiter_follows_a_changed_symbolic_link() {
    differs_from_util_linux(WHY, |env| {
        let script = script("-x", "l ./same", ": >new; ln -sf new l");
        let script = script.replace("queued l", "queued old");
        assert_locks_file_at_path(env, &format!(": >old; ln -s old l; {script}"));
    });
}

#[rstest]
fn a_waiter_for_an_fcntl_lock_locks_the_new_file(
    #[values("--fcntl l ./same", "--fcntl -s -w 100 l ./same")] waiter: &str,
    #[values("rm l", ": >new; mv new l")] change: &str,
) {
    let env = TestEnv::new();
    if env.supports_option("--fcntl") {
        assert_locks_file_at_path(&env, &script("--fcntl", waiter, change));
    }
}

/// Returns a script in which another process locks the new file before the waiter is granted the
/// old one.
fn script_with_new_holder(waiter: &str, end: &str) -> String {
    let change = "rm l; exec 8<>l; flock 8; exec 7<>l";
    script("-x", waiter, change).replace("9>&-", "8>&- 9>&-") + end
}

#[test]
fn a_waiter_also_waits_for_a_holder_of_the_new_file() {
    differs_from_util_linux(WHY, |env| {
        env.install_queued_script();
        // A waiter that does not wait again has written its line when it creates `early`, which
        // ends `queued`.
        let end = "queued l 1 early; echo holder >>log; flock -u 8; wait $waiter; cat log";
        env.sh(script_with_new_holder(
            "l sh -c 'echo waiter >>log; >early'",
            end,
        ))
        .assert_all(0, "holder\nwaiter\n", "");
    });
}

#[test]
fn the_timeout_includes_the_wait_for_the_new_file() {
    let env = TestEnv::new();
    if env.is_reference() {
        return;
    }
    env.install_queued_script();
    // The new file stays locked until the timeout.
    let end = "wait $waiter; echo $?";
    env.sh(script_with_new_holder("-w 3 -E 7 l echo waiter", end))
        .assert_all(0, "7\n", "");
}

#[test]
fn a_deleted_directory_is_an_error() {
    differs_from_util_linux(WHY, |env| {
        env.install_queued_script();
        let script = script("-x", "d/l echo ran", "rm -r d")
            .replace("<>l", "<>d/l")
            .replace("queued l", "queued d/l");
        env.sh(format!("mkdir d; {script} wait $waiter; echo $?"))
            .assert_status(0)
            .assert_stdout("66\n")
            .assert_stderr(
                "flock: cannot open lock file d/l: No such file or directory: the directory d does \
                 not exist\n",
            );
    });
}

#[test]
fn a_descriptor_is_not_compared_with_a_path() {
    let env = TestEnv::new();
    env.sh("exec 7<>l 8<>l; rm l; flock 8; echo $?; flock -n 7; echo $?")
        .assert_all(0, "0\n1\n", "");
    assert!(env.file_names().is_empty(), "{:?}", env.file_names());
}

#[test]
fn commands_that_delete_the_file_are_never_two_at_once() {
    let env = TestEnv::new();
    if env.is_reference() {
        // It admits two, but not every time.
        return;
    }
    let command = "mkdir held || echo two; rmdir held; rm l";
    let run = format!("for i in 1 2 3 4 5 6 7 8; do flock l sh -c '{command}'; done &");
    env.sh(format!("{} wait", run.repeat(5)))
        .assert_all(0, "", "");
    assert!(env.file_names().is_empty(), "{:?}", env.file_names());
}
