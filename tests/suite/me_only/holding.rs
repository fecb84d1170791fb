//! How long a name is held, and what the script inherits.

use super::MeOnlyEnv;
use super::hold_by;
use test_support::helper::HEARD_ALL;
use test_support::locks::runs;
use test_support::pre_exec::Inherit;
use test_support::process::{End, send};
use test_support::{Lab, wait_until};

/// The descriptors in a report of the probe.
fn descriptors(world: &str) -> Vec<(&str, &str)> {
    let lines = world.lines().filter_map(|line| line.strip_prefix("fd "));
    lines
        .map(|line| line.split_once(' ').expect("a number and a file"))
        .collect()
}

#[test]
fn the_script_inherits_the_name_at_the_lowest_free_descriptors() {
    let lab = Lab::new();
    let long = format!("{:x<107}", lab.lock_path());
    for (name, sockets) in [(lab.lock_path(), &["4", "6"][..]), (long, &["4"])] {
        lab.sh(format!(
            "exec 3<bin 5<bin; me-only {name} probe world world"
        ))
        .expect_code(0);
        let world = std::fs::read_to_string(lab.file("world")).expect("a report");
        let found: Vec<_> = descriptors(&world)
            .into_iter()
            .filter_map(|(number, file)| file.starts_with("socket:").then_some(number))
            .collect();
        assert_eq!(found, sockets, "{world}");
    }
}

#[test]
fn a_closed_standard_descriptor_stays_closed_for_the_script() {
    let lab = Lab::new();
    for closed in [&[0][..], &[1], &[2], &[0, 1, 2]] {
        let mut me_only = lab.me_only([&lab.lock_path(), "probe", "world", "world"]);
        me_only.closing(closed);
        let (world, outcome) = lab.world_of(me_only);
        outcome.expect_code(0);
        let open: Vec<_> = descriptors(&world)
            .into_iter()
            .map(|(number, _)| number.parse::<i32>().expect("a number"))
            .collect();
        let wanted: Vec<i32> = (0..=4).filter(|number| !closed.contains(number)).collect();
        assert_eq!(open, wanted, "{world}");
    }
}

#[test]
fn the_script_keeps_the_name_when_me_only_is_killed() {
    let lab = Lab::new();
    let name = lab.lock_path();
    let (mut holder, script) = lab.hold_name(&name);
    holder.murder();
    lab.is_refused(&name, &[script]);
    lab.is_refused(&name, &[script]);
    holder.hush();
    wait_until("the script ends", || !runs(script));
    lab.is_free(&name);
}

#[test]
fn nothing_is_left_of_the_name_when_all_are_killed() {
    let lab = Lab::new();
    let name = lab.lock_path();
    for _ in 0..20 {
        let (mut holder, script) = lab.hold_name(&name);
        assert!(send(-holder.pid(), libc::SIGKILL));
        assert_eq!(holder.end(), End::Killed(libc::SIGKILL));
        wait_until("the script ends", || !runs(script));
        lab.is_free(&name);
    }
    assert!(lab.names().is_empty(), "{:?}", lab.names());
}

#[test]
fn the_name_is_free_as_soon_as_me_only_has_ended() {
    let lab = Lab::new();
    let name = lab.lock_path();
    lab.sh(format!(
        "i=0; while [ $i -lt 200 ]; do i=$((i + 1)); me-only {name} sh -c 'exit 0' || exit; done"
    ))
    .expect_code(0)
    .expect_err("");
}

#[test]
fn what_the_script_leaves_behind_keeps_the_name() {
    let lab = Lab::new();
    let name = lab.lock_path();
    let mut daemon =
        lab.start(lab.me_only([&name, "sh", "-c", "exec 9<&0; read x <&9 & echo $!; exit 0"]));
    let process = daemon.line().parse().expect("a pid");
    assert_eq!(daemon.end(), End::Exited(0));
    lab.is_refused(&name, &[process]);
    daemon.hush();
    wait_until("the daemon ends", || !runs(process));
    lab.is_free(&name);
}

#[test]
fn a_script_that_closes_all_it_inherited_is_the_only_one_all_the_same() {
    let lab = Lab::new();
    let name = lab.lock_path();
    let mut me_only = lab.me_only([&name]);
    me_only.args(["sh", "-c", "exec \"$@\" 3>&- 4>&-", "sh"]);
    let (holder, _) = hold_by(&lab, me_only);
    lab.is_refused(&name, &[holder.pid()]);
    holder.let_go();
}

#[test]
fn a_signal_sent_to_me_only_reaches_the_script() {
    let lab = Lab::new();
    let mut me_only = lab.start(lab.me_only([&lab.lock_path(), "probe", "hear", "2"]));
    me_only.comes_to("ready");
    me_only.line();
    for signal in [libc::SIGTERM, libc::SIGHUP] {
        me_only.signal(signal);
        me_only.hears(&format!("heard {signal} 0 0"));
    }
    assert_eq!(me_only.end(), End::Exited(HEARD_ALL));
}

#[test]
fn me_only_dies_of_the_signal_that_its_script_died_of() {
    let lab = Lab::new();
    let name = lab.lock_path();
    let (mut holder, script) = lab.hold_name(&name);
    holder.signal(libc::SIGTERM);
    assert_eq!(holder.end(), End::Killed(libc::SIGTERM));
    assert!(!runs(script));
    lab.is_free(&name);
}
