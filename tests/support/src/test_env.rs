//! The bench every test works at: a scratch folder, the program under test as `flock` first in PATH, and scripts that
//! cannot hang for ever.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::Duration;

use crate::built_program;

/// How long a script may take before it is called hung: far beyond any noise, so that only a real hang meets it.
pub(crate) const HUNG: Duration = Duration::from_secs(60);

/// The same for the reference where it is expected to differ, perhaps by hanging.
const REFERENCE_HUNG: Duration = Duration::from_secs(5);

/// Where util-linux's own program is on nearly every Linux.
const REFERENCE: &str = "/usr/bin/flock";

/// The programs of the four older tools, which are in every lab too.
pub const HISTORIC: [&str; 4] = ["loto", "me-only", "runlock", "ulock"];

/// What a script left behind: its end and everything it said.
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl fmt::Debug for Outcome {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            to,
            "{}\nstdout: {}\nstderr: {}",
            self.status,
            self.out(),
            self.err()
        )
    }
}

impl Outcome {
    /// The exit status as a shell's `$?` shows it: 128+N for a death by signal N.
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| 128 + self.status.signal().expect("exited or was killed"))
    }

    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Asserts the status; on failure everything the script said is in the panic.
    #[track_caller]
    pub fn expect_code(self, wanted: i32) -> Self {
        assert_eq!(
            self.code(),
            wanted,
            "status\nstdout: {}\nstderr: {}",
            self.out(),
            self.err()
        );
        self
    }

    /// Asserts the whole of stdout.
    #[track_caller]
    pub fn expect_out(self, wanted: &str) -> Self {
        assert_eq!(
            self.out(),
            wanted,
            "stdout\nstatus: {}\nstderr: {}",
            self.code(),
            self.err()
        );
        self
    }

    /// Asserts the whole of stderr.
    #[track_caller]
    pub fn expect_err(self, wanted: &str) -> Self {
        assert_eq!(
            self.err(),
            wanted,
            "stderr\nstatus: {}\nstdout: {}",
            self.code(),
            self.out()
        );
        self
    }
}

/// A scratch folder with the program under test as `bin/flock`, which comes first in PATH; everything that a test
/// starts runs in that folder with an environment of its own (`LC_ALL=C`, `PATH`, `HOME`, `SHELL=/bin/sh`).
#[derive(Debug)]
pub struct Lab {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) program: PathBuf,
    pub(crate) patience: Duration,
    /// A folder with another bash than the installed one.
    pub(crate) bash: Option<PathBuf>,
    pub(crate) through: Through,
}

/// Who is called when a test calls `flock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Through {
    /// The program.
    Program,
    /// A bash that has the builtin.
    Builtin,
}

