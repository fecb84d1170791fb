//! `--also`: several lock files, of which either all or none are locked.

use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::fs::MetadataExt;

use rstest::rstest;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use test_support::builtin::for_each_bash;
use test_support::locks::waiter_count;
use test_support::{TestEnv, wait_until};

use crate::usage_errors::assert_misuse;

/// Prints for each file 0 if it can be locked, 1 if not.
const PROBE: &str = "for f in a b c; do flock -n $f true; echo $?; done";

#[test]
fn all_files_are_locked_while_the_command_runs() {
    let env = TestEnv::new();
    env.run(["--also", "b", "--also=c", "a", "sh", "-c", PROBE])
        .assert_all(0, "1\n1\n1\n", "");
    env.sh(PROBE).assert_stdout("0\n0\n0\n");
}

#[test]
fn no_lock_is_kept_if_one_file_is_locked() {
    let env = TestEnv::new();
    let _holder = env.hold(&[], "b");
    for wait in ["-n", "-w0.01"] {
        env.run([wait, "-E", "9", "--also", "a", "--also", "b", "c", "true"])
            .assert_all(9, "", "");
    }
    env.sh(PROBE).assert_stdout("0\n1\n0\n");
}

#[test]
fn a_file_with_several_names_is_locked_once() {
    TestEnv::new()
        .sh("ln -s a b; : >a; ln a c; flock -n --also a --also b --also c a echo once")
        .assert_stdout("once\n");
}

/// Each of the names may lead to a file of its own by the time at which the lock is granted.
#[rstest]
fn every_name_of_a_file_is_compared(#[values("a", "b")] replaced: &str) {
    let env = TestEnv::new();
    env.install_queued_script();
    let inner = "for f in a b; do flock -n $f true; echo $?; done";
    env.sh(format!(
        "exec 9<>a; ln a b; flock 9
         flock --also b a sh -c '{inner}' 9>&- & waiter=$!
         queued a 1; rm {replaced}; : >{replaced}; flock -u 9
         wait $waiter"
    ))
    .assert_all(0, "1\n1\n", "");
}

#[test]
fn the_mode_and_the_kind_of_lock_apply_to_all_files() {
    let env = TestEnv::new();
    let _readers = [env.hold(&["-s"], "a"), env.hold(&["-s"], "b")];
    for (option, status) in [("-s", 0), ("-x", 1), ("--fcntl", 0)] {
        env.run(["-n", option, "--also", "b", "a", "true"])
            .assert_status(status);
    }
}

#[test]
fn the_command_inherits_all_locks_or_none() {
    let env = TestEnv::new();
    let count = "ls -l /proc/self/fd | grep -c -e '/[ab]$'";
    for (option, inherited) in [("-x", "2\n"), ("-F", "2\n"), ("-o", "0\n")] {
        env.run([option, "--also", "b", "a", "sh", "-c", count])
            .assert_stdout(inherited);
    }
}

#[test]
fn the_lock_order_does_not_depend_on_the_order_of_names() {
    let env = TestEnv::new();
    let mut names = ["a", "b"];
    env.sh(": >a; : >b").assert_status(0);
    names.sort_by_key(|name| fs::metadata(env.file(name)).expect("a file").ino());
    let [first, second] = names;
    for [file, also] in [[first, second], [second, first]] {
        let holder = env.hold(&[], first);
        let mut waiter = env.start_flock(["--also", also, file, "echo", "locked"]);
        wait_until("it waits for the first file", || {
            waiter_count(env.file(first)) == 1
        });
        env.run(["-n", second, "true"]).assert_status(0);
        holder.release();
        waiter.expect_line("locked");
    }
}

#[test]
fn opposite_orders_of_names_do_not_deadlock() {
    let env = &TestEnv::new();
    fs::write(env.file("counter"), "0\n").expect("a counter");
    let step = "read n <counter; echo $((n + 1)) >counter";
    std::thread::scope(|scope| {
        for names in ["abc", "cba", "bca", "bac"] {
            let [one, two, three] = [0, 1, 2].map(|index| &names[index..=index]);
            scope.spawn(move || {
                for _ in 0..15 {
                    env.run(["--also", one, "--also", two, three, "sh", "-c", step])
                        .assert_status(0);
                }
            });
        }
    });
    let counter = fs::read_to_string(env.file("counter")).expect("a counter");
    assert_eq!(counter, "60\n");
}

#[test]
fn each_file_is_opened_once_even_if_flock_waits() {
    let env = TestEnv::new();
    for options in [
        &["--verbose"][..],
        &[],
        &["--verbose", "-w100"],
        &["--fair"],
    ] {
        let holder = env.hold(&[], "a");
        fs::write(env.file("b"), "").expect("a file");
        let watches = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).expect("inotify");
        for name in ["a", "b"] {
            inotify::add_watch(&watches, env.file(name), WatchFlags::OPEN).expect("a watch");
        }
        let words = ["--also", "b", "a", "true"];
        let mut flock = env
            .flock(options.iter().chain(&words))
            .spawn()
            .expect("it starts");
        wait_until("it waits", || waiter_count(env.file("a")) == 1);
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&watches, &mut buffer);
        let mut opened = 0;
        while events.next().is_ok() {
            opened += 1;
        }
        holder.release();
        assert!(flock.wait().expect("a child").success());
        // --fair opens the file once more for the ticket.
        let expected = if options == ["--fair"] { 3 } else { 2 };
        assert_eq!(opened, expected, "{options:?}");
    }
}

#[test]
fn also_requires_a_file_and_a_command() {
    let message = "--also requires a lock file and a command: flock --also ... FILE COMMAND";
    assert_misuse(&["--also", "a", "8"], message);
    assert_misuse(&["--also", "a", "--fd", "8", "true"], message);
    let env = TestEnv::new();
    env.run(["--also", "b", "a", "no-such-command"])
        .assert_status(69);
    assert!(env.file_names().is_empty());
}

#[test]
fn also_cannot_be_abbreviated() {
    assert_misuse(&["--als", "a", "b", "true"], "unrecognized option '--als'");
}

#[test]
fn the_builtin_locks_all_files_for_functions() {
    let probe = PROBE.replace("flock", "bin/flock");
    let script = format!("f() {{ {probe}; }}; flock --also b a f; f; flock --also b --also c a f");
    for_each_bash(|env| {
        env.run_with_builtin(&script)
            .assert_all(0, "1\n1\n0\n0\n0\n0\n1\n1\n1\n", "");
    });
}
