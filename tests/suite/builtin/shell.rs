//! The shell around the builtin: its modes, its descriptors, its memory.

use rstest::rstest;

use super::{HELD, assert_script};
use test_support::builtin::{LIBRARY, for_each_bash};

#[rstest]
fn works_in_posix_mode(
    #[values(("bash --posix", ":"), ("bash", "set -o posix"))] (shell, set): (&str, &str),
) {
    let script = format!(
        "enable -f {LIBRARY} flock; {set}; {HELD}
         exec 8>l; flock 8; held l; flock -u 8; held l; f() {{ held l; return 3; }}; flock l f; echo $?
         flock l echo external; flock l echo over >out; cat out; flock zz 2>/dev/null || echo $?; type -t flock"
    );
    for_each_bash(|env| {
        env.shell(shell, &script).assert_all(
            0,
            "held\nfree\nheld\n3\nexternal\nover\n64\nbuiltin\n",
            "",
        );
    });
}

#[test]
fn works_in_restricted_shell() {
    for_each_bash(|env| {
        // A restricted shell cannot redirect, so it inherits the descriptor.
        let script = "type -t flock; flock 8; echo $?; f() { echo in; return 3; }; flock k f; echo $?
            flock k echo external; flock k sh -c 'exit 4'; echo $?; flock -n l true; echo $?; enable -d flock 2>&- || echo restricted";
        let expected = "builtin\n0\nin\n3\nexternal\n4\n1\nrestricted\n";
        // `bash -r` loads the builtin from its start-up file, which it reads before it is
        // restricted.
        let nested = format!("bash -r -c \"{}\"", script.replace('$', r"\$"));
        for script in [format!("set -r; {script}"), nested] {
            env.run_with_builtin(format!("exec 8>l; {script}"))
                .assert_all(0, expected, "");
        }
    });
}

#[test]
fn restricted_shell_runs_only_programs_in_its_path() {
    for_each_bash(|env| {
        std::fs::create_dir(env.file("allowed")).expect("a directory");
        env.install_script("allowed/flock", "#!/bin/sh\necho allowed\n");
        env.run_with_builtin("PATH=$PWD/allowed; set -r; flock l /bin/echo not; flock l nothing")
            .assert_all(0, "allowed\nallowed\n", "");
    });
}

#[test]
fn errexit_nounset_and_pipefail_work_as_usual() {
    for_each_bash(|env| {
        env.run_with_builtin("set -eu; exec 8>l; flock 8; flock k true; f() { :; }; flock k f; flock -u 8; echo well")
            .assert_stdout("well\n");
        env.run_with_builtin("set -e; exec 8>l 9>l; flock 9; flock -n 8; echo no")
            .assert_all(1, "", "");
        env.run_with_builtin("set -e; exec 8>l 9>l; flock 9; flock -n 8 || echo or; if flock -n 8; then :; else echo else; fi; ! flock -n 8; flock 77; echo no")
            .assert_all(65, "or\nelse\n", "flock: 77: Bad file descriptor\n");
        env.run_with_builtin("set -o pipefail; flock 77 2>&- | cat; echo $?; flock 77 2>&1 | flock 78; echo ${PIPESTATUS[@]}")
            .assert_all(0, "65\n65 65\n", "flock: 78: Bad file descriptor\n");
    });
}

