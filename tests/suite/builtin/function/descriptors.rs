//! What a function does to the descriptors that keep its lock.

use rstest::rstest;

use crate::builtin::HELD;
use test_support::builtin::for_each_bash;
use test_support::process::Process;

/// For scripts: `find_fds FILE` sets `fds` to the shell's descriptors on FILE, and `close_fds`
/// closes them.
const FIND_FDS: &str = r#"
find_fds() {
    local fd; fds=()
    for fd in /proc/$BASHPID/fd/*; do [ $fd -ef "$1" ] && fds+=(${fd##*/}); done
}
close_fds() { local fd; for fd in ${fds[@]}; do eval "exec $fd>&-"; done; }
"#;

/// The message about a lock that did not last, without the file.
const LOST: &str = "the function released the lock, or closed or replaced its descriptors, and ran \
                    partly without it";

/// Runs a script after [`HELD`] and [`FIND_FDS`] in every bash, and asserts that it prints this and
/// succeeds.
#[track_caller]
fn assert_script(script: &str, stdout: &str, stderr: &str) {
    for_each_bash(|env| {
        env.run_with_builtin(format!("{HELD}{FIND_FDS}{script}"))
            .assert_all(0, stdout, stderr);
    });
}

#[rstest]
fn function_may_close_either_descriptor(
    #[values(0, 1)] index: usize,
    #[values("", "-o", "--fair")] options: &str,
) {
    let script = format!(
        "f() {{ find_fds l; eval \"exec ${{fds[{index}]}}>&-\"; held l; return 3; }}
         flock {options} l f; echo $?; held l; find_fds l; echo ${{#fds[@]}}"
    );
    assert_script(&script, "held\n3\nfree\n0\n", "");
}

#[rstest]
fn function_may_close_one_of_a_byte_range(#[values(0, 1)] index: usize) {
    let script = format!(
        "f() {{ find_fds l; eval \"exec ${{fds[{index}]}}>&-\"; bin/flock -n --fcntl l true; echo $?; }}
         flock --fcntl l f; bin/flock -n --fcntl l true; echo $?"
    );
    assert_script(&script, "1\n0\n", "");
}

#[rstest]
fn function_may_lock_another_file_in_place(#[values(0, 1)] index: usize) {
    let script = format!(
        "f() {{ find_fds l; fd=${{fds[{index}]}}; eval \"exec $fd>other\"; flock $fd; held l; held other; }}
         flock l f; echo $?; held l; held other; flock -u $fd; held other"
    );
    assert_script(&script, "held\nheld\n0\nfree\nheld\nfree\n", "");
}

#[rstest]
fn function_may_lock_the_same_file_in_place(#[values(0, 1)] index: usize) {
    let script = format!(
        "f() {{ find_fds l; fd=${{fds[{index}]}}; eval \"exec $fd<>l\"; flock -s $fd; }}
         flock -s l f; echo $?; held l; flock -u $fd; held l"
    );
    assert_script(&script, "0\nheld\nfree\n", "");
}

#[rstest]
fn unlocking_the_same_file_in_place_keeps_the_lock(#[values(0, 1)] index: usize) {
    let script = format!(
        "f() {{ find_fds l; fd=${{fds[{index}]}}; eval \"exec $fd<>l\"; flock -u $fd; held l; }}
         flock l f; echo $?; held l"
    );
    assert_script(&script, "held\n0\nfree\n", "");
}

#[rstest]
fn nested_function_may_close_one_of_the_outer_lock(#[values(0, 1)] index: usize) {
    let script = format!(
        "f() {{ find_fds l; flock k g; held l; }}
         g() {{ eval \"exec ${{fds[{index}]}}>&-\"; held l; held k; }}
         flock l f; echo $?; held l; held k"
    );
    assert_script(&script, "held\nheld\nheld\n0\nfree\nfree\n", "");
}

#[rstest]
fn one_descriptor_suffices_at_a_low_limit(
    #[values(512, 256, 64, 40, 12)] limit: u32,
    #[values(0, 1)] index: usize,
) {
    let script = format!(
        "ulimit -n {limit}
         f() {{ find_fds l; eval \"exec ${{fds[{index}]}}>other\"; held l; }}
         flock l f; echo $?; held l"
    );
    assert_script(&script, "held\n0\nfree\n", "");
}

#[rstest]
#[case("close_fds", "65\n")]
#[case("local fd; for fd in ${fds[@]}; do eval \"exec $fd<>l\"; done", "65\n")]
#[case(
    "local fd; for fd in ${fds[@]}; do eval \"exec $fd>other\"; done",
    "65\n"
)]
#[case("close_fds; return 3", "65\n")]
fn call_fails_if_the_function_closes_both(#[case] action: &str, #[case] stdout: &str) {
    let script = format!("f() {{ find_fds l; {action}; }}; flock l f; echo $?");
    assert_script(&script, stdout, &format!("flock: l: {LOST}\n"));
}

#[test]
fn call_fails_if_the_only_descriptor_is_closed() {
    let script = "ulimit -n 8; f() { find_fds l; close_fds; }; flock l f; echo $?";
    assert_script(script, "65\n", &format!("flock: l: {LOST}\n"));
}

#[rstest]
#[case("k")]
#[case("l")]
fn losing_one_of_several_locks_fails(#[case] file: &str) {
    let script = format!(
        "f() {{ find_fds {file}; close_fds; }}; flock --also k l f; echo $?; held k; held l"
    );
    assert_script(&script, "65\nfree\nfree\n", &format!("flock: l: {LOST}\n"));
}

#[test]
fn losing_several_locks_prints_one_line() {
    let script = "f() { find_fds k; close_fds; find_fds l; close_fds; }
        flock --also k l f; echo $?";
    assert_script(script, "65\n", &format!("flock: l: {LOST}\n"));
}

#[test]
fn exit_after_closing_both_prints_the_message() {
    let script = "(f() { find_fds l; close_fds; exit 3; }; flock l f); echo $?";
    assert_script(script, "3\n", &format!("flock: l: {LOST}\n"));
}

#[test]
fn subshell_may_close_its_copies() {
    let script = "f() { find_fds l; (close_fds; held l; exit 3); echo $?; held l; }
        flock l f; echo $?; held l";
    assert_script(script, "held\n3\nheld\n0\nfree\n", "");
}

#[rstest]
#[case("-u")]
#[case("-s")]
fn function_cannot_unlock_its_lock_by_number(#[case] option: &str) {
    for_each_bash(|env| {
        let script = format!(
            "f() {{ find_fds l; for fd in ${{fds[@]}}; do flock {option} $fd; echo $?; done; held l; echo ${{fds[@]}} >numbers; }}
             flock l f; echo $?; held l"
        );
        let outcome = env.run_with_builtin(format!("{HELD}{FIND_FDS}{script}"));
        let numbers = std::fs::read_to_string(env.file("numbers")).expect("the descriptors");
        let expected = numbers.split_whitespace().map(|number| {
            format!("flock: {number}: Operation not permitted: it keeps the lock of a function\n")
        });
        let expected: String = expected.collect();
        outcome.assert_all(0, "65\n65\nheld\n0\nfree\n", &expected);
    });
}

#[test]
fn function_cannot_unlock_a_duplicate() {
    let script = "f() { find_fds l; exec 20>&${fds[0]}; flock -u 20; echo $?; held l; }
        flock l f; echo $?";
    let message = "flock: 20: Operation not permitted: it keeps the lock of a function\n";
    assert_script(script, "65\nheld\n0\n", message);
}

#[rstest]
fn call_fails_if_a_program_releases_the_lock(
    #[values("-u", "-s")] option: &str,
    #[values("", "--fcntl")] api: &str,
) {
    let script = format!(
        "f() {{ find_fds l; bin/flock {api} {option} ${{fds[0]}}; }}; flock {api} l f; echo $?"
    );
    // An --fcntl lock has a descriptor that is open for writing only.
    if api.is_empty() || option == "-u" {
        assert_script(&script, "65\n", &format!("flock: l: {LOST}\n"));
    }
}

#[test]
fn programs_that_leave_the_lock_alone_change_nothing() {
    let script = "f() { bin/flock -n l true; echo $?; ls >/dev/null; }; flock l f; echo $?
        flock -s l f; echo $?; flock --fcntl l f; echo $?";
    assert_script(script, "1\n0\n1\n0\n0\n0\n", "");
}

#[rstest]
fn killed_shell_leaves_the_lock_if_one_is_closed(#[values(0, 1)] index: usize) {
    for_each_bash(|env| {
        let script = format!(
            "{FIND_FDS}f() {{ find_fds l; eval \"exec ${{fds[{index}]}}>&-\"; sh -c 'echo ready; read x'; }}; flock l f"
        );
        let mut shell: Process = env.start_with_builtin(script);
        shell.expect_line("ready");
        shell.kill();
        env.run(["-n", "l", "true"]).assert_status(1);
        shell.send_line("end");
        env.run(["l", "true"]).assert_status(0);
    });
}
