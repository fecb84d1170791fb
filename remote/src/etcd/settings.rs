//! The servers and the secrets, from the URL and from the variables that `etcdctl` reads.

use crate::net::tls;
use crate::several::plan::Identity;
use crate::url::{self, Invalid};

/// The port of etcd.
const DEFAULT_PORT: u16 = 2379;

/// Where `etcdctl` looks for a server by default.
const DEFAULT_HOST: &str = "127.0.0.1";

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name or address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether it is reached by TLS.
    pub is_secure: bool,
}

impl Endpoint {
    /// Returns how it is written in messages and in the header of requests.
    pub fn authority(&self) -> String {
        url::authority(&self.host, self.port)
    }
}

/// A user of etcd.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The password. This type does not implement `Debug`, so that no message contains it.
    pub password: String,
}

/// Everything that must be known before the first connection.
#[derive(Clone)]
pub struct Settings {
    /// The servers, in the order in which they are tried.
    pub endpoints: Vec<Endpoint>,
    /// The name of the lock.
    pub name: Vec<u8>,
    /// Who we are, if etcd asks for that.
    pub user: Option<User>,
    /// What TLS needs, if a server is reached by it.
    pub tls: Option<tls::Config>,
}

impl Settings {
    /// Combines a URL with the environment.
    ///
    /// # Errors
    ///
    /// The URL is invalid, or a file cannot be used.
    pub fn new(url: &[u8], variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Invalid> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let (authority, name, is_secure) = split(url)?;
        let cacert = variable("ETCDCTL_CACERT");
        let (cert, key) = (variable("ETCDCTL_CERT"), variable("ETCDCTL_KEY"));
        // As `etcdctl` does: who has certificates does not want the password to be sent without.
        let is_secure = is_secure || cacert.is_some() || cert.is_some() || key.is_some();
        let endpoints = match authority {
            "" => variable("ETCDCTL_ENDPOINTS").unwrap_or_else(|| DEFAULT_HOST.to_owned()),
            hosts => hosts.to_owned(),
        };
        let endpoints = endpoints.split(',');
        let endpoints = endpoints.map(|host| endpoint(host.trim(), is_secure));
        let endpoints: Vec<_> = endpoints.collect::<Result<_, _>>()?;
        let tls = if endpoints.iter().any(|endpoint| endpoint.is_secure) {
            let own = cert.as_deref().zip(key.as_deref());
            if own.is_none() && (cert.is_some() || key.is_some()) {
                let text = "ETCDCTL_CERT and ETCDCTL_KEY must both be set, or neither";
                return Err(Invalid::url(text));
            }
            Some(tls::Config::from_files(cacert.as_deref(), own).map_err(Invalid::from_tls)?)
        } else {
            None
        };
        let user =
            variable("ETCDCTL_USER").map(|user| user_of(&user, variable("ETCDCTL_PASSWORD")));
        Ok(Self {
            endpoints,
            name: name.to_vec(),
            user: user.transpose()?,
            tls,
        })
    }
}

impl Identity for Settings {
    fn name(&self) -> Vec<u8> {
        self.name.clone()
    }

    fn servers(&self) -> Vec<String> {
        let mut servers = Vec::from_iter(self.endpoints.iter().map(Endpoint::authority));
        servers.sort();
        servers
    }
}

/// Divides `etcd://HOSTS/NAME` into the hosts, the name, and whether TLS is asked for.
fn split(url: &[u8]) -> Result<(&str, &[u8], bool), Invalid> {
    let (rest, is_secure) = match (url.strip_prefix(b"etcd://"), url.strip_prefix(b"etcds://")) {
        (Some(rest), _) => (rest, false),
        (None, Some(rest)) => (rest, true),
        (None, None) => return Err(Invalid::url("expected etcd:// or etcds://")),
    };
    let no_name = || Invalid::url("it has no name: expected etcd://HOST[:PORT],.../NAME");
    let end = rest.iter().position(|byte| *byte == b'/');
    let end = end.ok_or_else(no_name)?;
    let (authority, name) = (&rest[..end], &rest[end + 1..]);
    let authority = std::str::from_utf8(authority).ok();
    let authority = authority.ok_or_else(|| Invalid::url("a host is not text"))?;
    if authority.contains('@') {
        let text = "it contains a user; set ETCDCTL_USER instead";
        return Err(Invalid::url(text));
    }
    match name {
        [] => Err(no_name()),
        name => Ok((authority, url::check_name(name)?, is_secure)),
    }
}

/// Parses `HOST[:PORT]`. An endpoint of `etcdctl` may begin with `http://` or `https://`.
fn endpoint(text: &str, is_secure: bool) -> Result<Endpoint, Invalid> {
    let (rest, is_secure) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
        (Some(rest), _) => (rest, false),
        (_, Some(rest)) => (rest, true),
        _ => (text, is_secure),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = url::host_and_port(rest, DEFAULT_PORT)
        .ok_or_else(|| Invalid::url(&format!("invalid host: {text}")))?;
    Ok(Endpoint {
        host,
        port,
        is_secure,
    })
}

/// Parses `NAME:PASSWORD`; the password may also be in a variable of its own.
fn user_of(text: &str, password: Option<String>) -> Result<User, Invalid> {
    let (name, password) = match (text.split_once(':'), password) {
        (_, Some(password)) => (text, password),
        (Some((name, password)), None) => (name, password.to_owned()),
        (None, None) => {
            let text = "ETCDCTL_USER has no password: expected NAME:PASSWORD, or set \
                        ETCDCTL_PASSWORD";
            let text = text.to_owned();
            return Err(Invalid { status: 77, text });
        }
    };
    let name = name.to_owned();
    Ok(User { name, password })
}

#[cfg(test)]
mod tests;
