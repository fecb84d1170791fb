//! `loto`: what it locks, when it gives up, what it tells and how it ends. What becomes of its command when it is killed is
//! the subject of `supervisor`.

mod storm;

use std::process::Command;

use test_support::locks::{locks_on, tickets, waiter_count};
use test_support::process::{ExitReason, Process};
use test_support::procfs::voluntary_switches;
use test_support::{TestEnv, wait_until};

trait LotoEnv {
    /// `loto` with these words, with two resources that are files of this test environment.
    fn loto(&self, words: &[&str]) -> Command;

    fn run_loto(&self, words: &[&str]) -> test_support::Outcome;

    /// `loto` that waits for a lock that somebody holds.
    fn start_queued_loto(&self, file: &str, words: &[&str]) -> Process;
}

impl LotoEnv for TestEnv {
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
        self.run_command(self.loto(words))
    }

    #[track_caller]
    fn start_queued_loto(&self, file: &str, words: &[&str]) -> Process {
        let loto = self.start(self.loto(words));
        wait_until("it waits", || waiter_count(self.file(file)) == 1);
        loto
    }
}

#[test]
fn the_lock_excludes_flock_and_the_other_way_round() {
    let env = TestEnv::new();
    env.run_loto(&["-L", "f", "--", "flock", "-n", "f", "true"])
        .assert_status(1);
    env.run_loto(&["-L", "f", "--", "flock", "-n", "-s", "f", "true"])
        .assert_status(1);
    let holder = env.hold(&["-s"], "f");
    env.run_loto(&["-L", "f", "--", "echo", "in"])
        .assert_stdout("")
        .assert_status(1);
    holder.release();
    env.run_loto(&["-L", "f", "--", "echo", "in"])
        .assert_stdout("in\n")
        .assert_status(0);
}

#[test]
fn a_missing_file_is_made_for_all_as_far_as_the_umask_goes() {
    let env = TestEnv::new();
    env.sh("umask 027; loto -L=f -- true; stat -c %a f")
        .assert_stdout("640\n");
    env.sh("umask 0; loto -L g -- true; stat -c %a g")
        .assert_stdout("666\n");
}

#[test]
fn a_file_that_may_only_be_read_will_do() {
    let env = TestEnv::new();
    if let Some(command) = env.unprivileged("umask 777; : >f; chmod 444 f; loto -L f -- echo in") {
        env.run_command(command)
            .assert_stdout("in\n")
            .assert_status(0);
    }
}

#[test]
fn it_gives_up_at_once_and_says_so_unless_it_is_to_be_quiet() {
    let env = TestEnv::new();
    let _holder = env.hold(&[], "f");
    env.run_loto(&["-L=f", "--", "echo", "in"])
        .assert_stdout("")
        .assert_stderr("loto: Failed to gain lock on f\n")
        .assert_status(1);
    env.run_loto(&["-q", "-L=f", "--", "echo", "in"])
        .assert_stdout("")
        .assert_stderr("")
        .assert_status(0);
}

#[test]
fn it_gives_up_when_the_time_is_up_and_not_before() {
    let env = TestEnv::new();
    let holder = env.hold(&[], "f");
    for time in ["0", "0.01", "10ms"] {
        let outcome = env.run_loto(&[&format!("-t={time}"), "-L", "f", "--", "echo", "in"]);
        let said = if time == "0" { "Failed" } else { "Timeout" };
        outcome
            .assert_stdout("")
            .assert_stderr(&format!("loto: {said} to gain lock on f\n"))
            .assert_status(1);
    }
    env.run_loto(&["-q", "-t", "0.01", "-L", "f", "--", "echo", "in"])
        .assert_stdout("")
        .assert_stderr("")
        .assert_status(0);
    let mut patient = env.start_queued_loto("f", &["-t", "1000", "-L", "f", "--", "echo", "in"]);
    holder.release();
    patient.expect_line("in");
}

