//! A lease that has expired and is not revoked yet. etcd answers its renewals, in a moment that is too
//! short for a test, so that a server of our own plays its part.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use test_support::installed_helper;

use crate::remote::engines::answers::Helper;

const TTL: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Server {
    grants: AtomicUsize,
    granted_at: Mutex<Option<Instant>>,
    own_key: Mutex<Value>,
}

impl Server {
    fn start() -> (Arc<Self>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let host = listener.local_addr().expect("an address").to_string();
        let server = Arc::new(Self::default());
        let shared = Arc::clone(&server);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = Arc::clone(&shared);
                thread::spawn(move || server.serve(stream));
            }
        });
        (server, host)
    }

    /// Answers requests until the client closes the connection.
    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut lines = BufReader::new(stream.try_clone().ok()?);
        loop {
            let (mut head, mut length) = (Vec::new(), 0);
            loop {
                let mut line = String::new();
                lines.read_line(&mut line).ok().filter(|read| *read > 0)?;
                if line.trim().is_empty() {
                    break;
                }
                if let Some((name, value)) = line.split_once(':')
                    && name.eq_ignore_ascii_case("content-length")
                {
                    length = value.trim().parse().ok()?;
                }
                head.push(line);
            }
            let mut body = vec![0; length];
            lines.read_exact(&mut body).ok()?;
            let path = head.first()?.split(' ').nth(1)?;
            let answer = self.answer(path, &serde_json::from_slice(&body).ok()?)?;
            let answer = answer.to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                answer.len()
            );
            (&stream).write_all((head + &answer).as_bytes()).ok()?;
        }
    }

    /// `None` closes the connection.
    fn answer(&self, path: &str, body: &Value) -> Option<Value> {
        let is_first = self.grants.load(Ordering::SeqCst) == 1;
        let keys = |keys: &[(&Value, &str)]| {
            let key =
                |(key, created): &(&Value, &str)| json!({"key": key, "create_revision": created});
            let keys = Vec::from_iter(keys.iter().map(key));
            json!({"header": {"revision": "9"}, "kvs": keys})
        };
        let mut own = self.own_key.lock().expect("no panic");
        match path {
            "/v3/lease/grant" => {
                self.grants.fetch_add(1, Ordering::SeqCst);
                self.granted_at
                    .lock()
                    .expect("no panic")
                    .get_or_insert_with(Instant::now);
                Some(json!({"ID": body["ID"], "TTL": "5"}))
            }
            // Another key, `n/1`, is before the first one.
            "/v3/kv/txn" => {
                own.clone_from(&body["success"][0]["request_put"]["key"]);
                let listed = match is_first {
                    true => keys(&[(&json!("bi8x"), "5"), (&own, "7")]),
                    false => keys(&[(&own, "8")]),
                };
                Some(
                    json!({"header": {"revision": "9"}, "responses": [{"response_range": listed}]}),
                )
            }
            "/v3/kv/range" => {
                // The next renewal is due, so that enough of the lease is left.
                thread::sleep(TTL / 5);
                Some(keys(&[(&own, "7")]))
            }
            "/v3/lease/keepalive" => {
                let granted_at = self.granted_at.lock().expect("no panic").expect("a lease");
                let has_expired = granted_at.elapsed() > TTL;
                (has_expired || !is_first)
                    .then(|| json!({"result": {"ID": body["ID"], "TTL": "5"}}))
            }
            "/v3/lease/revoke" => Some(json!({"header": {"revision": "9"}})),
            _ => None,
        }
    }
}

#[test]
fn expired_lease_is_not_trusted_after_two_renewals() {
    if installed_helper("flock-etcd").is_none() {
        return;
    }
    let (server, host) = Server::start();
    let mut helper = Helper::start("flock-etcd", &format!("etcd://{host}/n"), 5000);
    let granted = loop {
        let line = helper.read_line();
        if !["waits ", "warning "]
            .iter()
            .any(|word| line.starts_with(word))
        {
            break line;
        }
    };
    assert!(granted.starts_with("granted "), "{granted}");
    let grants = server.grants.load(Ordering::SeqCst);
    assert!(grants > 1, "it does not queue again");
    helper.release();
}
