//! The test environment: a temporary directory with the programs under test first in PATH, where
//! commands run with a time limit.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{self, Pid, Signal};

use crate::builtin_install;
use crate::outcome::Outcome;
use crate::programs::{
    HISTORIC, TEST_HELPER, UTIL_LINUX_FLOCK, flock_under_test, historic_program, is_installed,
    is_reference,
};
use crate::wait::HANG_TIMEOUT;

/// The same for util-linux's flock where it is expected to differ, perhaps by hanging.
const REFERENCE_HANG_TIMEOUT: Duration = Duration::from_secs(2);

const REFERENCE_ATTEMPTS: u32 = 3;

/// A temporary directory with the program under test as `bin/flock`, first in PATH, and with the
/// historic tools if they have been built, the bash builtin and the helper program. Commands run
/// there with a fixed environment (`LC_ALL=C`, `PATH`, `HOME`, `SHELL=/bin/sh`).
#[derive(Debug)]
pub struct TestEnv {
    dir: tempfile::TempDir,
    program: PathBuf,
    pub(crate) timeout: Duration,
    /// A directory with a bash that takes the place of the installed one.
    pub(crate) bash_dir: Option<PathBuf>,
    /// `flock` is the builtin, in a bash, instead of the program.
    through_builtin: bool,
}

impl TestEnv {
    /// Creates an environment for the program under test or, with `FLOCK_THROUGH_BUILTIN`, for the
    /// builtin.
    #[allow(
        clippy::new_without_default,
        reason = "it creates a directory, and no generic code creates one"
    )]
    pub fn new() -> Self {
        let mut env = Self::without_builtin();
        env.through_builtin =
            std::env::var_os("FLOCK_THROUGH_BUILTIN").is_some_and(|value| !value.is_empty());
        env
    }

    /// Creates an environment for the program under test, regardless of `FLOCK_THROUGH_BUILTIN`:
    /// for tests of what the program inherits, which a bash in between would change.
    pub fn without_builtin() -> Self {
        Self::with_program(flock_under_test(), HANG_TIMEOUT)
    }

    pub(crate) fn with_program(program: &Path, timeout: Duration) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let bin = dir.path().join("bin");
        std::fs::create_dir(&bin).expect("bin");
        let link = |target: &Path, name: &str| {
            std::os::unix::fs::symlink(target, bin.join(name)).expect("a symbolic link in bin");
        };
        link(program, "flock");
        for name in HISTORIC {
            if let Some(program) = historic_program(name) {
                link(&program, name);
            }
        }
        let test_binary = std::env::current_exe().expect("the path of the test binary");
        link(&test_binary, TEST_HELPER);
        builtin_install::install_into(dir.path());
        Self {
            dir,
            program: program.to_owned(),
            timeout,
            bash_dir: None,
            through_builtin: false,
        }
    }

    /// Returns the temporary directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the path of a file in the temporary directory.
    pub fn file(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.path().join(name.as_ref())
    }

    /// Returns the contents of a file in the temporary directory.
    #[track_caller]
    pub fn read_file(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Returns the names of the files in the temporary directory, except `bin`.
    pub fn file_names(&self) -> Vec<OsString> {
        let entries = std::fs::read_dir(self.path()).expect("the directory can be read");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names = Vec::from_iter(names.filter(|name| name != "bin"));
        names.sort();
        names
    }

    /// Whether the program under test is util-linux's.
    pub fn is_reference(&self) -> bool {
        is_reference(&self.program)
    }

    /// Whether the program has a long option. An old util-linux may not have it, ours must.
    #[track_caller]
    pub fn supports_option(&self, option: &str) -> bool {
        let help = Command::new(&self.program).arg("--help").output();
        let help = help.expect("--help runs").stdout;
        let supported = String::from_utf8_lossy(&help).contains(option);
        assert!(
            supported || self.is_reference(),
            "our --help does not list {option}"
        );
        supported
    }

    /// Returns a command in this environment, in its own process group, so that it can be killed
    /// together with its children if it hangs.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.command_in_our_group(program);
        command.process_group(0);
        command
    }

    /// Returns a command in this environment that stays in our process group, because it creates a
    /// session.
    pub(crate) fn command_in_our_group(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = if self.through_builtin {
            Self::command_through_builtin(program.as_ref())
        } else {
            Command::new(program)
        };
        let mut path = self.file("bin").into_os_string();
        if let Some(dir) = &self.bash_dir {
            path.push(":");
            path.push(dir);
        }
        path.push(":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
            .current_dir(self.path())
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.path())
            .env("SHELL", "/bin/sh")
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        if self.through_builtin {
            command.env("BASH_ENV", self.file(builtin_install::START_UP));
        }
        command
    }

    /// Returns `flock` with these arguments, called by that name and without a shell.
    pub fn flock<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.command("flock");
        command.args(args);
        command
    }

    /// Returns a command that runs a script with `sh`.
    pub fn sh_command(&self, script: impl AsRef<OsStr>) -> Command {
        let mut shell = self.command("sh");
        shell.arg("-c").arg(script);
        shell
    }

    /// Creates an executable script. A child process writes it, because this process must not have
    /// it open for writing while another test's thread forks: the new process would inherit the
    /// descriptor, and executing the script would fail with `ETXTBSY`.
    pub fn install_script(&self, name: &str, script: &str) {
        let mut writer = self.sh_command("printf %s \"$2\" >\"$1\" && chmod +x \"$1\"");
        writer.args(["sh", name, script]);
        self.run_command(writer).assert_status(0);
    }

    /// Creates a script `queued FILE N [LOG]`, which returns as soon as N processes wait for a lock
    /// on FILE, or LOG exists.
    pub fn install_queued_script(&self) {
        self.install_script(
            "bin/queued",
            r#"#!/bin/sh
tries=20000
until [ -e "${3-}" ] || [ "$(grep -c -e "-> .*:$(stat -c %i "$1") " /proc/locks)" -ge "$2" ]; do
    [ $((tries -= 1)) -gt 0 ] || exit
done
"#,
        );
    }

    /// Returns a command that runs a script as a user with enforced file permissions: root
    /// without its capabilities, or the current user. `None` if root's capabilities cannot be
    /// dropped.
    pub fn unprivileged(&self, script: &str) -> Option<Command> {
        if !process::geteuid().is_root() {
            return Some(self.sh_command(script));
        }
        let mut command = self.command("setpriv");
        command.args(["--bounding-set=-all", "--inh-caps=-all", "/bin/sh", "-c"]);
        command.arg(script);
        is_installed("setpriv").then_some(command)
    }

    /// Returns `flock` with these arguments, under an strace that makes system calls on this file
    /// fail. `inject` contains strace expressions (`inject=...`), separated by blanks. `None` if
    /// strace is not installed or not permitted to trace.
    pub fn with_fault_injection(&self, file: &str, inject: &str, args: &[&str]) -> Option<Command> {
        self.with_fault_injection_into("flock", file, inject, args)
    }

    /// Like [`TestEnv::with_fault_injection`], for any program.
    pub fn with_fault_injection_into(
        &self,
        program: &str,
        file: &str,
        inject: &str,
        args: &[&str],
    ) -> Option<Command> {
        static CAN_TRACE: OnceLock<bool> = OnceLock::new();
        let strace = |program: &str| {
            let mut command = self.command("strace");
            command.args(["--quiet=all", "-o", "/dev/null"]);
            command.args(inject.split(' ').flat_map(|expression| ["-e", expression]));
            if !file.is_empty() {
                // As the system calls' argument, and as the path of a descriptor.
                command.args(["-P", file, "-P"]).arg(self.file(file));
            }
            command.arg(program);
            command
        };
        let can_trace = || is_installed("strace") && self.run_command(strace("true")).code() == 0;
        CAN_TRACE.get_or_init(can_trace).then(|| {
            let mut command = strace(program);
            command.args(args);
            command
        })
    }

    /// Runs `flock` with these arguments.
    #[track_caller]
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Outcome {
        self.run_command(self.flock(args))
    }

    /// Runs a script with `/bin/sh`.
    #[track_caller]
    pub fn sh(&self, script: impl AsRef<OsStr>) -> Outcome {
        self.shell("/bin/sh", script)
    }

    /// Runs a script with bash.
    #[track_caller]
    pub fn bash(&self, script: impl AsRef<OsStr>) -> Outcome {
        self.shell("bash", script)
    }

    /// Runs a script with a shell, such as `bash` or `busybox sh`.
    #[track_caller]
    pub fn shell(&self, shell: &str, script: impl AsRef<OsStr>) -> Outcome {
        let mut args = shell.split(' ');
        let mut command = self.command(args.next().expect("a shell"));
        command.args(args).arg("-c").arg(script);
        self.run_command(command)
    }

    /// Runs a command and collects its output.
    ///
    /// # Panics
    ///
    /// If it hangs. Its process group is killed.
    #[track_caller]
    pub fn run_command(&self, mut command: Command) -> Outcome {
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts");
        self.wait_with_output(child)
            .unwrap_or_else(|| panic!("the command hangs: {command:?}"))
    }

    /// Waits for a child, the leader of its process group, and for all processes that have its
    /// output open. `None` if they hang; then the group is killed.
    pub fn wait_with_output(&self, child: Child) -> Option<Outcome> {
        let group = Pid::from_child(&child);
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || sender.send(child.wait_with_output()));
        match receiver.recv_timeout(self.timeout) {
            Ok(output) => {
                let output = output.expect("the child can be waited for");
                Some(Outcome {
                    status: output.status,
                    stdout: output.stdout,
                    stderr: output.stderr,
                })
            }
            Err(_) => {
                let _ = process::kill_process_group(group, Signal::KILL);
                None
            }
        }
    }
}

