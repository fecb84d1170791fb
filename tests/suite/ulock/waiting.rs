//! How long one waits, how, and what becomes of one who is killed meanwhile.

use super::*;
use test_support::process::End;

#[test]
fn a_time_limit_ends_a_wait_with_1_and_in_silence() {
    let lab = Lab::new();
    for limit in ["--timeout=0", "--timeout=0.000001", "--timeout=0.05"] {
        for words in ["lock", "-w lock counter", "-r lock counter echo never"] {
            lab.sh(format!(": >lock; ulock {limit} {words}"))
                .expect_out("")
                .expect_err("")
                .expect_code(1);
            lab.has_only(&["lock"]);
        }
        lab.sh(format!("rm lock; ulock {limit} lock && rm lock"))
            .expect_code(0);
    }
}

#[test]
fn a_writer_whose_time_is_up_does_not_keep_the_lock() {
    let lab = Lab::new();
    let reader = lab.reader();
    for limit in ["--timeout=0", "--timeout=0.05"] {
        lab.sh(format!("ulock -w {limit} lock counter"))
            .expect_out("")
            .expect_err("")
            .expect_code(1);
        assert!(!lab.file("lock").exists());
    }
    reader.let_go();
    lab.has_only(&["counter"]);
}

#[test]
fn the_time_limit_is_for_the_lock_and_the_counter_together() {
    let lab = Lab::new();
    let _reader = lab.reader();
    lab.sh(": >lock").expect_code(0);
    // Whoever waits for ever is here, too, so that the first one is not served by a clock of his own.
    let mut writer = lab.waiting_ulock(&["-w", "--timeout=0.3", "lock", "counter"]);
    lab.sh("ulock --timeout=0.1 lock; rm lock").expect_code(0);
    assert_eq!(writer.end(), End::Exited(1));
    assert!(!lab.file("lock").exists());
}

#[test]
fn a_waiter_sleeps_until_the_lock_is_removed() {
    for words in [
        &["lock"][..],
        &["--timeout=1000", "lock"],
        &["-w", "lock", "counter"],
        &["-r", "lock", "counter", "true"],
    ] {
        let lab = Lab::new();
        lab.sh("ulock lock").expect_code(0);
        let mut waiter = lab.waiting_ulock(words);
        sleeps(&lab, &waiter, "lock");
        lab.sh("rm lock").expect_code(0);
        assert_eq!(waiter.end(), End::Exited(0));
    }
}

#[test]
fn a_writer_sleeps_until_the_last_reader_has_gone() {
    let lab = Lab::new();
    let (one, two) = (lab.reader(), lab.reader());
    let mut writer = lab.waiting_ulock(&["-w", "lock", "counter"]);
    assert!(lab.file("lock").exists(), "it keeps new readers out");
    lab.sh("ulock -r --timeout=0 lock counter true")
        .expect_code(1);
    one.let_go();
    sleeps(&lab, &writer, "lock");
    two.let_go();
    assert_eq!(writer.end(), End::Exited(0));
    lab.has_only(&["counter", "lock"]);
}

/// Asserts that it does not wake up while nothing happens to what it waits for. Somebody else's timeout is the clock.
#[track_caller]
fn sleeps(lab: &Lab, waiter: &Live, lock: &str) {
    let clock = || lab.sh(format!("ulock --timeout=0.2 {lock}")).expect_code(1);
    clock();
    let before = naps(waiter.pid());
    clock();
    assert_eq!(naps(waiter.pid()), before, "it woke up for nothing");
}

#[test]
fn a_lock_that_is_renamed_away_is_free() {
    let lab = Lab::new();
    lab.sh("ulock lock").expect_code(0);
    let mut waiter = lab.waiting_ulock(&["lock"]);
    lab.sh("mv lock gone").expect_code(0);
    assert_eq!(waiter.end(), End::Exited(0));
}

#[test]
fn a_waiter_who_is_not_served_goes_on_waiting() {
    let lab = Lab::new();
    lab.sh("ulock lock").expect_code(0);
    let mut waiters: Vec<_> = (0..4).map(|_| lab.waiting_ulock(&["lock"])).collect();
    for _ in 0..4 {
        lab.sh("rm lock").expect_code(0);
        let pids: Vec<_> = waiters.iter().map(Live::pid).collect();
        wait_until("one of them has it", || !pids.iter().all(|pid| runs(*pid)));
        let (mut served, rest): (Vec<_>, Vec<_>) =
            waiters.into_iter().partition(|waiter| !runs(waiter.pid()));
        assert_eq!(served.len(), 1);
        assert_eq!(served[0].end(), End::Exited(0));
        waiters = rest;
    }
}

