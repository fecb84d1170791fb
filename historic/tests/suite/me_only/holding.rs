//! How long a name is held, what the script inherits, and signals.

use test_support::helper::ALL_SIGNALS_RECEIVED;
use test_support::pre_exec::CommandPreExecExt;
use test_support::process::{ExitReason, send_signal};
use test_support::procfs::is_running;
use test_support::{TestEnv, wait_until};

use super::{assert_free, assert_refused, hold_name, me_only, start_holder, unique_name};
use crate::{CommandLineEnv, ReadPid};

/// Returns the descriptors in a report of `test-helper`, and their files.
fn descriptors(state: &str) -> Vec<(i32, &str)> {
    let lines = state.lines().filter_map(|line| line.strip_prefix("fd "));
    lines
        .map(|line| line.split_once(' ').expect("a number and a file"))
        .map(|(fd, file)| (fd.parse().expect("a number"), file))
        .collect()
}

#[test]
fn script_inherits_sockets_at_lowest_free_descriptors() {
    let env = TestEnv::new();
    let longest = format!("{:x<107}", unique_name(&env));
    // The longest name has a single address.
    for (name, sockets) in [(unique_name(&env), &[4, 6][..]), (longest, &[4])] {
        env.sh(format!(
            "exec 3<bin 5<bin; me-only {name} test-helper inherited-state state"
        ))
        .assert_status(0);
        let state = env.read("state");
        let mut found = descriptors(&state);
        found.retain(|(_, file)| file.starts_with("socket:"));
        let found: Vec<i32> = found.into_iter().map(|(fd, _)| fd).collect();
        assert_eq!(found, sockets, "{state}");
    }
}

#[test]
fn closed_standard_descriptors_stay_closed() {
    let env = TestEnv::new();
    for closed in [&[0][..], &[1], &[2], &[0, 1, 2]] {
        let mut me_only = me_only(&env, [&unique_name(&env)]);
        me_only.args(["test-helper", "inherited-state", "state"]);
        me_only.close_fds(closed);
        let (state, outcome) = env.inherited_state_of(me_only);
        outcome.assert_status(0);
        let open: Vec<i32> = descriptors(&state).into_iter().map(|(fd, _)| fd).collect();
        let expected: Vec<i32> = (0..=4).filter(|fd| !closed.contains(fd)).collect();
        assert_eq!(open, expected, "{state}");
    }
}

#[test]
fn script_keeps_name_after_me_only_is_killed() {
    let env = TestEnv::new();
    let name = unique_name(&env);
    let (mut holder, script) = hold_name(&env, &name);
    holder.kill();
    for _ in 0..2 {
        assert_refused(&env, &name, &[script]);
    }
    holder.close_stdin();
    wait_until("the script exits", || !is_running(script));
    assert_free(&env, &name);
}

#[test]
fn name_is_free_after_all_processes_are_killed() {
    let env = TestEnv::new();
    let name = unique_name(&env);
    for _ in 0..20 {
        let (mut holder, script) = hold_name(&env, &name);
        assert!(send_signal(-holder.pid(), libc::SIGKILL));
        assert_eq!(holder.wait(), ExitReason::Signaled(libc::SIGKILL));
        wait_until("the script exits", || !is_running(script));
        assert_free(&env, &name);
    }
    assert!(env.file_names().is_empty(), "{:?}", env.file_names());
}

#[test]
fn name_is_free_as_soon_as_me_only_exits() {
    let env = TestEnv::new();
    let name = unique_name(&env);
    env.sh(format!(
        "i=0; while [ $i -lt 200 ]; do i=$((i + 1)); me-only {name} sh -c 'exit 0' || exit; done"
    ))
    .assert_all(0, "", "");
}

#[test]
fn background_process_of_script_keeps_name() {
    let env = TestEnv::new();
    let name = unique_name(&env);
    let script = "exec 9<&0; read x <&9 & echo $!; exit 0";
    let mut me_only = env.start_script(&format!("me-only {name}"), script);
    let background = me_only.read_pid();
    assert_eq!(me_only.wait(), ExitReason::Exited(0));
    assert_refused(&env, &name, &[background]);
    me_only.close_stdin();
    wait_until("the background process exits", || !is_running(background));
    assert_free(&env, &name);
}

#[test]
fn me_only_keeps_name_if_script_closes_sockets() {
    let env = TestEnv::new();
    let name = unique_name(&env);
    let mut me_only = me_only(&env, [&name]);
    me_only.args(["sh", "-c", "exec \"$@\" 3>&- 4>&-", "sh"]);
    let (holder, _) = start_holder(&env, me_only);
    assert_refused(&env, &name, &[holder.pid()]);
    holder.release();
}

#[test]
fn signals_are_forwarded_to_script() {
    let env = TestEnv::new();
    let line = format!("me-only {} test-helper catch-signals 2", unique_name(&env));
    let mut me_only = env.start_line(&line);
    me_only.read_pid();
    for signal in [libc::SIGTERM, libc::SIGHUP] {
        me_only.signal(signal);
        me_only.expect_line(&format!("received {signal} 0 0"));
    }
    assert_eq!(me_only.wait(), ExitReason::Exited(ALL_SIGNALS_RECEIVED));
}

#[test]
fn me_only_dies_of_signal_that_killed_script() {
    let env = TestEnv::new();
    let name = unique_name(&env);
    let (mut holder, script) = hold_name(&env, &name);
    holder.signal(libc::SIGTERM);
    assert_eq!(holder.wait(), ExitReason::Signaled(libc::SIGTERM));
    assert!(!is_running(script));
    assert_free(&env, &name);
}
