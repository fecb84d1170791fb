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
use test_support::process::{End, Live, send};
use test_support::{Lab, Outcome, installed, wait_until};

const STILL_LOCKED: &str = "Still locked.\n";

trait RunlockEnv {
    /// `runlock l` over this command.
    fn runlock(&self, words: &[&str]) -> Command;

    fn run_runlock(&self, words: &[&str]) -> Outcome;

    /// `runlock l` over a shell that waits for a line, and has begun to.
    fn hold_runlock(&self) -> Live;

    /// Asserts that the lock is taken, and nothing else is said than what is wanted.
    fn is_still_locked(&self, said: &str);

    /// Asserts that the lock is to be had, and this is said about it.
    fn is_to_be_had(&self, said: &str);
}

impl RunlockEnv for Lab {
    fn runlock(&self, words: &[&str]) -> Command {
        let mut command = self.command("runlock");
        command.arg("l").args(words);
        command
    }

    #[track_caller]
    fn run_runlock(&self, words: &[&str]) -> Outcome {
        self.finish(self.runlock(words))
    }

    #[track_caller]
    fn hold_runlock(&self) -> Live {
        let mut live = self.start(self.runlock(&["sh", "-c", "echo held; read x; exit 5"]));
        live.hears("held");
        live
    }

    #[track_caller]
    fn is_still_locked(&self, said: &str) {
        self.run_runlock(&["echo", "ran"])
            .expect_code(0)
            .expect_out("")
            .expect_err(&format!("{STILL_LOCKED}{said}"));
    }

    #[track_caller]
    fn is_to_be_had(&self, said: &str) {
        self.run_runlock(&["echo", "ran"])
            .expect_err(said)
            .expect_out("ran\n")
            .expect_code(0);
    }
}

#[test]
fn a_command_runs_unless_it_runs_already() {
    let lab = Lab::new();
    let mut holder = lab.hold_runlock();
    lab.is_still_locked("");
    holder.say("");
    assert_eq!(holder.end(), End::Exited(5));
    lab.is_to_be_had("");
}

#[test]
fn a_living_ones_lock_is_left_alone_however_old_it_is() {
    let lab = Lab::new();
    let _holder = lab.hold_runlock();
    lab.sh("touch -d 1990-01-01 l.lock").expect_code(0);
    lab.is_still_locked("");
}

#[test]
fn the_file_says_which_process_it_is_in_a_line_of_its_own() {
    let lab = Lab::new();
    for umask in ["000", "022", "777"] {
        let script =
            format!("umask {umask}; exec runlock l sh -c 'head -n 1 l.lock; stat -c %a l.lock'");
        let mut runlock = lab.command("sh");
        runlock.args(["-c", &script]);
        let mut runlock = lab.start(runlock);
        runlock.hears(&runlock.pid().to_string());
        runlock.hears("444");
        assert_eq!(runlock.end(), End::Exited(0));
    }
    assert!(lab.names().is_empty());
}

#[test]
fn the_file_is_beside_what_it_locks() {
    let lab = Lab::new();
    lab.sh("mkdir d; runlock d/x ls -A d; runlock d/ ls -A d; runlock \"$PWD/x\" ls x.lock")
        .expect_err("")
        .expect_out("x.lock\n.lock\nx.lock\n");
    assert_eq!(lab.names(), ["d"]);
}

#[test]
fn the_file_is_gone_whichever_way_it_ends() {
    let lab = Lab::new();
    lab.program("closed", "#!/no/such/interpreter\n");
    std::fs::write(lab.file("data"), "").expect("a file");
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
        let outcome = lab.run_runlock(words).expect_code(status);
        let wanted = match said {
            "" => String::new(),
            said => format!("runlock: failed to execute {said}"),
        };
        outcome.expect_err(&wanted).expect_out("");
        assert!(!lab.file("l.lock").exists(), "{words:?}");
    }
}

