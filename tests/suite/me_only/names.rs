//! Which names are the same, and to whom.

use super::MeOnlyEnv;
use std::process::Command;

use super::hold_by;
use test_support::helper::REFUSED;
use test_support::may_unshare;
use test_support::{Lab, word};

/// A name of this many bytes that no other test has.
fn of_length(lab: &Lab, length: usize) -> String {
    let mut name = lab.lock_path();
    assert!(name.len() < length);
    name.extend(std::iter::repeat_n('x', length - name.len()));
    name
}

/// A name that is short enough for the first `me-only` to tell it from others.
pub(super) fn short(lab: &Lab) -> String {
    let folder = lab.path().file_name().expect("a name");
    let folder = folder.to_str().expect("letters and digits");
    format!("{}:", &folder[folder.len() - 6..])
}

/// Somebody else's program that takes the name in its own way.
pub(super) fn rival(lab: &Lab, shape: &str, name: &str) -> Command {
    let mut command = lab.command("probe");
    command.args(["binds", shape, name]);
    command
}

/// Asserts that whoever binds the name in this way and we exclude each other, whoever comes first.
#[track_caller]
fn exclude_each_other(lab: &Lab, shape: &str, name: &str) {
    let (theirs, _) = hold_by(lab, rival(lab, shape, name));
    lab.is_refused(name, &[theirs.pid()]);
    theirs.let_go();

    let (ours, _) = lab.hold_name(name);
    let mut refused = rival(lab, shape, name);
    refused.args(["echo", "overlap"]);
    lab.finish(refused).expect_code(REFUSED).expect_out("");
    ours.let_go();

    let mut granted = rival(lab, shape, name);
    granted.args(["echo", "alone"]);
    lab.finish(granted).expect_code(0).expect_out("alone\n");
    lab.is_free(name);
}

#[test]
fn a_second_instance_is_refused_and_told_who_runs() {
    let lab = Lab::new();
    let name = lab.lock_path();
    let (holder, script) = lab.hold_name(&name);
    lab.is_refused(&name, &[holder.pid(), script]);
    lab.is_refused(&name, &[holder.pid(), script]);
    holder.let_go();
    lab.is_free(&name);
}

#[test]
fn names_that_differ_in_their_last_byte_are_two_however_long_they_are() {
    let lab = Lab::new();
    for length in [lab.lock_path().len() + 2, 106, 107] {
        let name = of_length(&lab, length);
        let other = format!("{}y", &name[..length - 1]);
        lab.only([&name, "me-only", &other, "echo", "both"])
            .expect_code(0)
            .expect_out("both\n");
        let (_holder, _) = lab.hold_name(&name);
        lab.only([&name, "echo", "overlap"]).expect_code(4);
    }
}

#[test]
fn a_name_and_its_beginning_are_two() {
    let lab = Lab::new();
    let name = of_length(&lab, 107);
    for length in [106, name.len() / 2, 9] {
        lab.only([&name, "me-only", &name[..length], "echo", "both"])
            .expect_code(0)
            .expect_out("both\n");
    }
}

#[test]
fn a_name_is_bytes() {
    let lab = Lab::new();
    let name = [lab.lock_path().as_bytes(), b"\xff\xfe \n\x01@"].concat();
    let (_holder, _) = hold_by(&lab, lab.me_only([word(&name)]));
    let refused = lab.only([word(&name), "echo".into(), "overlap".into()]);
    let refused = refused.expect_code(4).expect_out("");
    let wanted = [b"me-only: ", &name[..], b": not the only instance"].concat();
    assert!(refused.stderr.starts_with(&wanted), "{refused:?}");

    let mut other = name;
    let last = other.iter().rposition(|byte| *byte == 0xfe);
    other[last.expect("it is there")] = 0xfd;
    lab.only([word(&other), "true".into()]).expect_code(0);
}

#[test]
fn who_runs_is_told_of_bytes_too() {
    let lab = Lab::new();
    let name = [lab.lock_path().as_bytes(), b"\xff @\xfe"].concat();
    let (holder, script) = hold_by(&lab, lab.me_only([word(&name)]));
    let refused = lab.only([word(&name), "true".into()]).expect_code(4);
    let told = [holder.pid(), script].iter().any(|process| {
        let told = format!("(process {process} has it)\n");
        refused.stderr.ends_with(told.as_bytes())
    });
    assert!(told, "{refused:?}");
}

#[test]
fn the_first_me_only_and_ours_exclude_each_other() {
    let lab = Lab::new();
    exclude_each_other(&lab, "original", &short(&lab));
}

#[test]
fn programs_that_bind_a_whole_sockaddr_and_ours_exclude_each_other() {
    let lab = Lab::new();
    for name in [short(&lab), lab.lock_path(), of_length(&lab, 107)] {
        exclude_each_other(&lab, "padded", &name);
    }
}

#[test]
fn programs_that_bind_a_name_of_exact_length_and_ours_exclude_each_other() {
    let lab = Lab::new();
    for name in [short(&lab), lab.lock_path(), of_length(&lab, 107)] {
        exclude_each_other(&lab, "exact", &name);
    }
}

#[test]
fn a_name_is_one_of_the_network_namespace() {
    let lab = Lab::new();
    if !may_unshare(&lab, "-rn") {
        return;
    }
    let name = lab.lock_path();
    let (_holder, _) = lab.hold_name(&name);
    lab.only([&name, "echo", "overlap"]).expect_code(4);
    lab.sh(format!("unshare -rn me-only {name} echo in a container"))
        .expect_code(0)
        .expect_out("in a container\n");
    lab.sh(format!(
        "unshare -rn sh -c 'me-only {name} sh -c \"me-only {name} echo overlap; echo \\$?\"'"
    ))
    .expect_out("4\n");
}

#[test]
fn who_runs_is_left_out_where_it_cannot_be_told() {
    let lab = Lab::new();
    let name = lab.lock_path();
    let (_holder, _) = lab.hold_name(&name);
    let refused = format!("me-only: {name}: not the only instance\n");
    // Who is root in a user namespace of his own may not look into the processes outside.
    if may_unshare(&lab, "-r") {
        lab.sh(format!("unshare -r me-only {name} echo overlap"))
            .expect_code(4)
            .expect_out("")
            .expect_err(&refused);
    }
    // In a pid namespace of his own there are no such processes.
    if may_unshare(&lab, "-rpf --mount-proc") {
        lab.sh(format!(
            "unshare -rpf --mount-proc me-only {name} echo overlap"
        ))
        .expect_code(4)
        .expect_out("")
        .expect_err(&refused);
    }
}
