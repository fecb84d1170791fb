//! Which names are equal, and which other programs they exclude.

use std::process::Command;

use rstest::rstest;
use test_support::helper::NAME_TAKEN;
use test_support::{TestEnv, can_unshare, os_string};

use super::{assert_free, assert_refused, hold_name, name, run_me_only, start_holder};
use crate::{CommandLineEnv, env};

/// Returns a longer name, of this many bytes, that no other test uses.
fn padded(name: &str, length: usize) -> String {
    assert!(name.len() < length);
    format!("{name:x<length$}")
}

/// Returns a name that is unique within its first 8 bytes, all that the original `me-only` used.
pub(super) fn short_name(env: &TestEnv) -> String {
    let dir = env.path().file_name().expect("a name");
    let dir = dir.to_str().expect("letters and digits");
    format!("{}:", &dir[dir.len() - 6..])
}

/// Returns another program that binds the name in its own way.
pub(super) fn other_program(env: &TestEnv, shape: &str, name: &str) -> Command {
    env.command_line(&format!("test-helper bind-name {shape} {name}"))
}

/// `original` is the first `me-only`, `padded` is a program that binds a whole `sockaddr_un`, and
/// `exact` one that binds a name of exact length.
#[rstest]
fn other_programs_and_me_only_exclude_each_other(
    env: TestEnv,
    name: String,
    #[values("original", "padded", "exact")] shape: &str,
) {
    let mut names = vec![short_name(&env)];
    if shape != "original" {
        names.extend([padded(&name, 107), name]);
    }
    for name in &names {
        let (other, _) = start_holder(&env, other_program(&env, shape, name));
        assert_refused(&env, name, &[other.pid()]);
        other.release();

        let try_other = || {
            let mut other = other_program(&env, shape, name);
            other.args(["echo", "alone"]);
            env.run_command(other)
        };
        let (me_only, _) = hold_name(&env, name);
        try_other().assert_all(NAME_TAKEN, "", "");
        me_only.release();
        try_other().assert_all(0, "alone\n", "");
        assert_free(&env, name);
    }
}

#[rstest]
fn second_instance_is_refused_and_holder_reported(env: TestEnv, name: String) {
    let (holder, script) = hold_name(&env, &name);
    for _ in 0..2 {
        assert_refused(&env, &name, &[holder.pid(), script]);
    }
    holder.release();
    assert_free(&env, &name);
}

#[rstest]
fn last_byte_of_name_is_significant(env: TestEnv, name: String) {
    for length in [name.len() + 2, 106, 107] {
        let name = padded(&name, length);
        let other = format!("{}y", &name[..length - 1]);
        run_me_only(&env, [&name, "me-only", &other, "echo", "both"]).assert_all(0, "both\n", "");
        let (_holder, _) = hold_name(&env, &name);
        run_me_only(&env, [&name, "echo", "overlap"]).assert_status(4);
    }
}

#[rstest]
fn name_and_its_prefix_are_different(env: TestEnv, name: String) {
    let name = padded(&name, 107);
    for length in [106, name.len() / 2, 9] {
        run_me_only(&env, [&name, "me-only", &name[..length], "echo", "both"])
            .assert_all(0, "both\n", "");
    }
}

#[rstest]
#[case::no_newline(b"\xff @\xfe", true)]
// The kernel's table of sockets, which shows the holder, has one line for each socket.
#[case::newline(b"\xff \n\x01@\xfe", false)]
fn name_may_contain_any_bytes(
    env: TestEnv,
    name: String,
    #[case] suffix: &[u8],
    #[case] reports_holder: bool,
) {
    let name = [name.as_bytes(), suffix].concat();
    let (holder, script) = start_holder(&env, env.with_args("me-only", [os_string(&name)]));
    let refused = run_me_only(&env, [os_string(&name), "echo".into(), "overlap".into()]);
    let refused = refused.assert_status(4).assert_stdout("");
    let has_message = |details: &str| {
        let message = format!(": not the only instance{details}\n");
        refused.stderr == [b"me-only: ", &name[..], message.as_bytes()].concat()
    };
    let is_holder = |pid| has_message(&format!(" (held by process {pid})"));
    let is_reported = is_holder(holder.pid()) || is_holder(script);
    assert_eq!(is_reported, reports_holder, "{refused:?}");
    assert!(is_reported || has_message(""), "{refused:?}");

    let mut other = name.clone();
    *other.last_mut().expect("not empty") -= 1;
    run_me_only(&env, [os_string(&other), "true".into()]).assert_status(0);
}

#[rstest]
fn names_are_per_network_namespace(env: TestEnv, name: String) {
    if !can_unshare(&env, "-rn") {
        return;
    }
    let (_holder, _) = hold_name(&env, &name);
    run_me_only(&env, [&name, "echo", "overlap"]).assert_status(4);
    env.sh(format!("unshare -rn me-only {name} echo in a container"))
        .assert_all(0, "in a container\n", "");
    env.sh(format!(
        "unshare -rn sh -c 'me-only {name} sh -c \"me-only {name} echo overlap; echo \\$?\"'"
    ))
    .assert_stdout("4\n");
}

/// Root of a user namespace may not inspect the processes outside, and a pid namespace does not
/// contain them.
#[rstest]
#[case::user_namespace("-r")]
#[case::pid_namespace("-rpf --mount-proc")]
fn holder_outside_of_namespace_is_not_reported(env: TestEnv, name: String, #[case] options: &str) {
    if !can_unshare(&env, options) {
        return;
    }
    let (_holder, _) = hold_name(&env, &name);
    env.sh(format!("unshare {options} me-only {name} echo overlap"))
        .assert_all(4, "", &format!("me-only: {name}: not the only instance\n"));
}
