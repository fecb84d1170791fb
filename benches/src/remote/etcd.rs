//! Locks in etcd, beside `etcdctl lock`.

use super::{Server, System, free_port, install, wait_for_count};
use crate::contenders::{Contender, Programs, command, installed_program};
use crate::fixture::{Fixture, start_on_first_cpu};
use crate::measurement::Target;
use anyhow::{Context, Result, bail};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The name of the lock.
const NAME: &str = "bench";

pub struct Etcd {
    _server: Server,
    etcdctl: PathBuf,
    flock: PathBuf,
    address: String,
    url: OsString,
}

impl Etcd {
    /// Starts a server of one member, or returns `None` if it is not installed.
    pub fn start(programs: &Programs, fixture: &Fixture) -> Result<Option<Self>> {
        let installed = installed_program("etcd").zip(installed_program("etcdctl"));
        let Some((etcd, etcdctl)) = installed else {
            return Ok(None);
        };
        let address = format!("127.0.0.1:{}", free_port()?);
        let system = Self {
            _server: start(&etcd, fixture, &address)?,
            etcdctl,
            flock: install(programs, fixture, "flock-etcd")?,
            url: format!("etcd://{address}/{NAME}").into(),
            address,
        };
        wait_for_count(&system, 0).context("etcd does not start")?;
        Ok(Some(system))
    }
}

fn start(etcd: &Path, fixture: &Fixture, address: &str) -> Result<Server> {
    let client = format!("http://{address}");
    let peer = format!("http://127.0.0.1:{}", free_port()?);
    let cluster = format!("default={peer}");
    let data = fixture.temp_path("etcd");
    let mut server = command(etcd, &["--data-dir".as_ref(), data.as_os_str()]);
    server.args(["--log-level", "error", "--initial-cluster", &cluster]);
    for option in ["--listen-client-urls", "--advertise-client-urls"] {
        server.args([option, &client]);
    }
    for option in ["--listen-peer-urls", "--initial-advertise-peer-urls"] {
        server.args([option, &peer]);
    }
    server.stdout(Stdio::null()).stderr(Stdio::null());
    Ok(Server(start_on_first_cpu(&mut server)?))
}

impl System for Etcd {
    const NAME: &str = "etcd";
    const COMMAND: &str = "flock etcd://HOST/NAME /bin/true";
    const TARGET: Option<Target> = Some(Target::Ratio(1.0));

    fn contenders(&self) -> [Contender; 2] {
        [Contender::Etcdctl, Contender::Fdlock]
    }

    fn command(&self, contender: Contender, job: &[&OsStr]) -> Command {
        if contender == Contender::Fdlock {
            return command(&self.flock, &[&[&*self.url], job].concat());
        }
        let lock = ["lock", NAME].map(OsStr::new);
        let mut etcdctl = command(&self.etcdctl, &[&lock, job].concat());
        etcdctl.env("ETCDCTL_API", "3");
        etcdctl.env("ETCDCTL_ENDPOINTS", &self.address);
        etcdctl
    }

    /// Both use the same keys.
    fn holder(&self, _: Contender) -> Command {
        self.command(Contender::Fdlock, &["/bin/cat".as_ref()])
    }

    fn count(&self) -> Result<usize> {
        let output = command(&self.flock, &["--who".as_ref(), &*self.url]).output()?;
        if !matches!(output.status.code(), Some(0 | 1)) {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
        let lines = output.stdout.iter().filter(|byte| **byte == b'\n').count();
        // The first line is a heading.
        Ok(lines.saturating_sub(1))
    }
}
