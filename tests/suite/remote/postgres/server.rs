//! Real servers: PostgreSQL on a free port of the loopback interface.

use std::io::{BufRead, BufReader, Read, Write, pipe};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use test_support::is_installed;

use crate::remote::engines::System;
use crate::remote::engines::environment::reserve_port;

/// Creates the data in a new directory below `$1`, runs the script `$2` there, and starts the
/// server with the remaining arguments. The data is a copy of that in the directory `$3`; without
/// one, it is created, and a copy for others remains. The script answers each line with another one:
/// `stop` stops the server as fast as it can, `crash` without letting it write anything, and `start`
/// starts it again. The server is stopped and the directory removed when the input ends, which it
/// also does if the tests are killed.
const SCRIPT: &str = r#"
cd "$1" && dir=$(mktemp -d flock-postgres.XXXXXX) && cd "$dir" || exit
prepare=$2 original=$3
shift 3
start() { postgres -D data "$@" & }
create() {
    options='-U postgres -A trust -E UTF8 --no-locale --no-sync --wal-segsize=1'
    initdb -D original $options >&2 && original=original
}
if { [ "$original" ] || create; } && cp -R "$original" data; then
    eval "$prepare"
    start "$@"
fi
echo "$PWD"
while read -r order; do
    case $order in
        stop) kill -INT $!; wait ;;
        crash) kill -QUIT $!; wait ;;
        start) start "$@" ;;
    esac
    echo done
done
kill -QUIT $!
wait
cd .. && rm -r "$dir"
"#;

/// What the server or `initdb` says if the server does not start.
const FAILURES: [&str; 2] = ["could not create any TCP/IP sockets", "initdb: error"];

/// A server, or one database of it.
pub struct Server {
    cluster: Arc<Cluster>,
    database: String,
}

struct Cluster {
    port: u16,
    script: Mutex<Script>,
    dir: PathBuf,
    /// Whether the server has become ready, or cannot.
    readiness: Mutex<Receiver<bool>>,
}

struct Script {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Server {
    /// Starts a server with these options, whose data in the directory `data` a script has
    /// prepared. Another process may take the port before the server does: then it is started
    /// again.
    pub fn start(prepare: &str, options: &[&str]) -> Self {
        let shared = Self::shared();
        let original = shared.dir().join("original");
        let original = original.to_str().expect("text");
        Self::start_with(original, prepare, options)
    }

    fn start_with(original: &str, prepare: &str, options: &[&str]) -> Self {
        let cluster = (0..5).find_map(|_| Cluster::try_start(original, prepare, options));
        Self {
            cluster: Arc::new(cluster.expect("PostgreSQL starts")),
            database: "postgres".to_owned(),
        }
    }

    /// Returns the server that all tests share that leave it as it is. It ends with this process.
    pub fn shared() -> Arc<Self> {
        static SHARED: OnceLock<Arc<Server>> = OnceLock::new();
        Arc::clone(SHARED.get_or_init(|| Arc::new(Self::start_with("", "", &[]))))
    }

    /// Creates a database of this server.
    pub fn new_database(&self) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let database = format!("test{}_{number}", std::process::id());
        // Another database that is created at the same time uses the same template.
        test_support::wait_until("the database is created", || {
            let sql = format!("create database {database} template template0");
            self.cluster.query("postgres", &sql).is_ok()
        });
        Self {
            cluster: Arc::clone(&self.cluster),
            database,
        }
    }

    /// Executes statements, and returns the rows with their columns as texts.
    #[track_caller]
    pub fn query(&self, sql: &str) -> Vec<Vec<String>> {
        let result = self.try_query(sql);
        result.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Executes statements that may fail.
    pub fn try_query(&self, sql: &str) -> Result<Vec<Vec<String>>, String> {
        self.cluster.query(&self.database, sql)
    }

    /// Sends an order to the script.
    fn order(&self, order: &str) {
        self.cluster.order(order);
    }

    /// Stops the server and starts it again.
    pub fn restart(&self, how: &str) {
        self.order(how);
        self.order("start");
        assert!(self.cluster.becomes_ready(), "it starts again");
    }

    pub fn port(&self) -> u16 {
        self.cluster.port
    }

    /// The directory of its socket.
    pub fn dir(&self) -> &Path {
        &self.cluster.dir
    }

    pub fn database(&self) -> &str {
        &self.database
    }
}

impl System for Server {
    fn helper(&self) -> &'static str {
        "flock-postgres"
    }

    fn hosts(&self) -> String {
        format!("127.0.0.1:{}", self.cluster.port)
    }

    fn url(&self, hosts: &str, name: &str) -> String {
        format!("postgres://postgres@{hosts}/{}/{name}", self.database)
    }

    fn keys(&self, name: &str) -> Vec<String> {
        // The first lock creates the table.
        let table = self.query("select to_regclass('flock.entry')");
        if table[0][0].is_empty() {
            return Vec::new();
        }
        let sql = format!("select token from flock.entry where name = '{name}' order by token");
        self.query(&sql).into_iter().flatten().collect()
    }

    fn delete(&self, key: &str) {
        self.query(&format!("delete from flock.entry where token = {key}"));
    }

    fn revision(&self) -> String {
        let rows = self.query("select last_value from flock.entry_token_seq");
        rows[0][0].clone()
    }

    fn request(&self) -> &'static str {
        "insert into"
    }

    fn deletion(&self) -> &'static str {
        "its row in PostgreSQL was deleted"
    }

    fn prolong_leases(&self, name: &str) {
        self.query(&format!(
            "update flock.entry set ttl = ttl + 2000 where name = '{name}'"
        ));
    }
}

