//! What happens in the pictures: processes that hold and wait for locks in `/run/lock`, and a user
//! who looks at them in an interactive bash.
//!
//! They have a PID namespace and a mount namespace of their own. So there are no other locks, the
//! paths are short, and the next PID can be chosen.

#![allow(
    clippy::disallowed_macros,
    reason = "the rules are for the installed programs"
)]

use std::time::Duration;

use test_support::locks::waiter_count;
use test_support::screen::Screen;
use test_support::{TestEnv, can_unshare};

use super::svg::PROMPT;

/// How much time passes in the scenes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// None: only the times on the screen differ.
    Hurried,
    /// As much as the pictures are to show.
    Real,
}

/// The time of the wait that a picture shows.
const WAITED: &str = "0:45";

const SIZE: (u16, u16) = (60, 160);

const UNSHARE: &str = "-rpmf --mount-proc --kill-child";

/// `/run/lock` is the directory `lock` of the environment, where the test can look.
const SET_UP: &str = "mount -t tmpfs none /run && mkdir /run/lock && mount --bind lock /run/lock &&
    cd /run/lock && : >>/proc/sys/kernel/ns_last_pid && exec bash --norc --noprofile --noediting -i";

/// Goes on until the namespace ends.
const JOB: &str = "#!/bin/sh\necho held\nread line <forever\n";

/// Requests a second lock after a line from a FIFO.
const FIRST_JOB: &str = "#!/bin/sh\necho held\nread line <$1.go\nexec flock $2.lock ./index $1\n";

/// A message about the namespaces, which the pictures do not show.
const NOTE: &str = "outside this PID namespace";

/// The beginning of the line of a lock that belongs to no process, and so to no namespace. The
/// pictures do not show it.
const FOREIGN_LOCK: &str = "inode ";

/// How often a command is run until there is no such lock: other tests may have very many.
const ATTEMPTS: u32 = 30;

/// Plays all scenes, and returns what is on the screen, by the name of the picture. Returns `None`
/// where they cannot be played.
pub fn play(pace: Pace) -> Option<Vec<(&'static str, String)>> {
    let env = &TestEnv::without_builtin();
    env.sh("mkdir lock && cd lock && mkfifo forever photos.go music.go")
        .assert_status(0);
    if !can_unshare(env, UNSHARE) || !can_choose_pids(env) {
        return None;
    }
    env.install_script("lock/deploy", JOB);
    env.install_script("lock/index", JOB);
    env.install_script("lock/scan", FIRST_JOB);
    let mut stage = Stage::new(env, pace);
    stage.start_job(4711, "flock deploy.lock ./deploy web", 1);
    stage.pass(83);
    stage.start_waiter(4802, "flock deploy.lock ./deploy shop", 1);
    stage.pass(40);
    stage.start_waiter(4817, "flock -w 1h deploy.lock ./deploy mail", 2);
    stage.pass(24);
    let mut pictures = vec![
        ("progress", stage.progress()),
        ("who", stage.run("flock --who deploy.lock")),
    ];
    stage.clear();
    stage.start_job(5120, "flock photos.lock ./scan photos music", 1);
    stage.start_job(5126, "flock music.lock ./scan music photos", 2);
    stage.send_line("echo >music.go; echo >photos.go");
    for file in ["lock/music.lock", "lock/photos.lock"] {
        let is_waiting = || waiter_count(env.file(file)) == 1;
        stage
            .screen
            .process
            .wait_alive_until("a waiter", is_waiting);
    }
    stage.pass(17);
    pictures.push(("machine", stage.run("flock --who")));
    // With its first process, the whole namespace ends.
    stage.send_line("exit");
    stage.screen.draw_rest();
    Some(pictures)
}

fn can_choose_pids(env: &TestEnv) -> bool {
    let script = "echo 4710 >/proc/sys/kernel/ns_last_pid";
    let outcome = env.sh(format!("unshare {UNSHARE} sh -c \"{script}\""));
    if outcome.code() != 0 {
        println!("skipped: the next PID cannot be chosen here");
    }
    outcome.code() == 0
}

