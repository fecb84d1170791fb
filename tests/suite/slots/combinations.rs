//! Slots beside locks, files of all kinds, files that are replaced, other users and other namespaces.

use std::os::unix::fs::MetadataExt;

use super::{
    HOLD, WHY, assert_slots_held, assert_try, held_slots, hold_slot, spawn_waiting_holder,
};
use crate::queue::{assert_clean, assert_queue_len};
use test_support::locks::{locks_on, slots};
use test_support::process::{ExitReason, Process};
use test_support::{can_unshare, differs_from_util_linux, is_installed};

#[test]
fn a_lock_keeps_newcomers_out_and_evicts_nobody() {
    differs_from_util_linux(WHY, |env| {
        let first = hold_slot(env, "3");
        // Who has a slot keeps nobody from the lock.
        let lock = env.hold(&["-n"], "l");
        assert_eq!(held_slots(env).len(), 1);
        for how in ["-n", "-w0.01"] {
            env.run(["--slots", "3", how, "-E42", "l", "true"])
                .assert_status(42);
        }
        let mut second = spawn_waiting_holder(env, &["--slots", "3"]);
        assert_queue_len(env, 1);
        lock.release();
        second.expect_line("held");
        assert_slots_held(env, 2);
        let locks = locks_on(env.file("l")).into_iter();
        let locks = locks.filter(|lock| lock.kind == "FLOCK").count();
        assert_eq!(locks, 0, "a slot is no lock");
        env.run(["-n", "l", "true"]).assert_status(0);
        first.release();
        second.release();
        assert_clean(env, &[]);
    });
}

#[test]
fn a_file_of_ones_own_is_as_it_was() {
    differs_from_util_linux(WHY, |env| {
        std::fs::write(env.file("l"), "contents\n").expect("a file");
        let state = || {
            let file = std::fs::metadata(env.file("l")).expect("it is there");
            let times = [
                (file.mtime(), file.mtime_nsec()),
                (file.ctime(), file.ctime_nsec()),
            ];
            let contents = std::fs::read_to_string(env.file("l")).expect("it is there");
            (file.len(), file.blocks(), file.mode(), times, contents)
        };
        let before = state();
        let holder = hold_slot(env, "1");
        let mut waiter = spawn_waiting_holder(env, &["--slots", "1"]);
        assert_try(env, "1", 1);
        holder.release();
        waiter.expect_line("held");
        waiter.release();
        assert_eq!(state(), before);
        assert_eq!(env.file_names(), ["l"]);
    });
}

#[test]
fn what_may_only_be_read_has_slots_too() {
    differs_from_util_linux(WHY, |env| {
        std::fs::write(env.file("l"), "").expect("a file");
        std::fs::create_dir(env.file("folder")).expect("a folder");
        env.sh("chmod 444 l").assert_status(0);
        for file in ["l", "folder"] {
            let script = format!(
                "flock --slots 2 {file} flock --slots 2 {file} flock --slots 2 -nE42 {file} true"
            );
            if let Some(command) = env.unprivileged(&script) {
                env.run_command(command).assert_stderr("").assert_status(42);
            }
            assert_eq!(slots(env.file(file)), []);
        }
        env.install_script(
            "script",
            "#!/bin/sh\n[ \"$IN\" = $1 ] || IN=$1 exec flock --slots 2 -nE42 \"$0\" \"$0\" \"$@\"\n[ $1 = 3 ] || ./script $(($1 + 1))\n",
        );
        env.sh("./script 1").assert_stderr("").assert_status(42);
    });
}

#[test]
fn those_who_wait_at_a_file_that_is_replaced_have_slots_of_the_new_one() {
    differs_from_util_linux(WHY, |env| {
        for change in ["rm l", "rm l; : >l", "mv l older; : >l"] {
            let holder = hold_slot(env, "1");
            let mut waiter = spawn_waiting_holder(env, &["--slots", "1"]);
            let mut second = spawn_waiting_holder(env, &["--slots", "1"]);
            env.sh(format!("ln l old; {change}")).assert_status(0);
            holder.release();
            waiter.expect_line("held");
            assert_eq!(held_slots(env).len(), 1, "{change}");
            waiter.release();
            second.expect_line("held");
            second.release();
            assert!(locks_on(env.file("old")).is_empty());
            assert_clean(env, &[]);
            env.sh("rm -f l old older").assert_status(0);
        }
    });
}

#[test]
fn a_new_file_has_all_its_slots() {
    differs_from_util_linux(WHY, |env| {
        let old = hold_slot(env, "1");
        env.sh("mv l old").assert_status(0);
        let new = hold_slot(env, "1");
        assert_eq!(slots(env.file("old")).len(), 1);
        assert_eq!(held_slots(env).len(), 1);
        old.release();
        new.release();
    });
}

#[test]
fn a_lock_of_another_kind_on_the_data_is_in_nobodys_way() {
    differs_from_util_linux(WHY, |env| {
        let foreigner = env.hold(&["--start", "0", "--length", "1G"], "l");
        let holder = hold_slot(env, "1");
        assert_try(env, "1", 1);
        env.run(["-n", "--start", "1G", "--length", "1G", "l", "true"])
            .assert_status(0);
        let mut waiter = spawn_waiting_holder(env, &["--slots", "1"]);
        holder.release();
        waiter.expect_line("held");
        waiter.release();
        foreigner.release();
        assert_clean(env, &[]);
    });
}

