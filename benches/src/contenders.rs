//! Who is measured, and how each of them is started.

use crate::fixture::Stage;
use crate::measurement::Who;
use crate::options::Options;
use anyhow::{Result, ensure};
use std::ffi::OsStr;
use std::path::{Path, PathBuf, absolute};
use std::process::Command;

/// The command under the lock.
pub const TRUE: &str = "/bin/true";

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

pub struct Contenders {
    ours: PathBuf,
    reference: PathBuf,
    builtin: Option<PathBuf>,
}

/// The programs of `floor/`.
#[derive(Clone, Copy)]
pub enum Floor {
    Descriptor,
    Wrapper,
    InPlace,
}

impl Contenders {
    pub fn find(options: &Options) -> Result<Self> {
        Ok(Self {
            ours: program(&options.flock)?,
            reference: program(&options.reference)?,
            builtin: options.builtin.as_deref().map(program).transpose()?,
        })
    }

    /// util-linux's and ours, with the same arguments.
    pub fn both(&self, arguments: &[&OsStr]) -> Vec<(Who, Command)> {
        [(Who::Reference, &self.reference), (Who::Ours, &self.ours)]
            .map(|(who, program)| (who, command(program, arguments)))
            .into()
    }

    /// Both, and ours in the order of arrival.
    pub fn and_fair(&self, arguments: &[&OsStr]) -> Vec<(Who, Command)> {
        let mut all = self.both(arguments);
        all.push((
            Who::Fair,
            self.ours(&[&["--fair".as_ref()], arguments].concat()),
        ));
        all
    }

    /// Ours, plain and in the order of arrival.
    pub fn plain_and_fair(&self, arguments: &[&OsStr]) -> Vec<(Who, Command)> {
        self.and_fair(arguments).split_off(1)
    }

    /// Ours.
    pub fn ours(&self, arguments: &[&OsStr]) -> Command {
        command(&self.ours, arguments)
    }

    /// Ours, four at a time.
    pub fn slots(&self, arguments: &[&OsStr]) -> Command {
        self.ours(&[&["--slots".as_ref(), "4".as_ref()], arguments].concat())
    }

    /// GNU sem, four at a time, if it is installed. It keeps its state in the home folder.
    pub fn sem(&self, stage: &Stage, job: &[&OsStr]) -> Option<(Who, Command)> {
        let programs = PATH.split(':').map(|folder| Path::new(folder).join("sem"));
        let program = programs.into_iter().find(|program| program.is_file())?;
        let options = ["--fg", "--id", "fdlock-bench", "-j", "4"].map(OsStr::new);
        let mut command = command(&program, &[&options, job].concat());
        command.env("HOME", stage.scratch("home"));
        Some((Who::Sem, command))
    }

    /// util-linux's program.
    pub fn reference(&self) -> &Path {
        &self.reference
    }

    /// The bash builtin, if that is to be measured.
    pub fn builtin(&self) -> Option<&Path> {
        self.builtin.as_deref()
    }
}

impl Floor {
    /// The floor with these arguments, if it could be built here.
    pub fn command(self, arguments: &[&OsStr]) -> Option<(Who, Command)> {
        let program = Path::new(env!("OUT_DIR")).join(match self {
            Floor::Descriptor => "floor-descriptor",
            Floor::Wrapper => "floor-wrapper",
            Floor::InPlace => "floor-in-place",
        });
        program
            .exists()
            .then(|| (Who::Floor, command(&program, arguments)))
    }
}

/// Absolute, and with its own name: a program may go by that (busybox does).
fn program(path: &Path) -> Result<PathBuf> {
    ensure!(path.is_file(), "there is no file {}", path.display());
    Ok(absolute(path)?)
}

/// `program` with these arguments and with an environment that is the same on every machine: no messages to
/// translate, no `LD_PRELOAD` to load.
pub fn command(program: &Path, arguments: &[&OsStr]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", PATH);
    command
}
