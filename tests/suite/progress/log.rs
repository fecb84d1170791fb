//! Without a terminal: sentences.

use std::process::Command;

use rstest::rstest;
use rustix::process::geteuid;

use super::companion_of;
use crate::usage_errors::assert_misuse;
use test_support::builtin::for_each_bash;
use test_support::locks::waiter_count;
use test_support::process::{ExitReason, Process};
use test_support::procfs::is_running;
use test_support::{TestEnv, can_unshare, is_installed, wait_until};

/// Asserts that the next line names the holder, and returns the rest.
#[track_caller]
fn expect_sentence(waiter: &mut Process, start: &str, holder: &Process) -> String {
    let line = waiter.read_line();
    let start = format!("flock: {start}: held by {} sh for ", holder.pid());
    let rest = line.strip_prefix(&start);
    rest.unwrap_or_else(|| panic!("{start}... is not {line}"))
        .to_owned()
}

#[test]
fn holder_is_named_at_the_start() {
    let env = TestEnv::new();
    let holder = env.hold(&["-F"], "f");
    let mut waiter = env.start_flock(["--progress", "f", "echo", "got"]);
    let time = expect_sentence(&mut waiter, "waiting for f", &holder);
    assert!(time.ends_with('s'), "{time}");
    holder.release();
    waiter.expect_line("got");
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[rstest]
#[case::flock(&["-F"], &["--progress", "f", "true"])]
#[case::shared(&["-F"], &["--progress", "-s", "f", "true"])]
#[case::fcntl(&["-F", "--fcntl"], &["--progress", "--fcntl", "f", "true"])]
#[case::fair(&["-F"], &["--progress", "--fair", "f", "true"])]
#[case::slots(&["-F", "--slots=1"], &["--progress", "--slots=1", "f", "true"])]
#[case::also_first(&["-F"], &["--progress", "--also", "g", "f", "true"])]
#[case::also_second(&["-F"], &["--progress", "--also", "f", "g", "true"])]
fn each_kind_of_wait_is_shown(#[case] held: &[&str], #[case] args: &[&str]) {
    let env = TestEnv::new();
    let holder = env.hold(held, "f");
    let mut waiter = env.start(env.flock(args));
    expect_sentence(&mut waiter, "waiting for f", &holder);
    holder.release();
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[test]
fn descriptor_is_named_by_its_number() {
    let env = TestEnv::new();
    let holder = env.hold(&["-F"], "f");
    let mut shell = env.start(env.sh_command("exec 8>>f; flock --progress 8; echo got; read x"));
    expect_sentence(&mut shell, "waiting for descriptor 8", &holder);
    holder.release();
    shell.expect_line("got");
    assert_eq!(
        env.run(["-n", "f", "true"]).code(),
        1,
        "the shell has the lock"
    );
}

#[test]
fn limit_and_the_processes_ahead_are_told() {
    let env = TestEnv::new();
    let holder = env.hold(&["-F"], "f");
    let wait = |count| {
        let waiter = env.start_flock(["f", "true"]);
        wait_until("it waits", || waiter_count(env.file("f")) == count);
        waiter
    };
    let _ahead = [wait(1), wait(2)];
    let mut waiter = env.start_flock(["--progress", "-w1000", "f", "true"]);
    let rest = expect_sentence(&mut waiter, "waiting for f", &holder);
    let end = "; 2 ahead in the queue; giving up after 16m 40s";
    assert!(rest.ends_with(end), "{rest}");
    let rest = waiter.expect("\n");
    assert!(
        rest.starts_with("flock: still waiting for f after 1"),
        "{rest}"
    );
    assert!(rest.contains(" of 16m 40s: held by "), "{rest}");
    // Where the search for them takes too long, a line does without.
    if !rest.ends_with("; 2 ahead in the queue\n") {
        waiter.expect("; 2 ahead in the queue\n");
    }
}

#[test]
fn environment_turns_it_on() {
    let env = TestEnv::without_builtin();
    for (value, is_on) in [("1", true), ("0", false), ("", false)] {
        let holder = env.hold(&["-F"], "f");
        let mut command = env.flock(["f", "echo", "got"]);
        command.env("FLOCK_PROGRESS", value);
        let mut waiter = env.start(command);
        if is_on {
            expect_sentence(&mut waiter, "waiting for f", &holder);
        }
        wait_until("it waits", || waiter_count(env.file("f")) == 1);
        assert_eq!(companion_of(waiter.pid()).is_some(), is_on);
        holder.release();
        waiter.expect_line("got");
        assert_eq!(waiter.wait(), ExitReason::Exited(0));
    }
}

#[test]
fn nothing_is_shown_without_a_wait() {
    let env = TestEnv::new();
    env.run(["--progress", "f", "true"]).assert_all(0, "", "");
    let _holder = env.hold(&[], "f");
    env.run(["--progress", "-n", "f", "true"])
        .assert_all(1, "", "");
    env.run(["--progress", "-w0", "f", "true"])
        .assert_all(1, "", "");
}

#[test]
fn wait_goes_on_where_no_process_can_be_created() {
    let env = TestEnv::without_builtin();
    let holder = env.hold(&["-F"], "f");
    let clone = "inject=clone:error=EAGAIN:when=1";
    let args = ["--progress", "f", "echo", "got"];
    let Some(command) = env.with_fault_injection("", clone, &args) else {
        return;
    };
    let mut waiter = env.start(command);
    wait_until("it waits", || waiter_count(env.file("f")) == 1);
    holder.release();
    waiter.expect_line("got");
}

#[test]
fn command_does_not_see_the_process_that_draws() {
    let env = TestEnv::without_builtin();
    let script = "read children </proc/$$/task/$$/children; echo \"[$children]\"";
    let is_listed = std::path::Path::new("/proc/self/task/self/children").exists()
        || env.sh(script).stdout_text() == "[]\n";
    if !is_listed {
        println!("skipped: the kernel does not list children");
        return;
    }
    let holder = env.hold(&["-F"], "f");
    let mut waiter = env.start_flock(["--progress", "-F", "f", "sh", "-c", script]);
    expect_sentence(&mut waiter, "waiting for f", &holder);
    assert!(companion_of(waiter.pid()).is_some());
    holder.release();
    waiter.expect_line("[]");
}

#[test]
fn killed_waiter_leaves_no_process_behind() {
    let env = TestEnv::without_builtin();
    let holder = env.hold(&["-F"], "f");
    let mut waiter = env.start_flock(["--progress", "--also", "g", "f", "true"]);
    expect_sentence(&mut waiter, "waiting for f", &holder);
    let companion = companion_of(waiter.pid()).expect("it draws");
    let files = std::fs::read_dir(format!("/proc/{companion}/fd")).expect("its descriptors");
    let numbers = files.map(|entry| entry.expect("an entry").file_name());
    assert_eq!(Vec::from_iter(numbers), ["2"], "it keeps no lock");
    waiter.kill();
    wait_until("it has exited", || !is_running(companion));
    env.run(["-n", "g", "true"]).assert_status(0);
}

#[test]
fn holder_of_another_user_is_unverified() {
    let env = TestEnv::without_builtin();
    if !geteuid().is_root() || !is_installed("setpriv") {
        return;
    }
    let holder = env.hold(&["-F"], "f");
    env.sh("chmod 755 .; chmod 666 f").assert_status(0);
    let mut command: Command = env.command("setpriv");
    command.args(["--reuid=54321", "--regid=54321", "--clear-groups"]);
    command.args(["flock", "--progress", "f", "true"]);
    let can_run = env
        .sh("setpriv --reuid=54321 --clear-groups flock --version")
        .code()
        == 0;
    if can_run {
        let mut waiter = env.start(command);
        let rest = expect_sentence(&mut waiter, "waiting for f", &holder);
        assert!(rest.ends_with(", unverified"), "{rest}");
    }
}

#[test]
fn holder_outside_the_pid_namespace_has_no_name() {
    let env = TestEnv::without_builtin();
    if !can_unshare(&env, "-rpf --mount-proc") {
        return;
    }
    let holder = env.hold(&["-F"], "f");
    let script = "exec unshare -rpf --mount-proc flock --progress f echo got";
    let mut waiter = env.start(env.sh_command(script));
    waiter.expect_line("flock: waiting for f");
    holder.release();
    waiter.expect_line("got");
}

#[test]
fn lock_of_the_waiter_itself_is_named() {
    let env = TestEnv::without_builtin();
    let script = "exec 8>>f; flock 8; exec flock --progress f true";
    let mut waiter = env.start(env.sh_command(script));
    waiter.expect_line("flock: waiting for f: held by this process itself");
}

#[test]
fn builtin_leaves_the_wait_to_the_program() {
    for_each_bash(|env| {
        let holder = env.hold(&["-F"], "f");
        let mut shell = env.start_with_builtin("exec 8>>f; flock --progress 8; echo got; read x");
        expect_sentence(&mut shell, "waiting for descriptor 8", &holder);
        holder.release();
        shell.expect_line("got");
    });
}

#[rstest]
#[case::with_who(&["--progress", "--who", "f"], "--who cannot be used with --progress")]
#[case::elsewhere(
    &["--progress", "etcd://h/n", "true"],
    "--progress cannot be used with a lock elsewhere: its holder and its queue are not visible from here",
)]
#[case::abbreviated(&["--prog", "f", "true"], "unrecognized option '--prog'")]
#[case::argument(&["--progress=1", "f", "true"], "option '--progress' doesn't allow an argument")]
fn usage_errors(#[case] args: &[&str], #[case] message: &str) {
    assert_misuse(args, message);
}
