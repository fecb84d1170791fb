//! `loto`: what it locks, when it gives up, what it tells and how it ends. What becomes of its command when it is killed is
//! the subject of `leash`.

use std::process::Command;

use test_support::locks::{locks_on, naps, turns, waiters};
use test_support::process::{End, Live};
use test_support::{Lab, wait_until};

trait LotoEnv {
    /// `loto` with these words, with two resources that are files of this lab.
    fn loto(&self, words: &[&str]) -> Command;

    fn run_loto(&self, words: &[&str]) -> test_support::Outcome;

    /// `loto` that waits for a lock that somebody holds.
    fn queued_loto(&self, file: &str, words: &[&str]) -> Live;
}

impl LotoEnv for Lab {
    fn loto(&self, words: &[&str]) -> Command {
        let file = |name| self.file(name).display().to_string();
        let conf = format!("cpu {}\nnet {}\n", file("loto.cpu"), file("loto.net"));
        std::fs::write(self.file("loto.conf"), conf).expect("a file");
        let mut command = self.command("loto");
        command.args(words).env("LOTO_CONF", self.file("loto.conf"));
        command
    }

    #[track_caller]
    fn run_loto(&self, words: &[&str]) -> test_support::Outcome {
        self.finish(self.loto(words))
    }

    #[track_caller]
    fn queued_loto(&self, file: &str, words: &[&str]) -> Live {
        let loto = self.start(self.loto(words));
        wait_until("it waits", || waiters(self.file(file)) == 1);
        loto
    }
}

#[test]
fn the_lock_excludes_flock_and_the_other_way_round() {
    let lab = Lab::new();
    lab.run_loto(&["-L", "f", "--", "flock", "-n", "f", "true"])
        .expect_code(1);
    lab.run_loto(&["-L", "f", "--", "flock", "-n", "-s", "f", "true"])
        .expect_code(1);
    let holder = lab.hold(&["-s"], "f");
    lab.run_loto(&["-L", "f", "--", "echo", "in"])
        .expect_out("")
        .expect_code(1);
    holder.let_go();
    lab.run_loto(&["-L", "f", "--", "echo", "in"])
        .expect_out("in\n")
        .expect_code(0);
}

#[test]
fn a_missing_file_is_made_for_all_as_far_as_the_umask_goes() {
    let lab = Lab::new();
    lab.sh("umask 027; loto -L=f -- true; stat -c %a f")
        .expect_out("640\n");
    lab.sh("umask 0; loto -L g -- true; stat -c %a g")
        .expect_out("666\n");
}

#[test]
fn a_file_that_may_only_be_read_will_do() {
    let lab = Lab::new();
    if let Some(command) = lab.powerless("umask 777; : >f; chmod 444 f; loto -L f -- echo in") {
        lab.finish(command).expect_out("in\n").expect_code(0);
    }
}

#[test]
fn it_gives_up_at_once_and_says_so_unless_it_is_to_be_quiet() {
    let lab = Lab::new();
    let _holder = lab.hold(&[], "f");
    lab.run_loto(&["-L=f", "--", "echo", "in"])
        .expect_out("")
        .expect_err("loto: Failed to gain lock on f\n")
        .expect_code(1);
    lab.run_loto(&["-q", "-L=f", "--", "echo", "in"])
        .expect_out("")
        .expect_err("")
        .expect_code(0);
}

#[test]
fn it_gives_up_when_the_time_is_up_and_not_before() {
    let lab = Lab::new();
    let holder = lab.hold(&[], "f");
    for time in ["0", "0.01", "10ms"] {
        let outcome = lab.run_loto(&[&format!("-t={time}"), "-L", "f", "--", "echo", "in"]);
        let said = if time == "0" { "Failed" } else { "Timeout" };
        outcome
            .expect_out("")
            .expect_err(&format!("loto: {said} to gain lock on f\n"))
            .expect_code(1);
    }
    lab.run_loto(&["-q", "-t", "0.01", "-L", "f", "--", "echo", "in"])
        .expect_out("")
        .expect_err("")
        .expect_code(0);
    let mut patient = lab.queued_loto("f", &["-t", "1000", "-L", "f", "--", "echo", "in"]);
    holder.let_go();
    patient.hears("in");
}

