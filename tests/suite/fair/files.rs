//! Whatever can be locked can be queued for.

use std::process::Command;

use super::crowd::Crowd;
use super::{WHY, nothing_is_left, queue_is, queuing, queuing_by};
use test_support::locks::{locks_on, turns};
use test_support::process::End;
use test_support::{Lab, departure, installed};

/// A line of shell.
fn line(lab: &Lab, script: &str) -> Command {
    let mut shell = lab.command("sh");
    shell.args(["-c", script]);
    shell
}

/// Asserts that these two are served in the order in which they come, to a lock that a script with descriptor 7 holds.
#[track_caller]
fn queue_up(lab: &Lab, holds: &str, first: Command, second: Command) {
    let script = format!("{holds}; flock 7 || exit; echo held; read x; flock -u 7; read x; exit 0");
    let mut holder = lab.start(line(lab, &script));
    holder.hears("held");
    let mut first = queuing_by(lab, first);
    let mut second = queuing_by(lab, second);
    queue_is(lab, 2);
    holder.say("go");
    for waiter in [&mut first, &mut second] {
        assert_eq!(waiter.end(), End::Exited(0), "{holds}");
    }
    holder.let_go();
    let order = std::fs::read_to_string(lab.file("order")).expect("the order");
    assert_eq!(order, "first\nsecond\n", "{holds}");
    std::fs::remove_file(lab.file("order")).expect("the order");
}

/// A script that has a descriptor 8 and locks it.
fn by_descriptor(lab: &Lab, opens: &str, name: &str) -> Command {
    let script = format!("{opens}; flock --fair 8 || exit; echo {name} >>order");
    line(lab, &script)
}

#[test]
fn descriptors_of_every_kind_queue() {
    departure(WHY, |lab| {
        for opens in ["exec 8<l", "exec 8>l", "exec 8>>l", "exec 8<>l"] {
            queue_up(
                lab,
                "exec 7<>l",
                by_descriptor(lab, opens, "first"),
                by_descriptor(lab, opens, "second"),
            );
        }
    });
}

#[test]
fn a_file_that_may_only_be_read_queues() {
    departure(WHY, |lab| {
        std::fs::write(lab.file("l"), "").expect("a file");
        lab.sh("chmod 444 l").expect_code(0);
        let by_path = "exec flock --fair l sh -c 'echo first >>order'";
        let by_descriptor = "exec 8<l; flock --fair 8 || exit; echo second >>order";
        if let (Some(first), Some(second)) = (lab.powerless(by_path), lab.powerless(by_descriptor))
        {
            queue_up(lab, "exec 7<l", first, second);
        }
        assert!(lab.run(["--fair", "-n", "l", "true"]).code() == 0);
    });
}

#[test]
fn a_file_that_may_only_be_written_queues() {
    departure(WHY, |lab| {
        std::fs::write(lab.file("l"), "").expect("a file");
        lab.sh("chmod 222 l").expect_code(0);
        let wait = |name: &str| {
            lab.powerless(&format!(
                "exec 8>>l; flock --fair -w1000 8 || exit; echo {name} >>order"
            ))
        };
        if let (Some(first), Some(second)) = (wait("first"), wait("second")) {
            queue_up(lab, "exec 7>>l", first, second);
        }
        // The second kind of ticket is seen by those who have the first kind, and the other way round.
        let all = |name: &str| by_descriptor(lab, "exec 8<>l", name);
        if let Some(second) = wait("second") {
            queue_up(lab, "exec 7>>l", all("first"), second);
        }
        if let Some(first) = wait("first") {
            queue_up(lab, "exec 7>>l", first, all("second"));
        }
        assert!(lab.run(["--fair", "-n", "bin", "true"]).code() == 0);
    });
}

