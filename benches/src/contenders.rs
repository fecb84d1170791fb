//! The contenders, and how each of them is started.

use crate::Options;
use crate::fixture::Fixture;
use anyhow::{Result, ensure};
use std::ffi::OsStr;
use std::path::{Path, PathBuf, absolute};
use std::process::Command;

/// The command to run under a lock.
pub const TRUE: &str = "/bin/true";

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// util-linux's `flock`.
    Reference,
    Fdlock,
    /// fdlock with `--fair`.
    Fair,
    /// fdlock with `--slots 4`.
    Slots,
    /// GNU sem with four jobs at a time.
    GnuSem,
    /// The least that can do the job: see `floor/`.
    Floor,
    /// The floor with the start of a C library.
    CLibrary,
    /// The command or function without a lock.
    NoLock,
    /// bash's `:` with as many arguments: a builtin that does nothing.
    BashColon,
    /// zsh's builtin lock.
    Zsh,
    Fuser,
    Lsof,
    Lslocks,
    /// `etcdctl lock`.
    Etcdctl,
    /// `psql` with `pg_advisory_lock`.
    Psql,
    /// `ssh HOST flock FILE`.
    Ssh,
    /// The calls of the kernel for a lock among many, alone.
    Kernel,
}

/// A contender and its command.
pub type Entry = (Contender, Command);

/// The programs to measure.
pub struct Programs {
    pub fdlock: PathBuf,
    pub reference: PathBuf,
    pub builtin: Option<PathBuf>,
}

/// The programs of `floor/`.
#[derive(Clone, Copy)]
pub enum Floor {
    Descriptor,
    /// The same with the start of a C library.
    CLibrary,
    Wrapper,
    Exec,
    Who,
}

impl Contender {
    pub fn name(self) -> &'static str {
        match self {
            Contender::Reference => "util-linux",
            Contender::Fdlock => "fdlock",
            Contender::Fair => "--fair",
            Contender::Slots => "--slots",
            Contender::GnuSem => "GNU sem",
            Contender::Floor => "floor",
            Contender::CLibrary => "musl C",
            Contender::NoLock => "no lock",
            Contender::BashColon => "bash's :",
            Contender::Zsh => "zsh",
            Contender::Fuser => "fuser",
            Contender::Lsof => "lsof",
            Contender::Lslocks => "lslocks",
            Contender::Etcdctl => "etcdctl",
            Contender::Psql => "psql",
            Contender::Ssh => "ssh",
            Contender::Kernel => "kernel",
        }
    }
}

impl Programs {
    pub fn new(options: &Options) -> Result<Self> {
        Ok(Self {
            fdlock: program(&options.flock)?,
            reference: program(&options.reference)?,
            builtin: options.builtin.as_deref().map(program).transpose()?,
        })
    }

    pub fn reference(&self, args: &[&OsStr]) -> Entry {
        (Contender::Reference, command(&self.reference, args))
    }

    pub fn fdlock(&self, args: &[&OsStr]) -> Entry {
        (Contender::Fdlock, command(&self.fdlock, args))
    }

    pub fn fair(&self, args: &[&OsStr]) -> Entry {
        let args = [&["--fair".as_ref()], args].concat();
        (Contender::Fair, command(&self.fdlock, &args))
    }

    pub fn slots(&self, args: &[&OsStr]) -> Entry {
        let args = [&["--slots".as_ref(), "4".as_ref()], args].concat();
        (Contender::Slots, command(&self.fdlock, &args))
    }
}

/// Returns GNU sem running `job`, if sem is installed. Its state is in a home directory of its own.
pub fn gnu_sem(fixture: &Fixture, job: &[&OsStr]) -> Option<Entry> {
    let mut paths = PATH.split(':').map(|dir| Path::new(dir).join("sem"));
    let program = paths.find(|path| path.is_file())?;
    let options = ["--fg", "--id", "fdlock-bench", "-j", "4"].map(OsStr::new);
    let mut command = command(&program, &[&options, job].concat());
    command.env("HOME", fixture.temp_path("home"));
    Some((Contender::GnuSem, command))
}

/// Returns the other programs that list holders, as far as they are installed.
pub fn other_listings(file: &OsStr) -> Vec<Entry> {
    let entries = [
        installed(Contender::Fuser, &[file]),
        installed(Contender::Lsof, &[file]),
        lslocks(),
    ];
    entries.into_iter().flatten().collect()
}

/// Returns lslocks(8), which lists all locks, if it is installed.
pub fn lslocks() -> Option<Entry> {
    installed(Contender::Lslocks, &[])
}

fn installed(contender: Contender, args: &[&OsStr]) -> Option<Entry> {
    let program = installed_program(contender.name())?;
    Some((contender, command(&program, args)))
}

/// Returns the path of a program, if it is installed.
pub fn installed_program(name: &str) -> Option<PathBuf> {
    let mut dirs = ["/usr/bin", "/bin", "/usr/sbin"].into_iter();
    dirs.find_map(|dir| {
        let path = Path::new(dir).join(name);
        path.is_file().then_some(path)
    })
}

/// Returns `/bin/true` without a lock.
pub fn no_lock() -> Entry {
    (Contender::NoLock, command(Path::new(TRUE), &[]))
}

/// Returns the path of the builtin of `floor/`, if `build.rs` was able to build it.
pub fn floor_builtin() -> Option<PathBuf> {
    let path = Path::new(env!("OUT_DIR")).join("floor-builtin.so");
    path.exists().then_some(path)
}

impl Floor {
    /// Returns this floor with `args`, if `build.rs` was able to build it.
    pub fn entry(self, args: &[&OsStr]) -> Option<Entry> {
        let program = Path::new(env!("OUT_DIR")).join(match self {
            Floor::Descriptor => "floor-descriptor",
            Floor::CLibrary => "floor-c-library",
            Floor::Wrapper => "floor-wrapper",
            Floor::Exec => "floor-exec",
            Floor::Who => "floor-who",
        });
        let contender = match self {
            Floor::CLibrary => Contender::CLibrary,
            _ => Contender::Floor,
        };
        program
            .exists()
            .then(|| (contender, command(&program, args)))
    }
}

/// Makes a path absolute, without resolving symbolic links: the behaviour of a program may depend
/// on its name (busybox).
fn program(path: &Path) -> Result<PathBuf> {
    ensure!(path.is_file(), "not a file: {}", path.display());
    Ok(absolute(path)?)
}

/// Returns a command whose environment is the same on every machine: no messages to translate, no
/// `LD_PRELOAD`.
pub fn command(program: &Path, args: &[&OsStr]) -> Command {
    let mut command = Command::new(program);
    command
        .args(args)
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", PATH);
    command
}