#[rstest]
#[case("exec {fd}>l; flock $fd; held l; exec {fd}>&-; held l", "held\nfree\n")]
#[case("exec 200>l; flock 200; held l; exec 200>&-; held l", "held\nfree\n")]
#[case("( flock 8; held l ) 8>l; held l", "held\nfree\n")]
#[case("{ flock 8; held l; } 8>l; held l", "held\nfree\n")]
#[case("{ flock $fd; held l; } {fd}>l; exec {fd}>&-; held l", "held\nfree\n")]
#[case(
    "f() { flock 8; held l; } 8>l; f; held l; f; held l",
    "held\nfree\nheld\nfree\n"
)]
#[case("f() { flock 8; held l; }; f 8>l; held l", "held\nfree\n")]
#[case("flock 8 8>l; held l", "free\n")]
#[case(
    "for i in 1 2; do flock 8; held l; done 8>l; held l",
    "held\nheld\nfree\n"
)]
#[case(
    "while read x; do flock 8; held l; done 8>l <<<x; held l",
    "held\nfree\n"
)]
#[case("if flock 8; then held l; fi 8>l; held l", "held\nfree\n")]
#[case("exec 8>l; (flock 8); held l; (flock -u 8); held l", "held\nfree\n")]
#[case(
    "exec 8>l; flock 8; exec 9>&8 8>&-; held l; flock -u 9; held l",
    "held\nfree\n"
)]
#[case("exec 8>l; flock 8 | cat; held l", "held\n")]
#[case(
    "exec 8>l; x=$(flock 8); held l; flock 8 & wait $!; echo $?",
    "held\n0\n"
)]
#[case(
    "exec 8>l; flock 8; bash -c 'flock -n 8; echo $?; flock -u 8'; held l",
    "0\nfree\n"
)]
#[case("exec 8>l; bash -c 'flock 8'; held l", "held\n")]
#[case(
    "exec 8>l; bin/flock 8; held l; flock -u 8; held l; flock 8; bin/flock -u 8; held l",
    "held\nfree\nfree\n"
)]
#[case(
    "exec 8>l; flock 8; exec bash -c 'bin/flock -n l true; echo $?'",
    "1\n"
)]
#[case(
    "exec 8>l; eval flock 8; held l; echo 'flock -u 8' >s; . ./s; held l",
    "held\nfree\n"
)]
#[case("exec 8>l; trap 'flock 8' USR1; kill -USR1 $$; :; held l", "held\n")]
#[case(
    "exec 8>l; fd=8; flock $fd; held l; flock -u \"$fd\"; builtin flock 8; command flock -u 8; held l",
    "held\nfree\n"
)]
fn lock_is_held_while_its_descriptor_is_open(#[case] script: &str, #[case] stdout: &str) {
    assert_script(script, stdout);
}

#[test]
fn closed_descriptor_is_reported_as_bad() {
    for_each_bash(|env| {
        // Without the program's hint for a descriptor that only its parent, the calling shell, has
        // open: here the parent is not the calling shell.
        env.run_with_builtin(
            "exec 8>l; (exec 8>&-; flock 8); echo $?; bash -c 'exec 8>&-; flock 8; echo $?'",
        )
        .assert_status(0)
        .assert_stdout("65\n65\n")
        .assert_stderr("flock: 8: Bad file descriptor\nflock: 8: Bad file descriptor\n");
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

/// For scripts: `resident` sets `$kb` to the shell's resident memory, and `fds` sets `$fds` to its
/// descriptors.
const RESOURCES: &str = "resident() { local line; while read -r line; do case $line in VmRSS*) kb=${line//[^0-9]}; esac; done </proc/$$/status; }
    fds() { fds=(/proc/$$/fd/*); fds=\"${fds[*]}\"; }";

#[test]
fn two_hundred_thousand_calls_leak_nothing() {
    let script = format!(
        "{RESOURCES}; exec 8>l 9>l 3>&2 2>/dev/null; f() {{ :; }}; g() {{ return 1; }}
         some() {{ local i; for ((i = 0; i < 10000; i++)); do flock 8; flock -u 8; done; flock 8
             for ((i = 0; i < 300; i++)); do flock k f; flock k g; flock -n 9; flock 77; flock zz; done
             for ((i = 0; i < 5; i++)); do flock -w 0.000001 9; done; flock -u 8; }}
         some; some; resident; kb_before=$kb; fds; fds_before=$fds
         for round in {{1..8}}; do some; done; resident; fds
         [ $((kb - kb_before)) -lt 256 ] || echo $((kb - kb_before)) kB >&3
         [ \"$fds\" = \"$fds_before\" ]; echo $?"
    );
    assert_script(&script, "0\n");
}

#[test]
fn loading_and_unloading_leaks_nothing() {
    // That the library is mapped while it is loaded shows that the test looks in the right place.
    let script = format!(
        "{RESOURCES}; f() {{ :; }}; exec 8>l 9>l; some() {{ for ((i = 0; i < $1; i++)); do
             enable -f {LIBRARY} flock; flock 9; flock -w 0.000001 8; flock -u 9; flock k f; help flock >/dev/null; enable -d flock; done; }}
         mapped() {{ grep -q -e flock_builtin -e lib/bash/flock /proc/$$/maps && echo mapped || echo not mapped; }}
         mapped; enable -d flock; some 20; mapped; fds; fds_before=$fds; resident; kb_before=$kb
         some 200; mapped; resident; [ $((kb - kb_before)) -lt 512 ]; echo $?; fds; [ \"$fds\" = \"$fds_before\" ]; echo $?"
    );
    assert_script(&script, "mapped\nnot mapped\nnot mapped\n0\n0\n");
}