#[test]
fn a_waiter_sleeps_in_the_kernel_until_its_turn() {
    let lab = Lab::new();
    let holder = lab.hold(&[], "f");
    let mut waiter = lab.queued_loto("f", &["-w", "-L", "f", "--", "echo", "in"]);
    let before = naps(waiter.pid());
    // As much as happens in a few turns of somebody who polls.
    for _ in 0..20 {
        lab.run_loto(&["-L", "g", "--", "true"]).expect_code(0);
    }
    assert_eq!(naps(waiter.pid()), before);
    holder.let_go();
    waiter.hears("in");
    assert_eq!(waiter.end(), End::Exited(0));
}

#[test]
fn waiters_have_their_turns_in_the_order_in_which_they_came() {
    let lab = Lab::new();
    let holder = lab.hold(&[], "f");
    let waiters = (0..5).map(|turn| {
        let line = format!("echo {turn} >>log");
        let waiter = lab.start(lab.loto(&["-w", "-L", "f", "--", "sh", "-c", &line]));
        wait_until("it waits", || waiters(lab.file("f")) == turn + 1);
        waiter
    });
    let waiters = waiters.collect::<Vec<_>>();
    holder.let_go();
    for mut waiter in waiters {
        assert_eq!(waiter.end(), End::Exited(0));
    }
    lab.sh("cat log").expect_out("0\n1\n2\n3\n4\n");
}

#[test]
fn the_status_is_the_commands_own() {
    let lab = Lab::new();
    for status in [0, 1, 42, 255] {
        let line = format!("exit {status}");
        lab.run_loto(&["-L", "f", "--", "sh", "-c", &line])
            .expect_err("")
            .expect_code(status);
    }
    let outcome = lab.run_loto(&["-L", "f", "--", "sh", "-c", "kill -TERM $$"]);
    assert_eq!(outcome.status.code(), Some(143));
}

#[test]
fn a_command_that_is_missing_or_cannot_be_executed_is_a_failure_and_leaves_nothing_behind() {
    let lab = Lab::new();
    std::fs::write(lab.file("data"), "").expect("a file");
    for there in [false, true] {
        lab.run_loto(&["-L", "f", "--", "no-such-job"])
            .expect_err("loto: failed to execute no-such-job: No such file or directory\n")
            .expect_code(127);
        lab.run_loto(&["-q", "-L", "f", "--", "./data"])
            .expect_err("loto: failed to execute ./data: Permission denied\n")
            .expect_code(126);
        assert_eq!(lab.file("f").exists(), there);
        std::fs::write(lab.file("f"), "").expect("a file");
    }
}

#[test]
fn what_is_wrong_is_one_line_and_the_usage_and_makes_nothing() {
    let lab = Lab::new();
    let usage = "Usage: loto -L FILE|RESOURCE [OPTION]... -- COMMAND [ARGUMENT]...\n";
    for (words, message) in [
        (&[][..], "missing -L FILE"),
        (
            &["-L", "f", "echo"],
            "not an option: 'echo' (the command goes behind --)",
        ),
        (&["-L", "f", "--"], "missing command behind --"),
        (&["-x", "-L", "f", "--", "true"], "invalid option -- 'x'"),
    ] {
        lab.finish({
            let mut command = lab.command("loto");
            command.args(words);
            command
        })
        .expect_out("")
        .expect_err(&format!("loto: {message}\n{usage}"))
        .expect_code(1);
    }
    assert!(lab.names().is_empty());
}

#[test]
fn a_file_that_cannot_be_made_is_a_failure_though_it_is_to_be_quiet() {
    let lab = Lab::new();
    lab.run_loto(&["-q", "-L", "no/such/f", "--", "true"])
        .expect_err("loto: cannot open lock file no/such/f: No such file or directory\n")
        .expect_code(1);
}

#[test]
fn the_story_is_told_on_stdout_around_the_commands_own_output() {
    let lab = Lab::new();
    let holder = lab.hold(&[], "loto.net");
    let words = [
        "-v",
        "-w",
        "-L",
        "net",
        "--",
        "sh",
        "-c",
        "echo job; exit 3",
    ];
    let mut loto = lab.queued_loto("loto.net", &words);
    let file = lab.file("loto.net").display().to_string();
    loto.hears(&format!("loto: resource lock file {file}"));
    loto.hears(&format!("loto: waiting for lock on {file}"));
    holder.let_go();
    loto.hears("loto: executing sh");
    loto.hears("job");
    let line = loto.line();
    let end = line
        .strip_prefix("loto: command exited with 3 (run time: ")
        .and_then(|rest| rest.strip_suffix(" sec)"));
    assert!(
        end.is_some_and(|rest| rest.contains(" sec, lock wait: ")),
        "{line}"
    );
    assert_eq!(loto.end(), End::Exited(3));
    lab.run_loto(&["-v", "-L", "f", "--", "sh", "-c", "kill -9 $$"])
        .expect_code(137)
        .out()
        .contains("loto: command was killed by signal 9 (")
        .then_some(())
        .expect("the story");
}

