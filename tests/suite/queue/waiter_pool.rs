//! Many waiters for the lock on `l`. Each has a number, and appends it to `order` when it has the
//! lock.

use std::fs::OpenOptions;
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use test_support::locks::{locks_on, tickets};
use test_support::pre_exec::CommandPreExecExt;
use test_support::process::{Process, open_pidfd, poll_readable, send_signal};
use test_support::stress::kill_group;
use test_support::{TestEnv, wait_until};

use super::assert_clean;

/// The waiters have no pipes, so that there can be hundreds. Their stderr is the file `errors`.
pub struct WaiterPool<'l> {
    env: &'l TestEnv,
    /// Each with the sentinel of its first ticket.
    waiters: Vec<(Child, i32)>,
}

impl<'l> WaiterPool<'l> {
    pub fn new(env: &'l TestEnv) -> Self {
        Self {
            env,
            waiters: Vec::new(),
        }
    }

    /// Starts a holder, and `count` waiters, all with this option.
    #[track_caller]
    pub fn behind_holder(env: &'l TestEnv, queue: &str, count: usize) -> (Process, Self) {
        let holder = env.hold(&[queue], "l");
        let mut pool = Self::new(env);
        (0..count).for_each(|_| pool.spawn(&[queue]));
        (holder, pool)
    }

    /// Starts the next waiter with `flock OPTIONS l COMMAND`, and returns when it has a ticket.
    #[track_caller]
    pub fn spawn(&mut self, options: &[&str]) {
        self.spawn_command(self.flock(options));
    }

    #[track_caller]
    pub fn spawn_ignoring(&mut self, options: &[&str], signals: &[i32]) {
        let mut command = self.flock(options);
        command.ignore_signals(signals.iter().copied());
        self.spawn_command(command);
    }

    /// Starts the next waiter with a timeout. It may time out, with status 42, before its ticket is
    /// visible.
    #[track_caller]
    pub fn spawn_with_timeout(&mut self, options: &[&str], timeout: &str) {
        let options = [options, &["-E42", "-w", timeout]].concat();
        self.spawn_until_queued(self.flock(&options), true);
    }

    /// Starts the next waiter with a line of shell, in which `NOTE` writes the number to `order`.
    #[track_caller]
    pub fn spawn_shell(&mut self, line: &str) {
        self.spawn_command(self.env.sh_command(self.expand_note(line)));
    }

    /// Starts the next waiter with a line for a bash that has the builtin, in which `NOTE` writes
    /// the number to `order`.
    #[track_caller]
    pub fn spawn_builtin(&mut self, line: &str) {
        self.spawn_command(self.env.builtin_command(self.expand_note(line)));
    }

    fn flock(&self, options: &[&str]) -> Command {
        let command = ["l", "sh", "-c", &self.expand_note("NOTE")];
        self.env.flock(options.iter().chain(&command))
    }

    fn expand_note(&self, line: &str) -> String {
        line.replace("NOTE", &format!("echo {} >>order", self.waiters.len()))
    }

    #[track_caller]
    pub fn spawn_command(&mut self, command: Command) {
        self.spawn_until_queued(command, false);
    }

    #[track_caller]
    fn spawn_until_queued(&mut self, mut command: Command, may_time_out: bool) {
        let mut options = OpenOptions::new();
        let errors = options.append(true).create(true);
        let errors = errors.open(self.env.file("errors")).expect("a file");
        command.stdout(Stdio::null()).stderr(errors);
        let before = tickets(self.env.file("l"));
        let mut child = command.spawn().expect("the command starts");
        let mut sentinel = 0;
        wait_until("it has a ticket", || {
            let now = tickets(self.env.file("l"));
            let new = now.iter().find(|ticket| !before.contains(ticket));
            let status = child.try_wait().expect("our child");
            let code = status.and_then(|status| status.code());
            let timed_out = may_time_out && code == Some(42);
            assert!(
                new.is_some() || status.is_none() || timed_out,
                "{status:?} {command:?} {:?} {:?}",
                self.order(),
                locks_on(self.env.file("l"))
            );
            sentinel = new.map_or(0, |ticket| ticket.sentinel);
            new.is_some() || timed_out
        });
        self.waiters.push((child, sentinel));
    }

    /// Returns the pid of the process that was started for a number: `flock`, or a shell.
    pub fn pid(&self, number: usize) -> i32 {
        self.waiters[number].0.id() as i32
    }

    pub fn sentinel(&self, number: usize) -> i32 {
        self.waiters[number].1
    }

    pub fn sentinels(&self) -> Vec<i32> {
        self.waiters.iter().map(|waiter| waiter.1).collect()
    }

    #[track_caller]
    pub fn signal(&self, number: usize, signal: i32) {
        assert!(send_signal(self.pid(number), signal), "{number} has exited");
    }

    #[track_caller]
    pub fn kill_sentinel(&self, number: usize) {
        let killed = send_signal(self.sentinel(number), libc::SIGKILL);
        assert!(killed, "{number} has no sentinel");
    }

    #[track_caller]
    pub fn wait(&mut self, number: usize) -> ExitStatus {
        let child = &mut self.waiters[number].0;
        if let Some(status) = child.try_wait().expect("our child") {
            return status;
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        let exited = poll_readable(&[open_pidfd(child).as_fd()], deadline)[0];
        assert!(exited, "{number} hangs: {:?}", tickets(self.env.file("l")));
        child.wait().expect("our child")
    }

    /// Waits until these exit, and asserts that they succeed and that `errors` is empty.
    #[track_caller]
    pub fn assert_success(&mut self, numbers: impl IntoIterator<Item = usize>) {
        for number in numbers {
            let status = self.wait(number);
            assert!(status.success(), "{number}: {status}");
        }
        assert_eq!(self.env.read_file("errors"), "");
    }

    /// Waits until these have been served, asserts that they, and no others, were served in this
    /// order, and that nothing is left behind.
    #[track_caller]
    pub fn assert_served(&mut self, numbers: impl IntoIterator<Item = usize>) {
        let numbers = Vec::from_iter(numbers);
        self.assert_success(numbers.clone());
        assert_eq!(self.order(), numbers);
        assert_clean(self.env, &self.sentinels());
    }

    /// Releases the lock of the holder, and then does the same.
    #[track_caller]
    pub fn assert_served_after(
        &mut self,
        holder: Process,
        numbers: impl IntoIterator<Item = usize>,
    ) {
        holder.release();
        self.assert_served(numbers);
    }

    /// Returns the numbers in the order in which they have had the lock.
    pub fn order(&self) -> Vec<usize> {
        let order = std::fs::read_to_string(self.env.file("order")).unwrap_or_default();
        let lines = order.lines();
        lines.map(|line| line.parse().expect("a number")).collect()
    }

    /// Returns `count` random numbers, in random order.
    pub fn sample(&self, count: usize, rng: &mut Rng) -> Vec<usize> {
        let mut all: Vec<usize> = (0..self.waiters.len()).collect();
        let numbers = (0..count).map(|_| all.swap_remove(rng.usize(..all.len())));
        numbers.collect()
    }

    pub fn all_except(&self, these: &[usize]) -> Vec<usize> {
        let all = 0..self.waiters.len();
        all.filter(|number| !these.contains(number)).collect()
    }
}

impl Drop for WaiterPool<'_> {
    fn drop(&mut self) {
        for (child, _) in &mut self.waiters {
            if child.try_wait().is_ok_and(|status| status.is_none()) {
                kill_group(child);
                let _ = child.wait();
            }
        }
    }
}
