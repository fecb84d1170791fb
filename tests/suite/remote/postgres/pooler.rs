//! A pooler, as far as it differs from a server: it gives clients a PID of its own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::PostgresTest;

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

#[test]
fn pooler_is_refused() {
    let Some(test) = PostgresTest::new() else {
        return;
    };
    let url = test.url_by(&start(test.system.hosts()));
    let outcome = test.env.run([&url, "echo"]).assert_status(65);
    let stderr = outcome.assert_stdout("").stderr_text();
    assert!(stderr.contains("connection pooler"), "{stderr}");
}
