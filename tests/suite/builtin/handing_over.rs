//! What is no function is the program's, and nobody sees that there was a builtin in between.

use super::HELD;
use test_support::builtin::for_each_bash;
use test_support::helper::ALL_SIGNALS_RECEIVED;
use test_support::process::{ExitReason, send_signal};
use test_support::wait_until;

/// The ways to call the builtin in a script. They differ in how it hands over.
const CALLS: [&str; 6] = [
    "flock",
    "command flock",
    "builtin flock",
    "X=1 flock",
    "X='a b' flock",
    "eval flock",
];

#[test]
fn statuses_are_the_programs() {
    for_each_bash(|env| {
        for call in CALLS {
            for (words, status) in [
                ("l true", 0),
                ("l sh -c 'exit 5'", 5),
                ("l -c 'exit 6'", 6),
                ("l nothing-of-that-name", 69),
                ("l sh -c 'kill -KILL $$'", 128 + libc::SIGKILL),
                ("-F l sh -c 'exit 7'", 7),
                ("nowhere/l true", 66),
                ("-nE 9 l flock -nE 9 l true", 9),
                ("--fd 8 sh -c 'exit 8'", 8),
                ("-u l sh -c 'exit 10'", 10),
            ] {
                let words = words.replace('\'', if call.starts_with("eval") { "\\'" } else { "'" });
                let words = match call {
                    "eval flock" => format!(
                        "eval \"flock {}\"",
                        words.replace("\\'", "'").replace('$', "\\$")
                    ),
                    _ => format!("{call} {words}"),
                };
                env.run_with_builtin(format!(
                    "exec 8>k; {words} 2>/dev/null; echo $?; {words} 2>&-; (exit $?)"
                ))
                .assert_status(status)
                .assert_stdout(&format!("{status}\n"));
            }
        }
    });
}

#[test]
fn the_program_is_the_one_beside_the_builtin_whatever_path_has() {
    for_each_bash(|env| {
        env.install_script("flock", "#!/bin/sh\necho wrong\n");
        for path in ["PATH=$PWD:$PATH", "PATH=/nowhere", "unset PATH", "PATH="] {
            env.run_with_builtin(format!(
                "{path}; flock l /bin/echo right; flock l /bin/echo right >out; /bin/cat out"
            ))
            .assert_stderr("")
            .assert_stdout("right\nright\n");
        }
    });
}

#[test]
fn without_the_program_beside_it_the_one_in_path_is_used() {
    for_each_bash(|env| {
        std::fs::remove_file(env.file("bin/flock")).expect("it is there");
        env.install_script("bin/flock", "#!/bin/sh\necho other \"$@\"\n");
        std::fs::create_dir(env.file("elsewhere")).expect("a folder");
        std::fs::rename(env.file("bin/flock"), env.file("elsewhere/flock")).expect("it is there");
        env.run_with_builtin("PATH=$PWD/elsewhere:$PATH; flock l true; flock l true >out; cat out")
            .assert_stderr("")
            .assert_stdout("other l true\nother l true\n");
    });
}

#[test]
fn what_is_killed_is_the_program_and_so_the_command() {
    for_each_bash(|env| {
        // In a file, as a command line that looks as if it had redirections is handed over in another way.
        env.install_script(
            "bin/catcher",
            "#!/bin/sh\nexec test-helper catch-signals 1 >ready\n",
        );
        env.run_with_builtin("mkfifo ready").assert_status(0);
        for call in [
            "flock l CMD &",
            "flock l CMD >log &",
            "flock l CMD >log 2>&1 &",
            "flock l CMD <<<text &",
            "command flock l CMD &",
            "command flock l CMD >log &",
            "X=1 flock l CMD &",
            "X=1 flock l CMD >log &",
            "flock -o l CMD 3>log &",
            "( flock l CMD ) &",
            "flock k flock l CMD &",
        ] {
            // There the shell that was forked for `command` stays and is what is killed, without a builtin too.
            if call.starts_with("command") && env.bash_is_older_than("5.1") {
                continue;
            }
            let call = call.replace("CMD", "catcher");
            env.run_with_builtin(format!(
                "{HELD}exec 5<>ready; {call}\nread x <&5; held l; kill $!; wait $!; echo $?; held l"
            ))
            .assert_stdout(&format!("held\n{ALL_SIGNALS_RECEIVED}\nfree\n"));
        }
    });
}

