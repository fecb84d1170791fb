//! What cannot be locked, with statuses and messages.

use std::io::{Read, Write};
use std::net::TcpListener;

use rstest::rstest;
use serde_json::json;

use super::EtcdTest;
use super::server::Cluster;
use crate::remote::engines::System;
use crate::remote::engines::errors::{CREATE_CERTIFICATES, assert_message, unused_host};
use test_support::is_installed;

#[rstest]
#[case::no_name("etcd://h", "it has no name")]
#[case::user("etcd://ann@h/n", "set ETCDCTL_USER")]
#[case::host("etcd://h:x/n", "invalid host: h:x")]
fn invalid_url_is_refused(#[case] url: &str, #[case] text: &str) {
    let Some(test) = EtcdTest::new() else { return };
    assert_message(&test, url, &[], (64, text));
}

#[test]
fn next_server_is_tried() {
    let Some(test) = EtcdTest::new() else { return };
    let hosts = format!("{},{}", unused_host(), test.cluster.hosts());
    assert_message(&test, &test.url_by(&hosts), &[], (0, ""));
    let url = format!("etcd:///{}", test.name());
    assert_message(&test, &url, &[("ETCDCTL_ENDPOINTS", &hosts)], (0, ""));
}

#[rstest]
#[case::other_http(
    "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
    "no JSON gateway"
)]
#[case::other_json("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "not one of etcd's")]
#[case::no_http("SSH-2.0-OpenSSH\r\n", "it does not speak HTTP")]
fn other_server_is_unsuitable(#[case] answer: &'static str, #[case] text: &str) {
    let Some(test) = EtcdTest::new() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = listener.local_addr().expect("an address").to_string();
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a connection");
        let _ = socket.read(&mut [0; 4096]);
        let _ = socket.write_all(answer.as_bytes());
    });
    assert_message(&test, &test.url_by(&host), &[], (65, text));
    server.join().expect("it answers");
}

#[test]
fn user_needs_the_right_password() {
    let Some(test) = EtcdTest::with_server() else {
        return;
    };
    let cluster: &Cluster = &test.cluster;
    let post = |path: &str, body| cluster.post(&format!("/v3/auth/{path}"), &body);
    let url = test.url();
    // Without authentication, a password does no harm.
    assert_message(&test, &url, &[("ETCDCTL_USER", "ann:right")], (0, ""));
    post("user/add", json!({"name": "root", "password": "secret"}));
    post("user/grant", json!({"user": "root", "role": "root"}));
    post("user/add", json!({"name": "ann", "password": "right"}));
    post("role/add", json!({"name": "locks"}));
    let (start, end) = (test.key("/"), test.key("0"));
    let permission = json!({"permType": "READWRITE", "key": start, "range_end": end});
    post("role/grant", json!({"name": "locks", "perm": permission}));
    post("user/grant", json!({"user": "ann", "role": "locks"}));
    post("enable", json!({}));
    let user = |user| [("ETCDCTL_USER", user)];
    assert_message(&test, &url, &user("ann:right"), (0, ""));
    let variables = [("ETCDCTL_USER", "ann"), ("ETCDCTL_PASSWORD", "right")];
    assert_message(&test, &url, &variables, (0, ""));
    assert_message(&test, &url, &[], (77, "set ETCDCTL_USER"));
    let refused = (77, "authentication failed");
    assert_message(&test, &url, &user("ann:wrong"), refused);
    let other = test.url() + "x";
    assert_message(&test, &other, &user("ann:right"), (77, "permission denied"));
}

#[rstest]
#[case::of_an_authority("server", "ca.pem")]
#[case::self_signed("self", "self.pem")]
fn certificate_is_verified(#[case] server: &str, #[case] trusted: &str) {
    let Some(test) = EtcdTest::new() else { return };
    if !is_installed("openssl") {
        println!("skipped: no openssl");
        return;
    }
    let env = &test.env;
    env.sh(CREATE_CERTIFICATES).assert_status(0);
    let path = |name: &str| env.file(name).to_str().expect("text").to_owned();
    let (certificate, key) = (
        path(&format!("{server}.pem")),
        path(&format!("{server}.key")),
    );
    let options = ["--cert-file", &certificate, "--key-file", &key];
    let cluster = Cluster::single(&options);
    let (plain, secure) = (
        format!("etcd://{}/n", cluster.hosts()),
        format!("etcds://{}/n", cluster.hosts()),
    );
    let file = path(trusted);
    let trusted = [("ETCDCTL_CACERT", file.as_str())];
    let mut command = env.flock(["-w50", &secure, "echo", "got it"]);
    command.envs(trusted);
    env.run_command(command)
        .assert_stdout("got it\n")
        .assert_status(0);
    // The variable alone asks for TLS, too.
    assert_message(&test, &plain, &trusted, (0, ""));
    let other = path("other.pem");
    env.sh(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -batch \
            -keyout other.key -out other.pem",
    )
    .assert_status(0);
    let untrusted = [("ETCDCTL_CACERT", other.as_str())];
    assert_message(&test, &secure, &untrusted, (65, "certificate"));
    assert_message(&test, &secure, &[], (65, "certificate"));
    assert_message(&test, &plain, &[], (66, "etcd is not reached"));
}

#[test]
fn server_without_tls_is_not_used_by_tls() {
    let Some(test) = EtcdTest::new() else { return };
    let url = format!("etcds://{}/n", test.cluster.hosts());
    let outcome = test.env.run(["-n", "--ttl=5s", &url, "echo"]);
    assert!([65, 66].contains(&outcome.code()), "{outcome:?}");
}
