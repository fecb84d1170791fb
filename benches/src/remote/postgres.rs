//! Locks in PostgreSQL, beside a session lock that psql takes.

use super::{Server, System, free_port, install, wait_for_count};
use crate::contenders::{Contender, Programs, command, installed_program};
use crate::fixture::{Fixture, start_on_first_cpu};
use crate::measurement::Target;
use anyhow::{Context, Result, ensure};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The user and the group `nobody`: PostgreSQL does not run as root.
const NOBODY: u32 = 65534;

pub struct Postgres {
    _server: Server,
    psql: PathBuf,
    flock: PathBuf,
    port: String,
    url: OsString,
}

impl Postgres {
    /// Starts a server, or returns `None` if it is not installed.
    pub fn start(programs: &Programs, fixture: &Fixture) -> Result<Option<Self>> {
        let Some((bin, psql)) = server_directory().zip(installed_program("psql")) else {
            return Ok(None);
        };
        let port = free_port()?.to_string();
        let system = Self {
            _server: start(&bin, fixture, &port)?,
            psql,
            flock: install(programs, fixture, "flock-postgres")?,
            url: format!("postgres://postgres@127.0.0.1:{port}/postgres/bench").into(),
            port,
        };
        wait_for_count(&system, 0).context("PostgreSQL does not start")?;
        Ok(Some(system))
    }

    /// Returns psql with these commands.
    fn psql(&self, commands: &[OsString]) -> Command {
        let mut psql = command(&self.psql, &["-XAtq", "-h", "127.0.0.1"].map(OsStr::new));
        psql.args(["-U", "postgres", "-p", &self.port]);
        for text in commands {
            psql.arg("-c").arg(text);
        }
        psql
    }
}

/// Returns the directory of the server's programs.
fn server_directory() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let dirs = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    dirs.filter(|dir| dir.join("postgres").is_file()).max()
}

fn start(bin: &Path, fixture: &Fixture, port: &str) -> Result<Server> {
    let data = fixture.temp_path("postgres");
    fs::create_dir(&data)?;
    let is_root = rustix::process::getuid().is_root();
    if is_root {
        chown(&data, Some(NOBODY), Some(NOBODY))?;
        // The server has to reach its directory.
        let parent = data.parent().context("a directory")?;
        fs::set_permissions(parent, std::os::unix::fs::PermissionsExt::from_mode(0o711))?;
    }
    let program = |name: &str| {
        let mut command = command(&bin.join(name), &["-D".as_ref(), data.as_os_str()]);
        if is_root {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.current_dir("/");
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let mut initdb = program("initdb");
    let status = initdb.args(["-A", "trust", "-U", "postgres"]).status()?;
    ensure!(status.success(), "{initdb:?}: {status}");
    let mut server = program("postgres");
    server.args(["-p", port, "-c", "listen_addresses=127.0.0.1"]);
    server.args(["-c", "max_connections=200", "-c"]);
    server.arg(format!("unix_socket_directories={}", data.display()));
    Ok(Server(start_on_first_cpu(&mut server)?))
}

impl System for Postgres {
    const NAME: &str = "PostgreSQL";
    const COMMAND: &str = "flock postgres://USER@HOST/DB/NAME /bin/true";
    /// None: a session lock is gone with its session.
    const TARGET: Option<Target> = None;

    fn contenders(&self) -> [Contender; 2] {
        [Contender::Psql, Contender::Fdlock]
    }

    fn command(&self, contender: Contender, job: &[&OsStr]) -> Command {
        if contender == Contender::Fdlock {
            return command(&self.flock, &[&[&*self.url], job].concat());
        }
        let job = job.join(" ".as_ref());
        let run = OsString::from_iter(["\\! ".as_ref(), job.as_os_str()]);
        self.psql(&["select pg_advisory_lock(1)".into(), run])
    }

    fn holder(&self, contender: Contender) -> Command {
        self.command(contender, &["/bin/cat".as_ref()])
    }

    /// Each process has, or waits for, one advisory lock.
    fn count(&self) -> Result<usize> {
        let sql = "select count(distinct pid) from pg_locks where locktype = 'advisory'";
        let output = self.psql(&[sql.into()]).output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{stderr}");
        Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
    }
}
