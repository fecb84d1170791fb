//! Section 4: the command gets what the caller gave, and the caller gets the command's end.

use test_support::locks::waiter_count;
use test_support::pre_exec::{CommandPreExecExt, signal_set};
use test_support::process::ExitReason;
use test_support::{TestEnv, differs_from_util_linux, wait_until};

/// The ways to run a command that must not differ in what the command sees.
const WAYS: [&[&str]; 5] = [&["-x"], &["-F"], &["-o"], &["-w1000"], &["-F", "-w1000"]];

/// Asserts that the command under `flock` inherits what the caller has set up, apart from the lock.
#[track_caller]
fn assert_same_inherited_state(env: &TestEnv, make: impl Fn(&mut std::process::Command)) -> String {
    let mut direct = env.command("test-helper");
    make(direct.args(["inherited-state", "state"]));
    let (direct, _) = env.inherited_state_of(direct);
    assert!(!direct.is_empty());
    for way in WAYS {
        let mut under =
            env.flock(
                way.iter()
                    .chain(&["l", "test-helper", "inherited-state", "state"]),
            );
        make(&mut under);
        let (under, outcome) = env.inherited_state_of(under);
        outcome.assert_status(0).assert_stderr("");
        let lock = format!("fd 3 {}", env.file("l").display());
        let (lock, rest): (Vec<&str>, Vec<&str>) = under.lines().partition(|line| *line == lock);
        assert_eq!(lock.len(), usize::from(way != ["-o"]), "{way:?}: {under}");
        // The pipes are new each time.
        let known = |line: &&str| !line.contains(" pipe:");
        let rest: Vec<&str> = rest.into_iter().filter(known).collect();
        let direct: Vec<&str> = direct.lines().filter(known).collect();
        assert_eq!(rest, direct, "{way:?}");
    }
    direct
}

#[test]
fn the_command_gets_the_callers_world() {
    let env = TestEnv::new();
    let state = assert_same_inherited_state(&env, |command| {
        command.before_exec(|| {
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o137));
            rustix::process::nice(3)?;
            Ok(())
        });
    });
    assert!(
        state.contains("Umask 0137\n") && state.contains("nice 3\n"),
        "{state}"
    );
}

#[test]
fn the_command_gets_the_callers_working_directory() {
    let env = TestEnv::new();
    std::fs::create_dir(env.file("deep")).expect("a folder");
    env.sh("cd deep && flock ../l pwd -P")
        .assert_stdout(&format!(
            "{}\n",
            env.file("deep").canonicalize().expect("deep").display()
        ));
}

#[test]
fn the_command_gets_the_callers_blocked_signals() {
    // A bash unblocks SIGCHLD for itself and for all that it starts.
    let env = TestEnv::without_builtin();
    for set in [
        signal_set([libc::SIGINT, libc::SIGTERM, libc::SIGCHLD]),
        signal_set([libc::SIGCHLD, 32, 33, 34, 64]),
        signal_set([libc::SIGCONT, libc::SIGTSTP]),
        u64::MAX,
        0,
    ] {
        // The reference's timeout cannot do with a blocked alarm, but is not called to fire here.
        let state = assert_same_inherited_state(&env, |command| {
            command.block_signals(set);
        });
        let seen = set & !signal_set([libc::SIGKILL, libc::SIGSTOP]);
        assert!(state.contains(&format!("SigBlk {seen:016x}\n")), "{state}");
    }
}

#[test]
fn the_command_gets_the_callers_ignored_signals() {
    let env = TestEnv::new();
    for set in [
        vec![libc::SIGPIPE],
        vec![libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGTERM],
        (libc::SIGRTMIN()..=64)
            .chain([libc::SIGTSTP, libc::SIGCONT])
            .collect(),
        vec![],
    ] {
        let seen = signal_set(set.iter().copied());
        let state = assert_same_inherited_state(&env, |command| {
            command.ignore_signals(set.clone());
        });
        assert!(state.contains(&format!("SigIgn {seen:016x}\n")), "{state}");
    }
}

