//! `--who` as a bash builtin, in the shell itself.

use test_support::builtin::for_each_bash;
use test_support::locks::waiter_count;
use test_support::wait_until;

#[test]
fn shell_lists_itself_but_not_an_asking_subshell() {
    for_each_bash(|env| {
        let outcome = env.run_with_builtin(
            "exec 8>>f; flock 8; echo $$ >shell; flock --who --pids --fd 8
             answer=$(flock --who --pids f); echo $answer
             ( exec 9>>g; flock 9; flock --who --pids g; echo $BASHPID >sub )
             cat sub; exec 8>&-; flock --who f; echo $?",
        );
        let pid = |file| std::fs::read_to_string(env.file(file)).expect("a pid");
        let (shell, sub) = (pid("shell"), pid("sub"));
        outcome.assert_all(0, &format!("{shell}{shell}{sub}{sub}1\n"), "");
    });
}

#[test]
fn no_program_is_started() {
    for_each_bash(|env| {
        env.run_with_builtin("exec 8>>f; flock 8; PATH=/nowhere; flock() { echo function; }; builtin flock --who --pids f >out; echo $?")
            .assert_all(0, "0\n", "");
        env.run_with_builtin(
            "flock --who nothing; echo $?; flock --who --fd 77; echo $?; flock --who --pids; echo $?",
        )
        .assert_stdout("66\n65\n64\n");
    });
}

#[test]
fn interrupted_wait_reports_the_holder_once() {
    for_each_bash(|env| {
        let holder = env.hold(&["-F"], "f");
        let script = "trap 'echo trapped' USR1; exec 8>>f; flock --verbose 8; echo mine";
        let mut waiter = env.start_with_builtin(script);
        let line = waiter.read_line();
        let expected = format!(
            "flock: waiting for descriptor 8: held by {} sh",
            holder.pid()
        );
        assert!(line.starts_with(&expected), "{line}");
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
fn shell_that_blocks_itself_is_reported() {
    for_each_bash(|env| {
        let script = "exec 8>>f 7>>f; flock 8; flock --verbose -n 7; exit 0";
        let stderr = env.run_with_builtin(script).stderr_text();
        let expected = "flock: descriptor 7: held by this shell itself through descriptor 8, ";
        let line = stderr.lines().nth(1).expect("two lines");
        assert!(line.starts_with(expected), "{stderr}");
    });
}

#[test]
fn shared_lock_that_is_converted_is_not_in_the_way() {
    for_each_bash(|env| {
        let reader = env.hold(&["--fcntl", "-s", "-F"], "f");
        let script = "exec 8<>f; flock --fcntl -s 8; flock --fcntl --verbose -n 8; exit 0";
        let stderr = env.run_with_builtin(script).stderr_text();
        let expected = format!("flock: descriptor 8: held by {} sh, ", reader.pid());
        let line = stderr.lines().nth(1).expect("two lines");
        assert!(line.starts_with(&expected), "{stderr}");
    });
}
