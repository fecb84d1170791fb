//! The bash builtin in a test environment, installed beside the program, for every bash that is
//! available.

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

pub use crate::builtin_install::LIBRARY;
use crate::builtin_install::START_UP;
use crate::outcome::Outcome;
use crate::process::Process;
use crate::programs::{installed_path, our_flock, workspace_root};
use crate::test_env::TestEnv;
use crate::wait::HANG_TIMEOUT;

/// A version of bash.
#[derive(Debug)]
struct Bash {
    version: String,
    /// The directory that contains it, unless it is the installed one.
    dir: Option<PathBuf>,
}

/// Runs a test in every bash, each with a new test environment: in the installed one, and in those
/// that are in the directory `FDLOCK_BASHES` (default: `target/bashes`) as `VERSION/bash`.
#[track_caller]
pub fn for_each_bash(body: impl Fn(&TestEnv)) {
    static REPORTED: OnceLock<()> = OnceLock::new();
    REPORTED.get_or_init(|| {
        let versions: Vec<_> = bashes().iter().map(|bash| &bash.version[..]).collect();
        // Not println!, whose output is hidden when the test passes.
        let versions = versions.join(", ");
        let _ = writeln!(std::io::stderr(), "testing the builtin in bash {versions}");
    });
    for bash in bashes() {
        println!("bash {}", bash.version);
        let mut env = TestEnv::with_program(our_flock(), HANG_TIMEOUT);
        env.bash_dir.clone_from(&bash.dir);
        body(&env);
    }
}

fn bashes() -> &'static [Bash] {
    static BASHES: OnceLock<Vec<Bash>> = OnceLock::new();
    BASHES.get_or_init(|| {
        let configured = std::env::var_os("FDLOCK_BASHES").filter(|path| !path.is_empty());
        let parent =
            configured.map_or_else(|| workspace_root().join("target/bashes"), PathBuf::from);
        let entries = std::fs::read_dir(parent).into_iter().flatten();
        let dirs = entries.map(|entry| entry.expect("an entry").path());
        let mut dirs = Vec::from_iter(dirs.filter(|dir| dir.join("bash").exists()));
        dirs.sort();
        let installed = [Bash::new(None)];
        let others = dirs.into_iter().map(Some).map(Bash::new);
        installed.into_iter().chain(others).collect()
    })
}

impl Bash {
    fn new(dir: Option<PathBuf>) -> Self {
        let program = dir.clone().unwrap_or_default().join("bash");
        let mut bash = Command::new(&program);
        let output = bash.args(["-c", "echo ${BASH_VERSION%(*}"]).output();
        let output = output.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(!version.is_empty(), "{}: not a bash", program.display());
        Self { version, dir }
    }
}

impl TestEnv {
    /// Runs a script with a bash that has the builtin, as does every bash that it starts.
    #[track_caller]
    pub fn run_with_builtin(&self, script: impl AsRef<OsStr>) -> Outcome {
        self.run_command(self.builtin_command(script))
    }

    /// Returns a command that runs a script with a bash that has the builtin.
    pub fn builtin_command(&self, script: impl AsRef<OsStr>) -> Command {
        let mut command = self.command("bash");
        command.arg("-c").arg(script);
        command.env("BASH_ENV", self.file(START_UP));
        command
    }

    /// Starts a script with a bash that has the builtin.
    #[track_caller]
    pub fn start_with_builtin(&self, script: impl AsRef<OsStr>) -> Process {
        self.start(self.builtin_command(script))
    }

    /// Starts an interactive bash with the builtin on a new terminal.
    #[track_caller]
    pub fn start_builtin_at_terminal(&self) -> Process {
        let mut bash = self.start_bash_at_terminal();
        // The prompts are cleared again because a wrapper script may have lost the environment's.
        bash.send_line(&format!(
            "PS1= PS2=; enable -f {LIBRARY} flock && echo enabled"
        ));
        bash.expect("enabled\n");
        bash
    }

    /// Whether this environment's bash is older than a version, such as `5.1`.
    pub fn bash_is_older_than(&self, version: &str) -> bool {
        let number = |part: &str| part.parse::<u32>().ok();
        let parse = |text: &str| Vec::from_iter(text.split('.').map_while(number));
        let bash = bashes().iter().find(|bash| bash.dir == self.bash_dir);
        parse(&bash.expect("one of the bashes").version) < parse(version)
    }

    /// Returns a command that runs `flock` and `sh` with a bash that has the builtin. What the
    /// builtin leaves to the program replaces that bash, so the pid and the parent are the same as
    /// without it.
    pub(crate) fn command_through_builtin(program: &OsStr) -> Command {
        // An absolute path, for tests that run `flock` with their own PATH.
        let mut bash = Command::new(installed_path("bash").expect("bash is installed"));
        match program.to_str() {
            Some("flock") => {
                bash.args(["-c", r#"flock "$@""#, "bash"]);
            }
            Some("sh" | "/bin/sh") => {}
            _ => return Command::new(program),
        }
        bash
    }
}