impl Cluster {
    fn try_start(original: &str, prepare: &str, options: &[&str]) -> Option<Self> {
        let (_, port) = reserve_port();
        let base = ["/dev/shm", "/tmp"].into_iter().find(is_writable)?;
        let mut command = Command::new("setpriv");
        // The script must end after the tests, not with the thread that has started it.
        if rustix::process::geteuid().is_root() {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        command.args(["sh", "-c", SCRIPT, "sh", base, prepare, original]);
        let port_option = format!("port={port}");
        for option in [
            port_option.as_str(),
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=..",
            "fsync=off",
            "shared_buffers=2MB",
            "autovacuum=off",
        ]
        .iter()
        .chain(options)
        {
            command.args(["-c", option]);
        }
        let programs = programs().expect("the test is not skipped");
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", programs.display());
        command.env_clear().env("PATH", path).current_dir("/");
        let (log, stderr) = pipe().expect("a pipe");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(stderr);
        let mut child = command.spawn().expect("setpriv starts");
        // It has the pipe open.
        drop(command);
        let (sender, readiness) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(log).split(b'\n') {
                let Ok(line) = line else { break };
                let line = String::from_utf8_lossy(&line);
                if line.contains("system is ready to accept") {
                    let _ = sender.send(true);
                } else if FAILURES.iter().any(|text| line.contains(text)) {
                    let _ = sender.send(false);
                }
            }
        });
        let input = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut dir = String::new();
        output.read_line(&mut dir).expect("a line");
        let cluster = Self {
            port,
            script: Mutex::new(Script {
                child,
                input,
                output,
            }),
            dir: PathBuf::from(dir.trim_end()),
            readiness: Mutex::new(readiness),
        };
        cluster.becomes_ready().then_some(cluster)
    }

    fn order(&self, order: &str) {
        let mut script = self.script.lock().expect("no test fails here");
        let input = script.input.as_mut().expect("the script runs");
        writeln!(input, "{order}").expect("the script runs");
        let mut line = String::new();
        script.output.read_line(&mut line).expect("the script runs");
        assert_eq!(line, "done\n");
    }

    /// Waits until the server says that it is ready.
    fn becomes_ready(&self) -> bool {
        let readiness = self.readiness.lock().expect("no test fails here");
        readiness.recv_timeout(Duration::from_secs(60)) == Ok(true)
    }

    /// Executes statements over a connection of its own, as the user `postgres`, without a
    /// password.
    fn query(&self, database: &str, sql: &str) -> Result<Vec<Vec<String>>, String> {
        let text = |error: std::io::Error| error.to_string();
        let socket = TcpStream::connect(("127.0.0.1", self.port)).map_err(text)?;
        let timeout = Some(Duration::from_secs(60));
        socket.set_read_timeout(timeout).map_err(text)?;
        let start = format!("user\0postgres\0database\0{database}\0\0");
        let version = 3_u32 << 16;
        let start = [&version.to_be_bytes(), start.as_bytes()].concat();
        send(&socket, b"", &start).map_err(text)?;
        receive(&socket)?;
        send(&socket, b"Q", format!("{sql}\0").as_bytes()).map_err(text)?;
        receive(&socket)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let script = self.script.get_mut();
        let script = script.unwrap_or_else(|error| error.into_inner());
        // The end of its input ends it.
        script.input = None;
        let _ = script.child.wait();
    }
}

fn send(mut socket: &TcpStream, kind: &[u8], text: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(text.len() + 4).expect("a short text");
    socket.write_all(&[kind, &length.to_be_bytes(), text].concat())
}

/// Reads messages until the server is ready for the next statement, and returns the rows.
fn receive(mut socket: &TcpStream) -> Result<Vec<Vec<String>>, String> {
    let (mut rows, mut error) = (Vec::new(), None);
    loop {
        let mut head = [0; 5];
        socket
            .read_exact(&mut head)
            .map_err(|error| error.to_string())?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let mut body = vec![0; length as usize - 4];
        socket
            .read_exact(&mut body)
            .map_err(|error| error.to_string())?;
        match head[0] {
            b'D' => rows.push(columns(&body[2..])),
            b'E' => error = Some(String::from_utf8_lossy(&body).replace('\0', " ")),
            b'Z' => return error.map_or(Ok(rows), Err),
            _ => {}
        }
        // After this one, nothing follows.
        if let Some(error) = error.take_if(|error| error.contains("FATAL")) {
            return Err(error);
        }
    }
}

/// Decodes the columns of a row; NULL is an empty text.
fn columns(mut bytes: &[u8]) -> Vec<String> {
    let mut columns = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        columns.push(String::from_utf8_lossy(&rest[..length]).into_owned());
        bytes = &rest[length..];
    }
    columns
}

fn is_writable(dir: &&str) -> bool {
    tempfile::tempfile_in(dir).is_ok()
}

/// Returns the directory of the server's programs, which Debian does not put into `PATH`.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let versions = versions.flatten().map(|entry| entry.path().join("bin"));
    let others = ["/usr/local/bin", "/usr/bin"].map(PathBuf::from);
    let mut dirs = Vec::from_iter(versions.chain(others));
    dirs.retain(|dir| dir.join("initdb").exists() && dir.join("postgres").exists());
    dirs.into_iter().next()
}

/// Returns whether there is a PostgreSQL.
pub fn is_available() -> bool {
    programs().is_some() && is_installed("setpriv")
}
