//! Shell functions under a lock elsewhere, with scripts as helpers.

mod kills;
mod loss;
mod waiting;

use rstest::rstest;
use test_support::builtin::for_each_bash;
use test_support::procfs::processes_in;
use test_support::{TestEnv, wait_until};

use crate::remote::handle::{EXCLUDES, PATIENT};

/// A helper that grants the lock for ten minutes.
const GRANTS: &str = "echo granted 7 $(in_ms 600000)\nwait_for_release\n";

/// For scripts: `state` prints whether the helper has released the lock, and without processes of
/// the function left.
const STATE: &str = "state() { [ -e checked ] && echo \"released: $(<checked)\" || echo held; }\n";

/// Runs a test in every bash, with this helper, and asserts that it leaves no process behind.
#[track_caller]
fn with_helper(helper: &str, body: impl Fn(&TestEnv)) {
    for_each_bash(|env| {
        env.install_lock_helper(&format!("{PATIENT}{helper}"));
        body(env);
        // The guards keep the connection to it.
        wait_until("the helper and the rest exit", || {
            processes_in(env.path()).is_empty()
        });
    });
}

/// Asserts that the lock was released only after the last process of the function had exited, which
/// keeps the file `witness` locked.
#[track_caller]
fn assert_released_last(env: &TestEnv) {
    wait_until("the lock is released", || env.file("checked").exists());
    assert_eq!(env.read_file("checked"), "free\n");
}

/// Runs a script after [`STATE`] in every bash, with a helper that grants the lock, and asserts that
/// it prints this and succeeds.
#[track_caller]
fn assert_script(script: &str, stdout: &str) {
    with_helper(GRANTS, |env| {
        let outcome = env.run_with_builtin(format!("{STATE}{script}"));
        outcome.assert_all(0, stdout, "");
    });
}

