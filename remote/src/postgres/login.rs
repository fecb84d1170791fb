//! From an address to a session in which locks can be held.

use std::time::Duration;

use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::{AuthenticationSaslBody, Message};
use postgres_protocol::message::frontend;
use rustix::event::PollFlags;

use super::connection::{Connection, of_response};
use super::error::Error;
use super::server::{Place, Server};
use super::settings::Settings;
use crate::front::Front;
use crate::net::stream::Stream;
use crate::net::{address, error as net};
use crate::random;

/// The oldest version that ends idle sessions after a time.
const MIN_VERSION: u32 = 14;

/// The longest timeout in milliseconds.
const MAX_TIMEOUT: u128 = i32::MAX as u128;

/// What others see in `pg_stat_activity`.
const APPLICATION: &str = "flock";

/// Connects to a server, whose session ends if it is not used for that time.
pub(super) fn connect(
    front: &Front,
    settings: &Settings,
    server: &Server,
    idle_limit: Duration,
    deadline: Duration,
) -> Result<Connection, Error> {
    let stream = open(front, settings, server, deadline)?;
    let mut login = Login {
        front,
        settings,
        server,
        deadline,
        connection: Connection::new(stream, random::positive()),
        backend: None,
        version: None,
    };
    login.log_in()?;
    login.set_up(idle_limit)?;
    Ok(login.connection)
}

/// Connects to the first address that answers, by TLS if that is to be used.
fn open(
    front: &Front,
    settings: &Settings,
    server: &Server,
    deadline: Duration,
) -> Result<Stream, Error> {
    let host = match &server.place {
        // As with libpq, TLS is not used there: no other machine is involved.
        Place::Directory(_) => {
            return Ok(Stream::connect_unix(front, &server.socket(), deadline)?);
        }
        Place::Host(host) => host,
    };
    let mut result = Err(net::Error::timed_out());
    for address in address::resolve(front, host, server.port, deadline)? {
        result = Stream::connect(front, address, deadline);
        if !matches!(result, Err(net::Error::NotReached(_))) {
            break;
        }
    }
    let mut stream = result?;
    if let Some(config) = &settings.tls {
        let mut request = bytes::BytesMut::new();
        frontend::ssl_request(&mut request);
        stream.write(front, &request, deadline)?;
        // One byte, after which the server waits for us: nothing that is not encrypted can follow.
        match read(front, &mut stream, deadline)?.as_slice() {
            b"S" => stream.start_tls(config, host)?,
            b"N" => return Err(unusable(65, "it does not offer TLS")),
            _ => return Err(unusable(65, "it does not speak PostgreSQL's protocol")),
        }
    }
    Ok(stream)
}

fn read(front: &Front, stream: &mut Stream, deadline: Duration) -> Result<Vec<u8>, Error> {
    loop {
        match stream.read()? {
            Some(data) if data.is_empty() => return Err(net::Error::closed().into()),
            Some(data) => return Ok(data),
            None => {
                if !front.wait(&[(stream.as_fd(), PollFlags::IN)], Some(deadline))? {
                    return Err(net::Error::timed_out().into());
                }
            }
        }
    }
}

fn unusable(status: u8, text: &str) -> Error {
    Error::Unusable(status, text.to_owned())
}

/// A login that has not finished.
struct Login<'a> {
    front: &'a Front,
    settings: &'a Settings,
    server: &'a Server,
    deadline: Duration,
    connection: Connection,
    /// The PID of the process that serves this connection.
    backend: Option<i32>,
    version: Option<u32>,
}