#[test]
fn a_waiter_sleeps_in_the_kernel_until_its_turn() {
    let env = TestEnv::new();
    let holder = env.hold(&[], "f");
    let mut waiter = env.start_queued_loto("f", &["-w", "-L", "f", "--", "echo", "in"]);
    let before = voluntary_switches(waiter.pid());
    // As much as happens in a few turns of somebody who polls.
    for _ in 0..20 {
        env.run_loto(&["-L", "g", "--", "true"]).assert_status(0);
    }
    assert_eq!(voluntary_switches(waiter.pid()), before);
    holder.release();
    waiter.expect_line("in");
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[test]
fn waiters_have_their_turns_in_the_order_in_which_they_came() {
    let env = TestEnv::new();
    let holder = env.hold(&[], "f");
    let waiters = (0..5).map(|ticket| {
        let line = format!("echo {ticket} >>log");
        let waiter = env.start(env.loto(&["-w", "-L", "f", "--", "sh", "-c", &line]));
        wait_until("it waits", || waiter_count(env.file("f")) == ticket + 1);
        waiter
    });
    let waiters = waiters.collect::<Vec<_>>();
    holder.release();
    for mut waiter in waiters {
        assert_eq!(waiter.wait(), ExitReason::Exited(0));
    }
    env.sh("cat log").assert_stdout("0\n1\n2\n3\n4\n");
}

#[test]
fn the_status_is_the_commands_own() {
    let env = TestEnv::new();
    for status in [0, 1, 42, 255] {
        let line = format!("exit {status}");
        env.run_loto(&["-L", "f", "--", "sh", "-c", &line])
            .assert_stderr("")
            .assert_status(status);
    }
    let outcome = env.run_loto(&["-L", "f", "--", "sh", "-c", "kill -TERM $$"]);
    assert_eq!(outcome.status.code(), Some(143));
}

#[test]
fn a_command_that_is_missing_or_cannot_be_executed_is_a_failure_and_leaves_nothing_behind() {
    let env = TestEnv::new();
    std::fs::write(env.file("data"), "").expect("a file");
    for there in [false, true] {
        env.run_loto(&["-L", "f", "--", "no-such-job"])
            .assert_stderr("loto: failed to execute no-such-job: No such file or directory\n")
            .assert_status(127);
        env.run_loto(&["-q", "-L", "f", "--", "./data"])
            .assert_stderr("loto: failed to execute ./data: Permission denied\n")
            .assert_status(126);
        assert_eq!(env.file("f").exists(), there);
        std::fs::write(env.file("f"), "").expect("a file");
    }
}

#[test]
fn what_is_wrong_is_one_line_and_the_usage_and_makes_nothing() {
    let env = TestEnv::new();
    let usage = "Usage: loto -L FILE|RESOURCE [OPTION]... -- COMMAND [ARGUMENT]...\n";
    for (words, message) in [
        (&[][..], "missing -L FILE"),
        (
            &["-L", "f", "echo"],
            "not an option: 'echo' (the command must follow --)",
        ),
        (&["-L", "f", "--"], "missing command after --"),
        (&["-x", "-L", "f", "--", "true"], "invalid option -- 'x'"),
    ] {
        env.run_command({
            let mut command = env.command("loto");
            command.args(words);
            command
        })
        .assert_stdout("")
        .assert_stderr(&format!("loto: {message}\n{usage}"))
        .assert_status(1);
    }
    assert!(env.file_names().is_empty());
}

#[test]
fn a_file_that_cannot_be_made_is_a_failure_though_it_is_to_be_quiet() {
    let env = TestEnv::new();
    env.run_loto(&["-q", "-L", "no/such/f", "--", "true"])
        .assert_stderr("loto: cannot open lock file no/such/f: No such file or directory\n")
        .assert_status(1);
}

#[test]
fn the_story_is_told_on_stdout_around_the_commands_own_output() {
    let env = TestEnv::new();
    let holder = env.hold(&[], "loto.net");
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
    let mut loto = env.start_queued_loto("loto.net", &words);
    let file = env.file("loto.net").display().to_string();
    loto.expect_line(&format!("loto: resource lock file {file}"));
    loto.expect_line(&format!("loto: waiting for lock on {file}"));
    holder.release();
    loto.expect_line("loto: executing sh");
    loto.expect_line("job");
    let line = loto.read_line();
    let end = line
        .strip_prefix("loto: command exited with 3 (run time: ")
        .and_then(|rest| rest.strip_suffix(" sec)"));
    assert!(
        end.is_some_and(|rest| rest.contains(" sec, lock wait: ")),
        "{line}"
    );
    assert_eq!(loto.wait(), ExitReason::Exited(3));
    env.run_loto(&["-v", "-L", "f", "--", "sh", "-c", "kill -9 $$"])
        .assert_status(137)
        .stdout_text()
        .contains("loto: command was killed by signal 9 (")
        .then_some(())
        .expect("the story");
}

#[test]
fn a_story_that_cannot_be_told_is_a_failure_of_a_command_that_had_none() {
    let env = TestEnv::new();
    env.sh("loto -v -L f -- sh -c 'echo done >log' >/dev/full; echo $?; cat log")
        .assert_stderr("loto: write error: No space left on device\n")
        .assert_stdout("1\ndone\n");
    env.sh("loto -v -L f -- sh -c 'exit 4' >/dev/full 2>&1; echo $?")
        .assert_stdout("4\n");
}

#[test]
fn the_command_does_not_inherit_the_lock() {
    let env = TestEnv::new();
    env.run_loto(&[
        "-L",
        "f",
        "-L",
        "g",
        "--",
        "sh",
        "-c",
        "ls -l /proc/self/fd",
    ])
    .assert_status(0)
    .stdout_text()
    .lines()
    .for_each(|line| assert!(!line.ends_with("/f") && !line.ends_with("/g"), "{line}"));
    env.sh("mkfifo go");
    env.sh(
        "loto -L f -- sh -c '(read x <go; echo x >log) & :'; flock -n f echo free; echo >go
        until [ -s log ]; do :; done",
    )
    .assert_stdout("free\n");
}

#[test]
fn several_locks_are_all_taken_and_all_kept_until_the_end() {
    let env = TestEnv::new();
    let script = "for f in a b loto.cpu; do flock -n $f true; echo $f $?; done";
    env.run_loto(&["-L", "b", "-L=cpu", "-L", "a", "--", "sh", "-c", script])
        .assert_stdout("a 1\nb 1\nloto.cpu 1\n")
        .assert_status(0);
    env.sh("for f in a b loto.cpu; do flock -n $f true || echo $f; done")
        .assert_stdout("");
}

#[test]
fn several_locks_are_taken_all_or_none_and_the_one_that_is_missing_is_named() {
    let env = TestEnv::new();
    let _holder = env.hold(&[], "b");
    env.run_loto(&["-L", "a", "-L", "b", "-L", "c", "--", "true"])
        .assert_stderr("loto: Failed to gain lock on b\n")
        .assert_status(1);
    env.run_loto(&["-t", "0.01", "-L", "a", "-L", "b", "-L", "c", "--", "true"])
        .assert_stderr("loto: Timeout to gain lock on b\n")
        .assert_status(1);
    assert!(locks_on(env.file("a")).is_empty() && locks_on(env.file("c")).is_empty());
}

#[test]
fn the_same_file_by_several_names_is_one_lock() {
    let env = TestEnv::new();
    env.sh("ln -s a b; : >a; ln a c");
    env.run_loto(&[
        "-w", "-L", "a", "-L", "b", "-L", "c", "-L", "./a", "--", "echo", "in",
    ])
    .assert_stdout("in\n")
    .assert_status(0);
}

#[test]
fn jobs_that_name_the_same_locks_in_different_orders_do_not_lock_each_other_out() {
    let env = TestEnv::new();
    let script = "
        turn() { i=0; while [ $i -lt 60 ]; do loto -w $1 -- true || echo failed; i=$((i + 1)); done; }
        turn '-L a -L b -L c' & turn '-L c -L b -L a' & turn '-L b -L a' & turn '-L c -L a' & wait; echo over";
    env.sh(script).assert_stdout("over\n").assert_stderr("");
}

#[test]
fn several_waits_have_one_deadline() {
    let env = TestEnv::new();
    let holders = ["a", "b"].map(|file| env.hold(&[], file));
    let words = ["-w", "-L", "a", "-L", "b", "--", "echo", "in"];
    let mut loto = env.start(env.loto(&words));
    let queued = || {
        let waits = |file: &str| waiter_count(env.file(file)) == 1;
        wait_until("it waits", || waits("a") || waits("b"));
        usize::from(waits("b"))
    };
    let first = queued();
    let mut holders = holders.map(Some);
    holders[first].take().expect("held").release();
    let other = 1 - first;
    wait_until("it waits", || {
        waiter_count(env.file(["a", "b"][other])) == 1
    });
    holders[other].take().expect("held").release();
    loto.expect_line("in");
}

#[test]
fn a_lock_file_that_is_replaced_while_it_is_waited_for_is_opened_again() {
    let env = TestEnv::new();
    let holder = env.hold(&[], "f");
    let mut loto = env.start_queued_loto(
        "f",
        &["-w", "-L", "f", "-L", "a", "--", "flock", "-n", "f", "true"],
    );
    env.sh("rm f; : >f");
    holder.release();
    // The command could not have locked the new file had loto the old one.
    assert_eq!(loto.wait(), ExitReason::Exited(1));
}

#[test]
fn a_word_that_is_no_resource_is_a_file_and_an_odd_file_of_resources_is_named() {
    let env = TestEnv::new();
    env.run_loto(&["-L", "disk", "--", "true"]).assert_status(0);
    assert!(env.file("disk").exists());
    env.sh(
        "echo 'tape here' >odd; LOTO_CONF=odd loto -L f -- true; echo $?
        LOTO_CONF=missing loto -L f -- true; echo $?; LOTO_CONF=odd loto -L ./f -- echo not asked",
    )
    .assert_stderr(
        "loto: odd: line 1: the path must begin with a slash\n\
             loto: missing: No such file or directory\n",
    )
    .assert_stdout("1\n1\nnot asked\n");
}

#[test]
fn a_resource_may_be_for_several_jobs_at_a_time() {
    let env = TestEnv::new();
    std::fs::write(
        env.file("slots.conf"),
        format!("net*2 {}\n", env.file("net").display()),
    )
    .expect("a file");
    let loto = |words: &[&str]| {
        let mut loto = env.command("loto");
        loto.args(words).env("LOTO_CONF", env.file("slots.conf"));
        loto
    };
    let job = ["-L", "net", "--", "sh", "-c", "echo in; read x"];
    let mut jobs = [&job, &job].map(|job| {
        let mut job = env.start(loto(job));
        job.expect_line("in");
        job
    });
    env.run_command(loto(&job))
        .assert_stdout("")
        .assert_status(1);
    let mut third = env.start(loto(&[&["-w"], &job[..]].concat()));
    wait_until("it queues", || tickets(env.file("net")).len() == 1);
    // Its keeper goes too, and with it the slot.
    jobs[0].kill();
    third.expect_line("in");
    env.run_command(loto(&job)).assert_status(1);
    for job in [&mut jobs[1], &mut third] {
        job.send_line("enough");
        assert_eq!(job.wait(), ExitReason::Exited(0));
    }
}

#[test]
fn the_cron_job_of_the_seed_is_skipped_while_it_still_runs() {
    let env = TestEnv::new();
    env.install_script("bin/rsync", "#!/bin/sh\necho rsync \"$@\"; read x\n");
    let line = ["-L", "net", "-q", "--", "rsync", "-a", "from", "to"];
    let mut first = env.start(env.loto(&line));
    first.expect_line("rsync -a from to");
    env.run_loto(&line)
        .assert_stdout("")
        .assert_stderr("")
        .assert_status(0);
    first.send_line("enough");
    assert_eq!(first.wait(), ExitReason::Exited(0));
    env.run_loto(&line).assert_stdout("rsync -a from to\n");
}

#[test]
fn the_archive_script_of_the_seed_compresses_one_after_the_other() {
    let env = TestEnv::new();
    env.install_script(
        "bin/gzip",
        "#!/bin/sh\nmkdir busy || echo both >>log; echo $1 >>log; rmdir busy\n",
    );
    env.loto(&[]);
    env.sh("export LOTO_CONF=$PWD/loto.conf
        loto -w -L cpu -- gzip archive1.tar &
        loto -w -L=cpu -- gzip archive2.tar &
        loto -t 21600 -L cpu -- gzip archive3.tar &
        wait; sort log")
        .assert_stdout("archive1.tar\narchive2.tar\narchive3.tar\n");
}

#[test]
fn the_batches_of_the_seed_are_contiguous() {
    let env = TestEnv::new();
    env.install_script(
        "append_info_to_db.sh",
        "#!/bin/sh\nfor EACH in 1 2 3 4 5; do\n\techo $1 $EACH >>dbfile.txt\ndone\n",
    );
    env.sh("for batch in a b c d e f; do
            loto -w -L dbfile.txt -- ./append_info_to_db.sh $batch &
        done; wait; uniq -w 1 dbfile.txt | wc -l; wc -l <dbfile.txt")
        .assert_stdout("6\n30\n");
}
