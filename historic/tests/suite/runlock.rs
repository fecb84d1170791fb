//! `runlock`: what it runs and how it ends, and the file that is its lock. When that is taken for a dead one's is the subject
//! of `stale`, and how it gets on with the program that it replaces, of `original`.

mod original;
mod refused;
mod stale;
mod storm;

use stale::StaleLockEnv;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use test_support::locks::locks_on;
use test_support::process::{ExitReason, Process, send_signal};
use test_support::{Outcome, TestEnv, is_installed, wait_until};

const STILL_LOCKED: &str = "Still locked.\n";

trait RunlockEnv {
    /// `runlock l` over this command.
    fn runlock(&self, words: &[&str]) -> Command;

    fn run_runlock(&self, words: &[&str]) -> Outcome;

    /// `runlock l` over a shell that waits for a line, and has begun to.
    fn hold_runlock(&self) -> Process;

    /// Asserts that the lock is taken, and nothing else is said than what is wanted.
    fn assert_still_locked(&self, said: &str);

    /// Asserts that the lock is to be had, and this is said about it.
    fn assert_unlocked(&self, said: &str);
}

impl RunlockEnv for TestEnv {
    fn runlock(&self, words: &[&str]) -> Command {
        let mut command = self.command("runlock");
        command.arg("l").args(words);
        command
    }

    #[track_caller]
    fn run_runlock(&self, words: &[&str]) -> Outcome {
        self.run_command(self.runlock(words))
    }

    #[track_caller]
    fn hold_runlock(&self) -> Process {
        let mut live = self.start(self.runlock(&["sh", "-c", "echo held; read x; exit 5"]));
        live.expect_line("held");
        live
    }

    #[track_caller]
    fn assert_still_locked(&self, said: &str) {
        self.run_runlock(&["echo", "ran"])
            .assert_status(0)
            .assert_stdout("")
            .assert_stderr(&format!("{STILL_LOCKED}{said}"));
    }

    #[track_caller]
    fn assert_unlocked(&self, said: &str) {
        self.run_runlock(&["echo", "ran"])
            .assert_stderr(said)
            .assert_stdout("ran\n")
            .assert_status(0);
    }
}

#[test]
fn a_command_runs_unless_it_runs_already() {
    let env = TestEnv::new();
    let mut holder = env.hold_runlock();
    env.assert_still_locked("");
    holder.send_line("");
    assert_eq!(holder.wait(), ExitReason::Exited(5));
    env.assert_unlocked("");
}

#[test]
fn a_living_ones_lock_is_left_alone_however_old_it_is() {
    let env = TestEnv::new();
    let _holder = env.hold_runlock();
    env.sh("touch -d 1990-01-01 l.lock").assert_status(0);
    env.assert_still_locked("");
}

#[test]
fn the_file_says_which_process_it_is_in_a_line_of_its_own() {
    let env = TestEnv::new();
    for umask in ["000", "022", "777"] {
        let script =
            format!("umask {umask}; exec runlock l sh -c 'head -n 1 l.lock; stat -c %a l.lock'");
        let mut runlock = env.command("sh");
        runlock.args(["-c", &script]);
        let mut runlock = env.start(runlock);
        runlock.expect_line(&runlock.pid().to_string());
        runlock.expect_line("444");
        assert_eq!(runlock.wait(), ExitReason::Exited(0));
    }
    assert!(env.file_names().is_empty());
}

#[test]
fn the_file_is_beside_what_it_locks() {
    let env = TestEnv::new();
    env.sh("mkdir d; runlock d/x ls -A d; runlock d/ ls -A d; runlock \"$PWD/x\" ls x.lock")
        .assert_stderr("")
        .assert_stdout("x.lock\n.lock\nx.lock\n");
    assert_eq!(env.file_names(), ["d"]);
}

