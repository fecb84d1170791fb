//! `--fair` together with `--also` and `--unlink`, with lock files that are replaced, and with locks of other kinds.

use super::{WHY, assert_clean, assert_queue_len, spawn_waiter, spawn_waiting_holder};
use test_support::locks::{locks_on, tickets, waiter_count};
use test_support::process::ExitReason;
use test_support::{TestEnv, differs_from_util_linux, wait_until};

#[test]
fn several_files_are_queued_for_and_had_together() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let script = "for f in a l; do flock -n $f true; echo $?; done";
        let words = ["--fair", "--also", "a", "l", "sh", "-c", script];
        let mut first = spawn_waiter(env, words);
        let words = ["--fair", "--also", "l", "b", "echo", "second"];
        let mut second = spawn_waiter(env, words);
        for how in ["-n", "-w0.01"] {
            env.run(["--fair", how, "-E42", "--also", "a", "l", "true"])
                .assert_status(42);
        }
        assert_queue_len(env, 2);
        holder.release();
        first.expect_line("1");
        first.expect_line("1");
        second.expect_line("second");
        for waiter in [&mut first, &mut second] {
            assert_eq!(waiter.wait(), ExitReason::Exited(0));
        }
        assert_clean(env, &[]);
        for file in ["a", "b"] {
            assert!(locks_on(env.file(file)).is_empty(), "{file}");
        }
    });
}

#[test]
fn those_who_name_several_in_another_order_never_wait_in_a_circle() {
    differs_from_util_linux(WHY, |env| {
        let orders = [
            ["a", "b", "l"],
            ["l", "b", "a"],
            ["b", "l", "a"],
            ["b", "a", "l"],
        ];
        std::fs::write(env.file("counter"), "0\n").expect("a counter");
        let step = "read n <counter; echo $((n + 1)) >counter";
        std::thread::scope(|scope| {
            for [one, two, three] in orders {
                scope.spawn(move || {
                    for _ in 0..15 {
                        let words = [
                            "--fair", "--also", one, "--also", two, three, "sh", "-c", step,
                        ];
                        env.run(words).assert_stderr("").assert_status(0);
                    }
                });
            }
        });
        let counter = std::fs::read_to_string(env.file("counter")).expect("a counter");
        assert_eq!(counter, "60\n");
        for file in ["a", "b", "l"] {
            assert!(locks_on(env.file(file)).is_empty(), "{file}");
        }
    });
}

#[test]
fn a_lock_file_that_is_to_go_goes_with_the_last_of_the_queue() {
    differs_from_util_linux(WHY, |env| {
        std::fs::write(env.file("count"), "0\n").expect("a file");
        let step = "[ -e l ] || echo gone; mkdir alone || echo two; read n <count; echo $((n + 1)) >count; rmdir alone";
        let holder = env.hold(&["--fair", "--unlink"], "l");
        let mut queue: Vec<_> = (0..6)
            .map(|_| spawn_waiter(env, ["--fair", "--unlink", "l", "sh", "-c", step]))
            .collect();
        holder.release();
        for waiter in &mut queue {
            assert_eq!(waiter.wait(), ExitReason::Exited(0));
            let silence = waiter.read_until("\n").expect_err("nothing is said");
            assert!(silence.ends_with("output: \"\""), "{silence}");
        }
        let count = std::fs::read_to_string(env.file("count")).expect("a file");
        assert_eq!(count, "6\n");
        assert_eq!(env.file_names(), ["count"]);
    });
}

/// A command that says whether the file that it holds is the one that the path names.
const SAME: &str = "for f in /proc/$$/fd/*; do [ $f -ef l ] && same=same; done; echo ${same-other}";

#[test]
fn those_who_queue_at_a_file_that_is_replaced_queue_at_the_new_one() {
    differs_from_util_linux(WHY, |env| {
        for change in [": >new; mv new l", "rm l", "rm l; ln -s new l"] {
            let holder = env.hold(&["--fair"], "l");
            let mut queue = [
                spawn_waiter(env, ["--fair", "l", "sh", "-c", SAME]),
                spawn_waiter(env, ["--fair", "-w1000", "-s", "l", "sh", "-c", SAME]),
                spawn_waiter(env, ["--fair", "-F", "l", "sh", "-c", SAME]),
            ];
            env.sh(format!("ln l old; {change}")).assert_status(0);
            holder.release();
            for waiter in &mut queue {
                waiter.expect_line("same");
                assert_eq!(waiter.wait(), ExitReason::Exited(0), "{change}");
            }
            assert!(locks_on(env.file("old")).is_empty());
            assert_clean(env, &[]);
            env.sh("rm -f l old new").assert_status(0);
        }
    });
}

