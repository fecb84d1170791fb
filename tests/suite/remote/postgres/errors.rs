//! What cannot be locked, with statuses and messages; and how to log in.

use std::os::unix::fs::PermissionsExt;

use rstest::rstest;
use test_support::is_installed;

use super::PostgresTest;
use super::server::Server;
use crate::remote::engines::System;
use crate::remote::engines::errors::{CREATE_CERTIFICATES, assert_message, unused_host};

#[rstest]
#[case::no_name("postgres://h/db", "it has no name")]
#[case::password("postgres://ann:x@h/db/n", "password")]
#[case::host("postgres://h:x/db/n", "invalid host: h:x")]
fn invalid_url_is_refused(#[case] url: &str, #[case] text: &str) {
    let Some(test) = PostgresTest::new() else {
        return;
    };
    let outcome = test.env.run([url, "echo"]).assert_status(64);
    let stderr = outcome.assert_stdout("").stderr_text();
    assert!(stderr.contains(text), "{stderr}");
}

#[test]
fn both_schemes_are_the_same_lock() {
    let Some(test) = PostgresTest::new() else {
        return;
    };
    let holder = test.hold(&[]);
    let url = test.url().replace("postgres://", "postgresql://");
    test.env.run(["-n", &url, "true"]).assert_all(1, "", "");
    holder.release();
}

#[test]
fn socket_of_this_machine_is_used_without_hosts() {
    let Some(test) = PostgresTest::new() else {
        return;
    };
    let url = format!("postgres:///postgres/{}", test.name());
    let port = test.server.port().to_string();
    let dir = test.server.dir().to_str().expect("text");
    let variables = [("PGHOST", dir), ("PGPORT", &port), ("PGUSER", "postgres")];
    assert_message(&test, &url, &variables, (0, ""));
    let encoded = dir.replace('/', "%2F");
    let url = format!(
        "postgres://postgres@{encoded}:{port}/postgres/{}",
        test.name()
    );
    assert_message(&test, &url, &[], (0, ""));
}

#[test]
fn missing_database_is_unsuitable() {
    let Some(test) = PostgresTest::new() else {
        return;
    };
    let url = format!("postgres://postgres@{}/missing/n", test.system.hosts());
    assert_message(
        &test,
        &url,
        &[],
        (65, "database \"missing\" does not exist"),
    );
}

#[test]
fn replica_is_refused() {
    let Some(test) = PostgresTest::with_server("touch data/standby.signal", &[]) else {
        return;
    };
    assert_message(&test, &test.url(), &[], (65, "it is a replica"));
    // The primary server is found, whatever its place is.
    let primary = Server::shared();
    let hosts = format!("{},{}", test.system.hosts(), primary.hosts());
    assert_message(&test, &test.url_by(&hosts), &[], (0, ""));
    // It may only be down.
    let hosts = format!("{},{}", test.system.hosts(), unused_host());
    assert_message(&test, &test.url_by(&hosts), &[], (66, "not reached"));
}

#[test]
fn user_needs_privileges() {
    let Some(test) = PostgresTest::with_database() else {
        return;
    };
    let user = test.server.database();
    test.server.query(&format!("create role {user} login"));
    let url = test.url().replace("//postgres@", &format!("//{user}@"));
    let text = "there is no table flock.entry, nor can it be created: ";
    assert_message(&test, &url, &[], (65, text));
    // Which creates the table.
    assert_message(&test, &test.url(), &[], (0, ""));
    assert_message(&test, &url, &[], (77, "permission denied for schema flock"));
    test.server.query(&format!(
        "grant usage on schema flock to {user}; grant all on flock.entry to {user}"
    ));
    assert_message(&test, &url, &[], (0, ""));
    test.server
        .query(&format!("drop owned by {user}; drop role {user}"));
}

/// Roles with the password `right`, and the kinds of authentication that they need.
const ROLES: [(&str, &str); 3] = [
    ("ann", "scram-sha-256"),
    ("bob", "md5"),
    ("carl", "password"),
];

