//! The shell around the builtin: its modes, its descriptors, its memory.

use super::HELD;
use test_support::builtin::{LIBRARY, for_each_bash};
use test_support::process::ExitReason;

#[test]
fn it_works_in_posix_mode() {
    for_each_bash(|env| {
        for shell in ["bash --posix", "bash"] {
            let set = if shell == "bash" { "set -o posix" } else { ":" };
            env.shell(
                shell,
                format!(
                    "enable -f {LIBRARY} flock; {set}; {HELD}
                     exec 8>l; flock 8; held l; flock -u 8; held l; f() {{ held l; return 3; }}; flock l f; echo $?
                     flock l echo handed; flock l echo over >out; cat out; flock zz 2>/dev/null || echo $?; type -t flock"
                ),
            )
            .assert_stderr("")
            .assert_stdout("held\nfree\nheld\n3\nhanded\nover\n64\nbuiltin\n");
        }
    });
}

#[test]
fn it_works_in_a_restricted_shell() {
    for_each_bash(|env| {
        // In such a shell nobody can redirect, so the descriptor is inherited.
        let script = "type -t flock; flock 8; echo $?; f() { echo in; return 3; }; flock k f; echo $?
            flock k echo handed; flock k sh -c 'exit 4'; echo $?; flock -n l true; echo $?; enable -d flock 2>&- || echo restricted";
        env.run_with_builtin(format!("exec 8>l; set -r; {script}"))
            .assert_stderr("")
            .assert_stdout("builtin\n0\nin\n3\nhanded\n4\n1\nrestricted\n");
        // It has the builtin from its start-up file, which is read before it is restricted.
        env.run_with_builtin(format!(
            "exec 8>l; bash -r -c \"{}\"",
            script.replace('$', r"\$")
        ))
        .assert_stderr("")
        .assert_stdout("builtin\n0\nin\n3\nhanded\n4\n1\nrestricted\n");
    });
}

#[test]
fn a_restricted_shell_runs_no_other_program_than_without_it() {
    for_each_bash(|env| {
        // Its PATH is all that it may use.
        std::fs::create_dir(env.file("allowed")).expect("a folder");
        env.install_script("allowed/flock", "#!/bin/sh\necho allowed\n");
        env.run_with_builtin("PATH=$PWD/allowed; set -r; flock l /bin/echo not; flock l nothing")
            .assert_stderr("")
            .assert_stdout("allowed\nallowed\n");
    });
}

#[test]
fn unset_variables_and_failures_end_the_shell_as_ever() {
    for_each_bash(|env| {
        env.run_with_builtin("set -eu; exec 8>l; flock 8; flock k true; f() { :; }; flock k f; flock -u 8; echo well")
            .assert_stdout("well\n");
        env.run_with_builtin("set -e; exec 8>l 9>l; flock 9; flock -n 8; echo no")
            .assert_status(1)
            .assert_stdout("");
        env.run_with_builtin("set -e; exec 8>l 9>l; flock 9; flock -n 8 || echo or; if flock -n 8; then :; else echo else; fi; ! flock -n 8; flock 77; echo no")
            .assert_status(65)
            .assert_stdout("or\nelse\n");
        env.run_with_builtin("set -o pipefail; flock 77 2>&- | cat; echo $?; flock 77 2>&1 | flock 78; echo ${PIPESTATUS[@]}")
            .assert_stderr("flock: 78: Bad file descriptor\n")
            .assert_stdout("65\n65 65\n");
    });
}

#[test]
fn a_lock_lives_as_long_as_its_descriptor_is_open_somewhere() {
    for_each_bash(|env| {
        for (script, wanted) in [
            (
                "exec {fd}>l; flock $fd; held l; exec {fd}>&-; held l",
                "held\nfree\n",
            ),
            (
                "exec 200>l; flock 200; held l; exec 200>&-; held l",
                "held\nfree\n",
            ),
            ("( flock 8; held l ) 8>l; held l", "held\nfree\n"),
            ("{ flock 8; held l; } 8>l; held l", "held\nfree\n"),
            (
                "{ flock $fd; held l; } {fd}>l; exec {fd}>&-; held l",
                "held\nfree\n",
            ),
            (
                "f() { flock 8; held l; } 8>l; f; held l; f; held l",
                "held\nfree\nheld\nfree\n",
            ),
            ("f() { flock 8; held l; }; f 8>l; held l", "held\nfree\n"),
            ("flock 8 8>l; held l", "free\n"),
            (
                "for i in 1 2; do flock 8; held l; done 8>l; held l",
                "held\nheld\nfree\n",
            ),
            (
                "while read x; do flock 8; held l; done 8>l <<<x; held l",
                "held\nfree\n",
            ),
            ("if flock 8; then held l; fi 8>l; held l", "held\nfree\n"),
            (
                "exec 8>l; (flock 8); held l; (flock -u 8); held l",
                "held\nfree\n",
            ),
            (
                "exec 8>l; flock 8; exec 9>&8 8>&-; held l; flock -u 9; held l",
                "held\nfree\n",
            ),
            ("exec 8>l; flock 8 | cat; held l", "held\n"),
            (
                "exec 8>l; x=$(flock 8); held l; flock 8 & wait $!; echo $?",
                "held\n0\n",
            ),
            (
                "exec 8>l; flock 8; bash -c 'flock -n 8; echo $?; flock -u 8'; held l",
                "0\nfree\n",
            ),
            ("exec 8>l; bash -c 'flock 8'; held l", "held\n"),
            (
                "exec 8>l; bin/flock 8; held l; flock -u 8; held l; flock 8; bin/flock -u 8; held l",
                "held\nfree\nfree\n",
            ),
            (
                "exec 8>l; flock 8; exec bash -c 'bin/flock -n l true; echo $?'",
                "1\n",
            ),
            (
                "exec 8>l; eval flock 8; held l; echo 'flock -u 8' >s; . ./s; held l",
                "held\nfree\n",
            ),
            (
                "exec 8>l; trap 'flock 8' USR1; kill -USR1 $$; :; held l",
                "held\n",
            ),
            (
                "exec 8>l; fd=8; flock $fd; held l; flock -u \"$fd\"; builtin flock 8; command flock -u 8; held l",
                "held\nfree\n",
            ),
        ] {
            println!("{script}");
            env.run_with_builtin(format!("{HELD}{script}"))
                .assert_stderr("")
                .assert_stdout(wanted);
        }
    });
}