/// A terminal with a shell in the namespaces.
struct Stage<'e> {
    env: &'e TestEnv,
    screen: Screen,
    pace: Pace,
}

impl<'e> Stage<'e> {
    fn new(env: &'e TestEnv, pace: Pace) -> Self {
        let set_up = format!("exec unshare {UNSHARE} sh -c '{SET_UP}'");
        let mut command = env.session_leader(&["sh", "-c", &set_up]);
        command.env("LC_ALL", "C.UTF-8").env("PS1", PROMPT);
        let (rows, columns) = SIZE;
        let mut screen = Screen::start(env, command, rows, columns);
        screen.expect(PROMPT.trim_end());
        Self { env, screen, pace }
    }

    fn send_line(&mut self, line: &str) {
        self.screen.process.send_line(line);
    }

    /// Lets time pass, which the picture shows.
    fn pass(&self, seconds: u64) {
        if self.pace == Pace::Real {
            std::thread::sleep(Duration::from_secs(seconds));
        }
    }

    /// Starts a process in the background that has this PID.
    fn start(&mut self, pid: i32, command: &str) {
        let last = pid - 1;
        self.send_line(&format!(
            "echo {last} >/proc/sys/kernel/ns_last_pid; {command} &"
        ));
    }

    /// Starts a process that holds a lock, and returns when `count` holders are on the screen.
    fn start_job(&mut self, pid: i32, command: &str, count: usize) {
        self.start(pid, command);
        let is_held = |screen: &Screen| screen.text().matches("held").count() == count;
        self.screen.wait_until("the lock", is_held);
    }

    /// Starts a process that waits for the lock, and returns when `count` processes wait.
    fn start_waiter(&mut self, pid: i32, command: &str, count: usize) {
        self.start(pid, command);
        let file = self.env.file("lock/deploy.lock");
        let is_waiting = || waiter_count(&file) == count;
        self.screen.process.wait_alive_until("it waits", is_waiting);
    }

    /// Clears the screen.
    fn clear(&mut self) {
        self.send_line("printf '\\33[H\\33[2J'");
        let is_clear = |screen: &Screen| screen.text().trim_end() == PROMPT.trim_end();
        self.screen.wait_until("nothing but a prompt", is_clear);
    }

    /// Runs a command, and returns what is to be seen then.
    fn run(&mut self, command: &str) -> String {
        let mut shown = String::new();
        for _ in 0..ATTEMPTS {
            self.clear();
            self.send_line(command);
            let prompt = PROMPT.trim_end();
            self.screen.wait_until("the next prompt", |screen| {
                screen.text().lines().skip(1).last().map(str::trim_end) == Some(prompt)
            });
            shown = self.screen.text();
            if !shown.contains(FOREIGN_LOCK) {
                break;
            }
        }
        let is_hidden = |line: &str| line.contains(NOTE) || line.starts_with(FOREIGN_LOCK);
        let lines = shown.trim_end().trim_end_matches(PROMPT.trim_end()).lines();
        let lines = lines.filter(|line| !is_hidden(line));
        lines.map(|line| format!("{line}\n")).collect()
    }

    /// Waits with `--progress`, and returns what is to be seen.
    fn progress(&mut self) -> String {
        self.clear();
        let command = "flock --progress -w 5m deploy.lock ./deploy blog";
        self.send_line(command);
        let (pace, ahead) = (self.pace, " · 2 ahead of you · ");
        self.screen.wait_until("the time", |screen| {
            let text = screen.text();
            let clock = text.split(ahead).nth(1);
            clock.is_some_and(|clock| pace == Pace::Hurried || clock >= WAITED)
        });
        let text = self.screen.text();
        self.screen.process.send("\x03");
        self.screen.expect("^C");
        format!("{}\n", text.trim_end())
    }
}