#[test]
fn the_command_gets_every_ignored_signal_that_there_is() {
    differs_from_util_linux("the reference resets SIGCHLD, and SIGALRM with -w", |env| {
        let all = (1..=31).chain(libc::SIGRTMIN()..=64);
        let all = all.filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal));
        assert_same_inherited_state(env, |command| {
            command.ignore_signals(all.clone());
        });
    });
}

#[test]
fn a_wait_leaves_no_trace_in_the_commands_world() {
    for way in [&["-w1000"][..], &["-F", "-w1000"], &["-x"]] {
        let env = TestEnv::new();
        let make = |command: &mut std::process::Command| {
            command.ignore_signals([40, 64]);
            command.block_signals(signal_set([libc::SIGALRM, libc::SIGUSR1, 63, 64]));
        };
        let mut direct = env.command("test-helper");
        make(direct.args(["inherited-state", "state"]));
        let (direct, _) = env.inherited_state_of(direct);
        let direct = direct.lines().filter(|line| line.starts_with("S"));

        let holder = env.hold(&[], "l");
        let mut under =
            env.flock(
                way.iter()
                    .chain(&["l", "test-helper", "inherited-state", "after"]),
            );
        make(&mut under);
        let mut under = env.start(under);
        wait_until("it waits", || waiter_count(env.file("l")) == 1);
        holder.release();
        assert_eq!(under.wait(), ExitReason::Exited(0));
        let after = std::fs::read_to_string(env.file("after")).expect("a report");
        let after = after.lines().filter(|line| line.starts_with("S"));
        assert!(direct.eq(after.clone()), "{way:?}: {after:?}");
    }
}

#[test]
fn an_ignored_sigchld_loses_no_status() {
    let env = TestEnv::new();
    let mut flock = env.flock(["l", "sh", "-c", "exit 7"]);
    flock.ignore_signals([libc::SIGCHLD]);
    env.run_command(flock).assert_status(7).assert_stderr("");
}

#[test]
fn an_ignored_sigchld_stays_ignored_for_the_command() {
    differs_from_util_linux("the reference resets it for the command too", |env| {
        let mut flock = env.flock(["l", "grep", "^SigIgn", "/proc/self/status"]);
        flock.ignore_signals([libc::SIGCHLD]);
        env.run_command(flock)
            .assert_status(0)
            .assert_stdout("SigIgn:\t0000000000010000\n");
    });
}

#[test]
fn a_blocked_or_pending_signal_loses_no_status() {
    let env = TestEnv::new();
    for pending in [
        libc::SIGTERM,
        libc::SIGCHLD,
        libc::SIGALRM,
        libc::SIGHUP,
        40,
    ] {
        let mut flock = env.flock(["l", "sh", "-c", "exit 7"]);
        flock.block_signals(u64::MAX).raise_signal(pending);
        env.run_command(flock).assert_status(7);
    }
}

#[test]
fn a_pending_signal_is_handed_on_in_place() {
    let env = TestEnv::new();
    let mut flock = env.flock(["-F", "l", "test-helper", "catch-signals", "1"]);
    flock
        .block_signals(signal_set([libc::SIGTERM]))
        .raise_signal(libc::SIGTERM);
    let mut flock = env.start(flock);
    flock.expect("ready");
    flock.expect("received 15 ");
}

#[test]
fn the_environment_arrives_byte_for_byte() {
    let env = TestEnv::new();
    let path = format!("PATH={}:/usr/bin:/bin", env.file("bin").display());
    let entries: [&[u8]; 11] = [
        path.as_bytes(),
        b"PLAIN=value",
        b"EMPTY=",
        b"TWICE=1",
        b"TWICE=2",
        b"no equals sign",
        b"=no name",
        b"",
        b"BASH_FUNC_greet%%=() {  echo \"hello\n\"\n}",
        b"BYTES=\xff\xfe\x80",
        b"LINES=one\ntwo\n",
    ];
    let wanted = entries.map(|entry| [entry, b"\0"].concat()).concat();
    let flock = env.file("bin/flock").display().to_string();
    for way in WAYS {
        let words = ["flock"].iter().chain(way);
        let words: Vec<&str> = words
            .chain(&["l", "cat", "/proc/self/environ"])
            .copied()
            .collect();
        let mut command = env.command("true");
        command.execve(&flock, &words, &entries);
        let outcome = env.run_command(command).assert_status(0);
        assert_eq!(
            outcome.stdout.escape_ascii().to_string(),
            wanted.escape_ascii().to_string(),
            "{way:?}"
        );
    }
}

