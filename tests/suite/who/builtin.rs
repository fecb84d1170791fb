//! The same by the builtin of bash, in the shell itself.

use test_support::Lab;
use test_support::builtin::in_every_bash;
use test_support::locks::waiters;
use test_support::wait_until;

#[test]
fn a_shell_that_holds_the_lock_itself_is_named_and_a_subshell_that_asks_is_not() {
    in_every_bash(|lab: &Lab| {
        let outcome = lab.builtin(
            "exec 8>>f; flock 8; echo $$ >shell; flock --who --pids --fd 8
             answer=$(flock --who --pids f); echo $answer
             ( exec 9>>g; flock 9; flock --who --pids g; echo $BASHPID >sub )
             cat sub; exec 8>&-; flock --who f; echo $?",
        );
        let shell = std::fs::read_to_string(lab.file("shell")).expect("a number");
        let sub = std::fs::read_to_string(lab.file("sub")).expect("a number");
        outcome
            .expect_err("")
            .expect_out(&format!("{shell}{shell}{sub}{sub}1\n"));
    });
}

#[test]
fn no_program_is_started_for_it() {
    in_every_bash(|lab: &Lab| {
        lab.builtin("exec 8>>f; flock 8; PATH=/nowhere; flock() { echo function; }; builtin flock --who --pids f >out; echo $?")
            .expect_err("")
            .expect_out("0\n");
        lab.builtin(
            "flock --who nothing; echo $?; flock --who --fd 77; echo $?; flock --who; echo $?",
        )
        .expect_out("66\n65\n64\n");
    });
}

#[test]
fn the_toggle_ends_what_runs() {
    in_every_bash(|lab: &Lab| {
        let script =
            "exec 8>>f; flock -n 8 || kill $(flock --who --pids --fd 8); echo goes on; read x";
        let mut first = lab.start_builtin(script);
        first.hears("goes on");
        let mut second = lab.start_builtin(script);
        second.hears("goes on");
        assert_eq!(
            first.end(),
            test_support::process::End::Killed(libc::SIGTERM)
        );
    });
}

#[test]
fn who_is_in_the_way_is_said_once_however_often_the_wait_is_interrupted() {
    in_every_bash(|lab: &Lab| {
        let holder = lab.hold(&["-F"], "f");
        let script = "trap 'echo trapped' USR1; exec 8>>f; flock --verbose 8; echo mine";
        let mut waiter = lab.start_builtin(script);
        let line = waiter.line();
        let wanted = format!(
            "flock: waiting for descriptor 8: held by {} sh",
            holder.pid()
        );
        assert!(line.starts_with(&wanted), "{line}");
        for _ in 0..3 {
            wait_until("it waits", || waiters(lab.file("f")) == 1);
            waiter.signal(libc::SIGUSR1);
            waiter.hears("trapped");
        }
        holder.let_go();
        assert!(waiter.line().starts_with("flock: getting lock took "));
        waiter.hears("mine");
    });
}

#[test]
fn a_shell_that_is_in_its_own_way_is_told_so() {
    in_every_bash(|lab: &Lab| {
        let script = "echo $$; exec 8>>f 7>>f; flock 8; flock --verbose -n 7; exit 0";
        let outcome = lab.builtin(script).expect_code(0);
        let shell = outcome.out();
        let wanted = format!("flock: descriptor 7: held by {} bash", shell.trim());
        let err = outcome.err();
        assert!(
            err.lines()
                .nth(1)
                .is_some_and(|line| line.starts_with(&wanted)),
            "{err}"
        );
    });
}
