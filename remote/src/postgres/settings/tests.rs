use std::time::Duration;

use super::*;
use crate::front::{Holder, Mode};

fn new(url: &str, variables: &[(&str, &str)]) -> Result<Settings, Invalid> {
    let variable = |name: &str| {
        let value = variables.iter().find(|(variable, _)| *variable == name);
        value.map(|(_, value)| (*value).to_owned())
    };
    let user = "me".to_owned();
    let request = Request {
        url: url.as_bytes().to_vec(),
        also: Vec::new(),
        mode: Mode::Exclusive,
        slots: None,
        wait: None,
        ttl: Duration::from_secs(30),
        holder: Holder {
            user,
            ..Holder::default()
        },
    };
    Settings::new(&request, &variable)
}

fn valid(url: &str, variables: &[(&str, &str)]) -> Settings {
    new(url, variables).unwrap_or_else(|error| panic!("{url}: {}", error.text))
}

fn servers(url: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let settings = valid(url, variables);
    settings.servers.iter().map(Server::authority).collect()
}

#[track_caller]
fn assert_invalid(url: &str, variables: &[(&str, &str)], status: u8, text: &str) {
    let error = new(url, variables).err().expect("it is invalid");
    error.assert_is(status, text);
}

#[test]
fn a_url_is_divided() {
    for url in [
        "postgres://ann@h/locks/a/b c",
        "postgresql://ann@h/locks/a/b c",
    ] {
        let settings = valid(url, &[("PGUSER", "bob"), ("PGDATABASE", "x")]);
        assert_eq!((&*settings.user, &*settings.database), ("ann", "locks"));
        assert_eq!(settings.name, b"a/b c");
    }
    let settings = valid("postgres://a%40b@h/l%2Fd/%2F", &[]);
    assert_eq!((&*settings.user, &*settings.database), ("a@b", "l/d"));
    assert_eq!(settings.name, b"%2F");
}

#[test]
fn variables_replace_what_is_missing() {
    let settings = valid("postgres://h//n", &[]);
    assert_eq!((&*settings.user, &*settings.database), ("me", "me"));
    let settings = valid("postgres://h//n", &[("PGUSER", "bob"), ("PGDATABASE", "x")]);
    assert_eq!((&*settings.user, &*settings.database), ("bob", "x"));
}

#[test]
fn servers_are_those_of_the_url() {
    let url = "postgres://h1,h2:1,[::1],%2Frun%2Fpg:3/d/n";
    let expected = ["h1:5432", "h2:1", "[::1]:5432", "/run/pg/.s.PGSQL.3"];
    assert_eq!(servers(url, &[("PGHOST", "x")]), expected);
    assert_eq!(servers("postgres://h/d/n", &[("PGPORT", "7")]), ["h:7"]);
}

#[test]
fn without_hosts_the_variables_count() {
    let variables = [("PGHOST", "a,/run"), ("PGPORT", "1,2")];
    let expected = ["a:1", "/run/.s.PGSQL.2"];
    assert_eq!(servers("postgres:///d/n", &variables), expected);
    let found = servers("postgres:///d/n", &[("PGPORT", "9")]);
    assert!(found[0].ends_with("/.s.PGSQL.9"), "{found:?}");
}

#[test]
fn invalid_urls_are_refused() {
    for (url, text) in [
        ("postgres://h", "no name"),
        ("postgres://h/d", "no name"),
        ("postgres://h/d/", "no name"),
        ("etcd://h/d/n", "expected postgres://"),
        ("postgres://h/d/n?x=1", "? or #"),
        ("postgres://h/d?x=1/n", "database is invalid"),
        ("postgres://h/%00/n", "database is invalid"),
        ("postgres://%zz@h/d/n", "not text"),
        ("postgres://h:x/d/n", "invalid host: h:x"),
        ("postgres://h,,g/d/n", "invalid host: "),
    ] {
        assert_invalid(url, &[], 64, text);
    }
    let url = "postgres://h/d/n";
    assert_invalid(url, &[("PGPORT", "x")], 64, "PGPORT: x");
    assert_invalid(url, &[("PGSSLMODE", "x")], 64, "PGSSLMODE: x");
    assert_invalid(url, &[("PGSSLCERT", "/missing")], 64, "both be set");
}

#[test]
fn tls_is_used_if_it_is_asked_for() {
    let url = "postgres://h/d/n";
    let missing = ("PGSSLROOTCERT", "/missing");
    let text = if cfg!(feature = "tls") {
        "/missing"
    } else {
        "TLS"
    };
    for mode in ["", "prefer", "require", "verify-ca", "verify-full"] {
        assert_invalid(url, &[missing, ("PGSSLMODE", mode)], 65, text);
    }
    for variables in [
        &[missing, ("PGSSLMODE", "disable")][..],
        &[("PGSSLMODE", "prefer")],
    ] {
        assert!(valid(url, variables).tls.is_none());
    }
}

#[test]
fn spellings_of_a_lock_are_one() {
    let variables = [("PGHOST", "i,h"), ("PGDATABASE", "d")];
    let identity = |url| {
        let settings = valid(url, &variables);
        (Identity::name(&settings), Identity::servers(&settings))
    };
    let lock = identity("postgres://h,i/d/n");
    for same in ["postgres://bob@i:5432,h/d/n", "postgres:////n"] {
        assert_eq!(identity(same), lock, "{same}");
    }
    for other in [
        "postgres://h/d/n",
        "postgres://h,i:1/d/n",
        "postgres://h,i/d/m",
        "postgres://h,i/e/n",
    ] {
        assert_ne!(identity(other), lock, "{other}");
    }
    // Neither part runs into the other.
    let name = |url| identity(url).0;
    assert_ne!(name("postgres://h/ab/c"), name("postgres://h/a/bc"));
}
