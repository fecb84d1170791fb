//! How long a name is held, and what the script inherits.

use super::MeOnlyEnv;
use super::hold_with;
use test_support::helper::ALL_SIGNALS_RECEIVED;
use test_support::pre_exec::CommandPreExecExt;
use test_support::process::{ExitReason, send_signal};
use test_support::procfs::is_running;
use test_support::{TestEnv, wait_until};

/// The descriptors in a report of `test-helper`.
fn descriptors(state: &str) -> Vec<(&str, &str)> {
    let lines = state.lines().filter_map(|line| line.strip_prefix("fd "));
    lines
        .map(|line| line.split_once(' ').expect("a number and a file"))
        .collect()
}

#[test]
fn the_script_inherits_the_name_at_the_lowest_free_descriptors() {
    let env = TestEnv::new();
    let long = format!("{:x<107}", env.unique_name());
    for (name, sockets) in [(env.unique_name(), &["4", "6"][..]), (long, &["4"])] {
        env.sh(format!(
            "exec 3<bin 5<bin; me-only {name} test-helper inherited-state state"
        ))
        .assert_status(0);
        let state = std::fs::read_to_string(env.file("state")).expect("a report");
        let found: Vec<_> = descriptors(&state)
            .into_iter()
            .filter_map(|(number, file)| file.starts_with("socket:").then_some(number))
            .collect();
        assert_eq!(found, sockets, "{state}");
    }
}

#[test]
fn a_closed_standard_descriptor_stays_closed_for_the_script() {
    let env = TestEnv::new();
    for closed in [&[0][..], &[1], &[2], &[0, 1, 2]] {
        let mut me_only = env.me_only([
            &env.unique_name(),
            "test-helper",
            "inherited-state",
            "state",
        ]);
        me_only.close_fds(closed);
        let (state, outcome) = env.inherited_state_of(me_only);
        outcome.assert_status(0);
        let open: Vec<_> = descriptors(&state)
            .into_iter()
            .map(|(number, _)| number.parse::<i32>().expect("a number"))
            .collect();
        let wanted: Vec<i32> = (0..=4).filter(|number| !closed.contains(number)).collect();
        assert_eq!(open, wanted, "{state}");
    }
}

#[test]
fn the_script_keeps_the_name_when_me_only_is_killed() {
    let env = TestEnv::new();
    let name = env.unique_name();
    let (mut holder, script) = env.hold_name(&name);
    holder.kill();
    env.assert_refused(&name, &[script]);
    env.assert_refused(&name, &[script]);
    holder.close_stdin();
    wait_until("the script ends", || !is_running(script));
    env.assert_free(&name);
}

#[test]
fn nothing_is_left_of_the_name_when_all_are_killed() {
    let env = TestEnv::new();
    let name = env.unique_name();
    for _ in 0..20 {
        let (mut holder, script) = env.hold_name(&name);
        assert!(send_signal(-holder.pid(), libc::SIGKILL));
        assert_eq!(holder.wait(), ExitReason::Signaled(libc::SIGKILL));
        wait_until("the script ends", || !is_running(script));
        env.assert_free(&name);
    }
    assert!(env.file_names().is_empty(), "{:?}", env.file_names());
}

#[test]
fn the_name_is_free_as_soon_as_me_only_has_ended() {
    let env = TestEnv::new();
    let name = env.unique_name();
    env.sh(format!(
        "i=0; while [ $i -lt 200 ]; do i=$((i + 1)); me-only {name} sh -c 'exit 0' || exit; done"
    ))
    .assert_status(0)
    .assert_stderr("");
}

#[test]
fn what_the_script_leaves_behind_keeps_the_name() {
    let env = TestEnv::new();
    let name = env.unique_name();
    let mut daemon =
        env.start(env.me_only([&name, "sh", "-c", "exec 9<&0; read x <&9 & echo $!; exit 0"]));
    let process = daemon.read_line().parse().expect("a pid");
    assert_eq!(daemon.wait(), ExitReason::Exited(0));
    env.assert_refused(&name, &[process]);
    daemon.close_stdin();
    wait_until("the daemon ends", || !is_running(process));
    env.assert_free(&name);
}

#[test]
fn a_script_that_closes_all_it_inherited_is_the_only_one_all_the_same() {
    let env = TestEnv::new();
    let name = env.unique_name();
    let mut me_only = env.me_only([&name]);
    me_only.args(["sh", "-c", "exec \"$@\" 3>&- 4>&-", "sh"]);
    let (holder, _) = hold_with(&env, me_only);
    env.assert_refused(&name, &[holder.pid()]);
    holder.release();
}

#[test]
fn a_signal_sent_to_me_only_reaches_the_script() {
    let env = TestEnv::new();
    let mut me_only =
        env.start(env.me_only([&env.unique_name(), "test-helper", "catch-signals", "2"]));
    me_only.expect("ready");
    me_only.read_line();
    for signal in [libc::SIGTERM, libc::SIGHUP] {
        me_only.signal(signal);
        me_only.expect_line(&format!("received {signal} 0 0"));
    }
    assert_eq!(me_only.wait(), ExitReason::Exited(ALL_SIGNALS_RECEIVED));
}

#[test]
fn me_only_dies_of_the_signal_that_its_script_died_of() {
    let env = TestEnv::new();
    let name = env.unique_name();
    let (mut holder, script) = env.hold_name(&name);
    holder.signal(libc::SIGTERM);
    assert_eq!(holder.wait(), ExitReason::Signaled(libc::SIGTERM));
    assert!(!is_running(script));
    env.assert_free(&name);
}
