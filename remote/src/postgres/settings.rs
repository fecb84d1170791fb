//! The servers and the secrets, from the URL and from the variables that psql and all other
//! programs with libpq read.

use std::path::PathBuf;

use super::passfile::Passfile;
use super::server::Server;
use crate::front::Request;
use crate::helper::Variables;
use crate::net::tls;
use crate::several::plan::Identity;
use crate::url::{self, Invalid};

/// The port of PostgreSQL.
const DEFAULT_PORT: u16 = 5432;

/// Where the sockets of servers are on Debian and Fedora, and by PostgreSQL's own default.
const SOCKET_DIRS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// Everything that must be known before the first connection. This type does not implement `Debug`,
/// so that no message contains the password.
#[derive(Clone)]
pub struct Settings {
    /// The servers, in the order in which they are tried.
    pub servers: Vec<Server>,
    /// The name of the user.
    pub user: String,
    /// The name of the database.
    pub database: String,
    /// The name of the lock.
    pub name: Vec<u8>,
    /// What TLS needs, if it is to be used.
    pub tls: Option<tls::Config>,
    password: Option<String>,
    passfile: Passfile,
}

impl Settings {
    /// Combines the URL of a request with the environment.
    ///
    /// # Errors
    ///
    /// The URL is invalid, or a file cannot be used.
    pub fn new(request: &Request, variables: Variables<'_>) -> Result<Self, Invalid> {
        let variable = |name: &str| variables(name).filter(|value| !value.is_empty());
        let (user, hosts, database, name) = split(&request.url)?;
        let user = match user {
            Some(user) => Some(user),
            None => variable("PGUSER"),
        };
        let user = user.unwrap_or_else(|| request.holder.user.clone());
        let database = match database.is_empty() {
            true => variable("PGDATABASE").unwrap_or_else(|| user.clone()),
            false => database,
        };
        let servers = match hosts.as_str() {
            "" => default_servers(&variable)?,
            hosts => servers_of(hosts, default_port(&variable)?)?,
        };
        let password = variable("PGPASSWORD");
        let passfile = match &password {
            Some(_) => Passfile::default(),
            None => Passfile::read(&variable),
        };
        Ok(Self {
            servers,
            user,
            database,
            name,
            tls: tls(&variable)?,
            password,
            passfile,
        })
    }

    /// Returns the password for a server.
    ///
    /// # Errors
    ///
    /// It is not known; the text says why.
    pub fn password(&self, server: &Server) -> Result<String, String> {
        if let Some(password) = &self.password {
            return Ok(password.clone());
        }
        self.passfile.find(server, &self.database, &self.user)
    }
}

impl Identity for Settings {
    fn name(&self) -> Vec<u8> {
        // Neither of them contains a zero byte.
        [self.database.as_bytes(), &[0], &self.name].concat()
    }

    fn servers(&self) -> Vec<String> {
        let mut servers = Vec::from_iter(self.servers.iter().map(Server::authority));
        servers.sort();
        servers
    }
}

/// Divides `postgres://[USER@]HOSTS/DATABASE/NAME` into its parts.
fn split(url: &[u8]) -> Result<(Option<String>, String, String, Vec<u8>), Invalid> {
    let schemes: [&[u8]; 2] = [b"postgres://", b"postgresql://"];
    let rest = schemes.iter().find_map(|scheme| url.strip_prefix(*scheme));
    let rest = rest.ok_or_else(|| Invalid::url("expected postgres://"))?;
    let invalid = || {
        let text = "it has no name: expected postgres://[USER@]HOST[:PORT],.../DATABASE/NAME";
        Invalid::url(text)
    };
    let mut parts = rest.splitn(3, |byte| *byte == b'/');
    let mut part = || parts.next().ok_or_else(invalid);
    let (authority, database, name) = (part()?, part()?, part()?);
    if name.is_empty() {
        return Err(invalid());
    }
    let not_text = || Invalid::url("the user, a host or the database is not text");
    let authority = std::str::from_utf8(authority).map_err(|_| not_text())?;
    let database = std::str::from_utf8(database).map_err(|_| not_text())?;
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (Some(decode(user).ok_or_else(not_text)?), hosts),
        None => (None, authority),
    };
    let database = decode(database).ok_or_else(not_text)?;
    if database.contains('?')
        || [Some(&database), user.as_ref()]
            .iter()
            .flatten()
            .any(|text| text.contains('\0'))
    {
        return Err(Invalid::url("the user or the database is invalid"));
    }
    let name = url::check_name(name)?.to_vec();
    Ok((user, hosts.to_owned(), database, name))
}

