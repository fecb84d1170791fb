//! The same by the builtin of bash, in the shell itself.

use test_support::TestEnv;
use test_support::builtin::for_each_bash;
use test_support::locks::waiter_count;
use test_support::wait_until;

#[test]
fn a_shell_that_holds_the_lock_itself_is_named_and_a_subshell_that_asks_is_not() {
    for_each_bash(|env: &TestEnv| {
        let outcome = env.run_with_builtin(
            "exec 8>>f; flock 8; echo $$ >shell; flock --who --pids --fd 8
             answer=$(flock --who --pids f); echo $answer
             ( exec 9>>g; flock 9; flock --who --pids g; echo $BASHPID >sub )
             cat sub; exec 8>&-; flock --who f; echo $?",
        );
        let shell = std::fs::read_to_string(env.file("shell")).expect("a number");
        let sub = std::fs::read_to_string(env.file("sub")).expect("a number");
        outcome
            .assert_stderr("")
            .assert_stdout(&format!("{shell}{shell}{sub}{sub}1\n"));
    });
}

#[test]
fn no_program_is_started_for_it() {
    for_each_bash(|env: &TestEnv| {
        env.run_with_builtin("exec 8>>f; flock 8; PATH=/nowhere; flock() { echo function; }; builtin flock --who --pids f >out; echo $?")
            .assert_stderr("")
            .assert_stdout("0\n");
        env.run_with_builtin(
            "flock --who nothing; echo $?; flock --who --fd 77; echo $?; flock --who; echo $?",
        )
        .assert_stdout("66\n65\n64\n");
    });
}

#[test]
fn the_toggle_ends_what_runs() {
    for_each_bash(|env: &TestEnv| {
        let script =
            "exec 8>>f; flock -n 8 || kill $(flock --who --pids --fd 8); echo goes on; read x";
        let mut first = env.start_with_builtin(script);
        first.expect_line("goes on");
        let mut second = env.start_with_builtin(script);
        second.expect_line("goes on");
        assert_eq!(
            first.wait(),
            test_support::process::ExitReason::Signaled(libc::SIGTERM)
        );
    });
}

#[test]
fn who_is_in_the_way_is_said_once_however_often_the_wait_is_interrupted() {
    for_each_bash(|env: &TestEnv| {
        let holder = env.hold(&["-F"], "f");
        let script = "trap 'echo trapped' USR1; exec 8>>f; flock --verbose 8; echo mine";
        let mut waiter = env.start_with_builtin(script);
        let line = waiter.read_line();
        let wanted = format!(
            "flock: waiting for descriptor 8: held by {} sh",
            holder.pid()
        );
        assert!(line.starts_with(&wanted), "{line}");
        for _ in 0..3 {
            wait_until("it waits", || waiter_count(env.file("f")) == 1);
            waiter.signal(libc::SIGUSR1);
            waiter.expect_line("trapped");
        }
        holder.release();
        assert!(waiter.read_line().starts_with("flock: getting lock took "));
        waiter.expect_line("mine");
    });
}

#[test]
fn a_shell_that_is_in_its_own_way_is_told_so() {
    for_each_bash(|env: &TestEnv| {
        let script = "echo $$; exec 8>>f 7>>f; flock 8; flock --verbose -n 7; exit 0";
        let outcome = env.run_with_builtin(script).assert_status(0);
        let shell = outcome.stdout_text();
        let wanted = format!("flock: descriptor 7: held by {} bash", shell.trim());
        let err = outcome.stderr_text();
        assert!(
            err.lines()
                .nth(1)
                .is_some_and(|line| line.starts_with(&wanted)),
            "{err}"
        );
    });
}