#[test]
fn a_wait_in_the_background_is_ended_by_a_kill() {
    for_each_bash(|env| {
        env.install_queued_script();
        for call in [
            "flock l touch ran &",
            "flock l touch ran >log &",
            "flock 8 &",
            "flock 8 >log &",
        ] {
            env.run_with_builtin(format!(
                "exec 8>l 9>l; bin/flock 9; {call} bin/queued l 1; kill $!; wait $!; echo $?"
            ))
            .assert_stdout("143\n");
        }
        assert!(!env.file("ran").exists());
    });
}

#[test]
fn redirections_with_side_effects_are_made_once() {
    for_each_bash(|env| {
        for call in CALLS.into_iter().filter(|call| *call != "eval flock") {
            env.run_with_builtin(format!(
                "n=0; {call} l cat <<<\"$((++n))\"; echo $n
                 next() {{ echo x >>count; echo out$(wc -l <count); }}; rm -f count
                 {call} l echo hi >\"$(next)\"; cat out1; wc -l <count
                 {call} l cat <<END\n$(next)\nEND\n wc -l <count
                 {call} l cat 4<\"$(next; : >out3)\" <<<\"$((++n))\" 2>/dev/null; echo $n; wc -l <count
                 {call} l true {{fd}}>\"x$((++n))\"; echo $n
                 {call} l sh -c 'echo a; echo b >&2' >>both 2>&1; cat both; rm both"
            ))
            .assert_stdout("1\n1\nhi\n1\nout2\n2\n2\n2\n3\n3\na\nb\n");
        }
    });
}

#[test]
fn a_fifo_is_opened_once() {
    for_each_bash(|env| {
        for call in CALLS {
            // A reader sees the end of the stream with the first close, so a second open would hang, or find nothing.
            env.run_with_builtin(format!(
                "mkfifo in out; (echo through >in) & cat out >got & {call} l cat <in >out; wait; cat got; rm in out"
            ))
            .assert_stderr("")
            .assert_stdout("through\n");
        }
    });
}

#[test]
fn pipelines_conditions_and_substitutions_are_those_of_a_command() {
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
            .assert_stderr("")
            .assert_status(1)
            .assert_stdout(
                "b\nor\nand\nnot\ncaptured\nsubstituted\nsub\ngroup\nfirst\nfunction\ntrapped\n",
            );
        }
    });
}

#[test]
fn a_pipeline_has_the_programs_status() {
    for_each_bash(|env| {
        for call in CALLS.into_iter().chain(["X=$(echo 'a b') flock"]) {
            for redirection in ["", "3>log"] {
                env.run_with_builtin(format!(
                    "{call} l false {redirection} | {call} k sh -c 'exit 3' {redirection} | {call} j true
                     echo ${{PIPESTATUS[@]}}; {call} l sh -c 'exit 4' {redirection} & wait $!; echo $?
                     set -o pipefail; {call} l false {redirection} | cat; echo $?"
                ))
                .assert_stdout(if call.starts_with("eval") {
                    "1 0 0\n0\n1\n"
                } else {
                    "1 3 0\n4\n1\n"
                });
            }
        }
    });
}

#[test]
fn a_coprocess_is_the_program() {
    for_each_bash(|env| {
        env.run_with_builtin(format!(
            "{HELD}coproc flock l cat; echo hi >&${{COPROC[1]}}; read x <&${{COPROC[0]}}; echo $x; held l
             eval \"exec ${{COPROC[1]}}>&-\"; wait $COPROC_PID; echo $?; held l"
        ))
        .assert_stdout("hi\nheld\n0\nfree\n");
    });
}

