//! Locks on another machine, beside `ssh HOST flock FILE COMMAND`.

use super::{PATIENCE, Server, System, install};
use crate::contenders::{Contender, Programs, command, installed_program};
use crate::fixture::{Fixture, start_on_first_cpu};
use crate::measurement::Target;
use anyhow::{Result, ensure};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// An address of its own, so that the port is free.
const ADDRESS: &str = "127.22.22.22";
const PORT: &str = "22022";

/// Creates keys and configurations in the directory `ssh`, and a program that uses them. The other
/// machine finds `flock` in the prefix `$1`.
const CONFIGURE: &str = r#"
mkdir ssh && cd ssh && dir=$PWD || exit
ssh-keygen -q -t ed25519 -N '' -f host_key && ssh-keygen -q -t ed25519 -N '' -f key || exit
read -r type key rest <host_key.pub
echo "machine $type $key" >known_hosts
cat >sshd_config <<END
ListenAddress $2:$3
HostKey $dir/host_key
AuthorizedKeysFile $dir/key.pub
StrictModes no
UsePAM no
PidFile none
PermitRootLogin yes
MaxStartups 1000
SetEnv PATH=$1/bin:/usr/bin:/bin XDG_STATE_HOME=$1/state
END
cat >config <<END
Host machine
    HostName $2
    Port $3
    IdentityFile $dir/key
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile $dir/known_hosts
    GlobalKnownHostsFile /dev/null
    HostKeyAlias machine
    BatchMode yes
    LogLevel ERROR
END
printf '#!/bin/sh\nexec %s -F %s "$@"\n' "$4" "$dir/config" >"$1/bin/ssh"
"#;

pub struct Ssh<'f> {
    _server: Server,
    fixture: &'f Fixture,
    /// Uses the configuration.
    ssh: PathBuf,
    flock: PathBuf,
    url: OsString,
    path: OsString,
}

impl<'f> Ssh<'f> {
    /// Starts a server for the account that runs this, or returns `None` if it is not installed.
    pub fn start(programs: &Programs, fixture: &'f Fixture) -> Result<Option<Self>> {
        let installed = installed_program("sshd").zip(installed_program("ssh"));
        let Some((sshd, client)) = installed else {
            return Ok(None);
        };
        // A package creates it at the start of the machine.
        if rustix::process::getuid().is_root() && !Path::new("/run/sshd").is_dir() {
            return Ok(None);
        }
        let flock = install(programs, fixture, "flock-ssh")?;
        let prefix = fixture.temp_path(".");
        let args = ["-c", CONFIGURE, "sh"].map(OsStr::new);
        let mut configure = command(Path::new("/bin/sh"), &args);
        configure.current_dir(&prefix).arg(&prefix);
        configure.args([ADDRESS, PORT]).arg(client);
        let status = configure.status()?;
        ensure!(status.success(), "{configure:?}: {status}");
        let ssh = fixture.temp_path("bin/ssh");
        fs::set_permissions(&ssh, PermissionsExt::from_mode(0o755))?;
        let mut path = fixture.temp_path("bin").into_os_string();
        path.push(":/usr/bin:/bin");
        let mut url = OsString::from("ssh://machine");
        url.push(fixture.lock_file());
        let mut server = command(&sshd, &["-D", "-e", "-f"].map(OsStr::new));
        server.arg(fixture.temp_path("ssh/sshd_config"));
        server.stdout(Stdio::null()).stderr(Stdio::null());
        let system = Self {
            _server: Server(start_on_first_cpu(&mut server)?),
            fixture,
            ssh,
            flock,
            url,
            path,
        };
        system.wait_until_reached()?;
        Ok(Some(system))
    }

    fn wait_until_reached(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut ssh = command(&self.ssh, &["machine", "true"].map(OsStr::new));
        ssh.stderr(Stdio::null());
        while !ssh.status()?.success() {
            ensure!(Instant::now() < deadline, "sshd does not start");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl System for Ssh<'_> {
    const NAME: &'static str = "a file of another machine";
    const COMMAND: &'static str = "flock ssh://HOST/FILE /bin/true";
    /// None: ssh does not stop its command when the lock is lost.
    const TARGET: Option<Target> = None;
    /// Each needs a connection, which takes a processor for a third of a second.
    const WAITERS: usize = 20;

    fn contenders(&self) -> [Contender; 2] {
        [Contender::Ssh, Contender::Fdlock]
    }

    fn command(&self, contender: Contender, job: &[&OsStr]) -> Command {
        let mut command = match contender {
            Contender::Fdlock => command(&self.flock, &[&[&*self.url], job].concat()),
            _ => {
                let file = self.fixture.lock_file().as_os_str();
                let lock = ["machine".as_ref(), "flock".as_ref(), file];
                command(&self.ssh, &[&lock, job].concat())
            }
        };
        command.env("PATH", &self.path);
        command
    }

    fn holder(&self, contender: Contender) -> Command {
        self.command(contender, &["/bin/cat".as_ref()])
    }

    /// The other machine is this one.
    fn count(&self) -> Result<usize> {
        self.fixture.holders_and_waiters()
    }
}