#[test]
fn a_folder_queues() {
    departure(WHY, |lab| {
        std::fs::create_dir(lab.file("l")).expect("a folder");
        queue_up(
            lab,
            "exec 7<l",
            lab.flock(["--fair", "l", "sh", "-c", "echo first >>order"]),
            by_descriptor(lab, "exec 8<l", "second"),
        );
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn a_script_that_runs_locks_itself() {
    departure(WHY, |lab| {
        lab.program(
            "l",
            "#!/bin/sh\n[ \"$LOCKED\" ] || LOCKED=1 exec flock --fair -x \"$0\" \"$0\" \"$@\"\necho $1 | tee -a order; $2\n",
        );
        let run = |name: &str| {
            let mut script = lab.command("./l");
            script.arg(name);
            script
        };
        let mut holder = lab.command("./l");
        holder.args(["holder", "cat"]);
        let mut holder = lab.start(holder);
        holder.hears("holder");
        let mut first = queuing_by(lab, run("first"));
        let mut second = queuing_by(lab, run("second"));
        holder.hush();
        for script in [&mut holder, &mut first, &mut second] {
            assert_eq!(script.end(), End::Exited(0));
        }
        let order = std::fs::read_to_string(lab.file("order")).expect("the order");
        assert_eq!(order, "holder\nfirst\nsecond\n");
    });
}

#[test]
fn a_program_that_runs_is_locked_too() {
    departure(WHY, |lab| {
        // A binary that somebody executes may not be opened for writing.
        lab.sh("cp /bin/cat l").expect_code(0);
        let mut holder = lab.start(lab.flock(["--fair", "l", "./l"]));
        holder.say("held");
        holder.hears("held");
        let mut crowd = Crowd::new(lab);
        crowd.join(3, &["--fair"]);
        holder.let_go();
        crowd.end_well(0..3);
        assert_eq!(crowd.order(), [0, 1, 2]);
        nothing_is_left(lab, &crowd.tokens());
    });
}

#[test]
fn a_file_that_has_no_name_any_more_queues() {
    departure(WHY, |lab| {
        lab.run(["--fair", "-n", "l", "true"]).expect_code(0);
        let script = "exec 7<>l 8<>l; rm l; flock 7; echo held
            for i in 0 1 2; do read x; (flock --fair 8 || exit; echo $i >>order; flock -u 8) & done
            read x; flock -u 7; wait; echo over";
        // Not one description for all of them, or they would all have the lock that one has.
        let script = script.replace("(flock", "(exec 8<>/proc/$$/fd/8; flock");
        let mut shell = lab.start(line(lab, &script));
        shell.hears("held");
        let file = format!("/proc/{}/fd/7", shell.pid());
        for count in 1..=3 {
            shell.say("next");
            shell.lives_until("the next one queues", || turns(&file).len() == count);
        }
        shell.say("go");
        shell.hears("over");
        let order = std::fs::read_to_string(lab.file("order")).expect("the order");
        assert_eq!(order, "0\n1\n2\n");
        assert_eq!(lab.names(), ["order"]);
    });
}

#[test]
fn a_link_queues_at_what_it_leads_to() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        lab.sh("ln -s l s; ln l h").expect_code(0);
        let mut first = queuing(lab, ["--fair", "s", "sh", "-c", "echo first >>order"]);
        let mut second = queuing(lab, ["--fair", "h", "sh", "-c", "echo second >>order"]);
        let mut third = queuing(lab, ["--fair", "l", "sh", "-c", "echo third >>order"]);
        holder.let_go();
        for waiter in [&mut first, &mut second, &mut third] {
            assert_eq!(waiter.end(), End::Exited(0));
        }
        let order = std::fs::read_to_string(lab.file("order")).expect("the order");
        assert_eq!(order, "first\nsecond\nthird\n");
    });
}

#[test]
fn what_is_no_file_at_all_is_locked_as_ever() {
    departure(WHY, |lab| {
        // Ends of pipes, FIFOs, sockets, devices, what is in memory: they are locked, or are not, as without it.
        lab.sh("mkfifo f; exec 7<>f 8<>f; for fair in -x --fair; do
                    flock $fair -n 7; echo $?; flock $fair -n 8; echo $?; flock $fair -w0.01 8; echo $?; flock -u 7
                done")
            .expect_err("")
            .expect_out("0\n1\n1\n0\n1\n1\n");
        lab.sh(
            "echo | { flock --fair -n 0; echo $?; }; exec 8</dev/null; flock --fair -n 8; echo $?",
        )
        .expect_err("")
        .expect_out("0\n0\n");
        if installed("python3") {
            let script = "import socket, subprocess
for end in socket.socketpair():
    print([subprocess.run(['flock', how, '-n', '0'], stdin=end).returncode for how in ['-x', '--fair']])";
            let mut python = lab.command("python3");
            python.args(["-c", script]);
            lab.finish(python)
                .expect_err("")
                .expect_out("[0, 0]\n[0, 0]\n");
        }
    });
}

#[test]
fn two_files_have_two_queues() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["--fair"], "l");
        let _other = lab.hold(&["--fair"], "other");
        let mut waiter = queuing(lab, ["--fair", "l", "echo", "got"]);
        let mut elsewhere = lab.start_flock(["--fair", "other", "true"]);
        elsewhere.lives_until("it queues", || turns(lab.file("other")).len() == 1);
        assert_eq!(turns(lab.file("l")).len(), 1);
        holder.let_go();
        waiter.hears("got");
        assert_eq!(waiter.end(), End::Exited(0));
        assert!(locks_on(lab.file("l")).is_empty());
        assert_eq!(turns(lab.file("other")).len(), 1);
    });
}
