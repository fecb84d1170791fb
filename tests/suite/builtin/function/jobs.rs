//! A job that the function starts and that is stopped when it ends keeps the lock; no other job does.

use rstest::rstest;
use test_support::builtin::for_each_bash;

use crate::builtin::HELD;

/// For scripts: `freeze PID` stops a job and waits until bash knows, `end` kills all jobs. They run
/// a program in their loops because bash 4.4 sometimes overlooks a SIGCHLD until the next one.
const JOBS: &str = "freeze() { kill -STOP $1; until jobs -s >s; [ -s s ]; do /bin/true; done; }
    end() { local p; for p in $(jobs -p); do kill -KILL -- -$p; while [ -e /proc/$p ]; do /bin/true; done; done; }
    set -m";

#[track_caller]
fn assert_script(script: &str, stdout: &str) {
    for_each_bash(|env| {
        // bash reports the jobs that were killed.
        env.run_with_builtin(format!("{HELD}{JOBS}\n{script}"))
            .assert_status(0)
            .assert_stdout(stdout);
    });
}

#[rstest]
#[case::stopped_before("sleep 1000 & freeze $!; g() { sleep 1000 & }")]
#[case::stopped_meanwhile("sleep 1000 & j=$!; g() { sleep 1000 & freeze $j; }")]
fn earlier_job_does_not_keep_the_lock(#[case] jobs: &str) {
    assert_script(
        &format!("{jobs}\nflock l g; held l; jobs -s >s; wc -l <s; end"),
        "free\n1\n",
    );
}

#[test]
fn stopped_job_of_the_function_keeps_the_lock() {
    assert_script(
        "sleep 1000 & freeze $!
         g() { sh -c 'kill -STOP $$'; }; flock l g; held l; end; held l",
        "held\nfree\n",
    );
}

#[test]
fn job_of_the_outer_function_keeps_only_its_lock() {
    assert_script(
        "g() { :; }
         f() { sleep 1000 & freeze $!; flock k g; held k; }; flock l f; held l; end; held l",
        "free\nheld\nfree\n",
    );
}
