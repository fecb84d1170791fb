//! Real servers: etcd with one or three members, on free ports of the loopback interface.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use test_support::is_installed;

use crate::remote::engines::System;
use crate::remote::engines::environment::reserve_port;

/// A member grants no lease that is shorter than one and a half of this. A lease thus outlasts what
/// `flock` knows of it, by 3 s: a busy machine may need them to kill a command.
const LONG_ELECTION: &str = "5000";

/// The default of etcd.
const SHORT_ELECTION: &str = "1000";

/// An order to the thread that owns a process.
enum Order {
    Signal(i32),
    Restart,
}

/// A member. A thread of its own owns the process, because a thread's end kills its processes.
pub struct Member {
    port: u16,
    /// Receives a message when the member is ready, as a service manager does: see sd_notify(3).
    readiness: UnixDatagram,
    orders: Option<Sender<Order>>,
    done: Mutex<Receiver<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A cluster. It is stopped when the value is dropped, also by a test that fails.
pub struct Cluster {
    pub members: Vec<Member>,
    _dir: tempfile::TempDir,
}

impl Cluster {
    /// Starts a member with these options.
    pub fn single(options: &[&str]) -> Self {
        Self::start(1, SHORT_ELECTION, options)
    }

    /// Starts three members.
    pub fn of_three() -> Self {
        Self::start(3, SHORT_ELECTION, &[])
    }

    /// Returns the member that all tests share that leave it as it is. It prolongs their leases.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
        // A test that failed meanwhile has left it in order.
        let mut shared = SHARED.lock().unwrap_or_else(|error| error.into_inner());
        shared.upgrade().unwrap_or_else(|| {
            let cluster = Arc::new(Self::start(1, LONG_ELECTION, &[]));
            *shared = Arc::downgrade(&cluster);
            cluster
        })
    }

    /// Starts members. Another process may take a port before they have: then they are started
    /// again, with others.
    fn start(count: usize, election: &str, options: &[&str]) -> Self {
        let cluster = (0..5).find_map(|_| Self::try_start(count, election, options));
        cluster.expect("etcd starts")
    }

    fn try_start(count: usize, election: &str, options: &[&str]) -> Option<Self> {
        // In memory, because etcd waits for the disk at every write.
        let base = ["/dev/shm", "/tmp"].into_iter().find(is_writable)?;
        let dir = tempfile::tempdir_in(base).expect("a directory");
        allow_all(dir.path());
        let reserved = Vec::from_iter((0..2 * count).map(|_| reserve_port()));
        let ports = Vec::from_iter(reserved.iter().map(|(_, port)| *port));
        drop(reserved);
        let (clients, peers) = ports.split_at(count);
        let member = |index: usize| format!("m{index}=http://127.0.0.1:{}", peers[index]);
        let cluster = Vec::from_iter((0..count).map(member)).join(",");
        let scheme = if options.contains(&"--cert-file") {
            "https"
        } else {
            "http"
        };
        let members = (0..count).map(|index| {
            let client = format!("{scheme}://127.0.0.1:{}", clients[index]);
            let peer = format!("http://127.0.0.1:{}", peers[index]);
            let mut args = Vec::from(["--name".to_owned(), format!("m{index}")]);
            let data = dir.path().join(format!("m{index}"));
            let data = data.to_str().expect("text");
            for (name, value) in [
                ("--data-dir", data),
                ("--listen-client-urls", &client),
                ("--advertise-client-urls", &client),
                ("--listen-peer-urls", &peer),
                ("--initial-advertise-peer-urls", &peer),
                ("--initial-cluster", &cluster),
                ("--election-timeout", election),
            ] {
                args.extend([name.to_owned(), value.to_owned()]);
            }
            args.extend(options.iter().map(|option| (*option).to_owned()));
            Member::start(clients[index], format!("{data}.notify"), args)
        });
        let cluster = Self {
            members: members.collect(),
            _dir: dir,
        };
        let is_ready = cluster.members.iter().all(Member::becomes_ready);
        is_ready.then_some(cluster)
    }

    /// Calls the JSON gateway of the first member that answers.
    pub fn post(&self, path: &str, body: &Value) -> Value {
        let mut answers = self
            .members
            .iter()
            .filter_map(|member| member.post(path, body));
        answers.next().expect("a member answers")
    }

    /// Makes etcd forget everything before the latest revision, which changes make newer.
    pub fn compact(&self) {
        let key = base64("compacted");
        let put = || self.post("/v3/kv/put", &json!({"key": key, "value": key}));
        // A watch may still begin at the revision itself.
        put();
        let last = put();
        let revision = &last["header"]["revision"];
        self.post("/v3/kv/compaction", &json!({"revision": revision}));
    }
}

