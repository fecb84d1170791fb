//! Shell functions under a lock: they run in the shell itself, and the lock is released however
//! they end.

mod descriptors;
mod jobs;

use rstest::rstest;

use super::{HELD, assert_script};
use test_support::builtin::for_each_bash;
use test_support::locks::{assert_unlocked, waiter_count};
use test_support::process::ExitReason;
use test_support::wait_until;

#[rstest]
#[case::runs_in_the_shell_and_under_the_lock(
    "f() { echo \"$# <$1> <$2> $FUNCNAME\"; held l; x=here; [ $BASHPID = $$ ]; echo $?; return 7; }
     set -- my own; flock l f 'a b' c; echo $?; held l; echo $x $@",
    "2 <a b> <c> f\nheld\n0\n7\nfree\nhere my own\n"
)]
#[case::locals_and_assignments_end_with_it(
    "f() { local x=inside; y=$A; declare -g z=1; set -- other; echo $x $A; }
     x=outside; A=mine flock l f arg; echo $x $y $z ${A-unset} $#",
    "inside mine\noutside mine 1 unset 0\n"
)]
#[case::is_killed_and_releases_the_lock(
    "exec 2>/dev/null; for s in TERM HUP USR1 ALRM; do
         bash -c \"f() { kill -$s \\$\\$; }; flock l f\"; kill -l $?; held l
     done",
    "TERM\nfree\nHUP\nfree\nUSR1\nfree\nALRM\nfree\n"
)]
#[case::executes_a_program_that_inherits_the_lock(
    "(f() { exec bash -c 'bin/flock -n l true; echo $?'; }; flock l f; echo no); held l",
    "1\nfree\n"
)]
#[case::locks_for_another_function(
    "f() { held a; flock b g; echo $?; held a; held b; }
     g() { held a; held b; return 3; }
     flock a f; echo $?; held a",
    "held\nheld\nheld\n3\nheld\nfree\n0\nfree\n"
)]
#[case::recurses_under_different_locks(
    "f() { [ $1 = 0 ] || { flock l$1 f $(($1 - 1)); return $(($? + $1)); }; held l1; held l20; }
     flock l21 f 20; echo $?; for i in {1..21}; do held l$i; done | sort | uniq -c | tr -s ' '",
    "held\nheld\n210\n 21 free\n"
)]
#[case::conflicts_with_itself(
    "f() { flock -nE 44 l f; }; flock l f; echo $?; held l",
    "44\nfree\n"
)]
#[case::locks_in_a_trap(
    "g() { held l; held k; }; trap 'flock k g; echo $?' USR1
     f() { kill -USR1 $$; :; held k; held l; return 2; }; flock l f; echo $?; held l",
    "held\nheld\n0\nfree\nheld\n2\nfree\n"
)]
#[case::may_use_any_descriptor(
    "f() { for n in {3..254}; do eval \"exec $n>&-\"; done; held l; exec 3>x 200>y 300>y {fd}>z; held l; echo $fd; }
     flock l f; held l; for n in 3 200 300 $fd; do [ -e /proc/$$/fd/$n ]; echo $?; done",
    "held\nheld\n10\nfree\n0\n0\n0\n0\n"
)]
#[case::needs_few_descriptors(
    "f() { echo in; }
     for n in 100 12 8; do ulimit -n $n; flock l f; echo $?; flock l f; echo $?; held l; done",
    "in\n0\nin\n0\nfree\nin\n0\nin\n0\nfree\nin\n0\nin\n0\nfree\n"
)]
#[case::leaks_no_descriptors(
    "f() { :; }; g() { return 1; }; t() { kill -USR1 $$; :; }; trap 'return' USR1
     flock l f; before=(/proc/$$/fd/*)
     for i in {1..50}; do flock l f; flock l g; flock -o l t; flock --fcntl l f; flock --fair l f; done
     after=(/proc/$$/fd/*); [ \"${before[*]}\" = \"${after[*]}\" ]; echo $?",
    "0\n"
)]
#[case::lets_commands_inherit_the_lock_unless_closed(
    "f() { sh -c 'for fd in /proc/self/fd/*; do [ $fd -ef l ] && { echo inherited; break; }; done; :'; }
     for options in '' -F -o; do echo \"<$options>\"; flock $options l f; done",
    "<>\ninherited\n<-F>\ninherited\n<-o>\n"
)]
#[case::may_start_subshells_that_keep_its_lock(
    "exec 2>/dev/null
     f() { ( exit 1 ); held l; x=$(exit 2); held l; ( : ) | { exit 3; } | cat; held l; ( exec true ); held l
           { exit 5; } & wait; held l; ( return 6 ); held l; (set -e; false; :); held l; ( g() { exit; }; g ); held l
           cat <(exit 4); held l; ( kill -TERM $BASHPID ); held l; bash -c 'exit 1'; held l; }
     flock l f; held l",
    "held\nheld\nheld\nheld\nheld\nheld\nheld\nheld\nheld\nheld\nheld\nfree\n"
)]
#[case::in_a_subshell_releases_only_its_own_lock(
    "f() { held l; (flock k g; held k; exit 1); echo $?; held l; }; g() { held k; held l; exit 9; }
     flock l f; held l; x=$(flock l g; echo no); echo $? $x; held l; flock l g | cat; held l",
    "held\nheld\nheld\n9\nheld\nfree\n9 free held\nfree\nfree\nheld\nfree\n"
)]
#[case::may_have_a_shared_lock_a_range_or_none(
    "f() { bin/flock -ns l true; echo $?; held l; }; flock -s l f
     g() { bin/flock --start 10 --length 1 -n l true; echo $?; bin/flock --start 0 --length 5 -n l true; echo $?; held l; }
     flock --start 0 --length 10 l g; bin/flock --fcntl -n l true; echo $?
     h() { held l; }; flock -u l h",
    "0\nheld\n0\n1\nfree\n0\nfree\n"
)]
#[case::leaves_the_callers_descriptor_locked(
    "exec 8>l; f() { held l; return 3; }; flock --fd 8 f; echo $?; held l; exec 8>&-; held l",
    "held\n3\nheld\nfree\n"
)]
#[case::may_unload_the_builtin_that_called_it(
    "f() { enable -d flock; type -t flock; held l; return 4; }; flock l f; echo $?; held l
     enable -f bin/lib/bash/flock flock; flock l f; echo $?; type -t flock; echo alive
     bash -c 'g() { enable -d flock; exit 5; }; f() { flock k g; }; flock l f'; echo $?",
    "file\nheld\n4\nfree\nfile\nheld\n4\nfile\nalive\n5\n"
)]
#[case::works_with_redirections_pipelines_and_in_background(
    "f() { read line; echo \"$line\"; echo err >&2; return 6; }
     flock l f <<<in >out 2>&1; echo $?; cat out
     echo piped | flock l f 2>/dev/null | tr a-z A-Z; echo ${PIPESTATUS[@]}
     x=$(flock l f <<<captured 2>/dev/null); echo $? $x
     flock l f <<<background 2>/dev/null & wait $!; echo $?
     g() { echo to; } >own; flock l g; cat own
     h() { held l; } 5>&1; flock l h; held l",
    "6\nin\nerr\nPIPED\n0 6 0\n6 captured\nbackground\n6\nto\nheld\nfree\n"
)]
#[case::returns_a_status_for_conditions(
    "y() { :; }; n() { return 3; }
     flock l n || echo handled $?; flock l y && echo well; if flock l n; then echo no; else echo else; fi
     ! flock l n; echo $?; while flock l n; do :; done; set -o pipefail; flock l n | cat; echo $?
     (set -e; command flock l n || echo spared; flock l y; if command flock l n; then :; fi; flock l n; echo no)
     echo $?",
    "handled 3\nwell\nelse\n0\n3\nspared\n3\n"
)]
#[case::excludes_those_of_other_shells(
    "echo 0 >count; f() { local n; read n <count; echo $((n + 1)) >count; }
     for i in {1..4}; do (for j in {1..50}; do flock l f; done) & done; wait; cat count",
    "200\n"
)]
fn function(#[case] script: &str, #[case] stdout: &str) {
    assert_script(script, stdout);
}

#[test]
fn function_takes_precedence_over_a_program() {
    for_each_bash(|env| {
        env.run_with_builtin("ls() { echo mine; }; flock l ls; flock l command ls -d l")
            .assert_status(69)
            .assert_stdout("mine\n")
            .assert_stderr(
                "flock: failed to execute command: No such file or directory: it is part of the \
                 shell, not a program; use: flock FILE -c 'command ...'\n",
            );
    });
}

/// Although a child that the function has started inherits the descriptor.
#[rstest]
#[case(":", ":", "returned 0\nexited 0")]
#[case(":", "return 5", "returned 5\nexited 0")]
#[case(":", "false", "returned 1\nexited 0")]
#[case(":", "exit 4", "exited 4")]
#[case("set -e", "false; echo no", "exited 1")]
#[case("set -u", "echo $nothing; echo no", "exited 127")]
#[case(":", "echo ${nothing:?}; echo no", "exited 127")]
#[case("trap \"exit 12\" TERM", "kill -TERM $$; :; echo no", "exited 12")]
#[case("trap \"exit 6\" USR1", "kill -USR1 $$; :; echo no", "exited 6")]
#[case(
    "trap \"return 8\" USR1",
    "kill -USR1 $$; :; echo no",
    "returned 8\nexited 0"
)]
#[case("g() { exit 9; }", "g; echo no", "exited 9")]
#[case(":", "eval \"exit 3\"; echo no", "exited 3")]
#[case("trap \"exit 2\" EXIT", "exit 3", "exited 2")]
#[case("trap \"held l\" EXIT", "exit 3", "free\nexited 3")]
#[case("set -E; trap \"exit 11\" ERR", "false; echo no", "exited 11")]
fn lock_is_released_however_the_function_ends(
    #[case] setup: &str,
    #[case] end: &str,
    #[case] expected: &str,
) {
    let script = format!(
        "mkfifo end
         bash -c '{HELD}{setup}; f() {{ read x >/dev/null 2>&1 <end & held l; {end}; }}; flock l f; echo returned $?' 2>/dev/null
         echo exited $?; held l; echo >end"
    );
    assert_script(&script, &format!("held\n{expected}\nfree\n"));
}

#[rstest]
#[case(":", "exit 4")]
#[case("set -e", "exit 4")]
#[case("trap \"exit 4\" EXIT", "exit 3")]
#[case(":", "return 4")]
fn subshell_releases_its_function_lock(#[case] setup: &str, #[case] end: &str) {
    let script = format!(
        "f() {{ read x >/dev/null 2>&1 <end & held l; {end}; }}
         mkfifo end; ( {setup}; flock l f ); echo $?; held l; echo >end
         x=$({setup}; flock l f); echo $? $x; held l; echo >end"
    );
    assert_script(&script, "held\n4\nfree\n4 held\nfree\n");
}

#[test]
fn interrupt_ends_the_function_and_releases_the_lock() {
    for_each_bash(|env| {
        let mut shell =
            env.start_with_builtin("f() { echo in; kill -INT $$; echo no; }; flock l f; echo no");
        shell.expect_line("in");
        assert_eq!(shell.wait(), ExitReason::Signaled(libc::SIGINT));
        assert_unlocked(env.file("l"));
    });
}

#[test]
fn killed_shell_leaves_the_lock_to_its_commands() {
    for_each_bash(|env| {
        for (options, status) in [("", 1), ("-o", 0)] {
            let script = format!("f() {{ sh -c 'echo ready; read x'; }}; flock {options} l f");
            let mut shell = env.start_with_builtin(script);
            shell.expect_line("ready");
            env.run(["-n", "l", "true"]).assert_status(1);
            shell.kill();
            env.run(["-n", "l", "true"]).assert_status(status);
            shell.send_line("end");
            env.run(["l", "true"]).assert_status(0);
        }
    });
}

#[test]
fn function_is_not_called_without_the_lock() {
    for_each_bash(|env| {
        let outcome = env.run_with_builtin("f() { echo never; }; exec 8>l; flock 8
             flock -n l f; echo $?; flock -nE 9 l f; echo $?; flock -w 0.01 l f; echo $?; flock -ns l f; echo $?
             flock --verbose -n l f; flock nowhere/l f; echo $?; flock . f; echo $?; flock -F -o l f; echo $?; flock --fd 77 f; echo $?",
        );
        let stderr = outcome.stderr_text();
        let (holders, others): (Vec<&str>, Vec<&str>) = stderr
            .lines()
            .partition(|line| line.starts_with("flock: l: held by "));
        assert_eq!(holders.len(), 1, "{stderr}");
        assert_eq!(
            others,
            [
                "flock: failed to get lock",
                "flock: cannot open lock file nowhere/l: No such file or directory: the \
                 directory nowhere does not exist",
                "flock: the --no-fork and --close options are incompatible",
                "Try 'flock --help' for more information.",
                "flock: 77: Bad file descriptor",
            ]
        );
        // The directory `.` can be locked.
        outcome.assert_stdout("1\n9\n1\n1\n66\nnever\n0\n64\n65\n");
    });
}

#[test]
fn verbose_reports_the_function() {
    for_each_bash(|env| {
        let outcome = env.run_with_builtin("f() { echo in f; }; flock --verbose l f");
        let out = outcome.assert_stderr("").stdout_text();
        let lines: Vec<&str> = out.lines().collect();
        assert!(lines[0].starts_with("flock: getting lock took "), "{out}");
        assert_eq!(lines[1..], ["flock: executing f", "in f"]);
    });
}

#[test]
fn replaced_lock_file_is_locked_again() {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        let mut shell = env.start_with_builtin(format!("{HELD}f() {{ held l; }}; flock l f"));
        wait_until("it waits", || waiter_count(env.file("l")) == 1);
        std::fs::rename(env.file("l"), env.file("old")).expect("it exists");
        std::fs::write(env.file("l"), "").expect("a new file");
        holder.release();
        shell.expect_line("held");
        assert_eq!(shell.wait(), ExitReason::Exited(0));
    });
}
