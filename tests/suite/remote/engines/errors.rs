//! What cannot be locked in any system, with statuses and messages.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rstest::rstest;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with};
use test_support::process::ExitReason;

use super::proxy::Proxy;
use super::{Engine, EngineTest};

/// Runs a lock with variables in the environment, and asserts the status and the message.
#[track_caller]
pub fn assert_message(
    test: &EngineTest,
    url: &str,
    variables: &[(&str, &str)],
    expected: (i32, &str),
) {
    let (status, text) = expected;
    // A server that is not reached is asked once, and others until they answer. For a short time,
    // the helper withdraws what it may have asked for.
    let wait = if status == 66 { "-n" } else { "-w50" };
    let mut command = test.env.flock([wait, "--ttl=5s", url, "echo", "got it"]);
    command.envs(variables.iter().copied());
    let outcome = test.env.run_command(command);
    let stderr = outcome.stderr_text();
    // A busy server may not have answered at first.
    let lines = stderr
        .lines()
        .filter(|line| !line.contains(", trying again: "));
    let stderr = Vec::from_iter(lines).join("\n");
    let outcome = outcome.assert_status(status);
    assert!(stderr.contains(text), "{stderr}");
    if status != 0 {
        outcome.assert_stdout("");
        assert!(stderr.starts_with(&format!("flock: {url}: ")), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

/// Reserves a port at which no server listens, as long as the socket exists.
fn reserve_port() -> (OwnedFd, String) {
    let (family, flags) = (AddressFamily::INET, SocketFlags::CLOEXEC);
    let socket = socket_with(family, SocketType::STREAM, flags, None).expect("a socket");
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = getsockname(&socket).expect("an address");
    let address = SocketAddrV4::try_from(address).expect("that of the port");
    (socket, address.to_string())
}

/// Returns a host and port at which no server listens.
pub fn unused_host() -> String {
    let (socket, host) = reserve_port();
    // Until the end of this process, other tests do not get the port.
    std::mem::forget(socket);
    host
}

/// Creates the certificate of an authority, and one that it has signed for a server at 127.0.0.1.
/// The server cannot create them: those of etcd have a kind of key that few programs support.
pub const CREATE_CERTIFICATES: &str = "
    new='openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -batch -subj /CN=x'
    $new -x509 -days 9 -keyout ca.key -out ca.pem &&
    $new -keyout server.key -out server.csr &&
    echo subjectAltName=IP:127.0.0.1 >names &&
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 9 \\
        -extfile names -out server.pem &&
    $new -x509 -days 9 -keyout self.key -out self.pem &&
    chmod a+r *.key && chmod a+x .";

#[rstest]
fn unreached_server_has_a_status(#[values(Engine::Etcd, Engine::Postgres)] engine: Engine) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let host = unused_host();
    let url = test.url_by(&host);
    let text = format!(
        "{} is not reached: {host}: Connection refused",
        engine.name()
    );
    assert_message(&test, &url, &[], (66, &text));
}

#[rstest]
fn server_that_starts_later_is_reached(#[values(Engine::Etcd, Engine::Postgres)] engine: Engine) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let (socket, host) = reserve_port();
    let url = test.url_by(&host);
    let mut waiter = test.env.start(test.env.flock([&url, "echo", "got it"]));
    let text = format!(
        "flock: {} is not reached, trying again: {host}: Connection refused",
        engine.name()
    );
    waiter.expect_line(&text);
    let _proxy = Proxy::start_at(socket, test.system.hosts());
    waiter.expect_line("got it");
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[rstest]
fn wait_for_a_server_is_limited(#[values(Engine::Etcd, Engine::Postgres)] engine: Engine) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let url = test.url_by(&unused_host());
    let outcome = test.env.run(["-w0.1", &url, "echo"]).assert_status(66);
    assert!(outcome.stderr_text().ends_with("Connection refused\n"));
}