#[test]
fn whatever_takes_a_shells_place_without_the_builtin_does_so_with_it() {
    for_each_bash(|env| {
        for shell in [
            "( flock l ./who )",
            "( flock l ./who >>log )",
            "( :; flock l ./who )",
            "( cd . && flock l ./who )",
            "{ :; flock l ./who; }",
            "coproc flock l ./who >>log",
            "f=$(flock l ./who); :",
            "f() { flock l ./who; :; }; f",
            "flock l ./who",
            "eval 'flock l ./who; :'",
        ] {
            env.install_script("who", "#!/bin/sh\necho $PPID >who.is\n");
            let shell = match shell {
                coprocess if shell.starts_with("coproc") => format!("{coprocess}; p=$COPROC_PID"),
                other => format!("{other} & p=$!"),
            };
            let told = |first: &str| {
                env.run_with_builtin(format!(
                    "{first}; PATH=$PWD/bin/bin:$PATH; {shell}
                     wait; read q <who.is; [ $q = $p ] && echo its place || echo below"
                ))
                .assert_stderr("")
                .assert_status(0)
                .stdout_text()
            };
            assert_eq!(told(":"), told("enable -d flock"), "{shell}");
        }
    });
}

#[test]
fn what_comes_behind_it_is_done_too_wherever_bash_has_forked() {
    for_each_bash(|env| {
        for script in [
            "f() { echo $(flock l echo one; echo two); }; f & wait",
            "f() { echo $(flock l echo one >&1; echo two); }; f | cat",
            "( flock l cat ); for w in \"$(flock l cat; echo one two)\"; do echo $w; done",
            "f() { cat <(flock l echo one; echo two); }; f | paste -s -d ' '",
            "f() { flock l echo -n 'one ' >&1; echo two; }; f & wait",
            "eval 'flock l echo -n \"one \"; echo two' & wait",
        ] {
            for way in [
                "eval \"$1\"",
                "bash -c \"$1\"",
                "bash -c 'eval \"$1\"' bash \"$1\"",
            ] {
                let mut command = env.builtin_command(way);
                command.args(["bash", script]);
                env.run_command(command)
                    .assert_stderr("")
                    .assert_stdout("one two\n");
            }
        }
    });
}

#[test]
fn the_command_gets_what_the_program_gets() {
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
            .assert_stderr("")
            .assert_stdout("");
        }
    });
}

#[test]
fn words_arrive_as_they_are() {
    for_each_bash(|env| {
        for call in ["flock", "command flock", "builtin flock"] {
            env.run_with_builtin(format!(
                "{call} l printf '<%s>' 'a b' '' '*' $'\\xff' \"it's\" -n -- '$x' '`y`' $'new\\nline' >got
                 printf '<%s>' 'a b' '' '*' $'\\xff' \"it's\" -n -- '$x' '`y`' $'new\\nline' | cmp - got; echo $?"
            ))
            .assert_stderr("")
            .assert_stdout("0\n");
        }
    });
}

#[test]
fn an_execution_in_place_of_the_shell_is_the_programs() {
    for_each_bash(|env| {
        env.run_with_builtin("exec flock l sh -c 'echo in; exit 3'; echo no")
            .assert_status(3)
            .assert_stdout("in\n");
        // The last command of a subshell takes its place, so it has the same parent as that.
        if !env.bash_is_older_than("5") {
            env.run_with_builtin(
                "(flock -F l sh -c 'echo $PPID') | { read p; [ $p = $$ ]; echo $?; }",
            )
            .assert_stdout("0\n");
        }
    });
}

#[test]
fn a_shell_that_waits_for_the_program_runs_its_traps_then() {
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
fn a_killed_shell_leaves_the_command_its_lock() {
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
fn many_in_the_background_are_all_waited_for() {
    for_each_bash(|env| {
        let script = "for i in {1..20}; do flock l sh -c \"exit $i\" & pids+=($!); done
            sum=0; for pid in ${pids[@]}; do wait $pid; sum=$((sum + $?)); done; exit $sum";
        assert_eq!(
            env.start_with_builtin(script).wait(),
            ExitReason::Exited(210)
        );
    });
}