#[test]
fn the_file_is_gone_whichever_way_it_ends() {
    let env = TestEnv::new();
    env.install_script("closed", "#!/no/such/interpreter\n");
    std::fs::write(env.file("data"), "").expect("a file");
    for (words, status, said) in [
        (&["true"][..], 0, ""),
        (&["sh", "-c", "exit 42"], 42, ""),
        (&["sh", "-c", "exit 127"], 127, ""),
        (&["sh", "-c", "kill -9 $$"], 137, ""),
        (&["sh", "-c", "kill -15 $$"], 143, ""),
        (&["nosuch"], 126, "nosuch: No such file or directory\n"),
        (&["./nosuch"], 126, "./nosuch: No such file or directory\n"),
        (&["./data"], 126, "./data: Permission denied\n"),
        (&["./closed"], 126, "./closed: No such file or directory\n"),
    ] {
        let outcome = env.run_runlock(words).assert_status(status);
        let wanted = match said {
            "" => String::new(),
            said => format!("runlock: failed to execute {said}"),
        };
        outcome.assert_stderr(&wanted).assert_stdout("");
        assert!(!env.file("l.lock").exists(), "{words:?}");
    }
}

#[test]
fn a_missing_command_is_not_missed_while_another_runs() {
    let env = TestEnv::new();
    let _holder = env.hold_runlock();
    env.run_runlock(&["nosuch"])
        .assert_stderr(STILL_LOCKED)
        .assert_status(0);
}

#[test]
fn without_unnamed_files_it_works_as_well_and_leaves_nothing() {
    let env = TestEnv::new();
    // What NFS and others say; all that is opened for reading and writing is a file to be made.
    let inject = "inject=?open,openat:error=EOPNOTSUPP:when=";
    let mut made = 0;
    for call in 1..40 {
        let inject = format!("{inject}{call}");
        let script = "stat -c '%h %a' l.lock; ls -A | grep -v bin; runlock l true";
        let Some(command) =
            env.with_fault_injection_into("runlock", "", &inject, &["l", "sh", "-c", script])
        else {
            return;
        };
        let outcome = env.run_command(command);
        if outcome.code() == 0 {
            made += 1;
            let outcome = outcome.assert_stdout("1 444\nl.lock\n");
            assert_eq!(outcome.stderr_text(), STILL_LOCKED);
        }
        assert!(
            env.file_names().is_empty(),
            "{call}: {:?}",
            env.file_names()
        );
    }
    assert!(made > 0);
}