/// Runs a test of an intended difference from util-linux, with its reason. The test must pass for
/// our program and, where util-linux's is installed, fail for that: if the two agree, it belongs in
/// an ordinary test. A fault of util-linux's that is a race need not show in the first attempt.
#[track_caller]
pub fn differs_from_util_linux(reason: &str, body: impl Fn(&TestEnv)) {
    assert!(!reason.is_empty());
    let under_test = flock_under_test();
    let ours_is_under_test = !is_reference(under_test);
    if ours_is_under_test {
        body(&TestEnv::new());
    }
    let reference = if ours_is_under_test {
        Path::new(UTIL_LINUX_FLOCK)
    } else {
        under_test
    };
    if reference.exists() && is_reference(reference) {
        let agrees = || {
            panic::catch_unwind(AssertUnwindSafe(|| {
                body(&TestEnv::with_program(reference, REFERENCE_HANG_TIMEOUT))
            }))
            .is_ok()
        };
        let always_agrees = (0..REFERENCE_ATTEMPTS).all(|_| agrees());
        assert!(!always_agrees, "util-linux does not differ: {reason}");
    }
}

/// Whether the environment may create a namespace with these options of unshare(1). Prints a note
/// if not.
pub fn can_unshare(env: &TestEnv, options: &str) -> bool {
    let works = is_installed("unshare") && env.sh(format!("unshare {options} true")).code() == 0;
    if !works {
        println!("skipped: `unshare {options}` does not work here");
    }
    works
}

/// Converts bytes to an argument, which need not be UTF-8.
pub fn os_string(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}