impl Login<'_> {
    fn log_in(&mut self) -> Result<(), Error> {
        let settings = self.settings;
        let parameters = [
            ("user", settings.user.as_str()),
            ("database", &settings.database),
            ("client_encoding", "UTF8"),
            ("application_name", APPLICATION),
        ];
        let (front, deadline) = (self.front, self.deadline);
        self.connection.send(front, deadline, |buffer| {
            frontend::startup_message(parameters, buffer)
        })?;
        loop {
            match self.receive()? {
                Message::AuthenticationOk | Message::NoticeResponse(_) => {}
                Message::AuthenticationCleartextPassword => {
                    if !self.is_private() {
                        let text = "it asks for the password in clear text, and TLS is not used: \
                                    set PGSSLMODE=verify-full";
                        return Err(unusable(77, text));
                    }
                    self.send_password(|password| password)?;
                }
                Message::AuthenticationMd5Password(body) => {
                    let user = settings.user.clone();
                    let salt = body.salt();
                    self.send_password(|password| {
                        md5_hash(user.as_bytes(), password.as_bytes(), salt)
                    })?;
                }
                Message::AuthenticationSasl(body) => self.log_in_by_scram(&body)?,
                Message::AuthenticationGss
                | Message::AuthenticationKerberosV5
                | Message::AuthenticationScmCredential
                | Message::AuthenticationSspi => {
                    let text = "it asks for a kind of authentication that is not supported";
                    return Err(unusable(77, text));
                }
                Message::BackendKeyData(body) => self.backend = Some(body.process_id()),
                Message::ParameterStatus(body) => {
                    if body.name().ok() == Some("server_version") {
                        let version = body.value().unwrap_or_default();
                        let end = version.find(|c: char| !c.is_ascii_digit());
                        self.version = version[..end.unwrap_or(version.len())].parse().ok();
                    }
                }
                Message::ReadyForQuery(_) => return Ok(()),
                _ => return Err(Error::not_understood()),
            }
        }
    }

    /// Whether no other machine can read along.
    fn is_private(&self) -> bool {
        match &self.server.place {
            Place::Directory(_) => true,
            Place::Host(host) => {
                self.settings.tls.is_some() || ["127.0.0.1", "::1"].contains(&host.as_str())
            }
        }
    }

    fn receive(&mut self) -> Result<Message, Error> {
        match self.connection.receive(self.front, self.deadline)? {
            Message::ErrorResponse(body) => Err(match of_response(body.fields()) {
                Error::Unusable(77, text) if text.contains("no encryption") => {
                    Error::Unusable(77, format!("{text}; for TLS, set PGSSLMODE=verify-full"))
                }
                error => error,
            }),
            message => Ok(message),
        }
    }

    fn password(&self) -> Result<String, Error> {
        let password = self.settings.password(self.server);
        password.map_err(|text| Error::Unusable(77, format!("it asks for a password: {text}")))
    }

    fn send_password(&mut self, encode: impl FnOnce(String) -> String) -> Result<(), Error> {
        let password = encode(self.password()?);
        self.connection.send(self.front, self.deadline, |buffer| {
            frontend::password_message(password.as_bytes(), buffer)
        })
    }

    /// Proves that we know the password, and lets the server prove it.
    fn log_in_by_scram(&mut self, body: &AuthenticationSaslBody) -> Result<(), Error> {
        let mut mechanisms = body.mechanisms();
        let mut is_offered = false;
        while let Ok(Some(mechanism)) = mechanisms.next() {
            is_offered |= mechanism == SCRAM_SHA_256;
        }
        if !is_offered {
            let text = "it asks for a kind of authentication that is not supported";
            return Err(unusable(77, text));
        }
        let (front, deadline) = (self.front, self.deadline);
        let password = self.password()?;
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        self.connection.send(front, deadline, |buffer| {
            frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), buffer)
        })?;
        let refused = |_| unusable(77, "it does not prove that it knows the password");
        match self.receive()? {
            Message::AuthenticationSaslContinue(body) => {
                scram.update(body.data()).map_err(refused)?;
            }
            _ => return Err(Error::not_understood()),
        }
        self.connection.send(front, deadline, |buffer| {
            frontend::sasl_response(scram.message(), buffer)
        })?;
        match self.receive()? {
            Message::AuthenticationSaslFinal(body) => scram.finish(body.data()).map_err(refused),
            _ => Err(Error::not_understood()),
        }
    }

    /// Sets what users, databases and servers may have set differently, and refuses servers that
    /// would not keep what a lock depends on.
    ///
    /// * A pooler passes transactions to several sessions of the server, whose locks are then not
    ///   ours. It gives us a PID of its own.
    /// * A replica does not know the locks of the server that it follows.
    /// * Statements of a transaction must see what was committed before each of them.
    /// * A session whose client has disappeared must end.
    fn set_up(&mut self, idle_limit: Duration) -> Result<(), Error> {
        if self.version.is_some_and(|version| version < MIN_VERSION) {
            return Err(unusable(65, "it is older than PostgreSQL 14"));
        }
        let idle_millis = idle_limit.as_millis().min(MAX_TIMEOUT);
        let sql = format!(
            "set search_path = pg_catalog; set standard_conforming_strings = on; \
             set default_transaction_isolation = 'read committed'; \
             set default_transaction_read_only = off; set statement_timeout = 0; \
             set lock_timeout = 0; set idle_in_transaction_session_timeout = 0; \
             set idle_session_timeout = {idle_millis}; set client_connection_check_interval = 2000; \
             select set_config('synchronous_commit', 'on', false) \
             where current_setting('synchronous_commit') in ('off', 'local'); \
             select pg_backend_pid(), pg_is_in_recovery()"
        );
        let rows = self.connection.query(self.front, &sql, self.deadline)?;
        let [Some(backend), Some(is_replica)] = rows.first().map_or(&[][..], |row| row) else {
            return Err(Error::not_understood());
        };
        if backend.parse().ok() != self.backend {
            let text = "it is a connection pooler, which cannot hold locks: use the server itself";
            return Err(unusable(65, text));
        }
        if is_replica != "f" {
            return Err(unusable(65, "it is a replica: use the primary server"));
        }
        Ok(())
    }
}
