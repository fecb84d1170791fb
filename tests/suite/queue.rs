//! The queue of `--fair` and `--slots`: first come, first served, whatever happens to the waiters.
//!
//! Every process can see the tickets: each is a locked byte of the lock file, far beyond any data
//! (`test_support::locks::tickets`). So the tests start a waiter when the ticket of the previous
//! one is visible. Most of them run with each of [`FAIR`] and [`ONE_SLOT`].

mod hostile;
mod kills;
mod lock_file;
mod options;
mod order;
mod sandboxes;
mod side_effects;
mod signals;
mod stops;
mod timeouts;
pub mod waiter_pool;

use std::process::Command;

use test_support::locks::{Ticket, locks_on, tickets};
use test_support::process::Process;
use test_support::procfs::{cpu_time_ns, is_sentinel};
use test_support::{Outcome, TestEnv, is_installed, wait_until};

pub const FAIR: &str = "--fair";
/// A single slot excludes as a lock does.
pub const ONE_SLOT: &str = "--slots=1";

/// The command of a holder: it prints `held`, and keeps the lock until [`Process::release`].
pub const HOLD: [&str; 4] = ["l", "sh", "-c", "echo held; read x; exit 0"];

/// Starts `flock` on the file `l`, which is held, and returns when it has a ticket.
#[track_caller]
pub fn spawn_waiter<const N: usize>(env: &TestEnv, args: [&str; N]) -> Process {
    spawn_waiter_command(env, env.flock(args))
}

/// Starts a command that waits for the lock on `l`, and returns when it has a ticket.
#[track_caller]
pub fn spawn_waiter_command(env: &TestEnv, command: Command) -> Process {
    let before = tickets(env.file("l")).len();
    let mut waiter = env.start(command);
    waiter.wait_alive_until("it has a ticket", || tickets(env.file("l")).len() > before);
    waiter
}

#[track_caller]
pub fn spawn_waiter_script(env: &TestEnv, script: &str) -> Process {
    spawn_waiter_command(env, env.sh_command(script))
}

#[track_caller]
pub fn spawn_waiting_holder(env: &TestEnv, options: &[&str]) -> Process {
    spawn_waiter_command(env, env.flock(options.iter().chain(&HOLD)))
}

#[track_caller]
pub fn spawn_waiting_holders(env: &TestEnv, options: &[&str], count: usize) -> Vec<Process> {
    Vec::from_iter((0..count).map(|_| spawn_waiting_holder(env, options)))
}

/// Returns a `flock` that appends a name to the file `order` when it has the lock.
pub fn noting_flock(env: &TestEnv, queue: &str, name: &str) -> Command {
    env.flock([queue, "l", "sh", "-c", &format!("echo {name} >>order")])
}

#[track_caller]
pub fn spawn_noting_waiter(env: &TestEnv, queue: &str, name: &str) -> Process {
    spawn_waiter_command(env, noting_flock(env, queue, name))
}

/// Waits until the waiters have succeeded, and asserts the contents of `order`, which is removed.
#[track_caller]
pub fn assert_order(env: &TestEnv, waiters: impl IntoIterator<Item = Process>, names: &[&str]) {
    waiters.into_iter().for_each(Process::release);
    assert_eq!(env.read_file("order").lines().collect::<Vec<_>>(), names);
    std::fs::remove_file(env.file("order")).expect("order can be removed");
}

/// Waits until a process that runs [`HOLD`] has the lock, and makes it release the lock.
#[track_caller]
pub fn assert_served(mut waiter: Process) {
    waiter.expect_line("held");
    waiter.release();
}

#[track_caller]
pub fn assert_queue_len(env: &TestEnv, count: usize) {
    wait_until(&format!("{count} tickets are visible"), || {
        tickets(env.file("l")).len() == count
    });
}

#[track_caller]
pub fn last_ticket(env: &TestEnv) -> Ticket {
    *tickets(env.file("l")).last().expect("a ticket")
}

pub fn sentinels(env: &TestEnv) -> Vec<i32> {
    let tickets = tickets(env.file("l")).into_iter();
    tickets.map(|ticket| ticket.sentinel).collect()
}