#[test]
fn a_story_that_cannot_be_told_is_a_failure_of_a_command_that_had_none() {
    let lab = Lab::new();
    lab.sh("loto -v -L f -- sh -c 'echo done >log' >/dev/full; echo $?; cat log")
        .expect_err("loto: write error: No space left on device\n")
        .expect_out("1\ndone\n");
    lab.sh("loto -v -L f -- sh -c 'exit 4' >/dev/full 2>&1; echo $?")
        .expect_out("4\n");
}

#[test]
fn the_command_does_not_inherit_the_lock() {
    let lab = Lab::new();
    lab.run_loto(&[
        "-L",
        "f",
        "-L",
        "g",
        "--",
        "sh",
        "-c",
        "ls -l /proc/self/fd",
    ])
    .expect_code(0)
    .out()
    .lines()
    .for_each(|line| assert!(!line.ends_with("/f") && !line.ends_with("/g"), "{line}"));
    lab.sh("mkfifo go");
    lab.sh(
        "loto -L f -- sh -c '(read x <go; echo x >log) & :'; flock -n f echo free; echo >go
        until [ -s log ]; do :; done",
    )
    .expect_out("free\n");
}

#[test]
fn several_locks_are_all_taken_and_all_kept_until_the_end() {
    let lab = Lab::new();
    let script = "for f in a b loto.cpu; do flock -n $f true; echo $f $?; done";
    lab.run_loto(&["-L", "b", "-L=cpu", "-L", "a", "--", "sh", "-c", script])
        .expect_out("a 1\nb 1\nloto.cpu 1\n")
        .expect_code(0);
    lab.sh("for f in a b loto.cpu; do flock -n $f true || echo $f; done")
        .expect_out("");
}

#[test]
fn several_locks_are_taken_all_or_none_and_the_one_that_is_missing_is_named() {
    let lab = Lab::new();
    let _holder = lab.hold(&[], "b");
    lab.run_loto(&["-L", "a", "-L", "b", "-L", "c", "--", "true"])
        .expect_err("loto: Failed to gain lock on b\n")
        .expect_code(1);
    lab.run_loto(&["-t", "0.01", "-L", "a", "-L", "b", "-L", "c", "--", "true"])
        .expect_err("loto: Timeout to gain lock on b\n")
        .expect_code(1);
    assert!(locks_on(lab.file("a")).is_empty() && locks_on(lab.file("c")).is_empty());
}

#[test]
fn the_same_file_by_several_names_is_one_lock() {
    let lab = Lab::new();
    lab.sh("ln -s a b; : >a; ln a c");
    lab.run_loto(&[
        "-w", "-L", "a", "-L", "b", "-L", "c", "-L", "./a", "--", "echo", "in",
    ])
    .expect_out("in\n")
    .expect_code(0);
}

#[test]
fn jobs_that_name_the_same_locks_in_different_orders_do_not_lock_each_other_out() {
    let lab = Lab::new();
    let script = "
        turn() { i=0; while [ $i -lt 60 ]; do loto -w $1 -- true || echo failed; i=$((i + 1)); done; }
        turn '-L a -L b -L c' & turn '-L c -L b -L a' & turn '-L b -L a' & turn '-L c -L a' & wait; echo over";
    lab.sh(script).expect_out("over\n").expect_err("");
}

#[test]
fn several_waits_have_one_deadline() {
    let lab = Lab::new();
    let holders = ["a", "b"].map(|file| lab.hold(&[], file));
    let words = ["-w", "-L", "a", "-L", "b", "--", "echo", "in"];
    let mut loto = lab.start(lab.loto(&words));
    let queued = || {
        let waits = |file: &str| waiters(lab.file(file)) == 1;
        wait_until("it waits", || waits("a") || waits("b"));
        usize::from(waits("b"))
    };
    let first = queued();
    let mut holders = holders.map(Some);
    holders[first].take().expect("held").let_go();
    let other = 1 - first;
    wait_until("it waits", || waiters(lab.file(["a", "b"][other])) == 1);
    holders[other].take().expect("held").let_go();
    loto.hears("in");
}

