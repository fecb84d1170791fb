//! What is no function is the program's, and nobody sees that there was a builtin in between.

use super::HELD;
use test_support::builtin::in_every_bash;
use test_support::helper::HEARD_ALL;
use test_support::process::{End, send};
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
    in_every_bash(|lab| {
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
                lab.builtin(format!(
                    "exec 8>k; {words} 2>/dev/null; echo $?; {words} 2>&-; (exit $?)"
                ))
                .expect_code(status)
                .expect_out(&format!("{status}\n"));
            }
        }
    });
}

#[test]
fn the_program_is_the_one_beside_the_builtin_whatever_path_has() {
    in_every_bash(|lab| {
        lab.program("flock", "#!/bin/sh\necho wrong\n");
        for path in ["PATH=$PWD:$PATH", "PATH=/nowhere", "unset PATH", "PATH="] {
            lab.builtin(format!(
                "{path}; flock l /bin/echo right; flock l /bin/echo right >out; /bin/cat out"
            ))
            .expect_err("")
            .expect_out("right\nright\n");
        }
    });
}

#[test]
fn without_the_program_beside_it_the_one_in_path_is_used() {
    in_every_bash(|lab| {
        std::fs::remove_file(lab.file("bin/flock")).expect("it is there");
        lab.program("bin/flock", "#!/bin/sh\necho other \"$@\"\n");
        std::fs::create_dir(lab.file("elsewhere")).expect("a folder");
        std::fs::rename(lab.file("bin/flock"), lab.file("elsewhere/flock")).expect("it is there");
        lab.builtin("PATH=$PWD/elsewhere:$PATH; flock l true; flock l true >out; cat out")
            .expect_err("")
            .expect_out("other l true\nother l true\n");
    });
}

#[test]
fn what_is_killed_is_the_program_and_so_the_command() {
    in_every_bash(|lab| {
        // In a file, as a command line that looks as if it had redirections is handed over in another way.
        lab.program("bin/catcher", "#!/bin/sh\nexec probe hear 1 >ready\n");
        lab.builtin("mkfifo ready").expect_code(0);
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
            if call.starts_with("command") && lab.bash_is_before("5.1") {
                continue;
            }
            let call = call.replace("CMD", "catcher");
            lab.builtin(format!(
                "{HELD}exec 5<>ready; {call}\nread x <&5; held l; kill $!; wait $!; echo $?; held l"
            ))
            .expect_out(&format!("held\n{HEARD_ALL}\nfree\n"));
        }
    });
}

#[test]
fn a_wait_in_the_background_is_ended_by_a_kill() {
    in_every_bash(|lab| {
        lab.teach_queued();
        for call in [
            "flock l touch ran &",
            "flock l touch ran >log &",
            "flock 8 &",
            "flock 8 >log &",
        ] {
            lab.builtin(format!(
                "exec 8>l 9>l; bin/flock 9; {call} bin/queued l 1; kill $!; wait $!; echo $?"
            ))
            .expect_out("143\n");
        }
        assert!(!lab.file("ran").exists());
    });
}

#[test]
fn redirections_with_side_effects_are_made_once() {
    in_every_bash(|lab| {
        for call in CALLS.into_iter().filter(|call| *call != "eval flock") {
            lab.builtin(format!(
                "n=0; {call} l cat <<<\"$((++n))\"; echo $n
                 next() {{ echo x >>count; echo out$(wc -l <count); }}; rm -f count
                 {call} l echo hi >\"$(next)\"; cat out1; wc -l <count
                 {call} l cat <<END\n$(next)\nEND\n wc -l <count
                 {call} l cat 4<\"$(next; : >out3)\" <<<\"$((++n))\" 2>/dev/null; echo $n; wc -l <count
                 {call} l true {{fd}}>\"x$((++n))\"; echo $n
                 {call} l sh -c 'echo a; echo b >&2' >>both 2>&1; cat both; rm both"
            ))
            .expect_out("1\n1\nhi\n1\nout2\n2\n2\n2\n3\n3\na\nb\n");
        }
    });
}

#[test]
fn a_fifo_is_opened_once() {
    in_every_bash(|lab| {
        for call in CALLS {
            // A reader sees the end of the stream with the first close, so a second open would hang, or find nothing.
            lab.builtin(format!(
                "mkfifo in out; (echo through >in) & cat out >got & {call} l cat <in >out; wait; cat got; rm in out"
            ))
            .expect_err("")
            .expect_out("through\n");
        }
    });
}

