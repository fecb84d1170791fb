//! Queues of several users, of several namespaces, and where there is no /proc.

use std::process::Command;

use super::waiter_pool::WaiterPool;
use super::{WHY, assert_clean, assert_queue_len, spawn_waiter_command, spawn_waiting_holder};
use test_support::locks::{tickets, waiter_count};
use test_support::process::ExitReason;
use test_support::{TestEnv, can_unshare, differs_from_util_linux, is_installed};

/// Somebody else: `nobody`, who may come into the test environment, read the lock file, and write the order. `None` where we cannot
/// be somebody else.
fn stranger(env: &TestEnv, script: &str) -> Option<Command> {
    if !rustix::process::geteuid().is_root() || !is_installed("setpriv") {
        return None;
    }
    env.sh("chmod 755 .; : >l; chmod 644 l; : >order; chmod 666 order")
        .assert_status(0);
    let stranger = |script: &str| {
        let mut command = env.command("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.args(["sh", "-c", script]);
        command
    };
    let may = env.run_command(stranger("flock --version && [ -r l ] && [ ! -w l ]"));
    if may.code() != 0 {
        println!("a stranger may not come in: {may:?}");
        return None;
    }
    Some(stranger(script))
}

#[test]
fn users_who_may_do_nothing_to_each_other_queue_together() {
    differs_from_util_linux(WHY, |env| {
        env.run(["--fair", "-n", "l", "true"]).assert_status(0);
        let by_path = |name: &str| format!("exec flock --fair l sh -c 'echo {name} >>order'");
        let by_descriptor = |name: &str| format!("exec 8<l; flock --fair 8; echo {name} >>order");
        let holder = env.hold(&["--fair"], "l");
        let mut queue = Vec::new();
        let mut wanted = String::new();
        for number in 0..6 {
            let name = number.to_string();
            let Some(stranger) = stranger(env, &by_path(&name)) else {
                // Nothing to see here.
                return;
            };
            queue.push(spawn_waiter_command(env, stranger));
            let name = format!("root {number}");
            let mut root = env.command("sh");
            root.args(["-c", &by_descriptor(&name)]);
            queue.push(spawn_waiter_command(env, root));
            wanted += &format!("{number}\n{name}\n");
        }
        let sentinels: Vec<i32> = tickets(env.file("l"))
            .iter()
            .map(|ticket| ticket.sentinel)
            .collect();
        holder.release();
        for waiter in &mut queue {
            assert_eq!(waiter.wait(), ExitReason::Exited(0));
        }
        let order = std::fs::read_to_string(env.file("order")).expect("the order");
        assert_eq!(order, wanted);
        assert_clean(env, &sentinels);
    });
}

#[test]
fn a_stopped_process_of_another_users_is_passed_too() {
    differs_from_util_linux(WHY, |env| {
        env.run(["--fair", "-n", "l", "true"]).assert_status(0);
        let holder = env.hold(&["--fair"], "l");
        let Some(sleeper) = stranger(env, "exec flock --fair l sh -c 'echo sleeper >>order'")
        else {
            return;
        };
        let mut sleeper = spawn_waiter_command(env, sleeper);
        let mut second = spawn_waiting_holder(env, &["--fair"]);
        sleeper.signal(libc::SIGSTOP);
        sleeper.wait_stopped();
        let third = stranger(env, "exec flock --fair l sh -c 'echo third >>order'");
        let mut third = spawn_waiter_command(env, third.expect("as before"));
        holder.release();
        second.expect_line("held");
        second.release();
        assert_eq!(third.wait(), ExitReason::Exited(0));
        sleeper.signal(libc::SIGCONT);
        assert_eq!(sleeper.wait(), ExitReason::Exited(0));
        let order = std::fs::read_to_string(env.file("order")).expect("the order");
        assert_eq!(order, "third\nsleeper\n");
        assert_clean(env, &[]);
    });
}

/// `unshare` in such a way, and these words in there.
fn apart(env: &TestEnv, how: &str, words: &[&str]) -> Command {
    let mut command = env.command("unshare");
    command.args(how.split(' ')).args(words);
    command
}

#[test]
fn those_who_do_not_see_each_others_processes_are_served_all_the_same() {
    differs_from_util_linux(WHY, |env| {
        env.run(["--fair", "-n", "l", "true"]).assert_status(0);
        std::fs::write(env.file("counter"), "0\n").expect("a counter");
        let step = "mkdir alone || echo two at once; read n <counter; echo $((n + 1)) >counter; rmdir alone";
        for how in ["-rpf", "-rpf --mount-proc"] {
            if !can_unshare(env, how) {
                return;
            }
        }
        // Everybody comes before anybody is served.
        let holder = env.hold(&["--fair"], "l");
        let words = ["flock", "--fair", "l", "sh", "-c", step];
        let mut queue = Vec::new();
        for how in ["-rpf", "-rpf --mount-proc"] {
            queue.push(spawn_waiter_command(env, apart(env, how, &words)));
            queue.push(spawn_waiter_command(env, env.flock(&words[1..])));
        }
        holder.release();
        for waiter in &mut queue {
            assert_eq!(waiter.wait(), ExitReason::Exited(0));
            let silence = waiter.read_until("\n").expect_err("nothing is said");
            assert!(silence.ends_with("output: \"\""), "{silence}");
        }
        let counter = std::fs::read_to_string(env.file("counter")).expect("a counter");
        assert_eq!(counter, "4\n");
        assert_clean(env, &[]);
    });
}

#[test]
fn within_a_namespace_of_processes_the_order_is_kept() {
    differs_from_util_linux(WHY, |env| {
        env.run(["--fair", "-n", "l", "true"]).assert_status(0);
        if !can_unshare(env, "-rpf --mount-proc") {
            return;
        }
        // The lock is held within; each waiter is started when the turn of the one before it shows.
        let script = r#"exec 9<>l; flock --fair 9
            queue_len() { grep -c "OFDLCK.*:$(stat -c %i l) " /proc/locks; }
            for i in 0 1 2 3 4 5 6 7; do
                flock --fair l sh -c "echo $i >>order" 9>&- &
                until [ "$(queue_len)" -gt $i ]; do :; done
            done
            flock -u 9; wait; cat order"#;
        let outcome = env.run_command(apart(env, "-rpf --mount-proc", &["sh", "-c", script]));
        outcome
            .assert_stderr("")
            .assert_stdout("0\n1\n2\n3\n4\n5\n6\n7\n");
        assert_clean(env, &[]);
    });
}

#[test]
fn without_proc_it_works_or_does_without_turns() {
    differs_from_util_linux(WHY, |env| {
        env.run(["--fair", "-n", "l", "true"]).assert_status(0);
        let hidden = "mount -t tmpfs none /proc || exit 99; ";
        let within = |script: &str| {
            let script = format!("{hidden}{script}");
            apart(env, "-rm", &["sh", "-c", &script])
        };
        if !can_unshare(env, "-rm") || env.run_command(within("exit 0")).code() == 99 {
            return;
        }
        env.run_command(within("exec flock --fair -n l echo ran"))
            .assert_status(0)
            .assert_stdout("ran\n")
            .assert_stderr("");
        let holder = env.hold(&["--fair"], "l");
        for patience in ["-n", "-w0.01"] {
            let script = format!(
                "flock --fair {patience} -E42 l true; echo $?; exec 8<>l; flock --fair {patience} -E42 8"
            );
            env.run_command(within(&script))
                .assert_stderr("")
                .assert_stdout("42\n")
                .assert_status(42);
        }
        let script = "flock --fair -w1000 l true; echo $?; exec 8<>l; flock --fair 8; echo $?";
        let mut waiter = env.start(within(script));
        waiter.wait_alive_until("it waits", || {
            waiter_count(env.file("l")) + tickets(env.file("l")).len() > 0
        });
        holder.release();
        waiter.expect_line("0");
        waiter.expect_line("0");
        assert_eq!(waiter.wait(), ExitReason::Exited(0));
        assert_clean(env, &[]);
    });
}

#[test]
fn a_crowd_in_a_user_namespace_is_like_any() {
    differs_from_util_linux(WHY, |env| {
        env.run(["--fair", "-n", "l", "true"]).assert_status(0);
        if !can_unshare(env, "-r") {
            return;
        }
        let holder = env.hold(&["--fair"], "l");
        let mut pool = WaiterPool::new(env);
        for number in 0..8 {
            match number % 2 {
                0 => pool.spawn(&["--fair"]),
                _ => pool.spawn_shell("exec unshare -r flock --fair l sh -c 'NOTE'"),
            }
        }
        assert_queue_len(env, 8);
        holder.release();
        pool.assert_success(0..8);
        assert_eq!(pool.order(), Vec::from_iter(0..8));
        assert_clean(env, &pool.sentinels());
    });
}

#[test]
fn where_children_would_be_elsewhere_it_does_without_turns() {
    differs_from_util_linux(WHY, |env| {
        env.run(["--fair", "-n", "l", "true"]).assert_status(0);
        if !can_unshare(env, "-rp") {
            return;
        }
        // The command is the namespace's first process, and nobody else is.
        let words = ["flock", "--fair", "l", "sh", "-c", "echo $$"];
        env.run_command(apart(env, "-rp", &words))
            .assert_stderr("")
            .assert_stdout("1\n");
        let holder = env.hold(&["--fair"], "l");
        let mut waiter = env.start(apart(env, "-rp", &words));
        waiter.wait_alive_until("it waits", || waiter_count(env.file("l")) == 1);
        holder.release();
        waiter.expect_line("1");
        assert_eq!(waiter.wait(), ExitReason::Exited(0));
        assert_clean(env, &[]);
    });
}

#[test]
fn those_whose_clocks_differ_are_served_all_the_same() {
    differs_from_util_linux(WHY, |env| {
        env.run(["--fair", "-n", "l", "true"]).assert_status(0);
        for how in ["-rT --boottime 1000000", "-rT --boottime 10000000"] {
            if !can_unshare(env, how) {
                return;
            }
            let holder = env.hold(&["--fair"], "l");
            let words = ["flock", "--fair", "l", "echo", "done"];
            let mut queue = [
                spawn_waiter_command(env, env.flock(&words[1..])),
                spawn_waiter_command(env, apart(env, how, &words)),
                spawn_waiter_command(env, env.flock(&words[1..])),
                spawn_waiter_command(env, apart(env, how, &words)),
            ];
            holder.release();
            for waiter in &mut queue {
                waiter.expect_line("done");
                assert_eq!(waiter.wait(), ExitReason::Exited(0));
            }
            assert_clean(env, &[]);
        }
    });
}

/// For a script in a folder of some file system: a reader has the lock, a writer waits for his turn, so no reader gets
/// in.
const STORY: &str = "exec 9<>l; flock --fair -s 9; echo first
    (exec 9>&-; flock --fair l echo writer) &
    until ! flock --fair -ns l true; do :; done
    (exec 9>&-; flock --fair -s l echo reader) & reader=$!
    flock -ns l echo passes; flock -u 9; wait";

#[test]
fn other_file_systems_of_the_machine_have_queues_too() {
    differs_from_util_linux(WHY, |env| {
        env.run(["--fair", "-n", "l", "true"]).assert_status(0);
        for mount in [
            "mount -t tmpfs none m",
            "mkdir low up work; : >low/l; mount -t overlay -o lowerdir=low,upperdir=up,workdir=work none m",
            "mkdir low up work; mount -t overlay -o lowerdir=low,upperdir=up,workdir=work none m",
            "mkdir b; mount --bind b m",
        ] {
            env.sh("rm -rf m b low up work; mkdir m").assert_status(0);
            let script = format!("{{ {mount}; }} 2>&- || exit 99; cd m || exit; {STORY}");
            let outcome = env.run_command(apart(env, "-rm", &["sh", "-c", &script]));
            if outcome.code() == 99 || outcome.stderr_text().starts_with("unshare: ") {
                println!("cannot be had here: {mount}");
                continue;
            }
            let said = outcome.assert_stderr("").stdout_text();
            assert!(said.starts_with("first\npasses\n"), "{mount}: {said}");
            assert_eq!(said.lines().count(), 4, "{mount}: {said}");
        }
    });
}
