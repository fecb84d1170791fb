//! `loto`: what it locks, when it gives up, what it prints, and its exit status. What happens to
//! the command when `loto` is killed is the subject of `supervisor`.

mod storm;

use std::fs;

use rstest::rstest;
use test_support::locks::{assert_unlocked, tickets, waiter_count};
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{children_of, voluntary_switches};
use test_support::{TestEnv, can_unshare, wait_until};

use crate::{CommandLineEnv, env};

/// Starts a `loto` that has to wait for a lock on the file.
#[track_caller]
fn start_waiting(env: &TestEnv, file: &str, line: &str) -> Process {
    let loto = env.start_line(line);
    wait_until("it waits", || waiter_count(env.file(file)) == 1);
    loto
}

/// Defines the resources `cpu` and `net`, as `loto.cpu` and `loto.net` in the test environment, for
/// a `loto` with `LOTO_CONF=loto.conf`.
fn write_resources(env: &TestEnv) {
    let dir = env.path().display();
    let resources = format!("cpu {dir}/loto.cpu\nnet {dir}/loto.net\n");
    fs::write(env.file("loto.conf"), resources).expect("a file");
}

#[rstest]
fn loto_and_flock_exclude_each_other(env: TestEnv) {
    for mode in ["-x", "-s"] {
        env.run_line(&format!("loto -L f -- flock -n {mode} f true"))
            .assert_status(1);
    }
    let holder = env.hold(&["-s"], "f");
    env.run_line("loto -L f -- echo in")
        .assert_all(1, "", "loto: Failed to gain lock on f\n");
    holder.release();
    env.run_line("loto -L f -- echo in")
        .assert_all(0, "in\n", "");
}

#[rstest]
fn lock_file_is_created_with_0666_and_umask(env: TestEnv) {
    env.sh("umask 027; loto -L=f -- stat -c %a f; umask 0; loto -L g -- stat -c %a g")
        .assert_stdout("640\n666\n");
}

#[rstest]
fn read_only_file_can_be_locked(env: TestEnv) {
    if let Some(command) = env.unprivileged("umask 777; : >f; chmod 444 f; loto -L f -- echo in") {
        env.run_command(command).assert_all(0, "in\n", "");
    }
}

#[rstest]
fn conflict_and_timeout_are_reported_unless_quiet(env: TestEnv) {
    let _holder = env.hold(&[], "f");
    for (options, reason) in [
        ("-L=f", "Failed"),
        ("-t=0 -L f", "Failed"),
        ("-t 0.01 -L f", "Timeout"),
        ("-t=10ms -L f", "Timeout"),
    ] {
        env.run_line(&format!("loto {options} -- echo in"))
            .assert_all(1, "", &format!("loto: {reason} to gain lock on f\n"));
        env.run_line(&format!("loto -q {options} -- echo in"))
            .assert_all(0, "", "");
    }
}

