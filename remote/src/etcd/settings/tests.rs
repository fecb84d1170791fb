use super::*;

fn new(url: &str, variables: &[(&str, &str)]) -> Result<Settings, Invalid> {
    let variable = |name: &str| {
        let value = variables.iter().find(|(variable, _)| *variable == name);
        value.map(|(_, value)| (*value).to_owned())
    };
    Settings::new(url.as_bytes(), &variable)
}

/// Returns the servers as texts, with `https://` for those that are reached by TLS.
fn endpoints(url: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let settings = new(url, variables).unwrap_or_else(|error| panic!("{url}: {}", error.text));
    let text = |endpoint: &Endpoint| endpoint.authority();
    settings.endpoints.iter().map(text).collect()
}

#[track_caller]
fn assert_invalid(url: &str, variables: &[(&str, &str)], status: u8, text: &str) {
    let error = new(url, variables).err().expect("it is invalid");
    error.assert_is(status, text);
}

#[test]
fn hosts_have_a_default_port() {
    let expected = ["h1:2379", "h2:1", "[::1]:2379", "[fe80::1%eth0]:3"];
    let url = "etcd://h1,h2:1,[::1],[fe80::1%eth0]:3/n";
    assert_eq!(endpoints(url, &[]), expected);
}

#[test]
fn without_hosts_the_variable_counts() {
    let variables = [("ETCDCTL_ENDPOINTS", "http://a:1, b:2/")];
    assert_eq!(endpoints("etcd:///n", &variables), ["a:1", "b:2"]);
    assert_eq!(endpoints("etcd://c/n", &variables), ["c:2379"]);
    assert_eq!(endpoints("etcd:///n", &[]), ["127.0.0.1:2379"]);
}

#[test]
fn everything_after_the_hosts_is_the_name() {
    for (url, name) in [
        ("etcd://h/a/b c", "a/b c"),
        ("etcd://h//a", "/a"),
        ("etcd://h/%20@:", "%20@:"),
    ] {
        let settings = new(url, &[]).unwrap_or_else(|error| panic!("{}", error.text));
        assert_eq!(settings.name, name.as_bytes());
    }
}

#[test]
fn invalid_urls_are_refused() {
    for (url, text) in [
        ("etcd://h", "no name"),
        ("etcd://h/", "no name"),
        ("postgres://h/n", "expected etcd://"),
        ("etcd://ann@h/n", "ETCDCTL_USER"),
        ("etcd://h/n?x=1", "? or #"),
        ("etcd://h/n#x", "? or #"),
        ("etcd://h:x/n", "invalid host: h:x"),
        ("etcd://h:+1/n", "invalid host: h:+1"),
        ("etcd://h:99999/n", "invalid host"),
        ("etcd://h,,g/n", "invalid host: "),
        ("etcd://[::1/n", "invalid host"),
        ("etcd://[::1]x/n", "invalid host"),
        ("etcd://a b/n", "invalid host"),
    ] {
        assert_invalid(url, &[], 64, text);
    }
    assert_invalid(&format!("etcd://h/{}", "x".repeat(201)), &[], 64, "200");
}

#[test]
fn the_user_has_a_password() {
    for (variables, expected) in [
        (&[("ETCDCTL_USER", "ann:a:b")][..], ("ann", "a:b")),
        (
            &[("ETCDCTL_USER", "ann"), ("ETCDCTL_PASSWORD", "x")][..],
            ("ann", "x"),
        ),
    ] {
        let settings = new("etcd://h/n", variables);
        let settings = settings.unwrap_or_else(|error| panic!("{}", error.text));
        let user = settings.user.expect("a user");
        assert_eq!((&*user.name, &*user.password), expected);
    }
    assert_invalid("etcd://h/n", &[("ETCDCTL_USER", "ann")], 77, "no password");
}

#[test]
fn certificates_cannot_be_missing() {
    let variables = [("ETCDCTL_CERT", "/missing")];
    assert_invalid("etcd://h/n", &variables, 64, "must both be set");
    let variables = [("ETCDCTL_CACERT", "/missing")];
    let text = if cfg!(feature = "tls") {
        "/missing"
    } else {
        "TLS"
    };
    assert_invalid("etcd://h/n", &variables, 65, text);
    // As for `etcdctl`, this endpoint is one without TLS.
    let variables = [
        ("ETCDCTL_CACERT", "/missing"),
        ("ETCDCTL_ENDPOINTS", "http://a:1"),
    ];
    assert_eq!(endpoints("etcd:///n", &variables), ["a:1"]);
}

#[test]
fn spellings_of_a_lock_are_one() {
    let variables = [("ETCDCTL_ENDPOINTS", "http://h:2379, i")];
    let identity = |url| {
        let settings = new(url, &variables).unwrap_or_else(|error| panic!("{}", error.text));
        (Identity::name(&settings), Identity::servers(&settings))
    };
    let lock = identity("etcd://h,i/n");
    for same in ["etcd://i:2379,h/n", "etcd:///n"] {
        assert_eq!(identity(same), lock, "{same}");
    }
    for other in ["etcd://h/n", "etcd://h,i:1/n", "etcd://h,i/m"] {
        assert_ne!(identity(other), lock, "{other}");
    }
}
