//! Several processes that replace the holder at the same time: one ends up running, the newest.

use std::process::Stdio;

use test_support::locks::{assert_unlocked, waiter_count};
use test_support::process::ExitReason;
use test_support::stress::StressSettings;
use test_support::{TestEnv, wait_until};

use super::hold_with_script;
use crate::queue::HOLD;

#[test]
fn the_newest_ends_up_running() {
    let env = &TestEnv::new();
    let mut holder = hold_with_script(env, "trap '' TERM; echo held; read x");
    let options = ["--replace", "--grace", "1h"];
    let mut replacers = Vec::new();
    for count in 1..=4 {
        let mut replacer = env.start(env.flock(options.iter().chain(&HOLD)));
        replacer.wait_alive_until("it waits", || waiter_count(env.file("l")) == count);
        replacers.push(replacer);
    }
    let mut newest = replacers.pop().expect("the last one");
    holder.close_stdin();
    newest.expect_line("held");
    for mut older in replacers {
        assert_eq!(older.wait(), ExitReason::Exited(1));
    }
    newest.release();
    holder.wait();
    assert_unlocked(env.file("l"));
}

#[test]
fn exactly_one_ends_up_running() {
    let StressSettings { size, .. } = StressSettings::from_env();
    let calls = if size > 1 { 300 } else { 100 };
    for _ in 0..size {
        let env = &TestEnv::new();
        let mut first = env.hold(&[], "l");
        let mut bystander = env.start(env.sh_command("exec 8<l; echo open; read x; exit 0"));
        bystander.expect_line("open");
        let spawn = |_| {
            let mut call = env.flock(["--replace", "-F", "l", "sleep", "1000"]);
            call.stdin(Stdio::null()).stdout(Stdio::null());
            call.spawn().expect("flock starts")
        };
        let mut running: Vec<_> = (0..calls).map(spawn).collect();
        wait_until("one is left", || {
            running.retain_mut(|call| call.try_wait().expect("a child").is_none());
            assert!(!running.is_empty(), "none is left");
            running.len() == 1
        });
        assert_ne!(first.wait(), ExitReason::Exited(0));
        assert!(!bystander.has_exited());
        bystander.release();
        let last = &mut running[0];
        wait_until("it runs", || {
            let pids = env.run(["--who", "--pids", "l"]).stdout_text();
            pids == format!("{}\n", last.id())
        });
        assert!(last.try_wait().expect("a child").is_none());
        last.kill().expect("it runs");
        last.wait().expect("a child");
        assert_unlocked(env.file("l"));
    }
}
