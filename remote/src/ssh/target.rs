//! The machine and the file, from the URL.

use crate::front::Request;

/// What the URL begins with.
const PREFIX: &[u8] = b"ssh://";

/// What a URL should look like.
const EXPECTED: &str = "expected ssh://[USER@]HOST[:PORT]/PATH";

/// A file on another machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The user there; `None` leaves that to ssh.
    pub user: Option<String>,
    /// The machine, or its alias in the user's configuration.
    pub host: String,
    /// The port; `None` leaves that to ssh.
    pub port: Option<u16>,
    /// The absolute path, any bytes. It is sent to the holder, and no shell sees it.
    pub path: Vec<u8>,
    /// The paths of other files that are locked together with it.
    pub also: Vec<Vec<u8>>,
}

impl Target {
    /// Parses the URLs of a request. Their files must be on the same machine, whose `flock` knows
    /// which of them are the same, and in which order all processes lock them.
    ///
    /// # Errors
    ///
    /// The reason why they are invalid.
    pub fn parse_all(request: &Request) -> Result<Self, String> {
        if request.also.is_empty() {
            return Self::parse(&request.url);
        }
        let parse = |url: &Vec<u8>| {
            let about = |text| format!("{}: {text}", String::from_utf8_lossy(url));
            Self::parse(url).map_err(about)
        };
        let mut target = parse(&request.url)?;
        for url in &request.also {
            let other = parse(url)?;
            if (&other.user, &other.host, other.port) != (&target.user, &target.host, target.port) {
                return Err(format!(
                    "{} and {}: USER, HOST and PORT must be the same",
                    String::from_utf8_lossy(&request.url),
                    String::from_utf8_lossy(url)
                ));
            }
            target.also.push(other.path);
        }
        Ok(target)
    }

    /// Parses `ssh://[USER@]HOST[:PORT]/PATH`.
    ///
    /// *Safety:* `ssh` expands user and host in commands of its configuration, such as
    /// `ProxyCommand`, which a shell runs, and takes a word with a hyphen in front for an option. So
    /// only names that mean nothing to either are accepted.
    ///
    /// # Errors
    ///
    /// The reason why it is invalid.
    pub fn parse(url: &[u8]) -> Result<Self, String> {
        let expected = || EXPECTED.to_owned();
        let rest = url.strip_prefix(PREFIX).ok_or_else(expected)?;
        let end = rest.iter().position(|byte| *byte == b'/');
        let end = end.ok_or_else(|| format!("it has no path: {EXPECTED}"))?;
        let (authority, path) = (&rest[..end], &rest[end..]);
        let authority = std::str::from_utf8(authority).map_err(|_| expected())?;
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        if let Some(user) = user.filter(|user| !is_name(user, "._-+@")) {
            return Err(format!("invalid user: {user}"));
        }
        let invalid = || format!("invalid host: {host}");
        // An IPv6 address has colons of its own, and therefore brackets.
        let (name, port) = match host.strip_prefix('[') {
            Some(rest) => {
                let (name, rest) = rest.split_once(']').ok_or_else(invalid)?;
                let port = rest.strip_prefix(':');
                if port.is_none() && !rest.is_empty() {
                    return Err(invalid());
                }
                (name, port)
            }
            None => match host.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (host, None),
            },
        };
        if !is_name(name, "._-:%") {
            return Err(invalid());
        }
        let port = match port {
            None => None,
            Some(port) => Some(port_of(port).ok_or_else(invalid)?),
        };
        if path.ends_with(b"/") {
            return Err(format!("its path is a directory: {EXPECTED}"));
        }
        Ok(Self {
            user: user.map(str::to_owned),
            host: name.to_owned(),
            port,
            path: path.to_owned(),
            also: Vec::new(),
        })
    }
}

fn port_of(text: &str) -> Option<u16> {
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|_| is_decimal)?;
    Some(port).filter(|port| *port != 0)
}

/// Whether a text consists of letters, digits and these characters, and does not look like an
/// option.
fn is_name(text: &str, others: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed() {
        for (url, user, host, port, path) in [
            ("ssh://h/x", None, "h", None, "/x"),
            (
                "ssh://ann@build-1.example:22022/run/lock/a b?c#'$(d)@e",
                Some("ann"),
                "build-1.example",
                Some(22022),
                "/run/lock/a b?c#'$(d)@e",
            ),
            ("ssh://[::1]:2/x", None, "::1", Some(2), "/x"),
            ("ssh://[fe80::1%eth0]//x", None, "fe80::1%eth0", None, "//x"),
            ("ssh://a@realm@h/x", Some("a@realm"), "h", None, "/x"),
        ] {
            let expected = Target {
                user: user.map(str::to_owned),
                host: host.to_owned(),
                port,
                path: path.as_bytes().to_owned(),
                also: Vec::new(),
            };
            assert_eq!(Target::parse(url.as_bytes()), Ok(expected), "{url}");
        }
    }

    #[test]
    fn other_urls_are_invalid() {
        for url in [
            "ssh://h",
            "ssh:///x",
            "ssh://h/",
            "ssh://h/run/",
            "ssh://-oProxyCommand=x/x",
            "ssh://@h/x",
            "ssh://-l@h/x",
            "ssh://a b@h/x",
            "ssh://$(x)@h/x",
            "ssh://h`x`/x",
            "ssh://h:/x",
            "ssh://h:0/x",
            "ssh://h:+1/x",
            "ssh://h:65536/x",
            "ssh://[::1/x",
            "ssh://[::1]2/x",
            "etcd://h/x",
        ] {
            assert!(Target::parse(url.as_bytes()).is_err(), "{url}");
        }
    }

    fn parse_all(also: &str) -> Result<Target, String> {
        let text = format!("flock 2\nurl ssh://a@h:2/x\nalso {also}\nttl 5000\n\n");
        Target::parse_all(&Request::parse(text.as_bytes()).expect("it is valid"))
    }

    #[test]
    fn several_files_are_on_one_machine() {
        let target = parse_all("ssh://a@h:2/y\nalso ssh://a@h:2/x").expect("they are valid");
        assert_eq!(
            (target.path, target.also),
            (b"/x".into(), vec![b"/y".into(), b"/x".into()])
        );
        for also in [
            "ssh://h:2/y",
            "ssh://b@h:2/y",
            "ssh://a@i:2/y",
            "ssh://a@h/y",
            "ssh://h",
        ] {
            let text = parse_all(also).expect_err(also);
            assert!(text.contains(&format!("{also}: ")), "{text}");
        }
    }

    #[test]
    fn a_path_may_have_any_bytes() {
        let target = Target::parse(b"ssh://h/\xff\xfe").expect("it is valid");
        assert_eq!(target.path, b"/\xff\xfe");
    }
}