#[test]
fn a_descriptor_that_is_not_open_is_said_to_be_bad_and_no_more() {
    for_each_bash(|env| {
        // That the parent has it open is no news: this is the shell, not its child.
        env.run_with_builtin(
            "exec 8>l; (exec 8>&-; flock 8); echo $?; bash -c 'exec 8>&-; flock 8; echo $?'",
        )
        .assert_stderr("flock: 8: Bad file descriptor\nflock: 8: Bad file descriptor\n")
        .assert_stdout("65\n65\n");
    });
}

#[test]
fn closed_streams_stay_closed() {
    for_each_bash(|env| {
        env.run_with_builtin(
            "flock 0 <&- 2>err; echo $?; cat err; f() { [ -e /proc/$$/fd/0 ]; echo $? >in-function; }
             flock l f <&-; cat in-function; flock l sh -c '[ -e /proc/self/fd/0 ]; echo $?' <&-
             exec 8>l; (flock 8 <&- >&- 2>&-); flock -n 8; echo $?
             flock -V >&-; echo $?",
        )
        .assert_stdout("65\nflock: 0: Bad file descriptor\n1\n1\n0\n1\n");
    });
}

/// For scripts: `resident` sets `$kb` to what the shell has in memory.
const RESIDENT: &str = "resident() { local line; while read -r line; do case $line in VmRSS*) kb=${line//[^0-9]}; esac; done </proc/$$/status; }";

#[test]
fn two_hundred_thousand_calls_leave_nothing_behind() {
    for_each_bash(|env| {
        env.run_with_builtin(format!(
            "{RESIDENT}; exec 8>l 9>l 3>&2 2>/dev/null; f() {{ :; }}; g() {{ return 1; }}
             some() {{ local i; for ((i = 0; i < 10000; i++)); do flock 8; flock -u 8; done; flock 8
                 for ((i = 0; i < 300; i++)); do flock k f; flock k g; flock -n 9; flock 77; flock zz; done
                 for ((i = 0; i < 5; i++)); do flock -w 0.000001 9; done; flock -u 8; }}
             some; some; resident; before=$kb; descriptors=(/proc/$$/fd/*)
             for round in {{1..8}}; do some; done; resident; now=(/proc/$$/fd/*)
             [ $((kb - before)) -lt 256 ] || echo $((kb - before)) kB >&3
             [ \"${{now[*]}}\" = \"${{descriptors[*]}}\" ]; echo $?"
        ))
        .assert_stderr("")
        .assert_stdout("0\n");
    });
}

#[test]
fn two_hundred_times_loaded_and_unloaded_leave_nothing_behind() {
    for_each_bash(|env| {
        env.run_with_builtin(format!(
            "{RESIDENT}; f() {{ :; }}; exec 8>l 9>l; some() {{ for ((i = 0; i < $1; i++)); do
                 enable -f {LIBRARY} flock; flock 9; flock -w 0.000001 8; flock -u 9; flock k f; help flock >/dev/null; enable -d flock; done; }}
             enable -d flock; some 20; grep -c -e flock_builtin -e lib/bash/flock /proc/$$/maps; descriptors=(/proc/$$/fd/*); resident; before=$kb
             some 200; grep -c -e flock_builtin -e lib/bash/flock /proc/$$/maps; resident
             [ $((kb - before)) -lt 512 ]; echo $?; now=(/proc/$$/fd/*); [ \"${{now[*]}}\" = \"${{descriptors[*]}}\" ]; echo $?"
        ))
        .assert_stderr("")
        .assert_stdout("0\n0\n0\n0\n");
    });
}

#[test]
fn a_loaded_library_can_be_seen_where_it_is_looked_for() {
    for_each_bash(|env| {
        // So the test above tests something.
        let script = "grep -q -e flock_builtin -e lib/bash/flock /proc/$$/maps && :";
        assert_eq!(env.start_with_builtin(script).wait(), ExitReason::Exited(0));
    });
}
