//! The model of the lock of a descriptor (`models/src/handle.rs`) against the system calls of `flock`
//! and the guards, which strace(1) records.

mod recording;

use libc::{SIGKILL, SIGSTOP};
use models::handle::{DEPUTY, FLOCK, Handle, TIMEKEEPER, UNLOCK, WATCHER};
use rstest::rstest;
use test_support::process::{Process, send_signal};
use test_support::procfs::is_running;
use test_support::system_calls::{Call, assert_explained};
use test_support::wait_until;

use super::kills::STUBBORN;
use super::loss::{ASKED, ENDS_SOON, loses};
use super::{GRANTS, HandleTest};
use recording::Recording;

const GRANTED: [Call; 5] = [
    ("recv", "granted"),
    ("fcntl(F_OFD_SETLK)", "mark"),
    ("fork", "timekeeper"),
    ("read", "ready"),
    ("exit", "success"),
];
const STARTED: [Call; 3] = [("fork", "watcher"), ("fork", "deputy"), ("write", "")];
const GONE: [Call; 2] = [("wait4", "watcher"), ("fcntl(F_OFD_GETLK)", "none")];
const RELEASED: [Call; 4] = [
    ("shutdown", ""),
    ("recv", "end"),
    ("kill", "deputy"),
    ("exit", ""),
];
const LINE: [Call; 2] = [("recv(MSG_PEEK)", "line"), ("recv", "line")];
const KILLED: [Call; 2] = [("kill", "child"), ("kill", "others")];
const WATCHED: [Call; 4] = [
    ("prctl(PR_SET_PDEATHSIG)", ""),
    ("getppid", "same"),
    ("fcntl(F_OFD_SETLKW)", ""),
    ("kill", "timekeeper"),
];
const UNLOCKED: [Call; 2] = [
    ("fcntl(F_OFD_SETLK)", "unlock"),
    ("fcntl(F_OFD_SETLKW)", ""),
];

/// The beginning of a script.
const LOCK: &str = "exec 8>>handle; flock 8 test://n || exit;";

/// Ends a script when it has read a line.
const HOLD: &str = "echo locked; read x; exit 0";

impl HandleTest {
    /// Starts a script under strace. `None` without strace.
    fn start_recorded(&self, script: &str) -> Option<Process> {
        let command = self.with_recording_of_all("sh", ["-c", script])?;
        Some(self.start(command))
    }

    /// Waits for the end of all processes.
    #[track_caller]
    fn finish_recorded(&self, mut process: Process) -> Recording {
        process.wait();
        Recording::new(self.recorded_processes())
    }
}

/// Asserts that a process has made these calls, in an order that the model demands.
#[track_caller]
fn assert_path(model: &Handle, process: u8, calls: &[Call], expected: &[&[Call]]) {
    assert_eq!(*calls, expected.concat());
    assert_explained(calls, |calls| model.explain(process, calls));
}

/// The program, while one process is killed or stopped.
fn model_with_victim(process: u8) -> Handle {
    Handle {
        victims: 1 << process,
        ..Handle::new(1)
    }
}

#[rstest]
#[case::script_exits("exit 0", &[])]
#[case::unlocked("flock -u 8", &UNLOCKED)]
fn a_lock_is_a_path_of_the_model(#[case] end: &str, #[case] unlocked: &[Call]) {
    let test = HandleTest::without_builtin(GRANTS);
    let Some(script) = test.start_recorded(&format!("{LOCK} {end}")) else {
        return;
    };
    let recording = test.finish_recorded(script);
    let model = Handle::new(0);
    assert_path(&model, FLOCK, &recording.flock(), &[&GRANTED]);
    let expected = [&STARTED[..], &GONE, &RELEASED];
    assert_path(&model, TIMEKEEPER, &recording.timekeeper(), &expected);
    for watcher in recording.watchers() {
        assert_path(&model, WATCHER, &watcher, &[&WATCHED]);
    }
    assert_eq!(recording.deputy(), []);
    if !unlocked.is_empty() {
        assert_path(&model, UNLOCK, &recording.unlock(), &[unlocked]);
    }
}

/// The script exits when it is asked to.
#[rstest]
#[case::runs_out(&format!("{ENDS_SOON}wait_for_release"), &[("poll", "stop")])]
#[case::lost(&loses("lost it is gone"), &[])]
fn a_loss_is_a_path_of_the_model(#[case] helper: &str, #[case] decided: &[Call]) {
    let test = HandleTest::without_builtin(helper);
    let Some(script) = test.start_recorded(ASKED) else {
        return;
    };
    let recording = test.finish_recorded(script);
    let model = Handle {
        is_lost: true,
        ..Handle::new(0)
    };
    let expected = [&STARTED[..], &LINE, decided, &GONE, &RELEASED];
    assert_path(&model, TIMEKEEPER, &recording.timekeeper(), &expected);
    // It may have been woken before the script exits.
    let deputy = recording.deputy();
    let continues = |call: &Call| *call == ("kill", "timekeeper");
    assert!(deputy.iter().all(continues), "{deputy:?}");
    assert_eq!(model.explain(DEPUTY, &deputy), Ok(()));
}