#[rstest]
fn waiter_sleeps_until_lock_is_released(env: TestEnv, #[values("-w", "-t 1000")] option: &str) {
    let holder = env.hold(&[], "f");
    let mut waiter = start_waiting(&env, "f", &format!("loto {option} -L f -- echo in"));
    let before = voluntary_switches(waiter.pid());
    // A polling waiter would wake up several times during this.
    for _ in 0..20 {
        env.run_line("loto -L g -- true").assert_status(0);
    }
    assert_eq!(voluntary_switches(waiter.pid()), before);
    holder.release();
    waiter.expect_line("in");
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[rstest]
fn waiters_get_lock_in_order_of_arrival(env: TestEnv) {
    let holder = env.hold(&[], "f");
    let waiters = [0, 1, 2, 3, 4].map(|number| {
        let waiter = env.start_script("loto -w -L f --", &format!("echo {number} >>log"));
        wait_until("it waits", || waiter_count(env.file("f")) == number + 1);
        waiter
    });
    holder.release();
    for mut waiter in waiters {
        assert_eq!(waiter.wait(), ExitReason::Exited(0));
    }
    assert_eq!(env.read("log"), "0\n1\n2\n3\n4\n");
}

#[rstest]
fn exit_status_is_that_of_command(env: TestEnv) {
    for (script, status) in [
        ("exit 0", 0),
        ("exit 1", 1),
        ("exit 42", 42),
        ("exit 255", 255),
        ("kill -TERM $$", 143),
    ] {
        let outcome = env.run_script("loto -L f --", script).assert_stderr("");
        assert_eq!(outcome.status.code(), Some(status));
    }
}

#[rstest]
fn command_that_cannot_be_executed_leaves_no_file(env: TestEnv) {
    fs::write(env.file("data"), "").expect("a file");
    for existed in [false, true] {
        let message = "loto: failed to execute no-such-job: No such file or directory\n";
        env.run_line("loto -L f -- no-such-job")
            .assert_all(127, "", message);
        let message = "loto: failed to execute ./data: Permission denied: ./data is not \
                       executable; use: chmod +x ./data\n";
        env.run_line("loto -q -L f -- ./data")
            .assert_all(126, "", message);
        assert_eq!(env.file("f").exists(), existed);
        fs::write(env.file("f"), "").expect("a file");
    }
}

#[rstest]
#[case::no_arguments("", "missing -L FILE")]
#[case::no_separator("-L f echo", "not an option: 'echo' (the command must follow --)")]
#[case::no_command("-L f --", "missing command after --")]
#[case::unknown_option("-x -L f -- true", "invalid option -- 'x'")]
fn usage_error_is_reported_and_creates_no_file(
    env: TestEnv,
    #[case] args: &str,
    #[case] message: &str,
) {
    let usage = "Usage: loto -L FILE|RESOURCE [OPTION]... -- COMMAND [ARGUMENT]...";
    env.run_line(&format!("loto {args}"))
        .assert_all(1, "", &format!("loto: {message}\n{usage}\n"));
    assert!(env.file_names().is_empty());
}

#[rstest]
fn file_that_cannot_be_created_is_error_even_if_quiet(env: TestEnv) {
    let message = "loto: cannot open lock file no/such/f: No such file or directory: the directory no/such does not exist\n";
    env.run_line("loto -q -L no/such/f -- true")
        .assert_all(1, "", message);
}

#[rstest]
fn verbose_output_on_stdout_surrounds_that_of_command(env: TestEnv) {
    write_resources(&env);
    let holder = env.hold(&[], "loto.net");
    let mut loto = env.script("loto -v -w -L net --", "echo job; exit 3");
    loto.env("LOTO_CONF", "loto.conf");
    let mut loto = env.start(loto);
    let file = env.file("loto.net").display().to_string();
    loto.expect_line(&format!("loto: resource lock file {file}"));
    loto.expect_line(&format!("loto: waiting for lock on {file}"));
    holder.release();
    loto.expect_line("loto: executing sh");
    loto.expect_line("job");
    let line = loto.read_line();
    assert!(
        line.starts_with("loto: command exited with 3 (run time: "),
        "{line}"
    );
    assert!(
        line.contains(" sec, lock wait: ") && line.ends_with(" sec)"),
        "{line}"
    );
    assert_eq!(loto.wait(), ExitReason::Exited(3));
    let outcome = env
        .run_script("loto -v -L f --", "kill -9 $$")
        .assert_status(137);
    let end = "loto: command was killed by signal 9 (";
    assert!(outcome.stdout_text().contains(end), "{outcome:?}");
}

#[rstest]
fn write_error_turns_success_into_failure(env: TestEnv) {
    env.sh("loto -v -L f -- sh -c 'echo done >log' >/dev/full; echo $?; cat log")
        .assert_stderr("loto: write error: No space left on device\n")
        .assert_stdout("1\ndone\n");
    env.sh("loto -v -L f -- sh -c 'exit 4' >/dev/full 2>&1; echo $?")
        .assert_stdout("4\n");
}

#[rstest]
fn command_does_not_inherit_lock(env: TestEnv) {
    let open_files = env
        .run_script("loto -L f -L g --", "ls -l /proc/self/fd")
        .assert_status(0)
        .stdout_text();
    for line in open_files.lines() {
        assert!(!line.ends_with("/f") && !line.ends_with("/g"), "{line}");
    }
    env.sh("mkfifo go
        loto -L f -- sh -c '(read x <go; echo x >log) & :'; flock -n f echo free; echo >go
        until [ -s log ]; do :; done")
        .assert_stdout("free\n");
}

#[rstest]
fn several_locks_are_held_until_command_exits(env: TestEnv) {
    write_resources(&env);
    env.sh("export LOTO_CONF=loto.conf
        loto -L b -L=cpu -L a -- sh -c '
            for f in a b loto.cpu; do flock -n $f true; echo $f $?; done'; echo $?
        for f in a b loto.cpu; do flock -n $f true || echo $f; done")
        .assert_stdout("a 1\nb 1\nloto.cpu 1\n0\n");
}

#[rstest]
fn several_locks_are_taken_all_or_none(env: TestEnv) {
    let _holder = env.hold(&[], "b");
    for (option, reason) in [("", "Failed"), ("-t 0.01", "Timeout")] {
        env.run_line(&format!("loto {option} -L a -L b -L c -- true"))
            .assert_all(1, "", &format!("loto: {reason} to gain lock on b\n"));
    }
    assert_unlocked(env.file("a"));
    assert_unlocked(env.file("c"));
}

#[rstest]
fn one_file_with_several_names_is_locked_once(env: TestEnv) {
    env.sh("ln -s a b; : >a; ln a c; loto -w -L a -L b -L c -L ./a -- echo in")
        .assert_all(0, "in\n", "");
}

#[rstest]
fn order_of_locks_does_not_cause_deadlock(env: TestEnv) {
    env.sh("
        repeat() { i=0
            while [ $i -lt 60 ]; do i=$((i + 1)); loto -w $1 -- true || echo failed; done; }
        repeat '-L a -L b -L c' & repeat '-L c -L b -L a' &
        repeat '-L b -L a' & repeat '-L c -L a' & wait; echo over")
        .assert_all(0, "over\n", "");
}

#[rstest]
fn waits_for_one_held_lock_after_the_other(env: TestEnv) {
    let files = ["a", "b"];
    let mut holders = files.map(|file| Some(env.hold(&[], file)));
    let mut loto = env.start_line("loto -w -L a -L b -- echo in");
    let has_waiter = |file: &str| waiter_count(env.file(file)) == 1;
    wait_until("it waits", || files.into_iter().any(has_waiter));
    let first = usize::from(has_waiter("b"));
    for index in [first, 1 - first] {
        wait_until("it waits", || has_waiter(files[index]));
        holders[index].take().expect("still held").release();
    }
    loto.expect_line("in");
}

#[rstest]
fn replaced_lock_file_is_opened_again(env: TestEnv) {
    let holder = env.hold(&[], "f");
    let mut loto = start_waiting(&env, "f", "loto -w -L f -L a -- flock -n f true");
    env.sh("rm f; : >f");
    holder.release();
    // The command could lock the new file if `loto` had locked the old one.
    assert_eq!(loto.wait(), ExitReason::Exited(1));
}

#[rstest]
fn unknown_resource_is_file_name(env: TestEnv) {
    write_resources(&env);
    env.sh("LOTO_CONF=loto.conf loto -L disk -- ls disk")
        .assert_all(0, "disk\n", "");
}

#[rstest]
fn invalid_resource_file_is_error_if_it_is_needed(env: TestEnv) {
    env.sh(
        "echo 'tape here' >invalid; LOTO_CONF=invalid loto -L f -- true; echo $?
        LOTO_CONF=missing loto -L f -- true; echo $?
        LOTO_CONF=invalid loto -L ./f -- echo not read",
    )
    .assert_stderr(
        "loto: invalid: line 1: the path must begin with a slash\n\
             loto: missing: No such file or directory\n",
    )
    .assert_stdout("1\n1\nnot read\n");
}

/// Reading all of it would never end.
#[rstest]
fn endless_resource_file_is_error(env: TestEnv) {
    env.sh("LOTO_CONF=/dev/zero exec loto -L f -- true")
        .assert_all(1, "", "loto: /dev/zero: the file is too long\n");
}

#[rstest]
fn resource_with_slots_allows_several_jobs(env: TestEnv) {
    let resources = format!("net*2 {}\n", env.file("net").display());
    fs::write(env.file("slots.conf"), resources).expect("a file");
    let job = |options: &str| {
        let mut loto = env.script(&format!("loto {options} -L net --"), "echo in; read x");
        loto.env("LOTO_CONF", "slots.conf");
        loto
    };
    let mut jobs = [(); 2].map(|()| {
        let mut job = env.start(job(""));
        job.expect_line("in");
        job
    });
    env.run_command(job("")).assert_status(1).assert_stdout("");
    let mut third = env.start(job("-w"));
    wait_until("it queues", || tickets(env.file("net")).len() == 1);
    // Its supervisor exits too, and releases the slot.
    jobs[0].kill();
    third.expect_line("in");
    env.run_command(job("")).assert_status(1);
    for job in [&mut jobs[1], &mut third] {
        job.send_line("");
        assert_eq!(job.wait(), ExitReason::Exited(0));
    }
}

/// An example in loto(1).
#[rstest]
fn archive_example_compresses_one_file_at_a_time(env: TestEnv) {
    env.install_script(
        "bin/gzip",
        "#!/bin/sh\nmkdir busy || echo both >>log; echo $1 >>log; rmdir busy\n",
    );
    write_resources(&env);
    env.sh("export LOTO_CONF=$PWD/loto.conf
        loto -w -L cpu -- gzip archive1.tar &
        loto -w -L=cpu -- gzip archive2.tar &
        loto -t 21600 -L cpu -- gzip archive3.tar &
        wait; sort log")
        .assert_stdout("archive1.tar\narchive2.tar\narchive3.tar\n");
}

/// An example in loto(1).
#[rstest]
fn batch_example_does_not_interleave_lines(env: TestEnv) {
    env.install_script(
        "append_info_to_db.sh",
        "#!/bin/sh\nfor EACH in 1 2 3 4 5; do\n\techo $1 $EACH >>dbfile.txt\ndone\n",
    );
    env.sh("for batch in a b c d e f; do
            loto -w -L dbfile.txt -- ./append_info_to_db.sh $batch &
        done; wait; uniq -w 1 dbfile.txt | wc -l; wc -l <dbfile.txt")
        .assert_stdout("6\n30\n");
}

#[rstest]
fn signal_ends_a_waiting_process_1(env: TestEnv) {
    let unshare = "-rpf --kill-child";
    if !can_unshare(&env, unshare) {
        return;
    }
    let _holder = env.hold(&[], "f");
    let mut waiter = env.start_line(&format!("unshare {unshare} loto -w -L f -- echo in"));
    waiter.wait_alive_until("it waits", || waiter_count(env.file("f")) == 1);
    send_signal(children_of(waiter.pid())[0], libc::SIGTERM);
    assert_eq!(waiter.wait(), ExitReason::Exited(128 + libc::SIGTERM));
}
