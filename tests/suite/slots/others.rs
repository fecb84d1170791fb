//! Slots beside locks, files of all kinds, files that are replaced, other users and other namespaces.

use std::os::unix::fs::MetadataExt;

use super::{HOLD, WHY, hold, holder_to_be, taken, taken_is, try_for};
use crate::fair::{nothing_is_left, queue_is};
use test_support::locks::{locks_on, slots};
use test_support::process::{End, Live};
use test_support::{departure, installed, may_unshare};

#[test]
fn a_lock_keeps_newcomers_out_and_evicts_nobody() {
    departure(WHY, |lab| {
        let first = hold(lab, "3");
        // Who has a slot keeps nobody from the lock.
        let lock = lab.hold(&["-n"], "l");
        assert_eq!(taken(lab).len(), 1);
        for how in ["-n", "-w0.01"] {
            lab.run(["--slots", "3", how, "-E42", "l", "true"])
                .expect_code(42);
        }
        let mut second = holder_to_be(lab, &["--slots", "3"]);
        queue_is(lab, 1);
        lock.let_go();
        second.hears("held");
        taken_is(lab, 2);
        let locks = locks_on(lab.file("l")).into_iter();
        let locks = locks.filter(|lock| lock.kind == "FLOCK").count();
        assert_eq!(locks, 0, "a slot is no lock");
        lab.run(["-n", "l", "true"]).expect_code(0);
        first.let_go();
        second.let_go();
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn a_file_of_ones_own_is_as_it_was() {
    departure(WHY, |lab| {
        std::fs::write(lab.file("l"), "contents\n").expect("a file");
        let state = || {
            let file = std::fs::metadata(lab.file("l")).expect("it is there");
            let times = [
                (file.mtime(), file.mtime_nsec()),
                (file.ctime(), file.ctime_nsec()),
            ];
            let contents = std::fs::read_to_string(lab.file("l")).expect("it is there");
            (file.len(), file.blocks(), file.mode(), times, contents)
        };
        let before = state();
        let holder = hold(lab, "1");
        let mut waiter = holder_to_be(lab, &["--slots", "1"]);
        try_for(lab, "1", 1);
        holder.let_go();
        waiter.hears("held");
        waiter.let_go();
        assert_eq!(state(), before);
        assert_eq!(lab.names(), ["l"]);
    });
}

#[test]
fn what_may_only_be_read_has_slots_too() {
    departure(WHY, |lab| {
        std::fs::write(lab.file("l"), "").expect("a file");
        std::fs::create_dir(lab.file("folder")).expect("a folder");
        lab.sh("chmod 444 l").expect_code(0);
        for file in ["l", "folder"] {
            let script = format!(
                "flock --slots 2 {file} flock --slots 2 {file} flock --slots 2 -nE42 {file} true"
            );
            if let Some(command) = lab.powerless(&script) {
                lab.finish(command).expect_err("").expect_code(42);
            }
            assert_eq!(slots(lab.file(file)), []);
        }
        lab.program(
            "script",
            "#!/bin/sh\n[ \"$IN\" = $1 ] || IN=$1 exec flock --slots 2 -nE42 \"$0\" \"$0\" \"$@\"\n[ $1 = 3 ] || ./script $(($1 + 1))\n",
        );
        lab.sh("./script 1").expect_err("").expect_code(42);
    });
}

#[test]
fn those_who_wait_at_a_file_that_is_replaced_have_slots_of_the_new_one() {
    departure(WHY, |lab| {
        for change in ["rm l", "rm l; : >l", "mv l older; : >l"] {
            let holder = hold(lab, "1");
            let mut waiter = holder_to_be(lab, &["--slots", "1"]);
            let mut second = holder_to_be(lab, &["--slots", "1"]);
            lab.sh(format!("ln l old; {change}")).expect_code(0);
            holder.let_go();
            waiter.hears("held");
            assert_eq!(taken(lab).len(), 1, "{change}");
            waiter.let_go();
            second.hears("held");
            second.let_go();
            assert!(locks_on(lab.file("old")).is_empty());
            nothing_is_left(lab, &[]);
            lab.sh("rm -f l old older").expect_code(0);
        }
    });
}

#[test]
fn a_new_file_has_all_its_slots() {
    departure(WHY, |lab| {
        let old = hold(lab, "1");
        lab.sh("mv l old").expect_code(0);
        let new = hold(lab, "1");
        assert_eq!(slots(lab.file("old")).len(), 1);
        assert_eq!(taken(lab).len(), 1);
        old.let_go();
        new.let_go();
    });
}

#[test]
fn a_lock_of_another_kind_on_the_data_is_in_nobodys_way() {
    departure(WHY, |lab| {
        let foreigner = lab.hold(&["--start", "0", "--length", "1G"], "l");
        let holder = hold(lab, "1");
        try_for(lab, "1", 1);
        lab.run(["-n", "--start", "1G", "--length", "1G", "l", "true"])
            .expect_code(0);
        let mut waiter = holder_to_be(lab, &["--slots", "1"]);
        holder.let_go();
        waiter.hears("held");
        waiter.let_go();
        foreigner.let_go();
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn where_there_can_be_no_slots_nothing_is_run() {
    departure(WHY, |lab| {
        let foreigner = lab.hold(&["--fcntl"], "l");
        let device = lab.run(["--slots", "2", "-n", "/dev/null", "echo", "ran"]);
        for outcome in [
            device,
            lab.run(["--slots", "2", "l", "echo", "ran"]),
            lab.run(["--slots", "2", "-n", "l", "echo", "ran"]),
            lab.run(["--slots", "2", "-w1", "-o", "l", "echo", "ran"]),
        ] {
            let said = outcome.expect_code(65).expect_out("").err();
            assert!(
                said.starts_with("flock: ") && said.lines().count() == 1,
                "{said}"
            );
        }
        foreigner.let_go();
        try_for(lab, "1", 0);
    });
}

#[test]
fn another_users_slots_count() {
    departure(WHY, |lab| {
        try_for(lab, "1", 0);
        if !rustix::process::geteuid().is_root() || !installed("setpriv") {
            return;
        }
        lab.sh("chmod 755 .; : >l; chmod 644 l").expect_code(0);
        let stranger = |words: &[&str]| {
            let mut command = lab.command("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "flock"]);
            command.args(words);
            command
        };
        if lab.finish(stranger(&["-n", "l", "true"])).code() != 0 {
            println!("a stranger may not come in");
            return;
        }
        let holder = hold(lab, "2");
        let mut other = lab.start(stranger(&[&["--slots", "2"], &HOLD[..]].concat()));
        other.hears("held");
        assert_eq!(taken(lab).len(), 2);
        try_for(lab, "2", 1);
        let refused = stranger(&["--slots", "2", "-nE42", "l", "true"]);
        lab.finish(refused).expect_code(42);
        let waiter = stranger(&[&["--slots", "2"], &HOLD[..]].concat());
        let mut waiter = crate::fair::queuing_by(lab, waiter);
        let mut behind = holder_to_be(lab, &["--slots", "2"]);
        holder.let_go();
        waiter.hears("held");
        other.let_go();
        behind.hears("held");
        waiter.let_go();
        behind.let_go();
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn slots_of_processes_that_one_does_not_see_count_and_are_waited_for() {
    departure(WHY, |lab| {
        try_for(lab, "1", 0);
        for how in ["-rpf", "-rpf --mount-proc"] {
            if !may_unshare(lab, how) {
                return;
            }
            let apart = |words: &[&str]| {
                let mut command = lab.command("unshare");
                command.args(how.split(' ')).arg("flock").args(words);
                command
            };
            let within = |options: &[&str]| apart(&[options, &HOLD[..]].concat());
            let mut inside = lab.start(within(&["--slots", "1"]));
            inside.hears("held");
            assert_eq!(taken(lab).len(), 1);
            try_for(lab, "1", 1);
            let mut outside = holder_to_be(lab, &["--slots", "1"]);
            inside.hush();
            outside.hears("held");
            assert_eq!(inside.end(), End::Exited(0));
            lab.finish(apart(&["--slots", "1", "-nE42", "l", "true"]))
                .expect_code(42);
            let mut inside = crate::fair::queuing_by(lab, within(&["--slots", "1"]));
            outside.let_go();
            inside.hears("held");
            inside.hush();
            assert_eq!(inside.end(), End::Exited(0));
            nothing_is_left(lab, &[]);
        }
    });
}

#[test]
fn the_builtin_leaves_them_to_the_program() {
    test_support::builtin::in_every_bash(|lab| {
        lab.builtin(
            "f() { echo never; }; exec 8<>k; flock --slots 1 l f; echo $?; flock --slots 2 8; echo $?
             flock --slots 0 l true; echo $?",
        )
        .expect_out("69\n64\n64\n");
        assert_eq!(lab.names(), ["k"]);
        lab.builtin(
            "flock --slots 2 l flock --slots 2 l flock --slots 2 -nE42 l true; echo $?
             f() { flock --slots 2 l flock --slots 2 -nE42 l true; echo $?; }; flock --slots 2 l true; f
             flock --slots 1 l sh -c 'bin/flock --slots 1 -n l true; echo $?; exit 3'; echo $?",
        )
        .expect_err("")
        .expect_out("42\n0\n1\n3\n");
        assert_eq!(taken(lab), []);
    });
}

#[test]
fn those_who_wait_by_way_of_the_builtin_are_in_the_queue() {
    test_support::builtin::in_every_bash(|lab| {
        let holder = hold(lab, "1");
        let mut queue: Vec<Live> = Vec::new();
        for number in 0..4 {
            let script = format!("flock --slots 1 l sh -c 'echo {number} >>order'; echo $?");
            queue.push(crate::fair::queuing_by(lab, lab.with_builtin(script)));
        }
        holder.let_go();
        for waiter in &mut queue {
            waiter.hears("0");
            assert_eq!(waiter.end(), End::Exited(0));
        }
        let order = std::fs::read_to_string(lab.file("order")).expect("the order");
        assert_eq!(order, "0\n1\n2\n3\n");
        nothing_is_left(lab, &[]);
        std::fs::remove_file(lab.file("order")).expect("the order");
    });
}
