//! `runlock`: what it runs, its exit status, and the file that is its lock. When a file is stale is
//! the subject of `stale`, and the exclusion of the original program that of `original`.

mod original;
mod race;
mod refused;
mod stale;
mod storm;

use std::os::unix::fs::PermissionsExt;

use rstest::rstest;
use test_support::locks::locks_on;
use test_support::process::{ExitReason, Process, send_signal};
use test_support::{Outcome, TestEnv, can_unshare, wait_until};

use crate::{CommandLineEnv, env, spin};

const STILL_LOCKED: &str = "Still locked.\n";

/// Returns the message about a stale lock that was broken.
fn unlocked(pid: i32) -> String {
    format!("runlock: UNLOCKED l (stale lock by PID {pid})\n")
}

/// Starts a holder of the lock, which exits with status 5 after [`Process::send_line`].
#[track_caller]
fn hold_runlock(env: &TestEnv) -> Process {
    let mut holder = env.start_script("runlock l", "echo held; read x; exit 5");
    holder.expect_line("held");
    holder
}

/// Runs `runlock l echo ran` with injected faults; `None` if that is not possible.
#[track_caller]
fn run_injected(env: &TestEnv, inject: &str) -> Option<Outcome> {
    let command = env.injected(inject, "runlock l echo ran")?;
    Some(env.run_command(command))
}

/// Asserts that the lock is taken, and that this message follows.
#[track_caller]
fn assert_still_locked(env: &TestEnv, message: &str) {
    env.run_line("runlock l echo ran")
        .assert_all(0, "", &format!("{STILL_LOCKED}{message}"));
}

/// Asserts that the lock can be taken, with this message.
#[track_caller]
fn assert_unlocked(env: &TestEnv, message: &str) {
    env.run_line("runlock l echo ran")
        .assert_all(0, "ran\n", message);
}

/// Creates a lock file, as the original does.
#[track_caller]
fn write_lock_file(env: &TestEnv, text: &str) {
    let file = env.file("l.lock");
    let _ = std::fs::remove_file(&file);
    std::fs::write(&file, text).expect("a new file");
    let mode = PermissionsExt::from_mode(0o444);
    std::fs::set_permissions(&file, mode).expect("our file");
}

/// Returns the pid in the lock file.
#[track_caller]
fn pid_in_lock_file(env: &TestEnv) -> i32 {
    let text = env.read("l.lock");
    let pid = text.lines().next().and_then(|pid| pid.parse().ok());
    pid.unwrap_or_else(|| panic!("no pid: {text}"))
}

#[rstest]
fn command_runs_unless_locked(env: TestEnv) {
    let mut holder = hold_runlock(&env);
    assert_still_locked(&env, "");
    // Its age does not matter.
    env.sh("touch -d 1990-01-01 l.lock").assert_status(0);
    assert_still_locked(&env, "");
    // Nor whether the command exists.
    env.run_line("runlock l no-such-command")
        .assert_all(0, "", STILL_LOCKED);
    holder.send_line("");
    assert_eq!(holder.wait(), ExitReason::Exited(5));
    assert_unlocked(&env, "");
}

#[rstest]
fn first_line_of_file_is_pid(env: TestEnv) {
    for umask in ["000", "022", "777"] {
        let script =
            format!("umask {umask}; exec runlock l sh -c 'head -n 1 l.lock; stat -c %a l.lock'");
        let mut runlock = env.start_script("", &script);
        runlock.expect_line(&runlock.pid().to_string());
        runlock.expect_line("444");
        assert_eq!(runlock.wait(), ExitReason::Exited(0));
    }
    assert!(env.file_names().is_empty());
}

#[rstest]
fn suffix_is_appended_to_path(env: TestEnv) {
    env.sh("mkdir d; runlock d/x ls -A d; runlock d/ ls -A d; runlock \"$PWD/x\" ls x.lock")
        .assert_all(0, "x.lock\n.lock\nx.lock\n", "");
    assert_eq!(env.file_names(), ["d"]);
}

#[rstest]
fn file_is_removed_after_success_and_failure(env: TestEnv) {
    env.install_script("no-interpreter", "#!/no/such/interpreter\n");
    std::fs::write(env.file("data"), "").expect("a file");
    for (script, status) in [
        ("true", 0),
        ("exit 42", 42),
        ("exit 127", 127),
        ("kill -9 $$", 137),
        ("kill -15 $$", 143),
    ] {
        env.run_script("runlock l", script)
            .assert_all(status, "", "");
        assert!(!env.file("l.lock").exists(), "{script}");
    }
    for (command, reason) in [
        ("no-such-command", "No such file or directory"),
        ("./no-such-command", "No such file or directory"),
        (
            "./data",
            "Permission denied: ./data is not executable; use: chmod +x ./data",
        ),
        (
            "./no-interpreter",
            "No such file or directory: the first line of ./no-interpreter names a missing \
             interpreter: /no/such/interpreter",
        ),
    ] {
        let message = format!("runlock: failed to execute {command}: {reason}\n");
        env.run_line(&format!("runlock l {command}"))
            .assert_all(126, "", &message);
        assert!(!env.file("l.lock").exists(), "{command}");
    }
}

