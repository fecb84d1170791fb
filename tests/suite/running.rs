//! What the command inherits: everything that the caller has set up, and the lock.

use std::fs;
use std::process::Command;

use test_support::locks::waiter_count;
use test_support::pre_exec::{CommandPreExecExt, signal_set};
use test_support::process::ExitReason;
use test_support::sandbox::{CommandSandboxExt, RefusedCall, can_refuse_calls};
use test_support::{TestEnv, differs_from_util_linux, wait_until};

/// Options that must not change what the command inherits, apart from the lock.
const OPTIONS: [&[&str]; 5] = [&["-x"], &["-F"], &["-o"], &["-w1000"], &["-F", "-w1000"]];

/// Returns `flock` with these options, whose command reports in a file what it has inherited.
fn reporting_flock(env: &TestEnv, options: &[&str], report: &str) -> Command {
    let command = ["l", "test-helper", "inherited-state", report];
    env.flock(options.iter().chain(&command))
}

/// Returns what a command without `flock` inherits after this preparation.
fn state_without_flock(env: &TestEnv, prepare: impl Fn(&mut Command)) -> String {
    let mut command = env.command("test-helper");
    prepare(command.args(["inherited-state", "state"]));
    let (state, _) = env.inherited_state_of(command);
    assert!(!state.is_empty());
    state
}

/// Asserts that a command inherits the same with and without `flock`, apart from the lock, and
/// returns what it inherits without.
#[track_caller]
fn assert_same_inherited_state(env: &TestEnv, prepare: impl Fn(&mut Command)) -> String {
    // The pipes differ each time.
    let is_same = |line: &&str| !line.contains(" pipe:");
    let expected = state_without_flock(env, &prepare);
    for options in OPTIONS {
        let mut flock = reporting_flock(env, options, "state");
        prepare(&mut flock);
        let (state, outcome) = env.inherited_state_of(flock);
        outcome.assert_all(0, "", "");
        let lock = format!("fd 3 {}", env.file("l").display());
        let (lock, rest): (Vec<&str>, Vec<&str>) = state.lines().partition(|line| *line == lock);
        assert_eq!(lock.len(), usize::from(options != ["-o"]), "{state}");
        let rest: Vec<&str> = rest.into_iter().filter(is_same).collect();
        let expected: Vec<&str> = expected.lines().filter(is_same).collect();
        assert_eq!(rest, expected, "{options:?}");
    }
    expected
}

#[test]
fn command_inherits_umask_and_nice_value() {
    let env = TestEnv::new();
    let state = assert_same_inherited_state(&env, |command| {
        command.before_exec(|| {
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o137));
            rustix::process::nice(3)?;
            Ok(())
        });
    });
    let nice = rustix::process::getpriority_process(None).expect("a nice value");
    let nice = (nice + 3).min(19);
    assert!(state.contains("Umask 0137\n"), "{state}");
    assert!(state.contains(&format!("nice {nice}\n")), "{state}");
}

#[test]
fn command_inherits_the_working_directory() {
    let env = TestEnv::new();
    fs::create_dir(env.file("deep")).expect("a directory");
    let deep = env.file("deep").canonicalize().expect("deep");
    env.sh("cd deep && flock ../l pwd -P")
        .assert_stdout(&format!("{}\n", deep.display()));
}

#[test]
fn command_inherits_blocked_signals() {
    // Without a bash, which unblocks SIGCHLD for itself and for everything that it starts.
    let env = TestEnv::without_builtin();
    for set in [
        signal_set([libc::SIGINT, libc::SIGTERM, libc::SIGCHLD]),
        signal_set([libc::SIGCHLD, 32, 33, 34, 64]),
        signal_set([libc::SIGCONT, libc::SIGTSTP]),
        u64::MAX,
        0,
    ] {
        // util-linux's timeout does not work with SIGALRM blocked, but it does not expire here.
        let state = assert_same_inherited_state(&env, |command| {
            command.block_signals(set);
        });
        let set = set & !signal_set([libc::SIGKILL, libc::SIGSTOP]);
        assert!(state.contains(&format!("SigBlk {set:016x}\n")), "{state}");
    }
}