#[test]
fn a_lock_file_that_is_replaced_while_it_is_waited_for_is_opened_again() {
    let lab = Lab::new();
    let holder = lab.hold(&[], "f");
    let mut loto = lab.queued_loto(
        "f",
        &["-w", "-L", "f", "-L", "a", "--", "flock", "-n", "f", "true"],
    );
    lab.sh("rm f; : >f");
    holder.let_go();
    // The command could not have locked the new file had loto the old one.
    assert_eq!(loto.end(), End::Exited(1));
}

#[test]
fn a_word_that_is_no_resource_is_a_file_and_an_odd_file_of_resources_is_named() {
    let lab = Lab::new();
    lab.run_loto(&["-L", "disk", "--", "true"]).expect_code(0);
    assert!(lab.file("disk").exists());
    lab.sh(
        "echo 'tape here' >odd; LOTO_CONF=odd loto -L f -- true; echo $?
        LOTO_CONF=missing loto -L f -- true; echo $?; LOTO_CONF=odd loto -L ./f -- echo not asked",
    )
    .expect_err(
        "loto: odd: line 1: the path must begin with a slash\n\
             loto: missing: No such file or directory\n",
    )
    .expect_out("1\n1\nnot asked\n");
}

#[test]
fn a_resource_may_be_for_several_jobs_at_a_time() {
    let lab = Lab::new();
    std::fs::write(
        lab.file("slots.conf"),
        format!("net*2 {}\n", lab.file("net").display()),
    )
    .expect("a file");
    let loto = |words: &[&str]| {
        let mut loto = lab.command("loto");
        loto.args(words).env("LOTO_CONF", lab.file("slots.conf"));
        loto
    };
    let job = ["-L", "net", "--", "sh", "-c", "echo in; read x"];
    let mut jobs = [&job, &job].map(|job| {
        let mut job = lab.start(loto(job));
        job.hears("in");
        job
    });
    lab.finish(loto(&job)).expect_out("").expect_code(1);
    let mut third = lab.start(loto(&[&["-w"], &job[..]].concat()));
    wait_until("it queues", || turns(lab.file("net")).len() == 1);
    // Its keeper goes too, and with it the slot.
    jobs[0].murder();
    third.hears("in");
    lab.finish(loto(&job)).expect_code(1);
    for job in [&mut jobs[1], &mut third] {
        job.say("enough");
        assert_eq!(job.end(), End::Exited(0));
    }
}

#[test]
fn the_cron_job_of_the_seed_is_skipped_while_it_still_runs() {
    let lab = Lab::new();
    lab.program("bin/rsync", "#!/bin/sh\necho rsync \"$@\"; read x\n");
    let line = ["-L", "net", "-q", "--", "rsync", "-a", "from", "to"];
    let mut first = lab.start(lab.loto(&line));
    first.hears("rsync -a from to");
    lab.run_loto(&line)
        .expect_out("")
        .expect_err("")
        .expect_code(0);
    first.say("enough");
    assert_eq!(first.end(), End::Exited(0));
    lab.run_loto(&line).expect_out("rsync -a from to\n");
}

#[test]
fn the_archive_script_of_the_seed_compresses_one_after_the_other() {
    let lab = Lab::new();
    lab.program(
        "bin/gzip",
        "#!/bin/sh\nmkdir busy || echo both >>log; echo $1 >>log; rmdir busy\n",
    );
    lab.loto(&[]);
    lab.sh("export LOTO_CONF=$PWD/loto.conf
        loto -w -L cpu -- gzip archive1.tar &
        loto -w -L=cpu -- gzip archive2.tar &
        loto -t 21600 -L cpu -- gzip archive3.tar &
        wait; sort log")
        .expect_out("archive1.tar\narchive2.tar\narchive3.tar\n");
}

#[test]
fn the_batches_of_the_seed_are_contiguous() {
    let lab = Lab::new();
    lab.program(
        "append_info_to_db.sh",
        "#!/bin/sh\nfor EACH in 1 2 3 4 5; do\n\techo $1 $EACH >>dbfile.txt\ndone\n",
    );
    lab.sh("for batch in a b c d e f; do
            loto -w -L dbfile.txt -- ./append_info_to_db.sh $batch &
        done; wait; uniq -w 1 dbfile.txt | wc -l; wc -l <dbfile.txt")
        .expect_out("6\n30\n");
}
