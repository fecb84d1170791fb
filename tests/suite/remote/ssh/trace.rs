//! The model of the lock (`models/src/ssh.rs`) against the system calls of the holder, which strace(1)
//! records. `ssh` is not needed for that.

use models::ssh::Ssh;
use test_support::process::{ExitReason, Process};
use test_support::procfs::{children_of, is_stopped};
use test_support::system_calls::{Call, SystemCall, assert_explained};
use test_support::wait_until;

use super::SshTest;

/// Names the calls of the holder that concern the lock. To release it means to kill the guard and to
/// close two descriptors: the lock, if it was received, and the connection to the guard.
fn calls_of_holder(recorded: &[SystemCall]) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let (mut kept, mut is_killed) = (Vec::new(), false);
    for call in recorded {
        let has = |text: &str| call.args.contains(text);
        let named = match &*call.name {
            "socketpair" => {
                let fds = call.args.split_once(", [").map_or("", |(_, fds)| fds);
                kept.extend(fds.split(',').next().map(str::to_owned));
                continue;
            }
            "write" if has("\"renewed ") => ("write", "renewed"),
            "write" if has("\"granted ") => ("write", "granted"),
            "write" if has("\"released\\n\"") => ("write", "released"),
            "write" | "sendto" | "send" if has("\"k\"") => ("write", "k"),
            "read" if has("\"release\\n\"") => ("read", "release"),
            "read" if call.args.starts_with("0,") && call.result == "0" => ("read", "end"),
            "recvmsg" => {
                let lock = call.args.split_once("cmsg_data=[").map(|(_, data)| data);
                kept.extend(
                    lock.and_then(|data| data.split(']').next())
                        .map(str::to_owned),
                );
                ("recvmsg", "")
            }
            "kill" | "pidfd_send_signal" if has("SIGKILL") => {
                is_killed = true;
                continue;
            }
            "kill" | "pidfd_send_signal" if has("SIGSTOP") => ("kill", "SIGSTOP"),
            "kill" | "pidfd_send_signal" if has("SIGCONT") => ("kill", "SIGCONT"),
            "close" if is_killed && kept.contains(&call.args) => {
                kept.retain(|fd| *fd != call.args);
                if !kept.is_empty() {
                    continue;
                }
                ("kill", "")
            }
            "exit_group" => ("exit", ""),
            _ => continue,
        };
        calls.push(named);
    }
    calls
}

impl SshTest {
    /// Starts the process that a connection starts, under strace, and sends it a request. `None`
    /// without strace.
    fn serve_recorded(&self) -> Option<Process> {
        let program = self.env.file("libexec/fdlock/flock-ssh");
        let program = program.to_str().expect("the name is text");
        let command = self.env.with_recording(program, ["serve"])?;
        let mut holder = self.env.start(command);
        holder.expect_line("fdlock-ssh 1");
        let url = self.url();
        holder.send(&format!(
            "flock 1\nurl {url}\nmode exclusive\nwait forever\nttl 60000\n\
             pid 1\nhost here\nuser me\ncommand true\n\n"
        ));
        holder.expect_line("renewed 0");
        Some(holder)
    }

    #[track_caller]
    fn finish_recorded(&self, mut holder: Process) -> Vec<Call> {
        assert_eq!(holder.wait(), ExitReason::Exited(0));
        calls_of_holder(&self.env.recorded_calls())
    }
}

const RELEASED: [Call; 4] = [
    ("read", "release"),
    ("kill", ""),
    ("write", "released"),
    ("exit", ""),
];

#[test]
fn a_free_lock_is_a_path_of_the_model() {
    let Some(test) = SshTest::new() else { return };
    let Some(mut holder) = test.serve_recorded() else {
        return;
    };
    holder.expect("granted ");
    holder.send_line("renew 1");
    holder.expect("renewed 1\n");
    holder.send_line("release");
    holder.expect_line("released");
    let calls = test.finish_recorded(holder);
    let granted = [
        ("write", "renewed"),
        ("recvmsg", ""),
        ("write", "k"),
        ("write", "granted"),
        ("write", "renewed"),
    ];
    assert_eq!(calls, [&granted[..], &RELEASED].concat());
    let model = Ssh::new(1, 3, 0);
    // A renewal may come at any time.
    let ordered = [&calls[..4], &calls[5..]].concat();
    assert_eq!(model.explain_holder(&calls), Ok(()));
    assert_explained(&ordered, |calls| model.explain_holder(calls));
}

#[test]
fn a_stopped_waiter_is_a_path_of_the_model() {
    let Some(test) = SshTest::new() else { return };
    let local = test.env.hold(&[], "lock");
    let Some(mut holder) = test.serve_recorded() else {
        return local.release();
    };
    test.wait_for_waiters(1);
    let waiting = children_of(children_of(holder.pid())[0])[0];
    holder.send_line("stop");
    wait_until("it is stopped", || is_stopped(waiting));
    local.release();
    test.assert_there(&[], 0);
    holder.send_line("continue");
    holder.expect("granted ");
    holder.send_line("release");
    holder.expect("released\n");
    let calls = test.finish_recorded(holder);
    let granted = [
        ("write", "renewed"),
        ("kill", "SIGSTOP"),
        ("kill", "SIGCONT"),
        ("recvmsg", ""),
        ("write", "k"),
        ("write", "granted"),
    ];
    assert_eq!(calls, [&granted[..], &RELEASED].concat());
    let model = Ssh {
        stops: 1,
        ..Ssh::new(1, 3, 0)
    };
    assert_eq!(model.explain_holder(&calls), Ok(()));
    // What was stopped may have had the lock by then, so the signals may also come later.
    let mut exchanged = calls;
    exchanged.swap(1, 2);
    assert_eq!(model.explain_holder(&exchanged), Err(1));
}

#[test]
fn a_release_while_waiting_is_a_path_of_the_model() {
    let Some(test) = SshTest::new() else { return };
    let local = test.env.hold(&[], "lock");
    let Some(mut holder) = test.serve_recorded() else {
        return local.release();
    };
    test.wait_for_waiters(1);
    holder.send_line("release");
    holder.expect("released\n");
    let calls = test.finish_recorded(holder);
    local.release();
    assert_eq!(calls, [&[("write", "renewed")][..], &RELEASED].concat());
    let model = Ssh::new(2, 3, 0);
    assert_explained(&calls, |calls| model.explain_holder(calls));
}

#[test]
fn the_end_of_a_waiter_is_a_path_of_the_model() {
    let Some(test) = SshTest::new() else { return };
    let local = test.env.hold(&[], "lock");
    let Some(mut holder) = test.serve_recorded() else {
        return local.release();
    };
    test.wait_for_waiters(1);
    holder.close_stdin();
    let calls = test.finish_recorded(holder);
    local.release();
    let expected = [
        ("write", "renewed"),
        ("read", "end"),
        ("kill", ""),
        ("exit", ""),
    ];
    assert_eq!(calls, expected);
    let model = Ssh::new(1, 3, 1);
    assert_explained(&calls, |calls| model.explain_holder(calls));
}