impl Lab {
    /// A lab for the program under test.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let through = match std::env::var_os("FLOCK_THROUGH_BUILTIN") {
            Some(value) if !value.is_empty() => Through::Builtin,
            _ => Through::Program,
        };
        Self {
            through,
            ..Self::with(under_test(), HUNG)
        }
    }

    /// A lab where `flock` is the program though the tests go through the builtin: for what a caller hands down to it that
    /// a bash in between would not leave alone.
    pub fn direct() -> Self {
        Self::with(under_test(), HUNG)
    }

    pub(crate) fn with(program: &Path, patience: Duration) -> Self {
        let folder = tempfile::tempdir().expect("a scratch folder");
        std::fs::create_dir(folder.path().join("bin")).expect("bin/");
        std::os::unix::fs::symlink(program, folder.path().join("bin/flock")).expect("bin/flock");
        for name in HISTORIC {
            let place = folder.path().join("bin").join(name);
            std::os::unix::fs::symlink(historic(name), place).expect("bin/");
        }
        let itself = std::env::current_exe().expect("this test");
        std::os::unix::fs::symlink(itself, folder.path().join("bin/probe")).expect("bin/probe");
        crate::builtin::put_into(folder.path());
        crate::helper::link();
        Self {
            folder,
            program: program.to_owned(),
            patience,
            bash: None,
            through: Through::Program,
        }
    }

    /// The scratch folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A name in the scratch folder.
    pub fn file(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.path().join(name.as_ref())
    }

    /// Whether this lab's program is util-linux's and not ours.
    pub fn is_reference(&self) -> bool {
        is_reference(&self.program)
    }

    /// Whether the program knows the long option (an old reference may not; ours must).
    #[track_caller]
    pub fn offers(&self, option: &str) -> bool {
        let help = Command::new(&self.program)
            .arg("--help")
            .output()
            .expect("--help runs");
        let known = String::from_utf8_lossy(&help.stdout).contains(option);
        assert!(
            known || self.is_reference(),
            "our own --help must name {option}"
        );
        known
    }

    /// A command in this lab: its folder, its PATH, its environment; a process group of its own, so that a hung one
    /// can be killed with all that it started.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.ungrouped(program);
        command.process_group(0);
        command
    }

    /// The same without the group, for one that makes a session of its own.
    pub(crate) fn ungrouped(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = match self.through {
            Through::Program => Command::new(program),
            Through::Builtin => Self::through_builtin(program.as_ref()),
        };
        let mut path = self.file("bin").into_os_string();
        if let Some(folder) = &self.bash {
            path.push(":");
            path.push(folder);
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
        if self.through == Through::Builtin {
            command.env("BASH_ENV", self.file(crate::builtin::START_UP));
        }
        command
    }

    /// `flock` itself with these arguments, called by that name and through no shell.
    pub fn flock<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.command("flock");
        command.args(args);
        command
    }

    /// An executable script in the folder. A child writes it: were this process to hold it open for writing just when
    /// another test's thread forks, nobody could execute it (`ETXTBSY`).
    pub fn program(&self, name: &str, script: &str) {
        let mut writer = self.command("/bin/sh");
        writer.args(["-c", "printf %s \"$2\" >\"$1\" && chmod +x \"$1\"", "sh"]);
        writer.args([name, script]);
        self.finish(writer).expect_code(0);
    }

    /// A program `queued FILE N [LOG]` for scripts, which returns as soon as N processes wait for a lock on FILE, or LOG
    /// exists.
    pub fn teach_queued(&self) {
        self.program(
            "bin/queued",
            r#"#!/bin/sh
tries=20000
until [ -e "${3-}" ] || [ "$(grep -c -e "-> .*:$(stat -c %i "$1") " /proc/locks)" -ge "$2" ]; do
    [ $((tries -= 1)) -gt 0 ] || exit
done
"#,
        );
    }

    /// A script to be run by someone for whom permissions hold: root without its capabilities, or just us. `None` where
    /// root cannot shed them.
    pub fn powerless(&self, script: &str) -> Option<Command> {
        if !rustix::process::geteuid().is_root() {
            let mut command = self.command("/bin/sh");
            command.args(["-c", script]);
            return Some(command);
        }
        let mut command = self.command("setpriv");
        command.args(["--bounding-set=-all", "--inh-caps=-all", "/bin/sh", "-c"]);
        command.arg(script);
        installed("setpriv").then_some(command)
    }

    /// `flock` with these arguments, some of whose system calls on this file are made to fail by strace (`inject=...`,
    /// parted by blanks).
    /// `None` where there is no strace or it may not trace.
    pub fn injected(&self, file: &str, inject: &str, args: &[&str]) -> Option<Command> {
        self.injected_into("flock", file, inject, args)
    }

    /// The same for any program.
    pub fn injected_into(
        &self,
        program: &str,
        file: &str,
        inject: &str,
        args: &[&str],
    ) -> Option<Command> {
        static TRACES: OnceLock<bool> = OnceLock::new();
        let strace = |program: &str| {
            let mut command = self.command("strace");
            command.args(["--quiet=all", "-o", "/dev/null"]);
            command.args(inject.split(' ').flat_map(|one| ["-e", one]));
            if !file.is_empty() {
                // As it stands in the arguments of a call, and as the name of a descriptor.
                command.args(["-P", file, "-P"]).arg(self.file(file));
            }
            command.arg(program);
            command
        };
        let traces = || installed("strace") && self.finish(strace("true")).code() == 0;
        TRACES.get_or_init(traces).then(|| {
            let mut command = strace(program);
            command.args(args);
            command
        })
    }

    /// The names in the scratch folder, without our own `bin`.
    pub fn names(&self) -> Vec<OsString> {
        let mut names: Vec<_> = std::fs::read_dir(self.path())
            .expect("the folder can be read")
            .map(|entry| entry.expect("an entry").file_name())
            .filter(|name| name != "bin")
            .collect();
        names.sort();
        names
    }

    /// Runs `flock` with these arguments to its end.
    #[track_caller]
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Outcome {
        self.finish(self.flock(args))
    }

    /// Runs a script by `/bin/sh` to its end.
    #[track_caller]
    pub fn sh(&self, script: impl AsRef<OsStr>) -> Outcome {
        self.shell("/bin/sh", script)
    }

    /// Runs a script by bash to its end.
    #[track_caller]
    pub fn bash(&self, script: impl AsRef<OsStr>) -> Outcome {
        self.shell("bash", script)
    }

    /// Runs a script by the shell named (its words split at blanks: `busybox sh`) to its end.
    #[track_caller]
    pub fn shell(&self, shell: &str, script: impl AsRef<OsStr>) -> Outcome {
        let mut words = shell.split(' ');
        let mut command = self.command(words.next().expect("a shell"));
        command.args(words).arg("-c").arg(script);
        self.finish(command)
    }

    /// Runs a command to its end with its output collected. One that hangs is killed with its whole group, and the
    /// test fails.
    #[track_caller]
    pub fn finish(&self, mut command: Command) -> Outcome {
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        self.collect(child)
            .unwrap_or_else(|| panic!("hung: {command:?}"))
    }

    /// Waits for a child (the leader of its own group) and all who hold its output; `None` when it had to be killed.
    pub fn collect(&self, child: Child) -> Option<Outcome> {
        let group = rustix::process::Pid::from_child(&child);
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || tell.send(child.wait_with_output()));
        match told.recv_timeout(self.patience) {
            Ok(output) => {
                let output = output.expect("it can be waited for");
                Some(Outcome {
                    status: output.status,
                    stdout: output.stdout,
                    stderr: output.stderr,
                })
            }
            Err(_) => {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
                None
            }
        }
    }
}