/// Asserts that the command inherits these ignored signals.
fn assert_inherited_as_ignored(env: &TestEnv, signals: &[i32]) {
    let set = signal_set(signals.iter().copied());
    let state = assert_same_inherited_state(env, |command| {
        command.ignore_signals(signals.iter().copied());
    });
    assert!(state.contains(&format!("SigIgn {set:016x}\n")), "{state}");
}

#[test]
fn command_inherits_ignored_signals() {
    let env = TestEnv::new();
    let real_time = libc::SIGRTMIN()..=64;
    let stops = [libc::SIGTSTP, libc::SIGCONT];
    for signals in [
        vec![libc::SIGPIPE],
        vec![libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGTERM],
        real_time.chain(stops).collect(),
        vec![],
    ] {
        assert_inherited_as_ignored(&env, &signals);
    }
}

#[test]
fn command_inherits_ignored_sigchld_and_sigalrm() {
    differs_from_util_linux("it resets SIGCHLD, and SIGALRM with -w", |env| {
        let mut all: Vec<i32> = (1..=31).chain(libc::SIGRTMIN()..=64).collect();
        all.retain(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal));
        for signals in [&[libc::SIGCHLD][..], &all] {
            assert_inherited_as_ignored(env, signals);
        }
    });
}

#[test]
fn waiting_does_not_change_the_commands_signals() {
    fn signal_fields(state: &str) -> Vec<&str> {
        state.lines().filter(|line| line.starts_with('S')).collect()
    }
    for options in [&["-w1000"][..], &["-F", "-w1000"], &["-x"]] {
        let env = TestEnv::new();
        let prepare = |command: &mut Command| {
            command.ignore_signals([40, 64]);
            command.block_signals(signal_set([libc::SIGALRM, libc::SIGUSR1, 63, 64]));
        };
        let expected = state_without_flock(&env, prepare);

        let holder = env.hold(&[], "l");
        let mut flock = reporting_flock(&env, options, "after");
        prepare(&mut flock);
        let mut flock = env.start(flock);
        wait_until("flock waits", || waiter_count(env.file("l")) == 1);
        holder.release();
        assert_eq!(flock.wait(), ExitReason::Exited(0));
        let state = fs::read_to_string(env.file("after")).expect("a report");
        assert_eq!(
            signal_fields(&state),
            signal_fields(&expected),
            "{options:?}"
        );
    }
}

#[test]
fn ignored_sigchld_does_not_lose_the_status() {
    let env = TestEnv::new();
    let mut flock = env.flock(["l", "sh", "-c", "exit 7"]);
    flock.ignore_signals([libc::SIGCHLD]);
    env.run_command(flock).assert_all(7, "", "");
}

#[test]
fn blocked_and_pending_signals_do_not_lose_the_status() {
    use libc::{SIGALRM, SIGCHLD, SIGHUP, SIGTERM};
    let env = TestEnv::new();
    for pending in [SIGTERM, SIGCHLD, SIGALRM, SIGHUP, 40] {
        let mut flock = env.flock(["l", "sh", "-c", "exit 7"]);
        flock.block_signals(u64::MAX).raise_signal(pending);
        env.run_command(flock).assert_status(7);
    }
}

