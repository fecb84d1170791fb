//! Commands other than functions: the builtin delegates them to the program, as if there were no
//! builtin.

use rstest::rstest;

use super::{HELD, assert_script};
use test_support::builtin::for_each_bash;
use test_support::helper::ALL_SIGNALS_RECEIVED;
use test_support::process::{ExitReason, send_signal};
use test_support::wait_until;

/// The ways to call the builtin in a script. They differ in how it starts the program.
const CALLS: [&str; 6] = [
    "flock",
    "command flock",
    "builtin flock",
    "X=1 flock",
    "X='a b' flock",
    "eval flock",
];

#[rstest]
#[case("l true", 0)]
#[case("l sh -c 'exit 5'", 5)]
#[case("l -c 'exit 6'", 6)]
#[case("l nothing-of-that-name", 69)]
#[case("l sh -c 'kill -KILL $$'", 128 + libc::SIGKILL)]
#[case("-F l sh -c 'exit 7'", 7)]
#[case("nowhere/l true", 66)]
#[case("-nE 9 l flock -nE 9 l true", 9)]
#[case("--fd 8 sh -c 'exit 8'", 8)]
#[case("-u l sh -c 'exit 10'", 10)]
fn status_is_the_programs(#[case] args: &str, #[case] status: i32) {
    for_each_bash(|env| {
        for call in CALLS {
            let line = match call {
                "eval flock" => format!("eval \"flock {}\"", args.replace('$', "\\$")),
                _ => format!("{call} {args}"),
            };
            let script = format!("exec 8>k; {line} 2>/dev/null; echo $?; {line} 2>&-; (exit $?)");
            let outcome = env.run_with_builtin(script);
            outcome.assert_all(status, &format!("{status}\n"), "");
        }
    });
}

#[rstest]
fn kill_of_a_background_flock_reaches_the_command(
    #[values(
        "flock l CMD",
        "flock l CMD >log",
        "flock l CMD >log 2>&1",
        "flock l CMD <<<text",
        "command flock l CMD",
        "command flock l CMD >log",
        "X=1 flock l CMD",
        "X=1 flock l CMD >log",
        "flock -o l CMD 3>log",
        "( flock l CMD )",
        "flock k flock l CMD"
    )]
    call: &str,
) {
    for_each_bash(|env| {
        // Even without a builtin, the shell that was forked for `command` then remains, and dies.
        if call.starts_with("command") && env.bash_is_older_than("5.1") {
            return;
        }
        // In a file, because a command line that looks as if it had redirections is delegated in
        // another way.
        env.install_script(
            "bin/catcher",
            "#!/bin/sh\nexec test-helper catch-signals 1 >ready\n",
        );
        let call = call.replace("CMD", "catcher");
        env.run_with_builtin(format!(
            "{HELD}mkfifo ready; exec 5<>ready; {call} &
             read x <&5; held l; kill $!; wait $!; echo $?; held l"
        ))
        .assert_stdout(&format!("held\n{ALL_SIGNALS_RECEIVED}\nfree\n"));
    });
}

#[rstest]
fn kill_ends_a_wait_in_the_background(
    #[values("flock l touch ran", "flock 8")] call: &str,
    #[values("", ">log")] redirection: &str,
) {
    for_each_bash(|env| {
        env.install_queued_script();
        env.run_with_builtin(format!(
            "exec 8>l 9>l; bin/flock 9; {call} {redirection} & bin/queued l 1; kill $!
             wait $!; echo $?"
        ))
        .assert_stdout("143\n");
        assert!(!env.file("ran").exists());
    });
}

#[test]
fn redirections_take_effect_once() {
    for call in &CALLS[..5] {
        let script = format!(
            "n=0; {call} l cat <<<\"$((++n))\"; echo $n
             next() {{ echo x >>count; echo out$(wc -l <count); }}
             {call} l echo hi >\"$(next)\"; cat out1; wc -l <count
             {call} l cat <<END\n$(next)\nEND\n wc -l <count
             {call} l cat 4<\"$(next; : >out3)\" <<<\"$((++n))\" 2>/dev/null; echo $n; wc -l <count
             {call} l true {{fd}}>\"x$((++n))\"; echo $n
             {call} l sh -c 'echo a; echo b >&2' >>both 2>&1; cat both"
        );
        assert_script(&script, "1\n1\nhi\n1\nout2\n2\n2\n2\n3\n3\na\nb\n");
    }
}

