//! The two forms of a lock elsewhere, for tests of both: `flock URL COMMAND`, and `flock 8 URL` in a
//! script.

use std::ops::{Deref, DerefMut};

use libc::{SIGCONT, SIGKILL, SIGSTOP};
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{
    children_of, is_running, is_stopped, parent_of, processes_in, status_field,
};
use test_support::{TestEnv, wait_until};

use super::handle::{GUARDS, Guards};

/// What is run under the lock if it is to be hard to stop: three generations that ignore `SIGTERM`,
/// the last of which does the work. All of them keep the file `witness` locked. Its descriptor is the
/// highest one, because the kernel closes that of a process that exits before the others. The first
/// one does not exit, should it be killed after its children.
const STUBBORN: &str = "exec 9>>witness; flock -n 9 || exit 99; trap '' TERM
    (sh -c 'echo working; while :; do sleep 1; done' & wait; :); while :; do sleep 1; done";

/// Why a lock is lost that is not renewed.
pub const NOT_RENEWED: &str = "its lease was not renewed in time";

/// A form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Command,
    Descriptor,
}

/// Both of them.
pub const FORMS: [Form; 2] = [Form::Command, Form::Descriptor];

/// Runs a test in both forms, side by side: for one that waits for a lease to end.
pub fn in_both_forms(run: impl Fn(Form) + Sync) {
    std::thread::scope(|scope| {
        for form in FORMS {
            let run = &run;
            scope.spawn(move || {
                // Shown if it fails.
                println!("{form:?}");
                run(form);
            });
        }
    });
}

/// A process that has the lock: `flock` with its command, or the script.
pub struct Holder<'env> {
    process: Process,
    form: Form,
    env: &'env TestEnv,
    url: String,
}

impl Deref for Holder<'_> {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Holder<'_> {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Kills what a test that fails leaves behind: guards that it has stopped stay so.
impl Drop for Holder<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (pid, _) in self.guards().of("") {
                send_signal(pid, SIGKILL);
            }
        }
    }
}

impl Form {
    /// Starts a process that runs a script under the lock.
    #[track_caller]
    pub fn start<'env>(
        self,
        env: &'env TestEnv,
        options: &[&str],
        url: &str,
        script: &str,
    ) -> Holder<'env> {
        let command = match self {
            Self::Command => env.flock(options.iter().chain(&[url, "sh", "-c", script])),
            Self::Descriptor => {
                let options = options.join(" ");
                let lock = format!("exec 8>>handle; flock {options} 8 '{url}' || exit");
                env.sh_command(format!("{lock}\n{script}"))
            }
        };
        Holder {
            process: env.start(command),
            form: self,
            env,
            url: url.to_owned(),
        }
    }

    /// Starts a process that is hard to stop, and waits until it works.
    #[track_caller]
    pub fn start_stubborn<'env>(
        self,
        env: &'env TestEnv,
        options: &[&str],
        url: &str,
    ) -> Holder<'env> {
        let mut holder = self.start(env, options, url, STUBBORN);
        holder.expect_line("working");
        holder
    }

    /// Starts a process that holds the lock until it reads a line, and exits with status 5.
    #[track_caller]
    pub fn hold<'env>(self, env: &'env TestEnv, options: &[&str], url: &str) -> Holder<'env> {
        let mut holder = self.start(env, options, url, "echo held; read x; exit 5");
        holder.expect_line("held");
        holder
    }

    /// The names of the processes that watch over the lock, beside the helper. One that would continue
    /// another comes before it.
    fn watching(self) -> &'static [&'static str] {
        match self {
            Self::Command => &["lock-timekeeper", "lock-keeper"],
            Self::Descriptor => &["lock-timekeeper", "lock-deputy", "lock-watcher"],
        }
    }
}