#[test]
fn pending_signal_stays_pending_with_no_fork() {
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
fn environment_is_inherited_byte_for_byte() {
    let env = TestEnv::new();
    let path = format!("PATH={}:/usr/bin:/bin", env.file("bin").display());
    let entries = b"PLAIN=value|EMPTY=|TWICE=1|TWICE=2|no equals sign|=no name||\
        BASH_FUNC_greet%%=() {  echo \"hello\n\"\n}|BYTES=\xff\xfe\x80|LINES=one\ntwo\n";
    let mut entries: Vec<&[u8]> = entries.split(|byte| *byte == b'|').collect();
    entries.insert(0, path.as_bytes());
    let flock = env.file("bin/flock").display().to_string();
    for environment in [&entries[..], &[]] {
        let expected = environment.iter().map(|entry| [entry, &b"\0"[..]].concat());
        let expected = expected.collect::<Vec<_>>().concat();
        for options in OPTIONS {
            let command = ["l", "cat", "/proc/self/environ"];
            let args = [&["flock"], options, &command].concat();
            let mut command = env.command("true");
            command.execve(&flock, &args, environment);
            let outcome = env.run_command(command).assert_status(0);
            assert_eq!(
                outcome.stdout.escape_ascii().to_string(),
                expected.escape_ascii().to_string(),
                "{options:?}"
            );
        }
    }
}

#[test]
fn exported_bash_function_runs_under_the_lock() {
    let env = TestEnv::new();
    env.bash("greet() { echo \"hello $1\"; }; export -f greet; flock l bash -c 'greet you'")
        .assert_stdout("hello you\n");
}

#[test]
fn lock_gets_the_lowest_free_descriptor() {
    let env = TestEnv::new();
    let (lock, bin) = (env.file("l"), env.file("bin"));
    for option in ["-x", "-F", "-w1000"] {
        env.sh(format!(
            "exec 3<bin 5<bin 9<bin; flock {option} l test-helper inherited-state state"
        ))
        .assert_status(0);
        let state = fs::read_to_string(env.file("state")).expect("a report");
        for (fd, target) in [(3, &bin), (4, &lock), (5, &bin), (9, &bin)] {
            let line = format!("fd {fd} {}\n", target.display());
            assert!(state.contains(&line), "{option}: {line}{state}");
        }
        assert_eq!(state.matches("fd ").count(), 7, "{option}: {state}");
    }
}

/// Standard descriptors that the caller has closed.
const CLOSED: [&[i32]; 4] = [&[0], &[1], &[2], &[0, 1, 2]];

#[test]
fn closed_standard_descriptors_stay_closed() {
    differs_from_util_linux(
        "its lock gets the descriptor, as the lowest free one",
        |env| {
            for closed in CLOSED {
                let state = assert_same_inherited_state(env, |command| {
                    command.close_fds(closed);
                });
                assert_eq!(state.matches("fd ").count(), 3 - closed.len(), "{state}");
            }
        },
    );
}

#[test]
fn close_option_leaves_closed_descriptors_closed() {
    let env = TestEnv::new();
    for closed in CLOSED {
        for options in [&["-o"][..], &["-o", "-w1000"], &["-o", "-s"]] {
            let mut flock = reporting_flock(&env, options, "state");
            flock.close_fds(closed);
            let (state, _) = env.inherited_state_of(flock);
            for fd in 0..=2 {
                let is_open = state.contains(&format!("fd {fd} "));
                assert_eq!(is_open, !closed.contains(&fd), "{options:?}: {state}");
            }
        }
    }
}

#[test]
fn command_stays_in_the_process_group() {
    let env = TestEnv::new();
    let mut flock = env.start_flock(["l", "sh", "-c", "echo $$; read x"]);
    let command: i32 = flock.read_line().parse().expect("a pid");
    assert_ne!(command, flock.pid());
    let command = rustix::process::Pid::from_raw(command);
    let group = rustix::process::getpgid(command).expect("it is running");
    assert_eq!(group.as_raw_nonzero().get(), flock.pid());
}

#[test]
fn no_fork_replaces_the_process() {
    let env = TestEnv::new();
    for option in ["-F", "--no-fork"] {
        let mut flock = env.start_flock([option, "l", "sh", "-c", "echo $$"]);
        flock.expect_line(&flock.pid().to_string());
        assert_eq!(flock.wait(), ExitReason::Exited(0));
    }
}

/// As in qemu-user: the command's process gets a copy of the memory.
#[test]
fn command_runs_where_memory_cannot_be_shared() {
    let env = TestEnv::new();
    if env.is_reference() || !can_refuse_calls() {
        return;
    }
    let run = |args: [&str; 3]| {
        let mut flock = env.flock(["l"].iter().chain(&args));
        flock.refuse(RefusedCall::SHARED_MEMORY);
        env.run_command(flock)
    };
    run(["sh", "-c", "echo ran; exit 7"]).assert_all(7, "ran\n", "");
    run(["./missing", "-x", "-y"]).assert_all(
        69,
        "",
        "flock: failed to execute ./missing: No such file or directory\n",
    );
}