#[test]
fn user_needs_the_right_password() {
    let line = |(role, kind): &(&str, &str)| format!("host all {role} 127.0.0.1/32 {kind}\n");
    let lines = String::from_iter(ROLES.iter().map(line));
    let prepare = format!("echo 'host all postgres 127.0.0.1/32 trust\n{lines}' >data/pg_hba.conf");
    let Some(test) = PostgresTest::with_server(&prepare, &[]) else {
        return;
    };
    let file = test.env.file("pgpass");
    let path = file.to_str().expect("text");
    let set_mode = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&file, permissions).expect("our file");
    };
    for (role, kind) in ROLES {
        let encryption = if kind == "md5" {
            "md5"
        } else {
            "scram-sha-256"
        };
        test.server.query(&format!(
            "set password_encryption = '{encryption}'; create role {role} superuser login \
             password 'right'"
        ));
        let url = test.url().replace("//postgres@", &format!("//{role}@"));
        let password = |value| [("PGPASSWORD", value)];
        assert_message(&test, &url, &password("right"), (0, ""));
        let refused = "password authentication failed";
        assert_message(&test, &url, &password("wrong"), (77, refused));
        assert_message(
            &test,
            &url,
            &[],
            (77, "it asks for a password: set PGPASSFILE"),
        );
        std::fs::write(&file, format!("*:*:*:{role}:right\n")).expect("a file");
        set_mode(0o600);
        let from_file = [("PGPASSFILE", path)];
        assert_message(&test, &url, &from_file, (0, ""));
        set_mode(0o640);
        assert_message(&test, &url, &from_file, (77, "others can access it"));
    }
    let nobody = test.url().replace("//postgres@", "//dora@");
    assert_message(&test, &nobody, &[], (77, "no pg_hba.conf entry"));
}

#[rstest]
#[case::of_an_authority("server", "ca.pem")]
#[case::self_signed("self", "self.pem")]
fn certificate_is_verified(#[case] server: &str, #[case] trusted: &str) {
    if !is_installed("openssl") {
        println!("skipped: no openssl");
        return;
    }
    // It needs them before it starts.
    let dir = test_support::TestEnv::without_builtin();
    dir.sh(CREATE_CERTIFICATES).assert_status(0);
    let path = |name: &str| dir.file(name).to_str().expect("text").to_owned();
    let (certificate, key) = (
        path(&format!("{server}.pem")),
        path(&format!("{server}.key")),
    );
    let prepare = format!(
        "cp {certificate} data/server.crt; cp {key} data/server.key; chmod 600 data/server.key
        echo 'host all postgres 127.0.0.1/32 trust\nhostssl all ann 127.0.0.1/32 trust' \
        >data/pg_hba.conf"
    );
    let Some(test) = PostgresTest::with_server(&prepare, &["ssl=on"]) else {
        return;
    };
    test.server.query("create role ann superuser login");
    let url = test.url().replace("//postgres@", "//ann@");
    let root = ("PGSSLROOTCERT", path(trusted));
    let root = (root.0, root.1.as_str());
    for mode in ["", "require", "verify-full"] {
        assert_message(&test, &url, &[root, ("PGSSLMODE", mode)], (0, ""));
    }
    assert_message(&test, &url, &[], (77, "set PGSSLMODE=verify-full"));
    assert_message(
        &test,
        &url,
        &[root, ("PGSSLMODE", "disable")],
        (77, "no encryption"),
    );
    let other = path(if trusted == "ca.pem" {
        "self.pem"
    } else {
        "ca.pem"
    });
    let untrusted = [("PGSSLROOTCERT", other.as_str())];
    assert_message(&test, &url, &untrusted, (65, "certificate"));
}

#[test]
fn server_without_tls_is_not_used_by_tls() {
    let Some(test) = PostgresTest::new() else {
        return;
    };
    if !is_installed("openssl") {
        println!("skipped: no openssl");
        return;
    }
    test.env.sh(CREATE_CERTIFICATES).assert_status(0);
    let file = test.env.file("ca.pem");
    let root = [("PGSSLROOTCERT", file.to_str().expect("text"))];
    assert_message(&test, &test.url(), &root, (65, "it does not offer TLS"));
}