#[test]
fn a_missing_command_is_not_missed_while_another_runs() {
    let lab = Lab::new();
    let _holder = lab.hold_runlock();
    lab.run_runlock(&["nosuch"])
        .expect_err(STILL_LOCKED)
        .expect_code(0);
}

#[test]
fn without_unnamed_files_it_works_as_well_and_leaves_nothing() {
    let lab = Lab::new();
    // What NFS and others say; all that is opened for reading and writing is a file to be made.
    let inject = "inject=?open,openat:error=EOPNOTSUPP:when=";
    let mut made = 0;
    for call in 1..40 {
        let inject = format!("{inject}{call}");
        let script = "stat -c '%h %a' l.lock; ls -A | grep -v bin; runlock l true";
        let Some(command) = lab.injected_into("runlock", "", &inject, &["l", "sh", "-c", script])
        else {
            return;
        };
        let outcome = lab.finish(command);
        if outcome.code() == 0 {
            made += 1;
            let outcome = outcome.expect_out("1 444\nl.lock\n");
            assert_eq!(outcome.err(), STILL_LOCKED);
        }
        assert!(lab.names().is_empty(), "{call}: {:?}", lab.names());
    }
    assert!(made > 0);
}

#[test]
fn the_command_does_not_inherit_the_lock_and_sees_what_was_closed_closed() {
    let lab = Lab::new();
    // In whoever has the lock open they are closed as well: what it has to say must not end up in the file.
    let look = "for pid in $$ $PPID; do seen=; for fd in 0 1 2; do
            [ -e /proc/$pid/fd/$fd ] && seen=$seen$fd; done; echo $seen >>seen; done
        for fd in /proc/$$/fd/*; do readlink $fd; done | grep -c lock >>seen; cp l.lock copy";
    lab.lock_file("2000000000\n");
    for (closed, wanted) in [
        ("", "012"),
        ("<&-", "12"),
        ("2>&-", "01"),
        (">&- 2>&-", "0"),
        ("<&- >&- 2>&-", ""),
    ] {
        let script = format!("runlock l sh -c '{look}' {closed}; echo $?");
        lab.sh(script).expect_out("0\n");
        let read = |name| std::fs::read_to_string(lab.file(name)).expect("it was written");
        assert_eq!(read("seen"), format!("{wanted}\n{wanted}\n0\n"), "{closed}");
        assert_eq!(read("copy").lines().count(), 2, "{closed}");
        lab.sh("rm -f copy seen").expect_code(0);
    }
}

#[test]
fn what_is_sent_to_runlock_reaches_the_command_and_they_end_as_one() {
    let lab = Lab::new();
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1] {
        let mut runlock = lab.hold_runlock();
        runlock.signal(signal);
        assert_eq!(runlock.end(), End::Killed(signal));
        assert!(!lab.file("l.lock").exists(), "{signal}");
    }
    let script = "trap 'echo heard; exit 9' TERM; echo ready; read x";
    let mut runlock = lab.start(lab.runlock(&["sh", "-c", script]));
    runlock.hears("ready");
    runlock.signal(libc::SIGTERM);
    runlock.hears("heard");
    assert_eq!(runlock.end(), End::Exited(9));
    assert!(!lab.file("l.lock").exists());
}

#[test]
fn a_signal_between_the_making_of_the_file_and_the_command_leaves_nothing() {
    let lab = Lab::new();
    for (call, ran) in [("linkat", ""), ("?unlink,?unlinkat", "ran\n")] {
        for (name, number) in [("TERM", 15), ("INT", 2), ("HUP", 1)] {
            let inject = format!("inject={call}:signal={name}");
            let Some(command) = lab.injected_into("runlock", "", &inject, &["l", "echo", "ran"])
            else {
                return;
            };
            let outcome = lab.finish(command);
            outcome.expect_code(128 + number).expect_out(ran);
            assert!(lab.names().is_empty(), "{call}: {:?}", lab.names());
        }
    }
    // When there is a result, only a request to stop takes it away.
    let inject = "inject=?unlink,?unlinkat:signal=USR1";
    let late = lab.injected_into("runlock", "", inject, &["l", "echo", "ran"]);
    if let Some(command) = late {
        lab.finish(command).expect_code(0).expect_out("ran\n");
    }
}

#[test]
fn a_signal_at_any_moment_leaves_no_file() {
    let lab = Lab::new();
    let mut lived_to_run = false;
    // From before its main to after its command's, however slow the machine.
    for delay in (0..120)
        .map(|step| step * 30)
        .chain([10_000, 100_000, 1_000_000])
    {
        if lived_to_run && delay > 3600 {
            break;
        }
        let mut runlock = lab.start(lab.runlock(&["sh", "-c", "echo ready; read x"]));
        let until = std::time::Instant::now() + std::time::Duration::from_micros(delay);
        while std::time::Instant::now() < until {
            std::hint::spin_loop();
        }
        runlock.signal(libc::SIGTERM);
        assert_eq!(runlock.end(), End::Killed(libc::SIGTERM), "{delay}");
        assert!(lab.names().is_empty(), "{delay}: {:?}", lab.names());
        lived_to_run |= runlock.until("ready").is_ok();
    }
    assert!(lived_to_run, "the delays are too short to mean anything");
}

#[test]
fn a_file_that_was_removed_or_replaced_meanwhile_is_not_missed_and_not_touched() {
    let lab = Lab::new();
    lab.run_runlock(&["rm", "-f", "l.lock"])
        .expect_err("")
        .expect_code(0);
    lab.run_runlock(&["sh", "-c", "rm -f l.lock; echo 1 >l.lock"])
        .expect_err("")
        .expect_code(0);
    let text = || std::fs::read_to_string(lab.file("l.lock")).expect("it is there");
    assert_eq!(text(), "1\n");
    // The same file with another's words in it, as the original does as root.
    std::fs::remove_file(lab.file("l.lock")).expect("it is there");
    lab.run_runlock(&["sh", "-c", "chmod 644 l.lock; echo 1 >l.lock"])
        .expect_err("")
        .expect_code(0);
    assert_eq!(text(), "1\n");
}

#[test]
fn in_a_process_namespace_of_its_own_it_is_known_to_be_alive() {
    let lab = Lab::new();
    let mut inside = lab.command("unshare");
    inside.args(["-rpf", "--mount-proc", "runlock", "l", "sh", "-c"]);
    inside.arg("echo held; read x; :");
    if !installed("unshare") {
        return;
    }
    let mut inside = lab.start(inside);
    if inside.until("held\n").is_err() {
        // Namespaces are kept from users here.
        return;
    }
    let text = std::fs::read_to_string(lab.file("l.lock")).expect("it is there");
    let pid: i32 = text
        .lines()
        .next()
        .and_then(|pid| pid.parse().ok())
        .expect("a pid");
    assert!(pid < 10, "{text}");
    lab.is_still_locked("");
    // Everybody in the namespace ends with its first process.
    assert!(send(-inside.pid(), libc::SIGKILL));
    inside.end();
    wait_until("the kernel clears up", || {
        locks_on(lab.file("l.lock")).is_empty()
    });
    lab.is_to_be_had(&format!("runlock: UNLOCKED l (stale lock by PID {pid})\n"));
}

#[test]
fn nobody_may_write_into_the_file() {
    let lab = Lab::new();
    let _holder = lab.hold_runlock();
    let mode = std::fs::metadata(lab.file("l.lock")).expect("it is there");
    assert_eq!(mode.permissions().mode() & 0o7777, 0o444);
    if let Some(command) = lab.powerless("echo 1 >l.lock") {
        assert_ne!(lab.finish(command).code(), 0);
    }
}
