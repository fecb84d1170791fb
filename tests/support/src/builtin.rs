//! The bash builtin in a lab: beside the lab's program, as it is installed, for every bash that there is.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::process::Live;
use crate::{HUNG, Lab, Outcome, ours};

/// Where it is installed.
const IN_PREFIX: &str = "lib/bash/flock";

/// Where it is in a lab, whose `bin` is the prefix that it is installed in, so that it is in nobody's way; and `bin` as
/// well, where it finds the program.
pub const LIBRARY: &str = "bin/lib/bash/flock";

/// What a bash reads first that is to have it.
pub const START_UP: &str = "bin/lib/start-up";

/// What cannot be enabled must not be taken for the program, which does the same.
const NOT_ENABLED: i32 = 99;

/// One bash.
#[derive(Debug)]
struct Bash {
    version: String,
    /// Where it is, if it is not the installed one.
    folder: Option<PathBuf>,
}

/// A test in every bash that there is, each with a lab of its own: the installed one, and those in the folder that
/// `FDLOCK_BASHES` names (default: `target/bashes`), `VERSION/bash` each.
#[track_caller]
pub fn in_every_bash(body: impl Fn(&Lab)) {
    static SAID: OnceLock<()> = OnceLock::new();
    SAID.get_or_init(|| {
        let versions: Vec<_> = bashes().iter().map(|bash| &bash.version[..]).collect();
        // Not println!, so that it is seen though all is well.
        let line = format!("the builtin is tested in bash {}\n", versions.join(", "));
        let _ = std::io::stderr().write_all(line.as_bytes());
    });
    for bash in bashes() {
        println!("bash {}", bash.version);
        body(&Lab {
            bash: bash.folder.clone(),
            ..Lab::with(ours(), HUNG)
        });
    }
}

fn bashes() -> &'static [Bash] {
    static BASHES: OnceLock<Vec<Bash>> = OnceLock::new();
    BASHES.get_or_init(|| {
        let named = std::env::var_os("FDLOCK_BASHES").filter(|name| !name.is_empty());
        let all = named.map_or_else(
            || crate::workspace_root().join("target/bashes"),
            PathBuf::from,
        );
        let mut folders: Vec<PathBuf> = std::fs::read_dir(all)
            .into_iter()
            .flatten()
            .map(|entry| entry.expect("an entry").path())
            .filter(|folder| folder.join("bash").exists())
            .collect();
        folders.sort();
        let installed = [Bash::new(None)];
        let others = folders.into_iter().map(Some).map(Bash::new);
        installed.into_iter().chain(others).collect()
    })
}

impl Bash {
    fn new(folder: Option<PathBuf>) -> Self {
        let program = folder
            .as_ref()
            .map_or("bash".into(), |folder| folder.join("bash"));
        let asked = Command::new(&program)
            .args(["-c", "echo ${BASH_VERSION%(*}"])
            .output();
        let asked = asked.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let version = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
        assert!(!version.is_empty(), "{}: no bash", program.display());
        Self { version, folder }
    }
}

impl Lab {
    /// Runs a script to its end by a bash that has the builtin, and so has every bash that it starts.
    #[track_caller]
    pub fn builtin(&self, script: impl AsRef<OsStr>) -> Outcome {
        self.finish(self.with_builtin(script))
    }

    /// The same, not started yet.
    pub fn with_builtin(&self, script: impl AsRef<OsStr>) -> Command {
        let mut command = self.command("bash");
        command.arg("-c").arg(script);
        command.env("BASH_ENV", self.file(START_UP));
        command
    }

    /// Starts one to talk with.
    #[track_caller]
    pub fn start_builtin(&self, script: impl AsRef<OsStr>) -> Live {
        self.start(self.with_builtin(script))
    }

    /// An interactive bash at a terminal that has the builtin.
    #[track_caller]
    pub fn builtin_at_terminal(&self) -> Live {
        let mut bash = self.bash_at_terminal();
        // A wrapper script may have lost the prompt of the environment.
        bash.say(&format!(
            "PS1= PS2=; enable -f {LIBRARY} flock && echo enabled"
        ));
        bash.comes_to("enabled\n");
        bash
    }

    /// Whether this lab's bash is older than such a one, `5.1`.
    pub fn bash_is_before(&self, version: &str) -> bool {
        let number = |text: &str| -> Vec<u32> {
            text.split('.')
                .map_while(|part| part.parse().ok())
                .collect()
        };
        let here = bashes().iter().find(|bash| bash.folder == self.bash);
        number(&here.expect("one of them").version) < number(version)
    }

    /// In place of `flock` or `sh`: a bash that has the builtin. What the builtin hands to the program takes the place
    /// of that bash, so it has the process and its parent as ever.
    pub(crate) fn through_builtin(program: &OsStr) -> Command {
        match program.to_str() {
            Some("flock") => {
                let mut bash = Command::new(installed_bash());
                bash.args(["-c", r#"flock "$@""#, "bash"]);
                bash
            }
            Some("sh" | "/bin/sh") => Command::new(installed_bash()),
            _ => Command::new(program),
        }
    }
}

/// By its path, for a test that gives a PATH of its own to `flock`.
fn installed_bash() -> &'static Path {
    ["/usr/local/bin/bash", "/usr/bin/bash", "/bin/bash"]
        .iter()
        .map(Path::new)
        .find(|place| place.exists())
        .expect("a bash")
}

/// Puts the builtin into a lab's folder.
pub(crate) fn put_into(folder: &Path) {
    let place = folder.join(LIBRARY);
    std::fs::create_dir_all(place.parent().expect("a folder")).expect("bin/lib/bash/");
    std::os::unix::fs::symlink(under_test(), &place).expect("bin/lib/bash/flock");
    std::os::unix::fs::symlink(".", folder.join("bin/bin")).expect("bin/bin");
    let start_up = format!(
        "enable -f {} flock || exit {NOT_ENABLED}\n",
        place.display()
    );
    std::fs::write(folder.join(START_UP), start_up).expect("bin/lib/start-up");
}

/// The builtin under test: what `FLOCK_BUILTIN_UNDER_TEST` names, or the one that is installed with the program under
/// test, or this package's, which cargo has no reason to build for us.
fn under_test() -> &'static Path {
    static LIBRARY_FILE: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY_FILE.get_or_init(|| {
        if let Some(named) =
            std::env::var_os("FLOCK_BUILTIN_UNDER_TEST").filter(|name| !name.is_empty())
        {
            let named = PathBuf::from(named);
            assert!(
                named.is_absolute() && named.exists(),
                "FLOCK_BUILTIN_UNDER_TEST: no such library: {}",
                named.display()
            );
            return named;
        }
        let installed = ours()
            .ancestors()
            .nth(2)
            .map(|prefix| prefix.join(IN_PREFIX));
        installed
            .filter(|library| library.exists())
            .unwrap_or_else(build)
    })
}

fn build() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "fdlock-builtin",
        ])
        .current_dir(crate::workspace_root())
        .args(["--target-dir", "target"]);
    if cfg!(target_env = "musl") {
        // As in scripts/build-builtin.sh.
        cargo.env("RUSTFLAGS", "-C target-feature=-crt-static");
    }
    let built = cargo.output().expect("cargo starts");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    crate::workspace_root().join("target/debug/libflock_builtin.so")
}