/// Decodes `%2F` and the like.
fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let digit = |byte: u8| char::from(byte).to_digit(16);
                u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

fn servers_of(hosts: &str, default_port: u16) -> Result<Vec<Server>, Invalid> {
    let server = |text: &str| {
        let invalid = || Invalid::url(&format!("invalid host: {text}"));
        let (host, port) = url::host_and_port(text, default_port).ok_or_else(invalid)?;
        // As with libpq, an encoded path is the directory of a socket. (A zone of IPv6 has a %
        // too.)
        match host.to_ascii_uppercase().starts_with("%2F") {
            true => Ok(Server::new(&decode(&host).ok_or_else(invalid)?, port)),
            false => Ok(Server::new(&host, port)),
        }
    };
    hosts.split(',').map(server).collect()
}

fn parse_port(text: &str) -> Result<u16, Invalid> {
    let port = text.trim().parse().ok().filter(|port| *port != 0);
    port.ok_or_else(|| Invalid::url(&format!("invalid port in PGPORT: {text}")))
}

/// Returns the port of the hosts of a URL that have none.
fn default_port(variable: &dyn Fn(&str) -> Option<String>) -> Result<u16, Invalid> {
    match variable("PGPORT") {
        Some(port) => parse_port(&port),
        None => Ok(DEFAULT_PORT),
    }
}

/// Returns the servers for a URL without hosts: those of `PGHOST`, each with the port in `PGPORT`
/// that is at its place there, or the socket of this machine.
fn default_servers(variable: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Server>, Invalid> {
    let ports = variable("PGPORT").unwrap_or_else(|| DEFAULT_PORT.to_string());
    let ports: Vec<u16> = ports.split(',').map(parse_port).collect::<Result<_, _>>()?;
    let port = |index: usize| *ports.get(index).unwrap_or(&ports[0]);
    if let Some(hosts) = variable("PGHOST") {
        let hosts = hosts.split(',').enumerate();
        return Ok(hosts
            .map(|(index, host)| Server::new(host.trim(), port(index)))
            .collect());
    }
    let mut servers = SOCKET_DIRS.iter().map(|dir| Server::new(dir, port(0)));
    let server = servers.find(|server| server.socket().exists());
    Ok(vec![
        server.unwrap_or_else(|| Server::new(SOCKET_DIRS[0], port(0))),
    ])
}

/// Returns the settings of TLS. Unlike with libpq, the certificate is verified, with its host,
/// whenever TLS is used.
fn tls(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<tls::Config>, Invalid> {
    let trusted = variable("PGSSLROOTCERT");
    let (cert, key) = (variable("PGSSLCERT"), variable("PGSSLKEY"));
    let is_used = match variable("PGSSLMODE").as_deref() {
        None | Some("allow" | "prefer") => trusted.is_some() || cert.is_some() || key.is_some(),
        Some("require" | "verify-ca" | "verify-full") => true,
        Some("disable") => false,
        Some(mode) => return Err(Invalid::url(&format!("invalid PGSSLMODE: {mode}"))),
    };
    if !is_used {
        return Ok(None);
    }
    let own = cert.as_deref().zip(key.as_deref());
    if own.is_none() && (cert.is_some() || key.is_some()) {
        let text = "PGSSLCERT and PGSSLKEY must both be set, or neither";
        return Err(Invalid::url(text));
    }
    let in_home = || {
        let file = PathBuf::from(variable("HOME")?).join(".postgresql/root.crt");
        let is_there = file.exists();
        file.into_os_string()
            .into_string()
            .ok()
            .filter(|_| is_there)
    };
    let trusted = match trusted.as_deref() {
        Some("system") => None,
        Some(_) => trusted,
        None => in_home(),
    };
    let config = tls::Config::from_files(trusted.as_deref(), own);
    Ok(Some(config.map_err(Invalid::from_tls)?))
}

#[cfg(test)]
mod tests;
