//! Asking again for what one has, or for more.

use super::{WHY, holder_to_be, nothing_is_left, queue_is, queuing, queuing_by};
use test_support::locks::{locks_on, turns};
use test_support::process::Live;
use test_support::{Lab, departure, wait_until};

/// A script with a descriptor 8 on `l`, which says what comes of each line that it is told.
#[track_caller]
pub fn script(lab: &Lab, first: &str) -> Live {
    let mut shell = lab.command("sh");
    let script = format!(
        "exec 8<>l; {first}; echo got $?; while read -r line; do eval \"$line\"; echo got $?; done"
    );
    shell.args(["-c", &script]);
    let mut shell = lab.start(shell);
    shell.hears("got 0");
    shell
}

/// Waits until these are the modes of the locks on `l` that are held: the kernel's table may be incomplete for a
/// moment.
#[track_caller]
fn held_is(lab: &Lab, modes: &[&str]) {
    wait_until("so many have the lock", || {
        let locks = locks_on(lab.file("l")).into_iter();
        let held = locks.filter(|lock| lock.kind == "FLOCK" && !lock.waits);
        held.map(|lock| lock.mode).eq(modes.iter().copied())
    });
}

#[test]
fn what_one_has_already_is_granted_at_once_though_a_writer_waits() {
    departure(WHY, |lab| {
        for (has, asks, stays) in [
            ("-s", "-s", "READ"),
            ("-x", "-x", "WRITE"),
            ("-x", "-s", "READ"),
        ] {
            let mut shell = script(lab, &format!("flock --fair {has} 8"));
            let mut writer = holder_to_be(lab, &["--fair"]);
            for how in ["", "-n", "-w1000"] {
                shell.say(&format!("flock --fair {how} {asks} 8"));
                shell.hears("got 0");
                held_is(lab, &[stays]);
                queue_is(lab, 1);
            }
            shell.say("flock -u 8");
            shell.hears("got 0");
            writer.hears("held");
            writer.let_go();
        }
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn a_reader_alone_becomes_a_writer_at_once() {
    departure(WHY, |lab| {
        lab.sh(
            "exec 8<>l; flock --fair -s 8; flock --fair -n 8; echo $?; flock -ns l true; echo $?",
        )
        .expect_err("")
        .expect_out("0\n1\n");
    });
}

#[test]
fn a_reader_that_is_to_become_a_writer_lets_those_before_it_in() {
    departure(WHY, |lab| {
        let mut shell = script(lab, "flock --fair -s 8");
        let mut writer = holder_to_be(lab, &["--fair"]);
        // Kept, its lock would have them wait for each other for ever.
        shell.say("flock --fair 8");
        writer.hears("held");
        queue_is(lab, 1);
        held_is(lab, &["WRITE"]);
        writer.let_go();
        shell.hears("got 0");
        held_is(lab, &["WRITE"]);
        shell.let_go();
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn a_reader_in_company_gives_its_lock_up_while_it_waits_to_become_a_writer() {
    departure(WHY, |lab| {
        let other = lab.hold(&["--fair", "-s"], "l");
        let mut shell = script(lab, "flock --fair -s 8");
        held_is(lab, &["READ", "READ"]);
        shell.say("flock --fair -x 8");
        queue_is(lab, 1);
        held_is(lab, &["READ"]);
        let mut behind = queuing(lab, ["--fair", "-s", "l", "echo", "behind"]);
        other.let_go();
        shell.hears("got 0");
        held_is(lab, &["WRITE"]);
        shell.let_go();
        behind.hears("behind");
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn two_readers_that_become_writers_do_so_one_after_the_other() {
    departure(WHY, |lab| {
        let reader = lab.hold(&["--fair", "-s"], "l");
        let mut shells = [
            script(lab, "flock --fair -s 8"),
            script(lab, "flock --fair -s 8"),
        ];
        for (number, shell) in shells.iter_mut().enumerate() {
            shell.say(&format!("flock --fair 8; echo {number} >>order"));
            queue_is(lab, number + 1);
        }
        reader.let_go();
        for mut shell in shells {
            shell.hears("got 0");
            shell.let_go();
        }
        let order = std::fs::read_to_string(lab.file("order")).expect("the order");
        assert_eq!(order, "0\n1\n");
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn a_lock_that_was_inherited_is_ones_own() {
    departure(WHY, |lab| {
        let mut shell = script(lab, "flock --fair 8");
        let mut writer = holder_to_be(lab, &["--fair"]);
        // Another process, the same open file description.
        shell.say("(flock --fair -n 8); sh -c 'flock --fair 8'");
        shell.hears("got 0");
        shell.say("exec 9>&8 8>&-; flock --fair 9");
        shell.hears("got 0");
        held_is(lab, &["WRITE"]);
        shell.say("flock -u 9");
        writer.hears("held");
        writer.let_go();
    });
}

#[test]
fn another_descriptor_of_the_same_script_queues_like_anybody() {
    departure(WHY, |lab| {
        lab.sh("exec 8<>l 9<>l; flock --fair 8; flock --fair -n 9; echo $?; flock --fair -w 0.01 9; echo $?
                flock --fair -u 8; flock --fair -n 9; echo $?")
            .expect_err("")
            .expect_out("1\n1\n0\n");
        let mut shell = lab.command("sh");
        shell.args(["-c", "exec 8<>l 9<>l; flock --fair 8; flock --fair 9"]);
        let waiter = queuing_by(lab, shell);
        assert_eq!(turns(lab.file("l")).len(), 1);
        drop(waiter);
        nothing_is_left(lab, &[]);
    });
}