#[rstest]
fn file_systems_without_unnamed_files_are_supported(env: TestEnv) {
    // One of the calls has O_TMPFILE, for which NFS and others report this error.
    let inject = "inject=?open,openat:error=EOPNOTSUPP:when=";
    let script = "stat -c '%h %a' l.lock; ls -A | grep -v bin; runlock l true";
    let mut succeeded = 0;
    for call in 1..40 {
        let Some(mut runlock) = env.injected(&format!("{inject}{call}"), "runlock l sh -c") else {
            return;
        };
        runlock.arg(script);
        let outcome = env.run_command(runlock);
        if outcome.code() == 0 {
            succeeded += 1;
            outcome
                .assert_stdout("1 444\nl.lock\n")
                .assert_stderr(STILL_LOCKED);
        }
        let names = env.file_names();
        assert!(names.is_empty(), "{call}: {names:?}");
    }
    assert!(succeeded > 0);
}

#[rstest]
fn command_does_not_inherit_lock_file(env: TestEnv) {
    // A standard descriptor that is closed must also be closed in the process that has the file
    // open: its messages must not be written to the file.
    let report = "for pid in $$ $PPID; do open=; for fd in 0 1 2; do
            [ -e /proc/$pid/fd/$fd ] && open=$open$fd; done; echo $open >>report; done
        for fd in /proc/$$/fd/*; do readlink $fd; done | grep -c lock >>report; cp l.lock copy";
    write_lock_file(&env, "2000000000\n");
    for (redirection, open) in [
        ("", "012"),
        ("<&-", "12"),
        ("2>&-", "01"),
        (">&- 2>&-", "0"),
        ("<&- >&- 2>&-", ""),
    ] {
        env.sh(format!("runlock l sh -c '{report}' {redirection}; echo $?"))
            .assert_stdout("0\n");
        let expected = format!("{open}\n{open}\n0\n");
        assert_eq!(env.read("report"), expected, "{redirection}");
        assert_eq!(env.read("copy").lines().count(), 2, "{redirection}");
        env.sh("rm -f copy report").assert_status(0);
    }
}

#[rstest]
fn signals_are_forwarded_and_death_is_reported(env: TestEnv) {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1] {
        let mut runlock = hold_runlock(&env);
        runlock.signal(signal);
        assert_eq!(runlock.wait(), ExitReason::Signaled(signal));
        assert!(!env.file("l.lock").exists(), "{signal}");
    }
    let script = "trap 'echo trapped; exit 9' TERM; echo ready; read x";
    let mut runlock = env.start_script("runlock l", script);
    runlock.expect_line("ready");
    runlock.signal(libc::SIGTERM);
    runlock.expect_line("trapped");
    assert_eq!(runlock.wait(), ExitReason::Exited(9));
    assert!(!env.file("l.lock").exists());
}

#[rstest]
fn signal_before_or_after_command_leaves_no_file(env: TestEnv) {
    for (call, stdout) in [("linkat", ""), ("?unlink,?unlinkat", "ran\n")] {
        for (name, number) in [("TERM", 15), ("INT", 2), ("HUP", 1)] {
            let Some(outcome) = run_injected(&env, &format!("inject={call}:signal={name}")) else {
                return;
            };
            outcome.assert_all(128 + number, stdout, "");
            let names = env.file_names();
            assert!(names.is_empty(), "{call}: {names:?}");
        }
    }
    // After the command only a termination signal replaces its status.
    if let Some(outcome) = run_injected(&env, "inject=?unlink,?unlinkat:signal=USR1") {
        outcome.assert_all(0, "ran\n", "");
    }
}

#[rstest]
fn signal_at_any_time_leaves_no_file(env: TestEnv) {
    let mut command_started = false;
    // From before main() until after the start of the command, on slow machines too.
    for delay in (0..120)
        .map(|step| step * 30)
        .chain([10_000, 100_000, 1_000_000])
    {
        if command_started && delay > 3600 {
            break;
        }
        let mut runlock = env.start_script("runlock l", "echo ready; read x");
        spin(delay);
        runlock.signal(libc::SIGTERM);
        let reason = runlock.wait();
        assert_eq!(reason, ExitReason::Signaled(libc::SIGTERM), "{delay}");
        let names = env.file_names();
        assert!(names.is_empty(), "{delay}: {names:?}");
        command_started |= runlock.read_until("ready").is_ok();
    }
    assert!(command_started, "the delays are too short");
}

#[rstest]
fn removed_or_replaced_file_is_left_alone(env: TestEnv) {
    env.run_line("runlock l rm -f l.lock").assert_all(0, "", "");
    for replace in [
        "rm -f l.lock; echo 1 >l.lock",
        // The same file with other content, as the original writes it as root.
        "chmod 644 l.lock; echo 1 >l.lock",
    ] {
        env.run_script("runlock l", replace).assert_all(0, "", "");
        assert_eq!(env.read("l.lock"), "1\n");
        std::fs::remove_file(env.file("l.lock")).expect("it exists");
    }
}

#[rstest]
fn holder_in_pid_namespace_is_known_to_be_alive(env: TestEnv) {
    if !can_unshare(&env, "-rpf --mount-proc") {
        return;
    }
    let line = "unshare -rpf --mount-proc runlock l";
    let mut holder = env.start_script(line, "echo held; read x; :");
    holder.expect_line("held");
    let pid = pid_in_lock_file(&env);
    assert!(pid < 10, "{pid}");
    assert_still_locked(&env, "");
    // All processes of the namespace exit with its first one.
    assert!(send_signal(-holder.pid(), libc::SIGKILL));
    holder.wait();
    wait_until("the lock is released", || {
        locks_on(env.file("l.lock")).is_empty()
    });
    assert_unlocked(&env, &unlocked(pid));
}

#[rstest]
fn lock_file_is_not_writable(env: TestEnv) {
    let _holder = hold_runlock(&env);
    if let Some(command) = env.unprivileged("echo 1 >l.lock") {
        assert_ne!(env.run_command(command).code(), 0);
    }
}