/// Waits until nothing is left of the processes that used `l`: no lock, no ticket and none of these
/// sentinels. Then asserts that the lock can be taken.
#[track_caller]
pub fn assert_clean(env: &TestEnv, sentinels: &[i32]) {
    wait_until("no lock and no sentinel is left", || {
        locks_on(env.file("l")).is_empty()
            && !sentinels.iter().any(|sentinel| is_sentinel(*sentinel))
    });
    env.run(["--fair", "-n", "l", "true"]).assert_status(0);
}

/// Releases the lock of a holder, and asserts that nothing is left behind.
#[track_caller]
pub fn assert_clean_after(env: &TestEnv, holder: Process) {
    holder.release();
    assert_clean(env, &[]);
}

/// Releases the lock of a holder, asserts that these processes, each of which runs [`HOLD`], get it
/// one after the other, and that nothing is left behind.
#[track_caller]
pub fn assert_served_after(
    env: &TestEnv,
    holder: Process,
    waiters: impl IntoIterator<Item = Process>,
) {
    holder.release();
    waiters.into_iter().for_each(assert_served);
    assert_clean(env, &[]);
}

/// Lets time pass: waits for the held lock until a timeout.
#[track_caller]
fn pass_time(env: &TestEnv, queue: &str, seconds: &str) {
    env.run([queue, "-w", seconds, "l", "true"])
        .assert_status(1);
}

/// Asserts that these processes use hardly any CPU time while they wait.
#[track_caller]
pub fn assert_idle(env: &TestEnv, queue: &str, pids: &[i32]) {
    let cpu_time = || -> u64 { pids.iter().map(|pid| cpu_time_ns(*pid)).sum() };
    let before = cpu_time();
    pass_time(env, queue, "0.5");
    let used = cpu_time() - before;
    assert!(used < 100_000_000, "{used} ns");
}

/// Runs `flock` with each of these lists of arguments `count` times, all lists at the same time.
pub fn run_simultaneously(env: &TestEnv, count: usize, calls: &[Vec<&str>]) {
    std::thread::scope(|scope| {
        for args in calls {
            scope.spawn(move || {
                for _ in 0..count {
                    env.run(args).assert_all(0, "", "");
                }
            });
        }
    });
}

/// Returns a command that runs a script as a user who can read `l` and write `order`. `None` if
/// this process cannot become another user, or the other user cannot enter the directory.
pub fn other_user_command(env: &TestEnv, uid: u32, script: &str) -> Option<Command> {
    if !rustix::process::geteuid().is_root() || !is_installed("setpriv") {
        return None;
    }
    env.sh("chmod 755 .; : >l; chmod 644 l; : >>order; chmod 666 order")
        .assert_status(0);
    let as_user = |script: &str| {
        let mut command = env.command("setpriv");
        let ids = [format!("--reuid={uid}"), format!("--regid={uid}")];
        command
            .args(ids)
            .args(["--clear-groups", "sh", "-c", script]);
        command
    };
    let check = env.run_command(as_user("flock --version && [ -r l ] && [ ! -w l ]"));
    if check.code() != 0 {
        println!("skipped: another user cannot enter the directory: {check:?}");
        return None;
    }
    Some(as_user(script))
}

pub fn unshared_flock(env: &TestEnv, unshare: &str, args: &[&str]) -> Command {
    let mut command = env.command("unshare");
    command.args(unshare.split(' ')).arg("flock").args(args);
    command
}

/// Asserts that stderr is one message, and nothing else.
#[track_caller]
pub fn assert_one_message(outcome: &Outcome) {
    let stderr = outcome.stderr_text();
    assert!(stderr.starts_with("flock: "), "{stderr}");
    assert_eq!(stderr.find('\n'), Some(stderr.len() - 1), "{stderr}");
}

/// Asserts a usage error in one line that contains these texts, and that no file was created.
#[track_caller]
pub fn assert_usage_error(env: &TestEnv, outcome: Outcome, texts: &[&str]) {
    let stderr = outcome.assert_status(64).assert_stdout("").stderr_text();
    let (line, rest) = stderr.split_once('\n').expect("two lines");
    let hint = "Try 'flock --help' for more information.\n";
    assert_eq!(rest, hint, "{stderr}");
    assert!(line.starts_with("flock: "), "{stderr}");
    assert!(!line.contains("unrecognized"), "{stderr}");
    assert!(texts.iter().all(|text| line.contains(text)), "{stderr}");
    assert!(env.file_names().is_empty(), "{:?}", env.file_names());
}
