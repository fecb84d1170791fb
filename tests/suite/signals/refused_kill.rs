//! `flock` where a sandbox refuses it kill(2): it cannot forward signals, but nothing hangs.

use libc::{SIGCONT, SIGSTOP};
use test_support::process::{ExitReason, send_signal};
use test_support::procfs::{children_of, is_stopped, status_field};
use test_support::sandbox::{CommandSandboxExt, RefusedCall, can_refuse_calls};
use test_support::{TestEnv, wait_until};

#[test]
fn command_may_stop_and_continue() {
    if !can_refuse_calls() {
        return;
    }
    let env = TestEnv::without_builtin();
    let mut flock = env.flock(["l", "sh", "-c", "echo held; read x; exit 3"]);
    flock.refuse(RefusedCall::KILL);
    let mut flock = env.start(flock);
    flock.expect_line("held");
    let command = children_of(flock.pid())[0];
    send_signal(command, SIGSTOP);
    wait_until("flock has seen the stop", || {
        is_stopped(command) && status_field(flock.pid(), "ShdPnd") == "0000000000000000"
    });
    send_signal(command, SIGCONT);
    flock.close_stdin();
    assert_eq!(flock.wait(), ExitReason::Exited(3));
}