#[rstest]
#[case::runs_in_the_shell_and_under_the_lock(
    "f() { echo \"$# <$1> $FUNCNAME\"; state; x=here; [ $BASHPID = $$ ]; echo $?; return 7; }
     flock test://h/n f 'a b' c; echo $?; echo $x; state",
    "2 <a b> f\nheld\n0\n7\nhere\nreleased: free\n"
)]
#[case::sees_the_token_and_the_url_like_its_commands(
    "f() { echo $FLOCK_TOKEN $FLOCK_URL; sh -c 'echo $FLOCK_TOKEN $FLOCK_URL'; }
     FLOCK_TOKEN=mine; flock 'test://h/it'\\''s $x `y`' f; echo $FLOCK_TOKEN ${FLOCK_URL-unset}",
    "7 test://h/it's $x `y`\n7 test://h/it's $x `y`\nmine unset\n"
)]
#[case::is_told_to_the_helper(
    "f() { :; }; flock -s -w 1.5 --ttl=20s -- test://n f a; grep '^url\\|^mode\\|^wait\\|^ttl' request
     [ \"$(grep ^pid request)\" = \"pid $$\" ]; echo $?",
    "url test://n\nmode shared\nwait 1500\nttl 20000\n0\n"
)]
#[case::sees_the_assignments_of_its_call(
    "f() { echo $A $FLOCK_TOKEN; }; A=mine flock test://n f; echo ${A-unset}",
    "mine 7\nunset\n"
)]
#[case::runs_in_a_subshell_and_in_a_pipeline(
    "f() { state; return 3; }
     ( flock test://n f ); echo $?; state; rm checked; flock test://n f | cat; state; rm checked
     x=$(flock test://n f); echo $? $x; state",
    "held\n3\nreleased: free\nheld\nreleased: free\n3 held\nreleased: free\n"
)]
#[case::gives_way_to_a_program_of_another_name(
    "f() { :; }; flock test://n echo it runs; state",
    "it runs\nreleased: free\n"
)]
#[case::may_lock_again(
    "f() { flock test://m g; echo $? $FLOCK_URL; }; g() { echo $FLOCK_URL; return 4; }; flock test://n f",
    "test://m\n4 test://n\n"
)]
#[case::may_lock_a_file(
    "f() { flock l g; echo $?; }; g() { bin/flock -n l true; echo $?; state; }; flock test://n f",
    "1\nheld\n0\n"
)]
#[case::leaves_the_lock_to_no_background_process(
    "mkfifo end; f() { read x <end & }; flock test://n f; state; echo >end; wait",
    "released: free\n"
)]
#[case::executes_a_program_that_keeps_the_lock(
    "state=$(declare -f state); export state
     ( f() { exec bash -c 'eval \"$state\"; state'; }; flock test://n f )
     until [ -e checked ]; do sleep 0.01; done; state",
    "held\nreleased: free\n"
)]
#[case::starts_no_child_that_the_shell_knows(
    "trap 'echo child' CHLD; f() { :; }; flock test://n f; flock test://n f; wait; jobs; echo end",
    "end\n"
)]
#[case::keeps_the_lock_in_what_it_starts(
    "f() { sh -c '[ /proc/self/fd/367 -ef /proc/self/fd/491 ]; echo $?'; }; flock test://n f",
    "0\n"
)]
#[case::runs_in_the_background(
    "f() { state; return 3; }; flock test://n f & wait $!; echo $?; state",
    "held\n3\nreleased: free\n"
)]
#[case::recurses_under_different_locks(
    "f() { [ $1 = 0 ] || flock test://$1 f $(($1 - 1)); echo ${FLOCK_URL-none}; }; f 3; state",
    "test://1\ntest://2\ntest://3\nnone\nreleased: free\n"
)]
#[case::keeps_the_lock_of_others(
    "f() { flock -u 367; echo $?; flock -u 491 test://n; echo $?; state; } 2>/dev/null
     flock test://n f; echo $?",
    "65\n65\nheld\n0\n"
)]
#[case::leaks_no_descriptors(
    "f() { :; }; flock test://n f; before=(/proc/$$/fd/*); flock test://n f; flock test://n f
     after=(/proc/$$/fd/*); [ \"${before[*]}\" = \"${after[*]}\" ]; echo $?",
    "0\n"
)]
#[case::needs_few_descriptors(
    "f() { state; }; for n in 100 12; do ulimit -n $n; flock test://n f; echo $?; rm checked; done",
    "held\n0\nheld\n0\n"
)]
fn function(#[case] script: &str, #[case] stdout: &str) {
    assert_script(script, stdout);
}

#[rstest]
#[case(":", ":", "returned 0\nexited 0")]
#[case(":", "return 5", "returned 5\nexited 0")]
#[case(":", "exit 4", "exited 4")]
#[case("set -e", "false; echo no", "exited 1")]
#[case("set -u", "echo $nothing; echo no", "exited 127")]
#[case("trap \"exit 12\" TERM", "kill -TERM $$; :; echo no", "exited 12")]
#[case(":", "kill -INT $$; :; echo no", "exited 130")]
#[case(":", "kill -TERM $$; :; echo no", "exited 143")]
#[case("trap \"exit 2\" EXIT", "exit 3", "exited 2")]
#[case(
    "trap \"state; flock -n test://n g\" EXIT; g() { echo again; }",
    "exit 3",
    "released: free\nagain\nexited 3"
)]
#[case(
    "trap \"return 8\" USR1",
    "kill -USR1 $$; :; echo no",
    "returned 8\nexited 0"
)]
fn lock_is_released_however_the_function_ends(
    #[case] setup: &str,
    #[case] end: &str,
    #[case] expected: &str,
) {
    let script = format!(
        "exec 2>/dev/null; bash -c '{STATE}{setup}; f() {{ state; {end}; }}; flock test://n f; echo returned $?'
         echo exited $?; until [ -e checked ]; do sleep 0.01; done; state"
    );
    assert_script(&script, &format!("held\n{expected}\nreleased: free\n"));
}

#[test]
fn function_is_not_called_without_the_lock() {
    let call = "f() { echo never; }; flock --verbose -E 0 -n test://n f; echo $?";
    let cases = [
        ("echo refused", "failed to get lock", 0),
        ("echo error 66 no route", "test://n: no route", 66),
        (
            "exit 0",
            "test://n: the helper has exited without an answer",
            69,
        ),
        (
            "echo granted 7 $(in_ms 1)",
            "test://n: the lock was granted too late: its lease had nearly run out",
            75,
        ),
    ];
    for (helper, message, status) in cases {
        with_helper(helper, |env| {
            let outcome = env.run_with_builtin(call);
            let message = format!("flock: {message}\n");
            outcome.assert_all(0, &format!("{status}\n"), &message);
        });
    }
}

#[test]
fn verbose_reports_the_function() {
    with_helper(&format!("echo waits db1\n{GRANTS}"), |env| {
        let outcome = env.run_with_builtin("f() { echo in f; }; flock --verbose test://n f");
        let outcome = outcome
            .assert_stderr("flock: waiting for db1\n")
            .assert_status(0);
        let stdout = outcome.stdout_text();
        assert!(stdout.starts_with("flock: getting lock took "), "{stdout}");
        assert!(stdout.ends_with("\nflock: executing f\nin f\n"), "{stdout}");
    });
}

#[test]
fn missing_program_and_helper_are_reported() {
    with_helper(GRANTS, |env| {
        let script = "f() { echo never; }; flock other://n f; echo $?
             mv bin/flock elsewhere; PATH=/nowhere; flock test://n f; echo $?";
        let outcome = env.run_with_builtin(script).assert_stdout("69\n127\n");
        let stderr = outcome.stderr_text();
        assert!(
            stderr.starts_with("flock: no helper for other://: "),
            "{stderr}"
        );
        assert!(stderr.ends_with("flock: command not found\n"), "{stderr}");
    });
}

#[test]
fn conflict_status_is_that_of_the_call() {
    with_helper("echo refused", |env| {
        let script =
            "f() { echo never; }; flock -n test://n f; echo $?; flock -nE9 test://n f; echo $?";
        env.run_with_builtin(script).assert_all(0, "1\n9\n", "");
    });
}

#[test]
fn several_locks_are_refused() {
    with_helper(GRANTS, |env| {
        let script = "f() { echo never; }; flock --also test://m test://n f; echo $?; ls request";
        let outcome = env.run_with_builtin(script).assert_stdout("64\n");
        let stderr = outcome.stderr_text();
        let expected = "flock: --also with a lock elsewhere cannot be used with a shell function\n";
        assert!(stderr.starts_with(expected), "{stderr}");
    });
}

#[rstest]
#[case::closes_the_descriptors(
    "exec 367>&-; state; exec 491>&-; until [ -e checked ]; do sleep 0.01; done"
)]
#[case::has_a_program_release_it("state; bin/flock -u 367 test://n")]
fn function_that_gives_up_the_lock_fails(#[case] body: &str) {
    with_helper(GRANTS, |env| {
        let script = format!("{STATE}f() {{ {body}; }}; flock test://n f; echo $?");
        env.run_with_builtin(script).assert_all(
            0,
            "held\n65\n",
            "flock: test://n: the function released the lock, or closed or replaced its \
             descriptors, and ran partly without it\n",
        );
    });
}

#[test]
fn function_excludes_other_processes() {
    for_each_bash(|env| {
        env.install_lock_helper("");
        env.install_script("libexec/fdlock/flock-test", EXCLUDES);
        let script = "f() { bin/flock -n test://n true; echo $?; flock -nE9 test://n g; echo $?; }
             flock test://n f; bin/flock -n test://n echo free";
        env.run_with_builtin(script)
            .assert_all(0, "1\n9\nfree\n", "");
    });
}
