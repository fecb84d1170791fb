//! Poolers are refused: PgBouncer, and one that does no more than to give clients a PID of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rstest::rstest;

use super::PostgresTest;
use crate::remote::engines::environment::{reserve_port, skip};
use crate::remote::engines::errors::assert_message;

/// Where packages install PgBouncer.
const PGBOUNCER: &str = "/usr/sbin/pgbouncer";

/// The beginning of the message with the PID, which four bytes follow.
const KEY_DATA: &[u8] = b"K\0\0\0\x0c";

/// Passes on one connection to a server, with another PID.
fn start(server: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a connection");
        let mut server = TcpStream::connect(server).expect("a server");
        let (mut requests, mut to) = (
            client.try_clone().expect("a descriptor"),
            server.try_clone().expect("a descriptor"),
        );
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut requests, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Both);
        });
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = server.read(&mut buffer) {
            let data = &mut buffer[..length];
            let mut windows = data.windows(KEY_DATA.len());
            if let Some(start) = windows.position(|window| window == KEY_DATA) {
                data[start + KEY_DATA.len()] ^= 1;
            }
            if client.write_all(data).is_err() {
                break;
            }
        }
    });
    host
}

const REFUSAL: &str = "it is a connection pooler, which cannot hold locks: use the server itself";

#[test]
fn pooler_is_refused() {
    let Some(test) = PostgresTest::new() else {
        return;
    };
    let url = test.url_by(&start(test.system.hosts()));
    assert_message(&test, &url, &[], (65, REFUSAL));
}

/// A process of PgBouncer, which is killed when the value is dropped.
struct PgBouncer {
    child: Child,
    host: String,
}

impl PgBouncer {
    /// Starts it in front of the server, on a free port. Another process may take the port before:
    /// then it is started again.
    fn start(test: &PostgresTest, mode: &str) -> Self {
        let started = (0..5).find_map(|_| Self::try_start(test, mode));
        started.expect("PgBouncer starts")
    }

    fn try_start(test: &PostgresTest, mode: &str) -> Option<Self> {
        let (_, port) = reserve_port();
        let server_port = test.server.port();
        // It has no privileges, and can read this directory.
        let file = test.server.dir().join(format!("pgbouncer-{port}.ini"));
        let configuration = format!(
            "[databases]\n* = host=127.0.0.1 port={server_port} user=postgres\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = {mode}\n"
        );
        std::fs::write(&file, configuration).expect("a directory");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if rustix::process::geteuid().is_root() {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        command.arg(PGBOUNCER).arg(file).env_clear();
        command.current_dir("/").stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("setpriv starts");
        let mut log = BufReader::new(child.stderr.take().expect("a pipe"));
        let host = format!("127.0.0.1:{port}");
        let pooler = Self { child, host };
        let mut line = String::new();
        while !line.contains("process up: ") {
            line.clear();
            if log.read_line(&mut line).expect("text") == 0 {
                return None;
            }
        }
        // It goes on writing there.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Some(pooler)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Also where each client has a session of its own: a client cannot know that.
#[rstest]
fn pgbouncer_is_refused(#[values("transaction", "session", "statement")] mode: &str) {
    let Some(test) = PostgresTest::new() else {
        return;
    };
    if !Path::new(PGBOUNCER).exists() {
        return skip("no PgBouncer");
    }
    let pooler = PgBouncer::start(&test, mode);
    assert_message(&test, &test.url_by(&pooler.host), &[], (65, REFUSAL));
    assert_eq!(test.system.keys(&test.name()), [""; 0]);
}
