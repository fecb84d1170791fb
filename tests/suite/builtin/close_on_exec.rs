//! `flock -o NUMBER`: programs that the script starts later do not inherit the lock.

use rstest::rstest;

use crate::builtin::HELD;
use test_support::builtin::for_each_bash;
use test_support::locks::waiter_count;
use test_support::process::ExitReason;
use test_support::wait_until;

/// For scripts: `inherits` prints whether programs inherit descriptor 8.
const INHERITS: &str =
    "inherits() { sh -c '[ -e /proc/self/fd/8 ] && echo inherited || echo closed'; }\n";

#[rstest]
#[case::is_set_with_the_lock("flock -o 8; inherits; held l", "closed\nheld\n")]
#[case::is_set_with_every_kind_of_lock(
    "for kind in -s -n '-w 9' --fcntl --fair; do
         exec 8<>l; flock -o $kind 8; inherits; done",
    "closed\nclosed\nclosed\nclosed\nclosed\n"
)]
#[case::is_not_set_without_the_option("flock 8; inherits", "inherited\n")]
#[case::is_not_set_on_a_conflict("flock 9; flock -no 8; echo $?; inherits", "1\ninherited\n")]
#[case::is_not_set_after_a_timeout(
    "flock 9; flock -o -w 0.01 8; echo $?; inherits",
    "1\ninherited\n"
)]
#[case::is_not_set_by_unlocking("flock 8; flock -uo 8; inherits; held l", "inherited\nfree\n")]
#[case::outlasts_the_lock("flock -o 8; flock -u 8; flock 8; inherits", "closed\n")]
#[case::ends_with_the_descriptor("flock -o 8; exec 8>&- 8<>l; inherits", "inherited\n")]
#[case::does_not_prevent_closing(
    "exec 200<>l; flock -o 200; held l; exec 200>&-; held l",
    "held\nfree\n"
)]
#[case::leaves_the_descriptor_to_subshells(
    "flock -o 8; (exec 3<>l; flock -n 3; echo $?; flock -u 8; held l)",
    "1\nfree\n"
)]
fn flag(#[case] script: &str, #[case] stdout: &str) {
    for_each_bash(|env| {
        env.run_with_builtin(format!("{HELD}{INHERITS}exec 8<>l 9>l; {script}"))
            .assert_all(0, stdout, "");
    });
}

#[rstest]
#[case("", "held")]
#[case("-o", "free")]
fn daemon_does_not_keep_the_lock(#[case] option: &str, #[case] state: &str) {
    for_each_bash(|env| {
        // `sh` prints once it is executed: until then, it is a subshell that has the descriptor.
        env.run_with_builtin(format!(
            "{HELD}exec 8>l; flock {option} 8; coproc sh -c 'echo ready; read x'
             read x <&${{COPROC[0]}}; exec 8>&-; held l; echo >&${{COPROC[1]}}; wait"
        ))
        .assert_all(0, &format!("{state}\n"), "");
    });
}

#[test]
fn descriptor_is_inherited_if_output_fails() {
    for_each_bash(|env| {
        let script = "exec 8>l; flock -o --verbose 8 >/dev/full; echo $?; inherits; held l";
        env.run_with_builtin(format!("{HELD}{INHERITS}{script}"))
            .assert_status(0)
            .assert_stdout("1\ninherited\nfree\n");
    });
}

#[test]
fn shell_waits_itself_with_job_control() {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        let script = "set -m; exec 8>l; flock -o 8; echo $?; inherits; held l";
        let mut shell = env.start_with_builtin(format!("{HELD}{INHERITS}{script}"));
        wait_until("it waits", || waiter_count(env.file("l")) == 1);
        holder.release();
        shell.expect("0\nclosed\nheld\n");
        assert_eq!(shell.wait(), ExitReason::Exited(0));
    });
}

#[test]
fn shell_waits_for_a_descriptor_that_is_not_inherited() {
    for_each_bash(|env| {
        let script = "set -m; exec 8>l; flock -o 8; flock -u 8; echo ready; read x
            flock 8; echo $?; held l";
        let mut shell = env.start_with_builtin(format!("{HELD}{script}"));
        shell.expect_line("ready");
        let holder = env.hold(&[], "l");
        shell.send_line("go");
        wait_until("it waits", || waiter_count(env.file("l")) == 1);
        holder.release();
        shell.expect("0\nheld\n");
        assert_eq!(shell.wait(), ExitReason::Exited(0));
    });
}