#[test]
fn the_command_does_not_inherit_the_lock_and_sees_what_was_closed_closed() {
    let env = TestEnv::new();
    // In whoever has the lock open they are closed as well: what it has to say must not end up in the file.
    let look = "for pid in $$ $PPID; do seen=; for fd in 0 1 2; do
            [ -e /proc/$pid/fd/$fd ] && seen=$seen$fd; done; echo $seen >>seen; done
        for fd in /proc/$$/fd/*; do readlink $fd; done | grep -c lock >>seen; cp l.lock copy";
    env.write_lock_file("2000000000\n");
    for (closed, wanted) in [
        ("", "012"),
        ("<&-", "12"),
        ("2>&-", "01"),
        (">&- 2>&-", "0"),
        ("<&- >&- 2>&-", ""),
    ] {
        let script = format!("runlock l sh -c '{look}' {closed}; echo $?");
        env.sh(script).assert_stdout("0\n");
        let read = |name| std::fs::read_to_string(env.file(name)).expect("it was written");
        assert_eq!(read("seen"), format!("{wanted}\n{wanted}\n0\n"), "{closed}");
        assert_eq!(read("copy").lines().count(), 2, "{closed}");
        env.sh("rm -f copy seen").assert_status(0);
    }
}

#[test]
fn what_is_sent_to_runlock_reaches_the_command_and_they_end_as_one() {
    let env = TestEnv::new();
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1] {
        let mut runlock = env.hold_runlock();
        runlock.signal(signal);
        assert_eq!(runlock.wait(), ExitReason::Signaled(signal));
        assert!(!env.file("l.lock").exists(), "{signal}");
    }
    let script = "trap 'echo heard; exit 9' TERM; echo ready; read x";
    let mut runlock = env.start(env.runlock(&["sh", "-c", script]));
    runlock.expect_line("ready");
    runlock.signal(libc::SIGTERM);
    runlock.expect_line("heard");
    assert_eq!(runlock.wait(), ExitReason::Exited(9));
    assert!(!env.file("l.lock").exists());
}

#[test]
fn a_signal_between_the_making_of_the_file_and_the_command_leaves_nothing() {
    let env = TestEnv::new();
    for (call, ran) in [("linkat", ""), ("?unlink,?unlinkat", "ran\n")] {
        for (name, number) in [("TERM", 15), ("INT", 2), ("HUP", 1)] {
            let inject = format!("inject={call}:signal={name}");
            let Some(command) =
                env.with_fault_injection_into("runlock", "", &inject, &["l", "echo", "ran"])
            else {
                return;
            };
            let outcome = env.run_command(command);
            outcome.assert_status(128 + number).assert_stdout(ran);
            assert!(
                env.file_names().is_empty(),
                "{call}: {:?}",
                env.file_names()
            );
        }
    }
    // When there is a result, only a request to stop takes it away.
    let inject = "inject=?unlink,?unlinkat:signal=USR1";
    let late = env.with_fault_injection_into("runlock", "", inject, &["l", "echo", "ran"]);
    if let Some(command) = late {
        env.run_command(command)
            .assert_status(0)
            .assert_stdout("ran\n");
    }
}

#[test]
fn a_signal_at_any_moment_leaves_no_file() {
    let env = TestEnv::new();
    let mut lived_to_run = false;
    // From before its main to after its command's, however slow the machine.
    for delay in (0..120)
        .map(|step| step * 30)
        .chain([10_000, 100_000, 1_000_000])
    {
        if lived_to_run && delay > 3600 {
            break;
        }
        let mut runlock = env.start(env.runlock(&["sh", "-c", "echo ready; read x"]));
        let until = std::time::Instant::now() + std::time::Duration::from_micros(delay);
        while std::time::Instant::now() < until {
            std::hint::spin_loop();
        }
        runlock.signal(libc::SIGTERM);
        assert_eq!(
            runlock.wait(),
            ExitReason::Signaled(libc::SIGTERM),
            "{delay}"
        );
        assert!(
            env.file_names().is_empty(),
            "{delay}: {:?}",
            env.file_names()
        );
        lived_to_run |= runlock.read_until("ready").is_ok();
    }
    assert!(lived_to_run, "the delays are too short to mean anything");
}

#[test]
fn a_file_that_was_removed_or_replaced_meanwhile_is_not_missed_and_not_touched() {
    let env = TestEnv::new();
    env.run_runlock(&["rm", "-f", "l.lock"])
        .assert_stderr("")
        .assert_status(0);
    env.run_runlock(&["sh", "-c", "rm -f l.lock; echo 1 >l.lock"])
        .assert_stderr("")
        .assert_status(0);
    let text = || std::fs::read_to_string(env.file("l.lock")).expect("it is there");
    assert_eq!(text(), "1\n");
    // The same file with another's words in it, as the original does as root.
    std::fs::remove_file(env.file("l.lock")).expect("it is there");
    env.run_runlock(&["sh", "-c", "chmod 644 l.lock; echo 1 >l.lock"])
        .assert_stderr("")
        .assert_status(0);
    assert_eq!(text(), "1\n");
}

#[test]
fn in_a_process_namespace_of_its_own_it_is_known_to_be_alive() {
    let env = TestEnv::new();
    let mut inside = env.command("unshare");
    inside.args(["-rpf", "--mount-proc", "runlock", "l", "sh", "-c"]);
    inside.arg("echo held; read x; :");
    if !is_installed("unshare") {
        return;
    }
    let mut inside = env.start(inside);
    if inside.read_until("held\n").is_err() {
        // Namespaces are kept from users here.
        return;
    }
    let text = std::fs::read_to_string(env.file("l.lock")).expect("it is there");
    let pid: i32 = text
        .lines()
        .next()
        .and_then(|pid| pid.parse().ok())
        .expect("a pid");
    assert!(pid < 10, "{text}");
    env.assert_still_locked("");
    // Everybody in the namespace ends with its first process.
    assert!(send_signal(-inside.pid(), libc::SIGKILL));
    inside.wait();
    wait_until("the kernel clears up", || {
        locks_on(env.file("l.lock")).is_empty()
    });
    env.assert_unlocked(&format!("runlock: UNLOCKED l (stale lock by PID {pid})\n"));
}

#[test]
fn nobody_may_write_into_the_file() {
    let env = TestEnv::new();
    let _holder = env.hold_runlock();
    let mode = std::fs::metadata(env.file("l.lock")).expect("it is there");
    assert_eq!(mode.permissions().mode() & 0o7777, 0o444);
    if let Some(command) = env.unprivileged("echo 1 >l.lock") {
        assert_ne!(env.run_command(command).code(), 0);
    }
}
