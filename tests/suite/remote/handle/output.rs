//! What the guards print, and that they keep nothing of the caller open.

use std::fs::read_link;
use std::process::Stdio;

use libc::SIGKILL;
use test_support::procfs::{command_line, status_field};

use super::kills::{ENDS, STUBBORN};
use super::loss::{ENDS_SOON, NOT_RENEWED, message};
use super::{GRANTS, HandleTest};
use crate::remote::lease::fill;

/// A script that prints a line on its standard error before and after it is asked to terminate.
const PRINTS: &str = "exec 8>>handle; flock --ttl=100s --grace=50s 8 test://n || exit
    mkfifo fifo; exec 6<>fifo; trap 'echo after >&2; exit 3' TERM; echo before >&2; echo >go
    while :; do read x <&6; done";

/// Each process writes where the other has stopped.
#[test]
fn loss_is_reported_in_a_file() {
    let test = HandleTest::new(&format!("{ENDS_SOON}wait_for_release"));
    test.sh(format!("exec 2>errors; {PRINTS}"))
        .assert_all(3, "", "");
    let expected = format!("before\n{}after\n", message(NOT_RENEWED));
    assert_eq!(test.read_file("errors"), expected);
}

#[test]
fn loss_is_reported_by_another_process() {
    let test = HandleTest::new(&format!("{ENDS_SOON}wait_for_release"));
    // The script has none, but its child has.
    let script = PRINTS.replace("echo >go", "");
    let script = script.replace("read x <&6", "sh -c 'echo >go; exec sleep 99' 2>>errors");
    test.sh(format!("exec 2>&-; {script}")).assert_stdout("");
    let errors = test.read_file("errors");
    // The shell may report there that its child was terminated.
    assert!(errors.starts_with(&message(NOT_RENEWED)), "{errors}");
}

#[test]
fn script_without_stderr_is_stopped() {
    let test = HandleTest::new(&format!("{ENDS_SOON}wait_for_release"));
    test.sh(format!("exec 2>&-; {PRINTS}"))
        .assert_all(3, "", "");
}

#[test]
fn full_pipe_does_not_delay_the_end() {
    let test = HandleTest::new(ENDS);
    let (_unread, full) = std::io::pipe().expect("a pipe");
    fill(&full);
    let mut script = test.sh_command(STUBBORN);
    script.stdin(Stdio::null()).stdout(Stdio::piped());
    let script = script.stderr(full).spawn().expect("the script starts");
    let outcome = test.wait_with_output(script).expect("it ends");
    outcome.assert_all(128 + SIGKILL, "working\n", "");
    test.assert_released_last();
}

#[test]
fn pipe_ends_although_the_release_hangs() {
    let test = HandleTest::new(&format!("{GRANTS}\nwait_for read"));
    let inner = "exec 8>>handle; flock 8 test://n; echo out; echo err >&2";
    test.sh(format!("x=$(sh -c '{inner}' 2>&1); echo $x; echo >read"))
        .assert_all(0, "out err\n", "");
}

#[test]
fn guards_have_nothing_of_the_caller() {
    let test = HandleTest::new(GRANTS);
    let script = "exec 5>five 6<bin/flock 8>>handle; flock 8 test://n || exit; echo locked; read x";
    let mut script = test.start_script(script);
    script.expect_line("locked");
    for name in super::GUARDS {
        let pid = test.guards().pid(name);
        let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors");
        for entry in entries {
            let path = entry.expect("an entry").path();
            let link = read_link(&path).expect("a link").display().to_string();
            let number = path.file_name().expect("a number").to_string_lossy();
            let is_allowed = match &*number {
                "0" => link.starts_with("socket:"),
                "1" => link == test.file("handle").display().to_string(),
                "2" => link.starts_with("pipe:") && link != pipe_of(&script),
                _ => {
                    let kinds = ["socket:", "anon_inode:", "/memfd:flock-handle"];
                    kinds.iter().any(|kind| link.starts_with(kind))
                }
            };
            assert!(is_allowed, "{name}: {number} is {link}");
        }
        // Not its directory, which would keep a file system from being unmounted.
        let cwd = read_link(format!("/proc/{pid}/cwd")).expect("a directory");
        assert_eq!(cwd.to_str(), Some("/"));
        assert_eq!(command_line(pid).trim(), name);
        // All signals that can be blocked.
        assert_eq!(status_field(pid, "SigBlk"), "fffffffffffbfeff", "{name}");
    }
    script.send_line("");
    script.wait();
}

/// Returns the pipe to which a script writes.
fn pipe_of(script: &test_support::process::Process) -> String {
    let link = read_link(format!("/proc/{}/fd/1", script.pid()));
    link.expect("a pipe").display().to_string()
}