#[test]
fn there_is_one_timeout_for_the_old_file_and_the_new_one() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["--fair"], "l");
        let mut waiter = spawn_waiter(env, ["--fair", "-w1", "-E42", "l", "true"]);
        env.sh("mv l old").assert_status(0);
        let newer = env.hold(&["--fair"], "l");
        holder.release();
        // It waits at the new one now, or its time is up already.
        assert_eq!(waiter.wait(), ExitReason::Exited(42));
        assert!(locks_on(env.file("old")).is_empty());
        assert_eq!(tickets(env.file("l")), []);
        newer.release();
        assert_clean(env, &[]);
    });
}

/// Somebody has locked the whole file by fcntl(2), where the turns are too.
#[track_caller]
fn works_without_turns(env: &TestEnv, foreign: &[&str]) {
    let foreigner = env.hold(foreign, "l");
    env.run(["--fair", "-n", "l", "echo", "ran"])
        .assert_status(0)
        .assert_stderr("")
        .assert_stdout("ran\n");
    let holder = env.hold(&["--fair"], "l");
    env.run(["--fair", "-n", "l", "true"]).assert_status(1);
    env.run(["--fair", "-w0.01", "l", "true"]).assert_status(1);
    env.sh("exec 8<>l; flock --fair -w0.01 8; echo $?; flock --fair -ns 8; echo $?")
        .assert_stderr("")
        .assert_stdout("1\n1\n");
    let mut waiter = env.start_flock(["--fair", "-w1000", "l", "echo", "got"]);
    waiter.wait_alive_until("it waits", || waiter_count(env.file("l")) == 1);
    holder.release();
    waiter.expect_line("got");
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
    foreigner.release();
    assert_clean(env, &[]);
}

#[test]
fn beside_a_lock_of_another_kind_on_the_whole_file_it_works_without_turns() {
    differs_from_util_linux(WHY, |env| works_without_turns(env, &["--fcntl"]));
}

#[test]
fn beside_a_shared_lock_of_another_kind_on_the_whole_file_it_works_too() {
    differs_from_util_linux(WHY, |env| {
        let foreigner = env.hold(&["--fcntl", "-s"], "l");
        env.run(["--fair", "-n", "l", "echo", "ran"])
            .assert_status(0)
            .assert_stdout("ran\n");
        let holder = env.hold(&["--fair"], "l");
        env.run(["--fair", "-n", "l", "true"]).assert_status(1);
        env.run(["--fair", "-w0.01", "l", "true"]).assert_status(1);
        let mut waiter = env.start_flock(["--fair", "l", "echo", "got"]);
        waiter.wait_alive_until("it waits", || waiter_count(env.file("l")) == 1);
        holder.release();
        waiter.expect_line("got");
        assert_eq!(waiter.wait(), ExitReason::Exited(0));
        foreigner.release();
        assert_clean(env, &[]);
    });
}

#[test]
fn that_there_are_no_turns_is_told_to_who_wants_to_know() {
    differs_from_util_linux(WHY, |env| {
        let _foreigner = env.hold(&["--fcntl"], "l");
        let outcome = env
            .run(["--fair", "--verbose", "l", "echo", "ran"])
            .assert_status(0);
        assert!(outcome.stdout_text().ends_with("\nran\n"), "{outcome:?}");
        let said = outcome.stderr_text();
        assert!(
            said.starts_with("flock: ") && said.ends_with('\n'),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
        env.run(["--fair", "l", "true"])
            .assert_stderr("")
            .assert_stdout("");
        env.run(["--verbose", "l", "true"]).assert_stderr("");
    });
}

#[test]
fn locks_of_other_kinds_on_the_data_are_in_nobodys_way() {
    differs_from_util_linux(WHY, |env| {
        let foreigner = env.hold(&["--start", "0", "--length", "1G"], "l");
        let holder = env.hold(&["--fair"], "l");
        let mut first = spawn_waiting_holder(env, &["--fair"]);
        let mut second = spawn_waiting_holder(env, &["--fair"]);
        // Neither are turns in theirs.
        env.run(["-n", "--start", "1G", "--length", "1G", "l", "true"])
            .assert_status(0);
        env.run(["-n", "--fair", "l", "true"]).assert_status(1);
        holder.release();
        first.expect_line("held");
        assert_queue_len(env, 1);
        first.release();
        second.expect_line("held");
        second.release();
        foreigner.release();
        wait_until("nobody waits", || tickets(env.file("l")).is_empty());
    });
}