/// The program under test: what `FLOCK_UNDER_TEST` names, or ours.
pub fn under_test() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let named = std::env::var_os("FLOCK_UNDER_TEST").filter(|name| !name.is_empty());
        let program = named.map_or_else(|| built_program("flock"), PathBuf::from);
        assert!(
            program.is_absolute() && program.exists(),
            "FLOCK_UNDER_TEST: no such program: {}",
            program.display()
        );
        program
    })
}

/// The `flock` under test, or that of this package when the reference is under test.
pub(crate) fn ours() -> &'static Path {
    static OURS: OnceLock<PathBuf> = OnceLock::new();
    OURS.get_or_init(|| match under_test() {
        reference if is_reference(reference) => built_program("flock"),
        ours => ours.to_owned(),
    })
}

/// One of ours that stands beside our `flock`.
fn historic(name: &str) -> PathBuf {
    ours().with_file_name(name)
}

fn is_reference(program: &Path) -> bool {
    let version = Command::new(program)
        .arg("--version")
        .output()
        .expect("--version runs");
    version.stdout.windows(10).any(|word| word == b"util-linux")
}

/// A case where we depart from util-linux on purpose, and why. The body must hold for ours; util-linux's program, where
/// there is one, must fail it: a departure that the reference has caught up with is none, and belongs in an ordinary
/// test.
#[track_caller]
pub fn departure(why: &str, body: impl Fn(&Lab)) {
    assert!(!why.is_empty());
    let ours = !is_reference(under_test());
    if ours {
        body(&Lab::new());
    }
    let reference = if ours {
        Path::new(REFERENCE)
    } else {
        under_test()
    };
    if reference.exists() && is_reference(reference) {
        let held = panic::catch_unwind(AssertUnwindSafe(|| {
            body(&Lab::with(reference, REFERENCE_HUNG))
        }))
        .is_ok();
        assert!(
            !held,
            "the reference does the same, so this is no departure: {why}"
        );
    }
}

/// Whether a program can be found in the lab's PATH: optional shells are used where they are.
pub fn installed(program: &str) -> bool {
    ["/usr/local/bin", "/usr/bin", "/bin"]
        .iter()
        .any(|folder| Path::new(folder).join(program).exists())
}

/// Whether this may be run in a namespace of its own.
pub fn may_unshare(lab: &Lab, how: &str) -> bool {
    let works = installed("unshare") && lab.sh(format!("unshare {how} true")).code() == 0;
    if !works {
        println!("no `unshare {how}` here: nothing tested");
    }
    works
}

/// Bytes as a word of a command line.
pub fn word(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}
