//! Which names are the same, and to whom.

use super::MeOnlyEnv;
use std::process::Command;

use super::hold_with;
use test_support::can_unshare;
use test_support::helper::NAME_TAKEN;
use test_support::{TestEnv, os_string};

/// A name of this many bytes that no other test has.
fn of_length(env: &TestEnv, length: usize) -> String {
    let mut name = env.unique_name();
    assert!(name.len() < length);
    name.extend(std::iter::repeat_n('x', length - name.len()));
    name
}

/// A name that is short enough for the first `me-only` to tell it from others.
pub(super) fn short(env: &TestEnv) -> String {
    let folder = env.path().file_name().expect("a name");
    let folder = folder.to_str().expect("letters and digits");
    format!("{}:", &folder[folder.len() - 6..])
}

/// Somebody else's program that takes the name in its own way.
pub(super) fn rival(env: &TestEnv, shape: &str, name: &str) -> Command {
    let mut command = env.command("test-helper");
    command.args(["bind-name", shape, name]);
    command
}

/// Asserts that whoever binds the name in this way and we exclude each other, whoever comes first.
#[track_caller]
fn exclude_each_other(env: &TestEnv, shape: &str, name: &str) {
    let (theirs, _) = hold_with(env, rival(env, shape, name));
    env.assert_refused(name, &[theirs.pid()]);
    theirs.release();

    let (ours, _) = env.hold_name(name);
    let mut refused = rival(env, shape, name);
    refused.args(["echo", "overlap"]);
    env.run_command(refused)
        .assert_status(NAME_TAKEN)
        .assert_stdout("");
    ours.release();

    let mut granted = rival(env, shape, name);
    granted.args(["echo", "alone"]);
    env.run_command(granted)
        .assert_status(0)
        .assert_stdout("alone\n");
    env.assert_free(name);
}

#[test]
fn a_second_instance_is_refused_and_told_who_runs() {
    let env = TestEnv::new();
    let name = env.unique_name();
    let (holder, script) = env.hold_name(&name);
    env.assert_refused(&name, &[holder.pid(), script]);
    env.assert_refused(&name, &[holder.pid(), script]);
    holder.release();
    env.assert_free(&name);
}

#[test]
fn names_that_differ_in_their_last_byte_are_two_however_long_they_are() {
    let env = TestEnv::new();
    for length in [env.unique_name().len() + 2, 106, 107] {
        let name = of_length(&env, length);
        let other = format!("{}y", &name[..length - 1]);
        env.run_me_only([&name, "me-only", &other, "echo", "both"])
            .assert_status(0)
            .assert_stdout("both\n");
        let (_holder, _) = env.hold_name(&name);
        env.run_me_only([&name, "echo", "overlap"]).assert_status(4);
    }
}

#[test]
fn a_name_and_its_beginning_are_two() {
    let env = TestEnv::new();
    let name = of_length(&env, 107);
    for length in [106, name.len() / 2, 9] {
        env.run_me_only([&name, "me-only", &name[..length], "echo", "both"])
            .assert_status(0)
            .assert_stdout("both\n");
    }
}

#[test]
fn a_name_is_bytes() {
    let env = TestEnv::new();
    let name = [env.unique_name().as_bytes(), b"\xff\xfe \n\x01@"].concat();
    let (_holder, _) = hold_with(&env, env.me_only([os_string(&name)]));
    let refused = env.run_me_only([os_string(&name), "echo".into(), "overlap".into()]);
    let refused = refused.assert_status(4).assert_stdout("");
    let wanted = [b"me-only: ", &name[..], b": not the only instance"].concat();
    assert!(refused.stderr.starts_with(&wanted), "{refused:?}");

    let mut other = name;
    let last = other.iter().rposition(|byte| *byte == 0xfe);
    other[last.expect("it is there")] = 0xfd;
    env.run_me_only([os_string(&other), "true".into()])
        .assert_status(0);
}

#[test]
fn who_runs_is_told_of_bytes_too() {
    let env = TestEnv::new();
    let name = [env.unique_name().as_bytes(), b"\xff @\xfe"].concat();
    let (holder, script) = hold_with(&env, env.me_only([os_string(&name)]));
    let refused = env
        .run_me_only([os_string(&name), "true".into()])
        .assert_status(4);
    let told = [holder.pid(), script].iter().any(|process| {
        let told = format!("(held by process {process})\n");
        refused.stderr.ends_with(told.as_bytes())
    });
    assert!(told, "{refused:?}");
}

#[test]
fn the_first_me_only_and_ours_exclude_each_other() {
    let env = TestEnv::new();
    exclude_each_other(&env, "original", &short(&env));
}

#[test]
fn programs_that_bind_a_whole_sockaddr_and_ours_exclude_each_other() {
    let env = TestEnv::new();
    for name in [short(&env), env.unique_name(), of_length(&env, 107)] {
        exclude_each_other(&env, "padded", &name);
    }
}

#[test]
fn programs_that_bind_a_name_of_exact_length_and_ours_exclude_each_other() {
    let env = TestEnv::new();
    for name in [short(&env), env.unique_name(), of_length(&env, 107)] {
        exclude_each_other(&env, "exact", &name);
    }
}

#[test]
fn a_name_is_one_of_the_network_namespace() {
    let env = TestEnv::new();
    if !can_unshare(&env, "-rn") {
        return;
    }
    let name = env.unique_name();
    let (_holder, _) = env.hold_name(&name);
    env.run_me_only([&name, "echo", "overlap"]).assert_status(4);
    env.sh(format!("unshare -rn me-only {name} echo in a container"))
        .assert_status(0)
        .assert_stdout("in a container\n");
    env.sh(format!(
        "unshare -rn sh -c 'me-only {name} sh -c \"me-only {name} echo overlap; echo \\$?\"'"
    ))
    .assert_stdout("4\n");
}

#[test]
fn who_runs_is_left_out_where_it_cannot_be_told() {
    let env = TestEnv::new();
    let name = env.unique_name();
    let (_holder, _) = env.hold_name(&name);
    let refused = format!("me-only: {name}: not the only instance\n");
    // Who is root in a user namespace of his own may not look into the processes outside.
    if can_unshare(&env, "-r") {
        env.sh(format!("unshare -r me-only {name} echo overlap"))
            .assert_status(4)
            .assert_stdout("")
            .assert_stderr(&refused);
    }
    // In a pid namespace of his own there are no such processes.
    if can_unshare(&env, "-rpf --mount-proc") {
        env.sh(format!(
            "unshare -rpf --mount-proc me-only {name} echo overlap"
        ))
        .assert_status(4)
        .assert_stdout("")
        .assert_stderr(&refused);
    }
}
