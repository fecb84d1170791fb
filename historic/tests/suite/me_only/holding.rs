//! How long a name is held, what the script inherits, and signals.

use rstest::rstest;
use test_support::helper::ALL_SIGNALS_RECEIVED;
use test_support::pre_exec::CommandPreExecExt;
use test_support::process::{ExitReason, send_signal};
use test_support::procfs::is_running;
use test_support::{TestEnv, wait_until};

use super::{assert_free, assert_refused, hold_name, name, start_holder};
use crate::{CommandLineEnv, env, read_pid};

/// Returns the descriptors in a report of `test-helper` whose files have names with this prefix.
fn descriptors(state: &str, prefix: &str) -> Vec<i32> {
    let lines = state.lines().filter_map(|line| line.strip_prefix("fd "));
    lines
        .map(|line| line.split_once(' ').expect("a number and a file"))
        .filter(|(_, file)| file.starts_with(prefix))
        .map(|(fd, _)| fd.parse().expect("a number"))
        .collect()
}

#[rstest]
fn script_inherits_sockets_at_lowest_free_descriptors(env: TestEnv, name: String) {
    // The longest name has a single address.
    for (name, sockets) in [(&name, &[4, 6][..]), (&format!("{name:x<107}"), &[4])] {
        env.sh(format!(
            "exec 3<bin 5<bin; me-only {name} test-helper inherited-state state"
        ))
        .assert_status(0);
        let state = env.read("state");
        assert_eq!(descriptors(&state, "socket:"), sockets, "{state}");
    }
}

#[rstest]
fn closed_standard_descriptors_stay_closed(env: TestEnv, name: String) {
    for closed in [&[0][..], &[1], &[2], &[0, 1, 2]] {
        let mut me_only = env.with_args("me-only", [&name]);
        me_only.args(["test-helper", "inherited-state", "state"]);
        me_only.close_fds(closed);
        let (state, outcome) = env.inherited_state_of(me_only);
        outcome.assert_status(0);
        let expected: Vec<i32> = (0..=4).filter(|fd| !closed.contains(fd)).collect();
        assert_eq!(descriptors(&state, ""), expected, "{state}");
    }
}

#[rstest]
fn script_keeps_name_after_me_only_is_killed(env: TestEnv, name: String) {
    let (mut holder, script) = hold_name(&env, &name);
    holder.kill();
    for _ in 0..2 {
        assert_refused(&env, &name, &[script]);
    }
    holder.close_stdin();
    wait_until("the script exits", || !is_running(script));
    assert_free(&env, &name);
}

#[rstest]
fn name_is_free_after_all_processes_are_killed(env: TestEnv, name: String) {
    for _ in 0..20 {
        let (mut holder, script) = hold_name(&env, &name);
        assert!(send_signal(-holder.pid(), libc::SIGKILL));
        assert_eq!(holder.wait(), ExitReason::Signaled(libc::SIGKILL));
        wait_until("the script exits", || !is_running(script));
        assert_free(&env, &name);
    }
    assert!(env.file_names().is_empty(), "{:?}", env.file_names());
}

#[rstest]
fn name_is_free_as_soon_as_me_only_exits(env: TestEnv, name: String) {
    env.sh(format!(
        "i=0; while [ $i -lt 200 ]; do i=$((i + 1)); me-only {name} sh -c 'exit 0' || exit; done"
    ))
    .assert_all(0, "", "");
}

#[rstest]
fn background_process_of_script_keeps_name(env: TestEnv, name: String) {
    let script = "exec 9<&0; read x <&9 & echo $!; exit 0";
    let mut me_only = env.start_script(&format!("me-only {name}"), script);
    let background = read_pid(&mut me_only);
    assert_eq!(me_only.wait(), ExitReason::Exited(0));
    assert_refused(&env, &name, &[background]);
    me_only.close_stdin();
    wait_until("the background process exits", || !is_running(background));
    assert_free(&env, &name);
}

#[rstest]
fn me_only_keeps_name_if_script_closes_sockets(env: TestEnv, name: String) {
    let mut me_only = env.with_args("me-only", [&name]);
    me_only.args(["sh", "-c", "exec \"$@\" 3>&- 4>&-", "sh"]);
    let (holder, _) = start_holder(&env, me_only);
    assert_refused(&env, &name, &[holder.pid()]);
    holder.release();
}

#[rstest]
fn signals_are_forwarded_to_script(env: TestEnv, name: String) {
    let mut me_only = env.start_line(&format!("me-only {name} test-helper catch-signals 2"));
    read_pid(&mut me_only);
    for signal in [libc::SIGTERM, libc::SIGHUP] {
        me_only.signal(signal);
        me_only.expect_line(&format!("received {signal} 0 0"));
    }
    assert_eq!(me_only.wait(), ExitReason::Exited(ALL_SIGNALS_RECEIVED));
}

#[rstest]
fn me_only_dies_of_signal_that_killed_script(env: TestEnv, name: String) {
    let (mut holder, script) = hold_name(&env, &name);
    holder.signal(libc::SIGTERM);
    assert_eq!(holder.wait(), ExitReason::Signaled(libc::SIGTERM));
    assert!(!is_running(script));
    assert_free(&env, &name);
}
