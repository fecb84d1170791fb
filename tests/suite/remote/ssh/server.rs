//! A real sshd on a free port of the loopback interface, for the account that runs the tests.

use std::process::{Child, Command, Stdio};

use test_support::procfs::is_running;
use test_support::{TestEnv, is_installed, wait_until};

/// Where packages install sshd.
const SSHD: &str = "/usr/sbin/sshd";

/// What sshd reports.
const LOG: &str = "ssh/log";

/// What sshd changes its root directory to, if it runs as root. A package creates it at the start of
/// the machine.
const PRIVILEGE_SEPARATION: &str = "/run/sshd";

/// Creates the keys of the machine and of the user, and the configurations of both ends. The other
/// machine finds `flock` in the same place as this one. The algorithms are quick ones.
const CONFIGURE: &str = "
    rm -rf ssh && mkdir ssh && cd ssh && dir=$PWD
    new='ssh-keygen -q -t ed25519 -N '
    $new '' -f host_key && $new '' -f key && cp key.pub authorized_keys
    read -r type key rest <host_key.pub
    echo \"machine $type $key\" >known_hosts
    cat >sshd_config <<END
ListenAddress $1:$2
HostKey $dir/host_key
AuthorizedKeysFile $dir/authorized_keys
StrictModes no
UsePAM no
PidFile none
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 1000
SetEnv PATH=$3/bin:/usr/bin:/bin XDG_STATE_HOME=$3/state
END
    cat >config <<END
Host *
    IdentityFile $dir/key
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile $dir/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    HostKeyAlias machine
    KexAlgorithms curve25519-sha256
Host machine elaborate
    HostName $1
    Port $2
Host elaborate
    RemoteCommand echo never
    RequestTTY force
    ControlMaster auto
    ControlPath $dir/control
    LocalForward $1:$2 $1:$2
    ExitOnForwardFailure yes
    PermitLocalCommand yes
    LocalCommand echo never
END";

/// A port that other processes use, too: each server has an address of its own.
const PORT: u16 = 22022;

/// A server, which is killed when the value is dropped. Connections go on.
pub struct Server {
    /// An address of the loopback interface.
    pub address: String,
    child: Child,
}

impl Server {
    /// Starts a server that runs the programs of this environment.
    pub fn start(env: &TestEnv) -> Self {
        let byte = || fastrand::u8(1..255);
        let address = format!("127.{}.{}.{}", byte(), byte(), byte());
        let mut configure = env.sh_command(CONFIGURE);
        configure.args(["sh", &address, &PORT.to_string()]);
        configure.arg(env.path());
        env.run_command(configure).assert_status(0);
        Self::spawn(env, address, &[])
    }

    /// Starts it again, by a program with these arguments.
    pub fn restart_by(&mut self, env: &TestEnv, program: &[&str]) {
        self.kill();
        *self = Self::spawn(env, self.address.clone(), program);
    }

    /// Starts the process. It is killed with the thread of this test, if that fails.
    fn spawn(env: &TestEnv, address: String, program: &[&str]) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).args(program);
        command.args([SSHD, "-D", "-e", "-f"]);
        command.arg(env.file("ssh/sshd_config"));
        command.env_clear().env("PATH", "/usr/bin:/bin");
        let log = std::fs::File::create(env.file(LOG)).expect("a log");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(log).current_dir("/");
        let child = command.spawn().expect("setpriv starts");
        let server = Self { address, child };
        server.wait_until_it_listens(env);
        server
    }

    fn wait_until_it_listens(&self, env: &TestEnv) {
        let pid = self.child.id().try_into().expect("a PID");
        wait_until("sshd listens", || {
            let log = env.read_file(LOG);
            assert!(is_running(pid), "sshd has exited: {log}");
            log.contains("Server listening on ")
        });
    }

    /// Returns the address and the port.
    pub fn host(&self) -> String {
        format!("{}:{PORT}", self.address)
    }

    /// Kills the process that accepts connections.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again, on the same port.
    pub fn restart(&mut self, env: &TestEnv) {
        self.restart_by(env, &[]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns what is missing for a server, if anything.
pub fn missing() -> Option<String> {
    let exists = |path: &str| std::path::Path::new(path).exists();
    let programs = ["ssh", "ssh-keygen", "setpriv"];
    if !exists(SSHD) || !programs.into_iter().all(is_installed) {
        return Some("no sshd".to_owned());
    }
    let needs_directory = rustix::process::geteuid().is_root();
    let lacks_directory = needs_directory && !exists(PRIVILEGE_SEPARATION);
    lacks_directory.then(|| format!("no {PRIVILEGE_SEPARATION}"))
}