#[test]
fn pipelines_conditions_and_substitutions_are_those_of_a_command() {
    in_every_bash(|lab| {
        for call in CALLS {
            lab.builtin(format!(
                "echo a | {call} l cat | tr a b
                 {call} l false || echo or; {call} l true && echo and; if ! {call} l false; then echo not; fi
                 while {call} l false; do :; done; x=$({call} l echo captured); echo $x
                 cat <({call} l echo substituted); ({call} l echo sub; :); {{ {call} l echo group; }}
                 echo first >f; exec 9<f; {call} l sh -c 'cat <&9'; f() {{ {call} l echo \"$1\"; }}; f function
                 trap \"{call} l echo trapped\" USR1; kill -USR1 $$; :
                 set -e; {call} l false || :; {call} l true; {call} l false; echo no"
            ))
            .expect_err("")
            .expect_code(1)
            .expect_out(
                "b\nor\nand\nnot\ncaptured\nsubstituted\nsub\ngroup\nfirst\nfunction\ntrapped\n",
            );
        }
    });
}

#[test]
fn a_pipeline_has_the_programs_status() {
    in_every_bash(|lab| {
        for call in CALLS.into_iter().chain(["X=$(echo 'a b') flock"]) {
            for redirection in ["", "3>log"] {
                lab.builtin(format!(
                    "{call} l false {redirection} | {call} k sh -c 'exit 3' {redirection} | {call} j true
                     echo ${{PIPESTATUS[@]}}; {call} l sh -c 'exit 4' {redirection} & wait $!; echo $?
                     set -o pipefail; {call} l false {redirection} | cat; echo $?"
                ))
                .expect_out(if call.starts_with("eval") {
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
    in_every_bash(|lab| {
        lab.builtin(format!(
            "{HELD}coproc flock l cat; echo hi >&${{COPROC[1]}}; read x <&${{COPROC[0]}}; echo $x; held l
             eval \"exec ${{COPROC[1]}}>&-\"; wait $COPROC_PID; echo $?; held l"
        ))
        .expect_out("hi\nheld\n0\nfree\n");
    });
}

#[test]
fn whatever_takes_a_shells_place_without_the_builtin_does_so_with_it() {
    in_every_bash(|lab| {
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
            lab.program("who", "#!/bin/sh\necho $PPID >who.is\n");
            let shell = match shell {
                coprocess if shell.starts_with("coproc") => format!("{coprocess}; p=$COPROC_PID"),
                other => format!("{other} & p=$!"),
            };
            let told = |first: &str| {
                lab.builtin(format!(
                    "{first}; PATH=$PWD/bin/bin:$PATH; {shell}
                     wait; read q <who.is; [ $q = $p ] && echo its place || echo below"
                ))
                .expect_err("")
                .expect_code(0)
                .out()
            };
            assert_eq!(told(":"), told("enable -d flock"), "{shell}");
        }
    });
}

#[test]
fn what_comes_behind_it_is_done_too_wherever_bash_has_forked() {
    in_every_bash(|lab| {
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
                let mut command = lab.with_builtin(way);
                command.args(["bash", script]);
                lab.finish(command).expect_err("").expect_out("one two\n");
            }
        }
    });
}

#[test]
fn the_command_gets_what_the_program_gets() {
    in_every_bash(|lab| {
        for redirection in ["", "3>log", "<&-", "2>&-", "<<<text"] {
            lab.builtin(format!(
                "trap '' USR1; trap : USR2 TERM INT; export A=1; exec 7>seven
                 \"$PWD\"/bin/bin/flock l sh -c 'probe world one; env | sort >env-one' {redirection}
                 for call in flock 'command flock' 'builtin flock'; do
                     $call l sh -c 'probe world two; env | sort >env-two' {redirection}
                     sed -i 's/pipe:.*//; s/sh-thd.*//' one two
                     cmp one two && cmp env-one env-two || {{ diff one two; diff env-one env-two; }}
                 done; flock l sh -c 'probe world two' {redirection}; sed -i 's/pipe:.*//; s/sh-thd.*//' two; cmp one two"
            ))
            .expect_err("")
            .expect_out("");
        }
    });
}

#[test]
fn words_arrive_as_they_are() {
    in_every_bash(|lab| {
        for call in ["flock", "command flock", "builtin flock"] {
            lab.builtin(format!(
                "{call} l printf '<%s>' 'a b' '' '*' $'\\xff' \"it's\" -n -- '$x' '`y`' $'new\\nline' >got
                 printf '<%s>' 'a b' '' '*' $'\\xff' \"it's\" -n -- '$x' '`y`' $'new\\nline' | cmp - got; echo $?"
            ))
            .expect_err("")
            .expect_out("0\n");
        }
    });
}

#[test]
fn an_execution_in_place_of_the_shell_is_the_programs() {
    in_every_bash(|lab| {
        lab.builtin("exec flock l sh -c 'echo in; exit 3'; echo no")
            .expect_code(3)
            .expect_out("in\n");
        // The last command of a subshell takes its place, so it has the same parent as that.
        if !lab.bash_is_before("5") {
            lab.builtin("(flock -F l sh -c 'echo $PPID') | { read p; [ $p = $$ ]; echo $?; }")
                .expect_out("0\n");
        }
    });
}

#[test]
fn a_shell_that_waits_for_the_program_runs_its_traps_then() {
    in_every_bash(|lab| {
        lab.program("bin/signals", "#!/bin/sh\nkill -USR1 $1; echo first\n");
        for call in CALLS {
            lab.builtin(format!(
                "trap 'echo trapped' USR1; {call} l signals $$; echo $?"
            ))
            .expect_out("first\ntrapped\n0\n");
        }
    });
}

#[test]
fn a_killed_shell_leaves_the_command_its_lock() {
    in_every_bash(|lab| {
        let mut shell = lab.start_builtin("flock l sh -c 'echo $PPID; read x'; :");
        let flock: i32 = shell.line().parse().expect("a pid");
        assert_ne!(flock, shell.pid());
        shell.murder();
        lab.run(["-n", "l", "true"]).expect_code(1);
        assert!(send(flock, libc::SIGTERM));
        wait_until("it is free", || lab.run(["-n", "l", "true"]).code() == 0);
    });
}

#[test]
fn many_in_the_background_are_all_waited_for() {
    in_every_bash(|lab| {
        let script = "for i in {1..20}; do flock l sh -c \"exit $i\" & pids+=($!); done
            sum=0; for pid in ${pids[@]}; do wait $pid; sum=$((sum + $?)); done; exit $sum";
        assert_eq!(lab.start_builtin(script).end(), End::Exited(210));
    });
}