#[test]
fn an_empty_environment_stays_empty() {
    let env = TestEnv::new();
    let flock = env.file("bin/flock").display().to_string();
    let mut command = env.command("true");
    command.execve(&flock, &["flock", "l", "cat", "/proc/self/environ"], &[]);
    env.run_command(command).assert_status(0).assert_stdout("");
}

#[test]
fn an_exported_bash_function_runs_under_the_lock() {
    let env = TestEnv::new();
    env.bash("greet() { echo \"hello $1\"; }; export -f greet; flock l bash -c 'greet you'")
        .assert_stdout("hello you\n");
}

#[test]
fn the_callers_descriptors_arrive_and_the_lock_takes_the_lowest_free_one() {
    let env = TestEnv::new();
    for way in ["-x", "-F", "-w1000"] {
        env.sh(format!(
            "exec 3<bin 5<bin 9<bin; flock {way} l test-helper inherited-state state"
        ))
        .assert_status(0);
        let state = std::fs::read_to_string(env.file("state")).expect("a report");
        let (lock, bin) = (env.file("l"), env.file("bin"));
        for (number, target) in [(3, &bin), (4, &lock), (5, &bin), (9, &bin)] {
            let line = format!("fd {number} {}\n", target.display());
            assert!(state.contains(&line), "{way}: {line}{state}");
        }
        assert_eq!(state.matches("fd ").count(), 7, "{way}: {state}");
    }
}

#[test]
fn a_closed_standard_descriptor_stays_closed_for_the_command() {
    differs_from_util_linux(
        "the reference's lock takes its place, as the lowest free one",
        |env| {
            for closed in [&[0][..], &[1], &[2], &[0, 1, 2]] {
                let state = assert_same_inherited_state(env, |command| {
                    command.close_fds(closed);
                });
                assert_eq!(state.matches("fd ").count(), 3 - closed.len(), "{state}");
            }
        },
    );
}

#[test]
fn nothing_takes_the_place_of_a_closed_descriptor_when_the_lock_is_closed_too() {
    let env = TestEnv::new();
    for closed in [&[0][..], &[1], &[2], &[0, 1, 2]] {
        for way in [&["-o"][..], &["-o", "-w1000"], &["-o", "-s"]] {
            let mut flock =
                env.flock(
                    way.iter()
                        .chain(&["l", "test-helper", "inherited-state", "state"]),
                );
            flock.close_fds(closed);
            let (state, _) = env.inherited_state_of(flock);
            for descriptor in 0..=2 {
                let open = state.contains(&format!("fd {descriptor} "));
                assert_eq!(open, !closed.contains(&descriptor), "{way:?}: {state}");
            }
        }
    }
}

#[test]
fn the_command_stays_in_the_process_group() {
    let env = TestEnv::new();
    let mut flock = env.start_flock(["l", "sh", "-c", "echo $$; read x"]);
    let command: i32 = flock.read_line().parse().expect("a pid");
    let command = rustix::process::Pid::from_raw(command);
    assert_ne!(
        command.map(|pid| pid.as_raw_nonzero().get()),
        Some(flock.pid())
    );
    let group = rustix::process::getpgid(command).expect("it lives");
    assert_eq!(group.as_raw_nonzero().get(), flock.pid());
}

#[test]
fn in_place_it_is_the_same_process() {
    let env = TestEnv::new();
    for words in [["-F", "l"], ["--no-fork", "l"]] {
        let mut flock = env.start(env.flock(words.iter().chain(&["sh", "-c", "echo $$"])));
        flock.expect_line(&flock.pid().to_string());
        assert_eq!(flock.wait(), ExitReason::Exited(0));
    }
}