impl Holder<'_> {
    /// Returns the guards of the script, if it is one.
    pub fn guards(&self) -> Guards<'_> {
        Guards(self.env)
    }

    /// Returns the process with this name that watches over the lock, or that of the helper.
    #[track_caller]
    pub fn find(&self, name: &str) -> i32 {
        match self.form {
            Form::Command => child(self, name),
            Form::Descriptor if GUARDS.contains(&name) => self.guards().pid(name),
            Form::Descriptor => orphan(self.env, name),
        }
    }

    /// Asserts that it reports that the lock is lost.
    #[track_caller]
    pub fn expect_loss(&mut self, why: &str) {
        let text = match self.form {
            Form::Command => "lock lost, command stopped".to_owned(),
            Form::Descriptor => format!("{}: lock lost, its processes are being stopped", self.url),
        };
        self.expect(&format!("flock: {text}: {why}\n"));
    }

    /// Asserts that it is killed at once, because another process may have the lock already. A script
    /// may be killed before there is time to say why.
    #[track_caller]
    pub fn assert_killed(&mut self, why: &str) {
        if self.form == Form::Command {
            self.expect_loss(why);
        }
        self.assert_stopped();
    }

    /// Waits until it is killed because the lock is lost, and asserts that nothing is left.
    #[track_caller]
    pub fn assert_stopped(&mut self) {
        let reason = match self.form {
            Form::Command => ExitReason::Exited(75),
            Form::Descriptor => ExitReason::Signaled(SIGKILL),
        };
        assert_eq!(self.wait(), reason);
        self.guards().assert_nothing_left();
    }

    /// Has one that holds the lock exit, and asserts that nothing is left.
    #[track_caller]
    pub fn finish(mut self) {
        self.send_line("");
        assert_eq!(self.wait(), ExitReason::Exited(5));
        self.guards().assert_nothing_left();
    }

    /// Stops all that watch over the lock, the helper, and the process that works, as if the machine
    /// was paused.
    #[track_caller]
    pub fn pause(&self, helper: &str, worker: i32) -> Paused {
        let watching = self.form.watching().iter().map(|name| self.find(name));
        let pids = [self.pid()].into_iter().chain(watching).chain([worker]);
        let paused = Paused {
            pids: pids.collect(),
            helper: self.find(helper),
            worker,
        };
        for pid in paused.pids.iter().chain([&paused.helper]) {
            assert!(send_signal(*pid, SIGSTOP));
            wait_until("it stops", || is_stopped(*pid));
        }
        paused
    }
}

/// The processes of a machine that is paused.
pub struct Paused {
    pids: Vec<i32>,
    helper: i32,
    worker: i32,
}

impl Paused {
    /// Continues them. The one that works is the first, and must be killed although the helper, the
    /// last one, does not say yet what has happened.
    #[track_caller]
    pub fn resume(self) {
        for pid in self.pids.into_iter().rev() {
            send_signal(pid, SIGCONT);
        }
        wait_until("it is killed", || !is_running(self.worker));
        send_signal(self.helper, SIGCONT);
    }
}

/// Returns the child of `flock` with this name.
#[track_caller]
pub fn child(flock: &Process, name: &str) -> i32 {
    let has_name = |pid: &i32| status_field(*pid, "Name") == name;
    let mut found = None;
    // The command may be faster than the processes that watch over it.
    wait_until("a child has this name", || {
        found = children_of(flock.pid()).into_iter().find(has_name);
        found.is_some()
    });
    found.expect("it was found")
}

/// Returns the helper that the `flock` of a script has left behind.
#[track_caller]
pub fn orphan(env: &TestEnv, name: &str) -> i32 {
    let has_name = |pid: i32, name: &str| status_field(pid, "Name") == name;
    let is_orphan =
        |pid: &i32| is_running(*pid) && has_name(*pid, name) && !has_name(parent_of(*pid), "flock");
    let mut found = None;
    // It is one as soon as `flock` has exited.
    wait_until("there is a helper", || {
        found = processes_in(env.path()).into_iter().find(is_orphan);
        found.is_some()
    });
    found.expect("it was found")
}