fn runs(pid: i32) -> bool {
    test_support::locks::runs(pid)
}

#[test]
fn whoever_cannot_be_woken_looks_again_and_again() {
    let lab = Lab::new();
    for inject in [
        "inject=inotify_init1:error=EMFILE",
        "inject=inotify_add_watch:error=ENOSPC",
        "inject=signalfd4:error=EMFILE",
        "inject=statfs,fstatfs:error=ENOSYS",
    ] {
        let words = ["-w", "lock", "counter"];
        let Some(waiter) = lab.injected_into("ulock", "", inject, &words) else {
            return;
        };
        lab.sh("ulock -r lock counter : ; ulock lock; ln counter mine")
            .expect_code(0);
        let mut waiter = lab.start(waiter);
        lab.sh(
            "ulock --timeout=0.1 lock; rm lock; until [ -e lock ]; do :; done
                ulock --timeout=0.1 lock; rm mine",
        )
        .expect_code(0);
        assert_eq!(waiter.end(), End::Exited(0), "{inject}");
        lab.sh("rm lock").expect_code(0);
    }
}

const ENDINGS: [i32; 7] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGALRM,
    40,
];

#[test]
fn a_writer_who_is_killed_while_he_waits_for_readers_does_not_keep_the_lock() {
    let lab = Lab::new();
    let _reader = lab.reader();
    for signal in ENDINGS {
        let mut shell = lab.command("sh");
        shell.args(["-c", "ulimit -c 0; exec ulock -w lock counter"]);
        let mut writer = lab.waiting(shell);
        assert!(lab.file("lock").exists());
        writer.signal(signal);
        assert_eq!(writer.end(), End::Killed(signal));
        assert!(!lab.file("lock").exists());
    }
}

#[test]
fn a_waiter_who_is_killed_leaves_nothing() {
    let lab = Lab::new();
    lab.sh("ulock lock").expect_code(0);
    for signal in ENDINGS {
        for words in ["lock", "-w lock counter", "-r lock counter true"] {
            let mut shell = lab.command("sh");
            shell.args(["-c", &format!("ulimit -c 0; exec ulock {words}")]);
            let mut waiter = lab.waiting(shell);
            waiter.signal(signal);
            assert_eq!(waiter.end(), End::Killed(signal), "{words}");
            lab.has_only(&["lock"]);
        }
    }
}

#[test]
fn a_signal_that_is_ignored_ends_no_wait() {
    let lab = Lab::new();
    lab.sh("ulock lock").expect_code(0);
    let mut command = lab.command("ulock");
    command.arg("lock").ignoring([libc::SIGHUP]);
    command.blocking(signal_set([libc::SIGUSR2]));
    let mut waiter = lab.waiting(command);
    for signal in [libc::SIGHUP, libc::SIGUSR2, libc::SIGHUP] {
        waiter.signal(signal);
    }
    sleeps(&lab, &waiter, "lock");
    lab.sh("rm lock").expect_code(0);
    assert_eq!(waiter.end(), End::Exited(0));
}

#[test]
fn a_signal_between_the_lock_and_the_command_leaves_neither_lock_nor_link() {
    let lab = Lab::new();
    for call in [
        "linkat:signal=TERM:when=1",
        "unlinkat,unlink:signal=TERM:when=1",
    ] {
        let words = ["-r", "lock", "counter", "echo", "never"];
        let Some(ulock) = lab.injected_into("ulock", "", &format!("inject={call}"), &words) else {
            return;
        };
        lab.finish(ulock)
            .expect_out("")
            .expect_code(128 + libc::SIGTERM);
        assert!(
            lab.names().iter().all(|name| name == "counter"),
            "{:?}",
            lab.names()
        );
    }
}

#[test]
fn a_signal_after_the_commands_end_leaves_no_link() {
    let lab = Lab::new();
    let words = ["-r", "lock", "counter", "echo", "done"];
    let inject = "inject=waitid:signal=TERM";
    if let Some(ulock) = lab.injected_into("ulock", "", inject, &words) {
        lab.finish(ulock)
            .expect_out("done\n")
            .expect_code(128 + libc::SIGTERM);
        lab.has_only(&["counter"]);
    }
}

#[test]
fn a_signal_sent_to_a_reader_reaches_his_command() {
    let lab = Lab::new();
    let script = "trap 'echo heard; exit 0' TERM; echo ready; while :; do read x; done";
    let mut reader = lab.command("ulock");
    reader.args(["-r", "lock", "counter", script]);
    let mut reader = lab.start(reader);
    reader.hears("ready");
    reader.signal(libc::SIGTERM);
    reader.hears("heard");
    assert_eq!(reader.end(), End::Exited(0));
    lab.has_only(&["counter"]);
}