impl System for Cluster {
    fn helper(&self) -> &'static str {
        "flock-etcd"
    }

    fn hosts(&self) -> String {
        let hosts = self.members.iter().map(Member::host);
        Vec::from_iter(hosts).join(",")
    }

    fn url(&self, hosts: &str, name: &str) -> String {
        format!("etcd://{hosts}/{name}")
    }

    fn keys(&self, name: &str) -> Vec<String> {
        let answer = self.post("/v3/kv/range", &range(name));
        let Some(keys) = answer["kvs"].as_array() else {
            return Vec::new();
        };
        let created = |key: &&Value| key["create_revision"].as_str().map(str::parse::<u64>);
        let mut keys = Vec::from_iter(keys);
        keys.sort_by_key(|key| created(key).expect("a revision").expect("a number"));
        let keys = keys
            .into_iter()
            .map(|key| key["key"].as_str().expect("text").to_owned());
        keys.collect()
    }

    fn delete(&self, key: &str) {
        self.post("/v3/kv/deleterange", &json!({"key": key}));
    }

    fn revision(&self) -> String {
        let answer = self.post("/v3/kv/range", &range("x"));
        let revision = answer["header"]["revision"].as_str();
        revision.expect("a revision").to_owned()
    }

    fn request(&self) -> &'static str {
        "/v3/lease/grant"
    }

    fn deletion(&self) -> &'static str {
        "its key in etcd was deleted"
    }
}

/// Returns the range of a lock's keys in base64, which etcd's JSON needs.
pub fn range(name: &str) -> Value {
    json!({"key": base64(&format!("{name}/")), "range_end": base64(&format!("{name}0"))})
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub fn base64(text: &str) -> String {
    let group = |bytes: &[u8]| {
        let number = (0..3).fold(0, |number, index| {
            number << 8 | usize::from(*bytes.get(index).unwrap_or(&0))
        });
        let digit = |index: usize| match index <= bytes.len() {
            true => char::from(DIGITS[number >> (18 - 6 * index) & 63]),
            false => '=',
        };
        String::from_iter((0..4).map(digit))
    };
    text.as_bytes().chunks(3).map(group).collect()
}

pub fn from_base64(text: &str) -> String {
    let digit = |byte: u8| DIGITS.iter().position(|digit| *digit == byte);
    let digits = text.bytes().filter_map(digit);
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0, 0);
    for digit in digits {
        (bits, count) = (bits << 6 | digit, count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    String::from_utf8(bytes).expect("text")
}

fn allow_all(path: &Path) {
    let permissions = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(path, permissions).expect("our file");
}

fn is_writable(dir: &&str) -> bool {
    tempfile::tempfile_in(dir).is_ok()
}

impl Member {
    fn start(port: u16, socket: String, args: Vec<String>) -> Self {
        let readiness = UnixDatagram::bind(&socket).expect("a socket");
        allow_all(Path::new(&socket));
        let (orders, receiver) = mpsc::channel();
        let (started, done) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut child = spawn(&args, &socket);
            let _ = started.send(());
            while let Ok(order) = receiver.recv() {
                match order {
                    Order::Signal(signal) => {
                        let pid = child.id().try_into().expect("a PID");
                        test_support::process::send_signal(pid, signal);
                    }
                    Order::Restart => {
                        kill(&mut child);
                        child = spawn(&args, &socket);
                    }
                }
                let _ = started.send(());
            }
            kill(&mut child);
        });
        let _ = done.recv();
        Self {
            port,
            readiness,
            orders: Some(orders),
            done: Mutex::new(done),
            thread: Some(thread),
        }
    }

    fn order(&self, order: Order) {
        let orders = self.orders.as_ref().expect("the thread runs");
        orders.send(order).expect("the thread runs");
        let done = self.done.lock().expect("no test fails here");
        done.recv().expect("the thread runs");
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: i32) {
        self.order(Order::Signal(signal));
    }

    /// Kills the process and starts it again.
    pub fn restart(&self) {
        self.order(Order::Restart);
        assert!(self.becomes_ready(), "it starts again");
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Waits until the member says that it is ready. One that exits does not say so.
    fn becomes_ready(&self) -> bool {
        let timeout = Some(Duration::from_secs(30));
        self.readiness.set_read_timeout(timeout).expect("a timeout");
        self.readiness.recv(&mut [0; 64]).is_ok()
    }

    /// Whether this member is the leader.
    pub fn is_leader(&self) -> bool {
        let status = self.post("/v3/maintenance/status", &json!({}));
        status.is_some_and(|status| status["leader"] == status["header"]["member_id"])
    }

    /// Calls the JSON gateway. Returns `None` unless it succeeds.
    pub fn post(&self, path: &str, body: &Value) -> Option<Value> {
        let body = body.to_string();
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        let timeout = Some(Duration::from_secs(20));
        socket.set_read_timeout(timeout).ok()?;
        // With 1.0, the answer does not come in chunks.
        let length = body.len();
        let head = format!("POST {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n");
        socket.write_all((head + &body).as_bytes()).ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let is_success = head.split(' ').nth(1) == Some("200");
        serde_json::from_str(body).ok().filter(|_| is_success)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts a process as a user without privileges, and such that it is killed if this one is.
fn spawn(args: &[String], socket: &str) -> Child {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if rustix::process::geteuid().is_root() {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    command.arg("etcd").args(args);
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("NOTIFY_SOCKET", socket);
    command.current_dir("/").stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("setpriv starts")
}

fn kill(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Returns whether there is an etcd; a message says so otherwise.
pub fn is_available() -> bool {
    is_installed("etcd") && is_installed("setpriv")
}