#[test]
fn where_there_can_be_no_slots_nothing_is_run() {
    differs_from_util_linux(WHY, |env| {
        let foreigner = env.hold(&["--fcntl"], "l");
        let device = env.run(["--slots", "2", "-n", "/dev/null", "echo", "ran"]);
        for outcome in [
            device,
            env.run(["--slots", "2", "l", "echo", "ran"]),
            env.run(["--slots", "2", "-n", "l", "echo", "ran"]),
            env.run(["--slots", "2", "-w1", "-o", "l", "echo", "ran"]),
        ] {
            let said = outcome.assert_status(65).assert_stdout("").stderr_text();
            assert!(
                said.starts_with("flock: ") && said.lines().count() == 1,
                "{said}"
            );
        }
        foreigner.release();
        assert_try(env, "1", 0);
    });
}

#[test]
fn another_users_slots_count() {
    differs_from_util_linux(WHY, |env| {
        assert_try(env, "1", 0);
        if !rustix::process::geteuid().is_root() || !is_installed("setpriv") {
            return;
        }
        env.sh("chmod 755 .; : >l; chmod 644 l").assert_status(0);
        let stranger = |words: &[&str]| {
            let mut command = env.command("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "flock"]);
            command.args(words);
            command
        };
        if env.run_command(stranger(&["-n", "l", "true"])).code() != 0 {
            println!("a stranger may not come in");
            return;
        }
        let holder = hold_slot(env, "2");
        let mut other = env.start(stranger(&[&["--slots", "2"], &HOLD[..]].concat()));
        other.expect_line("held");
        assert_eq!(held_slots(env).len(), 2);
        assert_try(env, "2", 1);
        let refused = stranger(&["--slots", "2", "-nE42", "l", "true"]);
        env.run_command(refused).assert_status(42);
        let waiter = stranger(&[&["--slots", "2"], &HOLD[..]].concat());
        let mut waiter = crate::queue::spawn_waiter_command(env, waiter);
        let mut behind = spawn_waiting_holder(env, &["--slots", "2"]);
        holder.release();
        waiter.expect_line("held");
        other.release();
        behind.expect_line("held");
        waiter.release();
        behind.release();
        assert_clean(env, &[]);
    });
}

#[test]
fn slots_of_processes_that_one_does_not_see_count_and_are_waited_for() {
    differs_from_util_linux(WHY, |env| {
        assert_try(env, "1", 0);
        for how in ["-rpf", "-rpf --mount-proc"] {
            if !can_unshare(env, how) {
                return;
            }
            let apart = |words: &[&str]| {
                let mut command = env.command("unshare");
                command.args(how.split(' ')).arg("flock").args(words);
                command
            };
            let within = |options: &[&str]| apart(&[options, &HOLD[..]].concat());
            let mut inside = env.start(within(&["--slots", "1"]));
            inside.expect_line("held");
            assert_eq!(held_slots(env).len(), 1);
            assert_try(env, "1", 1);
            let mut outside = spawn_waiting_holder(env, &["--slots", "1"]);
            inside.close_stdin();
            outside.expect_line("held");
            assert_eq!(inside.wait(), ExitReason::Exited(0));
            env.run_command(apart(&["--slots", "1", "-nE42", "l", "true"]))
                .assert_status(42);
            let mut inside = crate::queue::spawn_waiter_command(env, within(&["--slots", "1"]));
            outside.release();
            inside.expect_line("held");
            inside.close_stdin();
            assert_eq!(inside.wait(), ExitReason::Exited(0));
            assert_clean(env, &[]);
        }
    });
}

#[test]
fn the_builtin_leaves_them_to_the_program() {
    test_support::builtin::for_each_bash(|env| {
        env.run_with_builtin(
            "f() { echo never; }; exec 8<>k; flock --slots 1 l f; echo $?; flock --slots 2 8; echo $?
             flock --slots 0 l true; echo $?",
        )
        .assert_stdout("69\n64\n64\n");
        assert_eq!(env.file_names(), ["k"]);
        env.run_with_builtin(
            "flock --slots 2 l flock --slots 2 l flock --slots 2 -nE42 l true; echo $?
             f() { flock --slots 2 l flock --slots 2 -nE42 l true; echo $?; }; flock --slots 2 l true; f
             flock --slots 1 l sh -c 'bin/flock --slots 1 -n l true; echo $?; exit 3'; echo $?",
        )
        .assert_stderr("")
        .assert_stdout("42\n0\n1\n3\n");
        assert_eq!(held_slots(env), []);
    });
}

#[test]
fn those_who_wait_by_way_of_the_builtin_are_in_the_queue() {
    test_support::builtin::for_each_bash(|env| {
        let holder = hold_slot(env, "1");
        let mut queue: Vec<Process> = Vec::new();
        for number in 0..4 {
            let script = format!("flock --slots 1 l sh -c 'echo {number} >>order'; echo $?");
            queue.push(crate::queue::spawn_waiter_command(
                env,
                env.builtin_command(script),
            ));
        }
        holder.release();
        for waiter in &mut queue {
            waiter.expect_line("0");
            assert_eq!(waiter.wait(), ExitReason::Exited(0));
        }
        let order = std::fs::read_to_string(env.file("order")).expect("the order");
        assert_eq!(order, "0\n1\n2\n3\n");
        assert_clean(env, &[]);
        std::fs::remove_file(env.file("order")).expect("the order");
    });
}