#[test]
fn fifo_is_opened_once() {
    for call in CALLS {
        // The first close is the end of the stream for a reader, so a second open would hang, or
        // read nothing.
        let script = format!(
            "mkfifo in out; (echo through >in) & cat out >got & {call} l cat <in >out
             wait; cat got"
        );
        assert_script(&script, "through\n");
    }
}

#[test]
fn pipelines_conditions_and_substitutions_work() {
    for_each_bash(|env| {
        for call in CALLS {
            env.run_with_builtin(format!(
                "echo a | {call} l cat | tr a b
                 {call} l false || echo or; {call} l true && echo and; if ! {call} l false; then echo not; fi
                 while {call} l false; do :; done; x=$({call} l echo captured); echo $x
                 cat <({call} l echo substituted); ({call} l echo sub; :); {{ {call} l echo group; }}
                 echo first >f; exec 9<f; {call} l sh -c 'cat <&9'; f() {{ {call} l echo \"$1\"; }}; f function
                 trap \"{call} l echo trapped\" USR1; kill -USR1 $$; :
                 set -e; {call} l false || :; {call} l true; {call} l false; echo no"
            ))
            .assert_status(1)
            .assert_stderr("")
            .assert_stdout(
                "b\nor\nand\nnot\ncaptured\nsubstituted\nsub\ngroup\nfirst\nfunction\ntrapped\n",
            );
        }
    });
}

#[test]
fn status_in_a_pipeline_is_the_programs() {
    for_each_bash(|env| {
        for call in CALLS.into_iter().chain(["X=$(echo 'a b') flock"]) {
            // `eval` splits `'exit 3'`, so `sh` executes `exit` alone.
            let expected = match call {
                "eval flock" => "1 0 0\n0\n1\n",
                _ => "1 3 0\n4\n1\n",
            };
            for redirection in ["", "3>log"] {
                env.run_with_builtin(format!(
                    "{call} l false {redirection} | {call} k sh -c 'exit 3' {redirection} | {call} j true
                     echo ${{PIPESTATUS[@]}}; {call} l sh -c 'exit 4' {redirection} & wait $!; echo $?
                     set -o pipefail; {call} l false {redirection} | cat; echo $?"
                ))
                .assert_stdout(expected);
            }
        }
    });
}

#[test]
fn coprocess_is_the_program() {
    assert_script(
        "coproc flock l cat; echo hi >&${COPROC[1]}; read x <&${COPROC[0]}; echo $x; held l
         eval \"exec ${COPROC[1]}>&-\"; wait $COPROC_PID; echo $?; held l",
        "hi\nheld\n0\nfree\n",
    );
}

#[rstest]
#[case("( flock l ./report ) & p=$!")]
#[case("( flock l ./report >>log ) & p=$!")]
#[case("( :; flock l ./report ) & p=$!")]
#[case("( cd . && flock l ./report ) & p=$!")]
#[case("{ :; flock l ./report; } & p=$!")]
#[case("coproc flock l ./report >>log; p=$COPROC_PID")]
#[case("f=$(flock l ./report); : & p=$!")]
#[case("f() { flock l ./report; :; }; f & p=$!")]
#[case("flock l ./report & p=$!")]
#[case("eval 'flock l ./report; :' & p=$!")]
fn program_replaces_the_same_forked_shells(#[case] start: &str) {
    for_each_bash(|env| {
        env.install_script("report", "#!/bin/sh\necho $PPID >parent\n");
        let is_replaced = |first: &str| {
            env.run_with_builtin(format!(
                "{first}; PATH=$PWD/bin/bin:$PATH; {start}
                 wait; read q <parent; [ $q = $p ] && echo replaced || echo child"
            ))
            .assert_stderr("")
            .assert_status(0)
            .stdout_text()
        };
        assert_eq!(is_replaced(":"), is_replaced("enable -d flock"));
    });
}

#[rstest]
#[case("f() { echo $(flock l echo one; echo two); }; f & wait")]
#[case("f() { echo $(flock l echo one >&1; echo two); }; f | cat")]
#[case("( flock l cat ); for w in \"$(flock l cat; echo one two)\"; do echo $w; done")]
#[case("f() { cat <(flock l echo one; echo two); }; f | paste -s -d ' '")]
#[case("f() { flock l echo -n 'one ' >&1; echo two; }; f & wait")]
#[case("eval 'flock l echo -n \"one \"; echo two' & wait")]
fn commands_after_flock_run_in_every_forked_shell(
    #[case] script: &str,
    #[values("eval \"$1\"", "bash -c \"$1\"", "bash -c 'eval \"$1\"' bash \"$1\"")] way: &str,
) {
    for_each_bash(|env| {
        let mut command = env.builtin_command(way);
        command.args(["bash", script]);
        env.run_command(command).assert_all(0, "one two\n", "");
    });
}

#[test]
fn command_inherits_the_same_as_from_the_program() {
    for_each_bash(|env| {
        for redirection in ["", "3>log", "<&-", "2>&-", "<<<text"] {
            env.run_with_builtin(format!(
                "trap '' USR1; trap : USR2 TERM INT; export A=1; exec 7>seven
                 \"$PWD\"/bin/bin/flock l sh -c 'test-helper inherited-state one; env | sort >env-one' {redirection}
                 for call in flock 'command flock' 'builtin flock'; do
                     $call l sh -c 'test-helper inherited-state two; env | sort >env-two' {redirection}
                     sed -i 's/pipe:.*//; s/sh-thd.*//' one two
                     cmp one two && cmp env-one env-two || {{ diff one two; diff env-one env-two; }}
                 done; flock l sh -c 'test-helper inherited-state two' {redirection}; sed -i 's/pipe:.*//; s/sh-thd.*//' two; cmp one two"
            ))
            .assert_all(0, "", "");
        }
    });
}

#[test]
fn arguments_are_passed_unchanged() {
    for call in ["flock", "command flock", "builtin flock"] {
        let args = r#"printf '<%s>' 'a b' '' '*' $'\xff' "it's" -n -- '$x' '`y`' $'new\nline'"#;
        let script = format!("{call} l {args} >got; {args} | cmp - got; echo $?");
        assert_script(&script, "0\n");
    }
}

#[test]
fn exec_replaces_the_shell_with_the_program() {
    for_each_bash(|env| {
        env.run_with_builtin("exec flock l sh -c 'echo in; exit 3'; echo no")
            .assert_all(3, "in\n", "");
        // The last command of a subshell replaces it, so it has the same parent.
        if !env.bash_is_older_than("5") {
            env.run_with_builtin(
                "(flock -F l sh -c 'echo $PPID') | { read p; [ $p = $$ ]; echo $?; }",
            )
            .assert_stdout("0\n");
        }
    });
}

#[test]
fn traps_run_after_the_program() {
    for_each_bash(|env| {
        env.install_script("bin/signals", "#!/bin/sh\nkill -USR1 $1; echo first\n");
        for call in CALLS {
            env.run_with_builtin(format!(
                "trap 'echo trapped' USR1; {call} l signals $$; echo $?"
            ))
            .assert_stdout("first\ntrapped\n0\n");
        }
    });
}

#[test]
fn killed_shell_leaves_the_lock_to_the_program() {
    for_each_bash(|env| {
        let mut shell = env.start_with_builtin("flock l sh -c 'echo $PPID; read x'; :");
        let flock: i32 = shell.read_line().parse().expect("a pid");
        assert_ne!(flock, shell.pid());
        shell.kill();
        env.run(["-n", "l", "true"]).assert_status(1);
        assert!(send_signal(flock, libc::SIGTERM));
        wait_until("it is free", || env.run(["-n", "l", "true"]).code() == 0);
    });
}

#[test]
fn many_background_programs_can_be_waited_for() {
    for_each_bash(|env| {
        let script = "for i in {1..20}; do flock l sh -c \"exit $i\" & pids+=($!); done
            sum=0; for pid in ${pids[@]}; do wait $pid; sum=$((sum + $?)); done; exit $sum";
        assert_eq!(
            env.start_with_builtin(script).wait(),
            ExitReason::Exited(210)
        );
    });
}
