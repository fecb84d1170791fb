//! Slots beside locks, on files of all types, and of other users, namespaces and bash builtins.

use super::{assert_slots_held, assert_try, held_slots, hold_slot, wait_for_slot};
use crate::queue::{
    HOLD, assert_clean, assert_clean_after, assert_one_message, assert_order, assert_queue_len,
    assert_served, assert_served_after, other_user_command, spawn_waiter_command, unshared_flock,
};
use rstest::rstest;
use test_support::locks::{locks_on, slots};
use test_support::{TestEnv, can_unshare};

#[test]
fn lock_keeps_new_callers_out_but_not_holders() {
    let env = &TestEnv::new();
    let first = hold_slot(env, "3");
    // A slot does not exclude a lock.
    let lock = env.hold(&["-n"], "l");
    assert_eq!(held_slots(env).len(), 1);
    for option in ["-n", "-w0.01"] {
        env.run(["--slots", "3", option, "-E42", "l", "true"])
            .assert_status(42);
    }
    let mut second = wait_for_slot(env, "3");
    assert_queue_len(env, 1);
    lock.release();
    second.expect_line("held");
    assert_slots_held(env, 2);
    let locks = locks_on(env.file("l"));
    assert!(locks.iter().all(|lock| lock.kind != "FLOCK"), "{locks:?}");
    env.run(["-n", "l", "true"]).assert_status(0);
    first.release();
    assert_clean_after(env, second);
}

#[test]
fn read_only_files_have_slots() {
    let env = &TestEnv::new();
    env.sh(": >l; chmod 444 l; mkdir directory")
        .assert_status(0);
    for file in ["l", "directory"] {
        let script = format!(
            "flock --slots 2 {file} flock --slots 2 {file} flock --slots 2 -nE42 {file} true"
        );
        if let Some(command) = env.unprivileged(&script) {
            env.run_command(command).assert_all(42, "", "");
        }
        assert_eq!(slots(env.file(file)), []);
    }
}

#[test]
fn running_scripts_have_slots() {
    let env = TestEnv::new();
    env.install_script(
        "script",
        "#!/bin/sh\n[ \"$IN\" = $1 ] || IN=$1 exec flock --slots 2 -nE42 \"$0\" \"$0\" \"$@\"\n\
        [ $1 = 3 ] || ./script $(($1 + 1))\n",
    );
    env.sh("./script 1").assert_all(42, "", "");
}

#[test]
fn new_file_has_all_its_slots() {
    let env = &TestEnv::new();
    let old = hold_slot(env, "1");
    env.sh("mv l old").assert_status(0);
    let new = hold_slot(env, "1");
    assert_eq!(slots(env.file("old")).len(), 1);
    assert_eq!(held_slots(env).len(), 1);
    old.release();
    new.release();
}

#[test]
fn command_is_not_run_if_there_can_be_no_slots() {
    let env = &TestEnv::new();
    let foreigner = env.hold(&["--fcntl"], "l");
    for args in ["-n /dev/null", "l", "-n l", "-w1 -o l"] {
        let outcome = env.run(format!("--slots 2 {args} echo ran").split(' '));
        assert_one_message(&outcome.assert_status(65).assert_stdout(""));
    }
    foreigner.release();
    assert_try(env, "1", 0);
}

#[test]
fn slots_of_another_user_count() {
    let env = &TestEnv::new();
    let other_user = |args: &str| other_user_command(env, 65534, &format!("exec flock {args}"));
    let hold = "--slots 2 l sh -c 'echo held; read x; exit 0'";
    let Some(other) = other_user(hold) else {
        return;
    };
    let holder = hold_slot(env, "2");
    let mut other = env.start(other);
    other.expect_line("held");
    assert_eq!(held_slots(env).len(), 2);
    assert_try(env, "2", 1);
    let refused = other_user("--slots 2 -nE42 l true").expect("as before");
    env.run_command(refused).assert_status(42);
    let mut waiter = spawn_waiter_command(env, other_user(hold).expect("as before"));
    let behind = wait_for_slot(env, "2");
    holder.release();
    waiter.expect_line("held");
    other.release();
    assert_served(behind);
    assert_clean_after(env, waiter);
}

#[rstest]
fn slots_in_other_pid_namespaces_count(#[values("-rpf", "-rpf --mount-proc")] unshare: &str) {
    let env = &TestEnv::new();
    if !can_unshare(env, unshare) {
        return;
    }
    let hold_inside = || unshared_flock(env, unshare, &[&["--slots", "1"], &HOLD[..]].concat());
    let mut inside = env.start(hold_inside());
    inside.expect_line("held");
    assert_eq!(held_slots(env).len(), 1);
    assert_try(env, "1", 1);
    let mut outside = wait_for_slot(env, "1");
    inside.release();
    outside.expect_line("held");
    let refused = unshared_flock(env, unshare, &["--slots", "1", "-nE42", "l", "true"]);
    env.run_command(refused).assert_status(42);
    let inside = spawn_waiter_command(env, hold_inside());
    assert_served_after(env, outside, [inside]);
}

#[test]
fn builtin_leaves_slots_to_the_program() {
    test_support::builtin::for_each_bash(|env| {
        env.run_with_builtin(
            "f() { echo never; }; exec 8<>k; flock --slots 1 l f; echo $?
            flock --slots 2 8; echo $?; flock --slots 0 l true; echo $?",
        )
        .assert_stdout("69\n64\n64\n");
        assert_eq!(env.file_names(), ["k"]);
        env.run_with_builtin(
            "flock --slots 2 l flock --slots 2 l flock --slots 2 -nE42 l true; echo $?
            f() { flock --slots 2 l flock --slots 2 -nE42 l true; echo $?; }
            flock --slots 2 l true; f
            flock --slots 1 l sh -c 'bin/flock --slots 1 -n l true; echo $?; exit 3'; echo $?",
        )
        .assert_all(0, "42\n0\n1\n3\n", "");
        assert_eq!(held_slots(env), []);
    });
}

#[test]
fn callers_through_the_builtin_queue_for_slots() {
    test_support::builtin::for_each_bash(|env| {
        let holder = hold_slot(env, "1");
        let names = ["0", "1", "2", "3"];
        let mut waiters = names.map(|name| {
            let script = format!("flock --slots 1 l sh -c 'echo {name} >>order'; echo $?");
            spawn_waiter_command(env, env.builtin_command(script))
        });
        holder.release();
        for waiter in &mut waiters {
            waiter.expect_line("0");
        }
        assert_order(env, waiters, &names);
        assert_clean(env, &[]);
    });
}