/// The script ignores that it is asked to terminate.
#[test]
fn killing_the_script_is_a_path_of_the_model() {
    let test = HandleTest::without_builtin(&loses("lost it is gone"));
    let Some(script) = test.start_recorded(STUBBORN) else {
        return;
    };
    let recording = test.finish_recorded(script);
    let model = Handle {
        is_lost: true,
        ..Handle::new(0)
    };
    let (timekeeper, deputy) = (recording.timekeeper(), recording.deputy());
    let kills = |calls: &[Call]| calls.windows(2).any(|two| *two == KILLED);
    assert!(kills(&timekeeper) || kills(&deputy));
    let lost = [&STARTED[..], &LINE].concat();
    assert_eq!(timekeeper[..lost.len()], lost);
    assert_explained(&timekeeper, |calls| model.explain(TIMEKEEPER, calls));
    assert_eq!(model.explain(DEPUTY, &deputy), Ok(()));
}

/// Records a script while a guard is killed. `None` without strace.
#[track_caller]
fn kill(name: &str) -> Option<Recording> {
    let test = HandleTest::without_builtin(GRANTS);
    let mut script = test.start_recorded(&format!("{LOCK} {HOLD}"))?;
    script.expect_line("locked");
    test.guards().replace(name);
    script.send_line("");
    Some(test.finish_recorded(script))
}

#[test]
fn end_of_a_timekeeper_is_a_path_of_the_model() {
    let Some(recording) = kill("lock-timekeeper") else {
        return;
    };
    let model = model_with_victim(TIMEKEEPER);
    assert_path(&model, TIMEKEEPER, &recording.timekeeper(), &[&STARTED]);
    let takeover = [
        ("poll", "end"),
        ("fcntl(F_OFD_GETLK)", "mark"),
        ("fork", "watcher"),
        ("fork", "deputy"),
    ];
    let successor = recording.deputy();
    assert_path(&model, DEPUTY, &successor, &[&takeover, &GONE, &RELEASED]);
    // The first one is killed, or sees that its parent was.
    let watchers = recording.watchers();
    assert_eq!(watchers.len(), 2);
    assert_path(&model, WATCHER, &watchers[1], &[&WATCHED]);
}

#[rstest]
#[case::watcher("lock-watcher", WATCHER, &[
    ("wait4", "watcher"),
    ("fcntl(F_OFD_GETLK)", "mark"),
    ("fork", "watcher"),
])]
#[case::deputy("lock-deputy", DEPUTY, &[("wait4", "deputy"), ("fork", "deputy")])]
fn a_killed_guard_is_a_path_of_the_model(
    #[case] name: &str,
    #[case] process: u8,
    #[case] replaced: &[Call],
) {
    let Some(recording) = kill(name) else { return };
    let model = model_with_victim(process);
    let expected = [&STARTED[..], replaced, &GONE, &RELEASED];
    assert_path(&model, TIMEKEEPER, &recording.timekeeper(), &expected);
}

/// It is continued, or the lock would not be released.
#[test]
fn a_stopped_watcher_is_a_path_of_the_model() {
    let test = HandleTest::without_builtin(GRANTS);
    let Some(mut script) = test.start_recorded(&format!("{LOCK} {HOLD}")) else {
        return;
    };
    script.expect_line("locked");
    assert!(send_signal(test.guards().pid("lock-watcher"), SIGSTOP));
    script.send_line("");
    let recording = test.finish_recorded(script);
    let expected = [&STARTED[..], &[("wait4", "stopped")], &GONE, &RELEASED].concat();
    assert_eq!(recording.timekeeper(), expected);
    let model = model_with_victim(WATCHER);
    assert_eq!(model.explain(TIMEKEEPER, &expected), Ok(()));
}

/// The deputy has nothing left to do but to wait for the helper.
#[test]
fn a_kill_in_the_release_is_a_path_of_the_model() {
    let helper = "echo granted 7 $(in_ms 60000)
        while read -r line; do :; done; echo >releasing; wait_for killed";
    let test = HandleTest::without_builtin(helper);
    let Some(mut script) = test.start_recorded(&format!("{LOCK} {HOLD}")) else {
        return;
    };
    script.expect_line("locked");
    let timekeeper = test.guards().pid("lock-timekeeper");
    script.send_line("");
    wait_until("it is released", || test.file("releasing").exists());
    assert!(send_signal(timekeeper, SIGKILL));
    wait_until("it exits", || !is_running(timekeeper));
    std::fs::write(test.file("killed"), "").expect("a file");
    let recording = test.finish_recorded(script);
    let model = model_with_victim(TIMEKEEPER);
    let expected = [&STARTED[..], &GONE, &RELEASED[..1]];
    assert_path(&model, TIMEKEEPER, &recording.timekeeper(), &expected);
    let completed = [
        ("poll", "end"),
        ("fcntl(F_OFD_GETLK)", "none"),
        ("shutdown", ""),
        ("recv", "end"),
        ("exit", ""),
    ];
    assert_path(&model, DEPUTY, &recording.deputy(), &[&completed]);
}
