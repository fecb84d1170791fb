//! Many who want the lock on `l`: each has a number and notes it in `order` when it has the lock.

use std::fs::OpenOptions;
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use test_support::locks::{locks_on, tickets};
use test_support::pre_exec::CommandPreExecExt;
use test_support::process::{open_pidfd, poll_readable, send_signal};
use test_support::{TestEnv, wait_until};

/// They have no pipes, so that there may be hundreds; what they complain of is in `complaints`.
pub struct Crowd<'l> {
    env: &'l TestEnv,
    members: Vec<Member>,
}

struct Member {
    child: Child,
    token: i32,
}

/// How long one may take to end.
const PATIENCE: Duration = Duration::from_secs(60);

impl<'l> Crowd<'l> {
    pub fn new(env: &'l TestEnv) -> Self {
        Self {
            env,
            members: Vec::new(),
        }
    }

    /// The next one comes, by `flock OPTIONS l COMMAND`. On return its turn shows.
    #[track_caller]
    pub fn joins(&mut self, options: &[&str]) {
        let note = format!("echo {} >>order", self.members.len());
        let command = ["l", "sh", "-c", &note];
        self.joins_by(self.env.flock(options.iter().chain(&command)));
    }

    /// The same with signals that it ignores.
    #[track_caller]
    pub fn joins_ignoring(&mut self, signals: &[i32]) {
        let note = format!("echo {} >>order", self.members.len());
        let mut command = self.env.flock(["--fair", "l", "sh", "-c", &note]);
        command.ignore_signals(signals.iter().copied());
        self.joins_by(command);
    }

    /// So many come in the same way.
    #[track_caller]
    pub fn join(&mut self, count: usize, options: &[&str]) {
        for _ in 0..count {
            self.joins(options);
        }
    }

    /// The next one comes, by a line of shell where `NOTE` notes the number.
    #[track_caller]
    pub fn joins_by_shell(&mut self, line: &str) {
        let mut shell = self.env.command("sh");
        shell.arg("-c").arg(self.noted(line));
        self.joins_by(shell);
    }

    /// The next one comes, by a line of a bash that has the builtin.
    #[track_caller]
    pub fn joins_by_builtin(&mut self, line: &str) {
        self.joins_by(self.env.builtin_command(self.noted(line)));
    }

    fn noted(&self, line: &str) -> String {
        line.replace("NOTE", &format!("echo {} >>order", self.members.len()))
    }

    /// The next one comes, for so long a time. Perhaps it is over before its turn shows: then it gives up with status
    /// 42.
    #[track_caller]
    pub fn joins_for(&mut self, time: &str) {
        let note = format!("echo {} >>order", self.members.len());
        let command = ["--fair", "-E42", "-w", time, "l", "sh", "-c", &note];
        self.comes(self.env.flock(command), Some(42));
    }

    /// The next one comes, by any command.
    #[track_caller]
    pub fn joins_by(&mut self, command: Command) {
        self.comes(command, None);
    }

    #[track_caller]
    fn comes(&mut self, mut command: Command, may_end: Option<i32>) {
        let complaints = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.env.file("complaints"));
        command.stdout(Stdio::null());
        command.stderr(complaints.expect("a file"));
        let before = tickets(self.env.file("l"));
        let mut child = command.spawn().expect("it starts");
        let mut token = 0;
        wait_until("its turn shows", || {
            let now = tickets(self.env.file("l"));
            let new = now.iter().find(|turn| !before.contains(turn));
            let ended = child.try_wait().expect("our child");
            let gave_up = may_end.is_some() && ended.and_then(|end| end.code()) == may_end;
            assert!(
                new.is_some() || ended.is_none() || gave_up,
                "{ended:?} {command:?} {:?} {:?}",
                self.order(),
                locks_on(self.env.file("l"))
            );
            token = new.map_or(0, |turn| turn.sentinel);
            new.is_some() || gave_up
        });
        self.members.push(Member { child, token });
    }

    /// The process that was started for a number: `flock` itself, or a shell.
    pub fn pid(&self, number: usize) -> i32 {
        self.members[number].child.id() as i32
    }

    /// The token that stood for a number when it came.
    pub fn token(&self, number: usize) -> i32 {
        self.members[number].token
    }

    /// All tokens that there were.
    pub fn tokens(&self) -> Vec<i32> {
        self.members.iter().map(|member| member.token).collect()
    }

    /// The end of one of them.
    #[track_caller]
    pub fn end(&mut self, number: usize) -> ExitStatus {
        let child = &mut self.members[number].child;
        if let Some(status) = child.try_wait().expect("our child") {
            return status;
        }
        let deadline = Instant::now() + PATIENCE;
        let ended = poll_readable(&[open_pidfd(child).as_fd()], deadline)[0];
        assert!(ended, "{number} hangs: {:?}", tickets(self.env.file("l")));
        child.wait().expect("our child")
    }

    /// Asserts that all these end well, and that nobody has complained.
    #[track_caller]
    pub fn end_well(&mut self, numbers: impl IntoIterator<Item = usize>) {
        for number in numbers {
            let status = self.end(number);
            assert!(status.success(), "{number}: {status}");
        }
        let complaints = std::fs::read_to_string(self.env.file("complaints"));
        assert_eq!(complaints.expect("it was made"), "");
    }

    /// The numbers in the order in which they had the lock.
    pub fn order(&self) -> Vec<usize> {
        let order = std::fs::read_to_string(self.env.file("order")).unwrap_or_default();
        order
            .lines()
            .map(|line| line.parse().expect("a number"))
            .collect()
    }

    /// So many numbers by chance, in any order.
    pub fn some(&self, count: usize, rng: &mut Rng) -> Vec<usize> {
        let mut all: Vec<usize> = (0..self.members.len()).collect();
        (0..count)
            .map(|_| all.swap_remove(rng.usize(..all.len())))
            .collect()
    }

    /// The numbers without these.
    pub fn without(&self, these: &[usize]) -> Vec<usize> {
        (0..self.members.len())
            .filter(|number| !these.contains(number))
            .collect()
    }
}

impl Drop for Crowd<'_> {
    fn drop(&mut self) {
        for member in &mut self.members {
            if member.child.try_wait().is_ok_and(|end| end.is_none()) {
                send_signal(-(member.child.id() as i32), libc::SIGKILL);
                let _ = member.child.wait();
            }
        }
    }
}
