//! Which lock files are a dead one's, and that only one of many who find such a file gets the lock.

use super::RunlockEnv;
use std::io::{BufRead, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::process::Stdio;

use super::STILL_LOCKED;
use test_support::locks::waiter_count;
use test_support::pre_exec::CommandPreExecExt;
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{is_running, status_field};
use test_support::{Outcome, TestEnv, wait_until};

/// Beyond what the kernel gives to any process.
const NOBODY: i32 = 2_000_000_000;

fn unlocked(pid: i32) -> String {
    format!("runlock: UNLOCKED l (stale lock by PID {pid})\n")
}

pub(super) trait StaleLockEnv {
    /// A lock file with this text.
    fn write_lock_file(&self, text: &str);

    /// A process that does nothing.
    fn start_idle_process(&self) -> Process;
}

impl StaleLockEnv for TestEnv {
    #[track_caller]
    fn write_lock_file(&self, text: &str) {
        let _ = std::fs::remove_file(self.file("l.lock"));
        let mut file = std::fs::OpenOptions::new();
        let file = file.write(true).create_new(true).mode(0o444);
        let mut file = file.open(self.file("l.lock")).expect("a new file");
        file.write_all(text.as_bytes()).expect("it can be written");
    }

    #[track_caller]
    fn start_idle_process(&self) -> Process {
        let mut command = self.command("sh");
        command.args(["-c", "echo here; read x; :"]);
        let mut live = self.start(command);
        live.expect_line("here");
        live
    }
}

/// When a process was started.
fn start_of(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let (_, fields) = stat.rsplit_once(") ").expect("a name");
    let start = fields.split(' ').nth(19).expect("a start");
    start.parse().expect("a number")
}

/// What stands in a lock file of ours by a process with this start, with a word of it changed.
fn ours(pid: i32, start: u64, changed: &str) -> String {
    let read = |path: &str| std::fs::read_to_string(path).expect("the kernel tells");
    let boot = read("/proc/sys/kernel/random/boot_id");
    let host = read("/proc/sys/kernel/hostname");
    let namespace = std::fs::metadata("/proc/self/ns/pid").expect("the kernel tells");
    let mut words = vec![
        format!("start={start}"),
        format!("pidns={}", namespace.ino()),
        format!("boot={}", boot.trim()),
        format!("host={}", host.trim()),
    ];
    if let Some((name, _)) = changed.split_once('=') {
        words.retain(|word| !word.starts_with(name));
        words.push(changed.to_owned());
    }
    format!("{pid}\n{}\n", words.join(" "))
}

#[test]
fn what_stands_in_a_file_of_ours_is_what_these_tests_write() {
    let env = TestEnv::new();
    let _holder = env.hold_runlock();
    let text = std::fs::read_to_string(env.file("l.lock")).expect("it is there");
    let pid = text.lines().next().and_then(|pid| pid.parse().ok());
    let pid: i32 = pid.expect("a pid");
    let words = |text: &str| {
        let mut words: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
        words.sort();
        words
    };
    assert_eq!(words(&text), words(&ours(pid, start_of(pid), "")));
}

#[test]
fn a_dead_ones_lock_is_broken_at_once() {
    let env = TestEnv::new();
    for text in [format!("{NOBODY}\n"), ours(NOBODY, 1, "")] {
        env.write_lock_file(&text);
        env.assert_unlocked(&unlocked(NOBODY));
        assert!(env.file_names().is_empty());
    }
}

#[test]
fn the_lock_of_a_runlock_that_was_killed_is_broken_as_soon_as_its_command_is_put_down() {
    let env = TestEnv::new();
    for _ in 0..20 {
        let mut killed = env.start(env.runlock(&["sh", "-c", "trap '' TERM; echo $$; read x; :"]));
        let command: i32 = killed.read_line().parse().expect("a pid");
        let pid = killed.pid();
        killed.kill();
        env.assert_unlocked(&unlocked(pid));
        assert!(!is_running(command));
    }
}

#[test]
fn a_living_ones_lock_is_never_broken() {
    let env = TestEnv::new();
    let owner = env.start_idle_process();
    let (pid, start) = (owner.pid(), start_of(owner.pid()));
    for text in [
        format!("{pid}\n"),
        format!("{pid}"),
        format!("{pid}\nsomething\n"),
        ours(pid, start, ""),
        ours(pid, start, "host=elsewhere"),
    ] {
        env.write_lock_file(&text);
        env.sh("touch -d 1990-01-01 l.lock").assert_status(0);
        env.assert_still_locked("");
        let there = std::fs::read_to_string(env.file("l.lock")).expect("it is there");
        assert_eq!(there, text);
    }
}

#[test]
fn a_living_one_that_may_not_be_signalled_is_alive() {
    let env = TestEnv::new();
    let mut other = env.command("setpriv");
    other.args(["--reuid=65534", "--clear-groups", "sh", "-c"]);
    other.arg("echo here; read x; :");
    let pid = if rustix::process::geteuid().is_root() {
        if !test_support::is_installed("setpriv") {
            return;
        }
        let mut other = env.start(other);
        other.expect_line("here");
        let pid = other.pid();
        check(&env, pid);
        return;
    } else {
        1
    };
    check(&env, pid);

    fn check(env: &TestEnv, pid: i32) {
        env.write_lock_file(&format!("{pid}\n"));
        let script = format!("kill -0 {pid} 2>/dev/null || echo not allowed; runlock l echo ran");
        let command = env.unprivileged(&script).expect("setpriv is there");
        env.run_command(command)
            .assert_stderr(STILL_LOCKED)
            .assert_stdout("not allowed\n")
            .assert_status(0);
    }
}

#[test]
fn the_remains_of_a_dead_one_are_not_alive() {
    let env = TestEnv::new();
    let mut command = env.command("sh");
    command.args(["-c", "read x"]).stdin(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let pid = child.id() as i32;
    let start = start_of(pid);
    drop(child.stdin.take());
    wait_until("it ends", || status_field(pid, "State").starts_with('Z'));
    for text in [format!("{pid}\n"), ours(pid, start, "")] {
        env.write_lock_file(&text);
        env.assert_unlocked(&unlocked(pid));
    }
    child.wait().expect("our child");
}

#[test]
fn another_process_with_a_dead_ones_pid_does_not_keep_the_lock() {
    let env = TestEnv::new();
    let other = env.start_idle_process();
    let (pid, start) = (other.pid(), start_of(other.pid()));
    for earlier in [start - 1, 1] {
        env.write_lock_file(&ours(pid, earlier, ""));
        env.assert_unlocked(&unlocked(pid));
    }
}

#[test]
fn runlocks_own_pid_in_the_file_is_a_dead_ones() {
    let env = TestEnv::new();
    env.sh("echo $$ >l.lock; exec runlock l echo ran")
        .assert_stdout("ran\n")
        .assert_status(0);
}

#[test]
fn who_is_in_another_pid_namespace_is_alive_while_he_holds_the_file() {
    let env = TestEnv::new();
    for pid in [1, NOBODY] {
        env.write_lock_file(&ours(pid, 1, "pidns=1"));
        let holder = env.hold(&[], "l.lock");
        env.assert_still_locked("");
        holder.release();
        env.assert_unlocked(&unlocked(pid));
    }
}

#[test]
fn what_is_from_before_the_machine_was_started_is_a_dead_ones() {
    let env = TestEnv::new();
    let other = env.start_idle_process();
    let (pid, start) = (other.pid(), start_of(other.pid()));
    env.write_lock_file(&ours(pid, start, "boot=another"));
    env.assert_unlocked(&unlocked(pid));
}

#[test]
fn who_is_on_another_machine_is_never_taken_for_dead_and_the_user_is_told() {
    let env = TestEnv::new();
    for pid in [1, NOBODY] {
        env.write_lock_file(&format!("{pid}:elsewhere\n"));
        env.assert_still_locked(&format!(
            "runlock: l.lock was created by process {pid} on host elsewhere; if that process no longer runs, remove the file\n"
        ));
    }
    let host = rustix::system::uname();
    let host = host.nodename().to_str().expect("a name");
    env.write_lock_file(&format!("{NOBODY}:{host}\n"));
    env.assert_unlocked(&unlocked(NOBODY));
}

#[test]
fn a_file_that_names_no_process_is_never_taken_for_a_dead_ones_and_the_user_is_told() {
    let env = TestEnv::new();
    for text in [
        "",
        "\n",
        "0\n",
        "-1\n",
        "99999999999999999999\n",
        "a dog\n",
        "\n2000000000\n",
    ] {
        env.write_lock_file(text);
        env.assert_still_locked(
            "runlock: l.lock does not contain a process ID; if it is not in use, remove the file\n",
        );
        let there = std::fs::read_to_string(env.file("l.lock")).expect("it is there");
        assert_eq!(there, text);
    }
}

#[test]
fn a_file_of_any_length_is_judged() {
    let env = TestEnv::new();
    let long = "x".repeat(100_000);
    env.write_lock_file(&format!("{NOBODY}\n{long}\n"));
    env.assert_unlocked(&unlocked(NOBODY));
    env.write_lock_file(&format!("{}\n", "9".repeat(100_000)));
    env.run_runlock(&["echo", "ran"]).assert_stdout("");
}

#[test]
fn a_dead_ones_lock_that_is_about_to_be_dropped_is_waited_for() {
    let env = TestEnv::new();
    env.write_lock_file(&ours(NOBODY, 1, ""));
    // In the place of the keeper, who is putting down what the dead one left running.
    let keeper = env.hold(&[], "l.lock");
    let mut runlock = env.start(env.runlock(&["echo", "ran"]));
    wait_until("it waits", || waiter_count(env.file("l.lock")) == 1);
    keeper.release();
    runlock.expect_line(unlocked(NOBODY).trim_end());
    runlock.expect_line("ran");
    assert_eq!(runlock.wait(), ExitReason::Exited(0));
}

#[test]
fn a_dead_ones_lock_that_is_not_dropped_is_still_a_lock() {
    let env = TestEnv::new();
    env.write_lock_file(&ours(NOBODY, 1, ""));
    let _keeper = env.hold(&[], "l.lock");
    env.assert_still_locked(&format!(
        "runlock: l.lock is still locked, although process {NOBODY}, which created it, seems to be dead; lslocks(8) shows the holder\n"
    ));
}

#[test]
fn who_waits_for_a_dead_ones_lock_can_be_ended() {
    let env = TestEnv::new();
    env.write_lock_file(&ours(NOBODY, 1, ""));
    let _keeper = env.hold(&[], "l.lock");
    let mut runlock = env.start(env.runlock(&["echo", "ran"]));
    wait_until("it waits", || waiter_count(env.file("l.lock")) == 1);
    runlock.signal(libc::SIGTERM);
    assert_eq!(runlock.wait(), ExitReason::Signaled(libc::SIGTERM));
}

#[test]
fn a_stale_lock_that_cannot_be_removed_is_an_error() {
    let env = TestEnv::new();
    let script =
        format!("mkdir d; echo {NOBODY} >d/l.lock; chmod 555 d; exec runlock d/l echo ran");
    let Some(command) = env.unprivileged(&script) else {
        return;
    };
    env.run_command(command)
        .assert_stderr("runlock: cannot remove lock file d/l.lock: Permission denied\n")
        .assert_stdout("")
        .assert_status(73);
}

#[test]
fn where_a_lock_wants_a_file_that_can_be_written_a_dead_ones_is_broken_all_the_same() {
    let env = TestEnv::new();
    // What the client of NFS says to the first request, for the lock of a file that is open for reading only.
    let inject = "inject=flock:error=EBADF:when=1";
    let run = || {
        let command = env.with_fault_injection_into("runlock", "", inject, &["l", "echo", "ran"]);
        command.map(|command| env.run_command(command))
    };
    env.write_lock_file(&format!("{NOBODY}\n"));
    let Some(outcome) = run() else { return };
    outcome
        .assert_stderr(&unlocked(NOBODY))
        .assert_stdout("ran\n");
    env.write_lock_file("1\n");
    let locked = |outcome: Option<Outcome>| {
        outcome
            .expect("it ran before")
            .assert_stderr(STILL_LOCKED)
            .assert_stdout("")
            .assert_status(0)
    };
    locked(run());
    env.sh("stat -c %a l.lock").assert_stdout("444\n");
    // Somebody who is alive is seen at the second request.
    env.write_lock_file(&ours(1, 1, "pidns=1"));
    let _holder = env.hold(&[], "l.lock");
    let changed =
        || std::fs::metadata(env.file("l.lock")).map(|stat| (stat.ctime(), stat.ctime_nsec()));
    let before = changed().expect("it is there");
    locked(run());
    assert_eq!(changed().expect("it is there"), before);
}

#[test]
fn what_has_taken_the_place_of_a_dead_ones_lock_meanwhile_is_not_removed() {
    let env = TestEnv::new();
    env.write_lock_file(&format!("{NOBODY}\n"));
    // It stands still between opening the file and looking into it.
    let inject = "inject=?open,openat:signal=STOP:when=1";
    let Some(runlock) =
        env.with_fault_injection_into("runlock", "l.lock", inject, &["l", "echo", "ran"])
    else {
        return;
    };
    let mut late = env.start(runlock);
    let mut pid = None;
    wait_until("it has opened the file", || {
        pid = only_child(late.pid()).filter(|pid| has_open(*pid, &env.file("l.lock")));
        pid.is_some()
    });
    env.assert_unlocked(&unlocked(NOBODY));
    let _holder = env.hold_runlock();
    wait_until("it ends", || {
        send_signal(pid.expect("its child"), libc::SIGCONT);
        !is_running(late.pid())
    });
    late.expect_line(STILL_LOCKED.trim_end());
    assert_eq!(late.wait(), ExitReason::Exited(0));
    env.assert_still_locked("");
}

fn only_child(pid: i32) -> Option<i32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    children.ok()?.trim().parse().ok()
}

fn has_open(pid: i32, file: &std::path::Path) -> bool {
    let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    let wanted = std::fs::canonicalize(file).expect("it is there");
    open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .any(|path| path == wanted)
}

/// So many processes find one file at the same time, and those who get the lock keep it until everybody has said whether he
/// did. What they said, in lines.
fn rush(env: &TestEnv, crowd: usize) -> Vec<String> {
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    let ((patience, end), (ear, mouth)) = (pipe(), pipe());
    let gate = env.hold(&[], "gate");
    let child = |_| {
        let script = "flock -s gate true; exec runlock l sh -c 'echo won; read x; :'";
        let mut command = env.command("sh");
        command.args(["-c", script]);
        command.stdin(patience.try_clone().expect("a descriptor"));
        command.stdout(mouth.try_clone().expect("a descriptor"));
        command.stderr(mouth.try_clone().expect("a descriptor"));
        command.spawn().expect("it starts")
    };
    let children: Vec<_> = (0..crowd).map(child).collect();
    drop(mouth);
    wait_until("they wait", || waiter_count(env.file("gate")) == crowd);
    gate.release();
    let mut end = Some(end);
    let mut lines: Vec<String> = Vec::new();
    for line in std::io::BufReader::new(std::fs::File::from(ear)).lines() {
        lines.push(line.expect("text"));
        let said = |line: &&String| ["won", "Still locked."].contains(&line.as_str());
        if lines.iter().filter(said).count() == crowd {
            end = None;
        }
    }
    drop(end);
    for child in children {
        env.wait_with_output(child).expect("it hung");
    }
    lines.sort();
    lines
}

#[test]
fn one_of_many_who_break_a_lock_gets_it() {
    let env = TestEnv::new();
    for round in 0..60 {
        let crowd = [2, 3, 8][round % 3];
        match round % 2 {
            0 => env.write_lock_file(&format!("{NOBODY}\n")),
            _ => env.write_lock_file(&ours(NOBODY, 1, "")),
        }
        let mut wanted = vec![STILL_LOCKED.trim_end(); crowd - 1];
        let unlocked = unlocked(NOBODY);
        wanted.extend([unlocked.trim_end(), "won"]);
        assert_eq!(rush(&env, crowd), wanted);
        assert_eq!(env.file_names(), ["gate"]);
    }
}

/// Puts the process that is executed on one processor.
fn on_one_processor(command: &mut std::process::Command) {
    command.before_exec(|| {
        let mut one = rustix::thread::CpuSet::new();
        let all = rustix::thread::sched_getaffinity(None)?;
        let first = (0..rustix::thread::CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu));
        one.set(first.expect("a processor"));
        Ok(rustix::thread::sched_setaffinity(None, &one)?)
    });
}

#[test]
fn a_lock_is_broken_as_soon_as_its_owner_has_been_killed_though_he_is_not_gone_yet() {
    let env = TestEnv::new();
    // Somebody who keeps the owner's processor from him, so that it takes him a while to die.
    let mut busy = env.command("sh");
    on_one_processor(busy.args(["-c", "echo busy; while :; do :; done"]));
    let mut busy = env.start(busy);
    busy.expect_line("busy");
    for _ in 0..5 {
        let mut owner = env.runlock(&["sh", "-c", "echo ready; read x"]);
        on_one_processor(&mut owner);
        owner.before_exec(|| {
            rustix::process::nice(19)?;
            Ok(())
        });
        let mut owner = env.start(owner);
        owner.expect("ready");
        owner.signal(libc::SIGKILL);
        env.run_command(env.runlock(&["echo", "in"]))
            .assert_stdout("in\n");
        assert_eq!(owner.wait(), ExitReason::Signaled(libc::SIGKILL));
    }
}
