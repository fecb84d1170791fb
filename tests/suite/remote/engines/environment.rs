//! The environment of a test with a server of one of the systems.

use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use test_support::process::Process;
use test_support::{TestEnv, installed_helper, wait_until};

use crate::remote::{etcd, postgres};

/// The time to live in most tests, the shortest one that there is.
pub const TTL: &str = "--ttl=5s";

/// The kind of a system.
#[derive(Clone, Copy, Debug)]
pub enum Engine {
    Etcd,
    Postgres,
}

impl Engine {
    /// The names of its helper; the first one is that of the file.
    fn helpers(self) -> [&'static str; 2] {
        match self {
            Self::Etcd => ["flock-etcd", "flock-etcds"],
            Self::Postgres => ["flock-postgres", "flock-postgresql"],
        }
    }

    /// What messages call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Postgres => "PostgreSQL",
        }
    }

    /// Returns the server that tests share.
    fn shared(self) -> Arc<dyn System> {
        match self {
            Self::Etcd => etcd::server::Cluster::shared(),
            Self::Postgres => postgres::server::Server::shared(),
        }
    }

    /// Returns a server, or a part of one, that no other test uses.
    fn isolated(self) -> Arc<dyn System> {
        match self {
            Self::Etcd => Arc::new(etcd::server::Cluster::single(&[])),
            Self::Postgres => Arc::new(postgres::server::Server::shared().new_database()),
        }
    }

    /// Returns an environment with the helper, or `None` where it or the server is not available.
    pub fn environment(self) -> Option<TestEnv> {
        let is_available = match self {
            Self::Etcd => etcd::server::is_available(),
            Self::Postgres => postgres::server::is_available(),
        };
        let missing = (!is_available).then(|| format!("no {}", self.name()));
        let names = self.helpers();
        environment_with(names[0], &names, missing)
    }
}

/// Returns an environment with a helper, by these names, or `None` if there is no such helper or what
/// it needs is missing. Says so, and fails where both have to be available.
pub fn environment_with(helper: &str, names: &[&str], missing: Option<String>) -> Option<TestEnv> {
    // The development build is not meant: it has no helper with TLS.
    let program = installed_helper(helper);
    let missing = match (program, missing) {
        (None, _) => format!("no installed {helper}"),
        (Some(_), Some(missing)) => missing,
        (Some(program), None) => {
            let env = TestEnv::without_builtin();
            env.install_lock_helper_program(&program, names);
            return Some(env);
        }
    };
    skip(&missing);
    None
}

/// Says that a test is skipped, or fails where that must not be.
pub fn skip(missing: &str) {
    static SKIPPED: AtomicU32 = AtomicU32::new(0);
    if std::env::var_os("FLOCK_UNDER_TEST").is_some() {
        let is_required = std::env::var("FLOCK_TEST_ENGINES").is_ok_and(|value| value == "all");
        assert!(!is_required, "{missing}");
        let number = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
        // Not by a macro, whose output is only shown for tests that fail.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {missing} ({number})");
    }
}

/// Reserves a port of the loopback interface, until the listener is dropped. Not one of those that the
/// kernel gives to connections: while a server is not running, it could not be started again on a port
/// that a connection has got.
pub fn reserve_port() -> (TcpListener, u16) {
    let mut found = None;
    wait_until("a port is free", || {
        let port = fastrand::u16(10_000..32_000);
        found = TcpListener::bind(("127.0.0.1", port))
            .ok()
            .map(|listener| (listener, port));
        found.is_some()
    });
    found.expect("it was found")
}

/// A server, as the tests look into it.
pub trait System: Send + Sync {
    /// The name of the helper's process.
    fn helper(&self) -> &'static str;

    /// The hosts, as a URL needs them.
    fn hosts(&self) -> String;

    /// The URL of a lock over these hosts.
    fn url(&self, hosts: &str, name: &str) -> String;

    /// What identifies the entries of a lock, in the order of the queue.
    fn keys(&self, name: &str) -> Vec<String>;

    /// Deletes an entry.
    fn delete(&self, key: &str);

    /// What changes when an entry is created.
    fn revision(&self) -> String;

    /// A part of the first request that may grant the lock.
    fn request(&self) -> &'static str;

    /// Why the lock is lost if its entry is deleted.
    fn deletion(&self) -> &'static str;

    /// Makes the leases of a lock outlast what their processes know of them by some seconds: a busy
    /// machine may need them to kill a command.
    fn prolong_leases(&self, _name: &str) {}
}

/// An environment for locks in a system.
pub struct EngineTest {
    pub env: TestEnv,
    pub system: Arc<dyn System>,
}

impl EngineTest {
    /// Uses the server that tests share. `None` if the test is skipped.
    pub fn new(engine: Engine) -> Option<Self> {
        Some(Self {
            env: engine.environment()?,
            system: engine.shared(),
        })
    }

    /// Uses a server, or a part of one, that this test may disturb.
    pub fn isolated(engine: Engine) -> Option<Self> {
        Some(Self {
            env: engine.environment()?,
            system: engine.isolated(),
        })
    }

    /// The name of the lock, a different one in each test.
    pub fn name(&self) -> String {
        let name = self.env.path().file_name().expect("a name");
        name.to_string_lossy().into_owned()
    }

    pub fn url(&self) -> String {
        self.url_by(&self.system.hosts())
    }

    pub fn url_by(&self, hosts: &str) -> String {
        self.system.url(hosts, &self.name())
    }

    /// Starts `flock` with these options and a command that prints a word, and returns when a line
    /// has been read from its input.
    #[track_caller]
    pub fn hold(&self, options: &[&str]) -> Process {
        let mut holder = self.start(options, "echo held; read x; exit 0");
        holder.expect_line("held");
        holder
    }

    /// Starts `flock` with a script as its command. What passes on in time does so by a message,
    /// not because a lease has ended or was renewed.
    #[track_caller]
    pub fn start(&self, options: &[&str], script: &str) -> Process {
        let url = self.url();
        let command = [url.as_str(), "sh", "-c", script];
        let args = ["--ttl=1h"].iter().chain(options).chain(&command);
        self.env.start(self.env.flock(args))
    }

    /// Waits until the lock has this number of entries.
    #[track_caller]
    pub fn wait_for_keys(&self, count: usize) -> Vec<String> {
        let name = self.name();
        let mut keys = Vec::new();
        wait_until(&format!("{name} has {count} keys"), || {
            keys = self.system.keys(&name);
            keys.len() == count
        });
        keys
    }
}
