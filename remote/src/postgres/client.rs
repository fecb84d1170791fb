//! The connection to one of the servers; the next one is used if that fails.

use std::time::Duration;

use super::connection::{Connection, Row};
use super::error::Error;
use super::login;
use super::server::Server;
use super::settings::Settings;
use crate::clock;
use crate::front::Front;

/// How long to wait after all servers have failed.
pub const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// How long a login may take at least: a server takes its time to check a password, and to start a
/// process.
const MIN_LOGIN_LIMIT: Duration = Duration::from_secs(2);

/// The rows of an answer, and when the statements for it were sent.
pub struct Answer {
    /// The rows.
    pub rows: Vec<Row>,
    /// When the statements were sent. What the server has done, it has done later.
    pub sent: Duration,
}

/// The servers, and the connection to one of them.
pub struct Client<'a> {
    settings: &'a Settings,
    current: usize,
    connection: Option<Connection>,
    /// How long a session outlives its client.
    idle_limit: Duration,
}

impl<'a> Client<'a> {
    /// Creates a client, which connects when it is used.
    pub fn new(settings: &'a Settings, idle_limit: Duration) -> Self {
        Self {
            settings,
            current: 0,
            connection: None,
            idle_limit,
        }
    }

    /// Returns the connection, after connecting if necessary.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn connect(&mut self, front: &Front, limit: Duration) -> Result<&mut Connection, Error> {
        if self.connection.is_none() {
            let server = self.server();
            let deadline = clock::now() + limit.max(MIN_LOGIN_LIMIT);
            let opened = login::connect(front, self.settings, server, self.idle_limit, deadline);
            let opened = opened.map_err(|error| error.at(&server.authority()))?;
            self.connection = Some(opened);
        }
        self.connection
            .as_mut()
            .ok_or_else(|| Error::NoAnswer(String::new()))
    }

    /// Returns the connection, if there is one.
    pub fn connection(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut()
    }

    /// Executes statements, which depend on the connection. The connection is given up if it cannot
    /// be used any more.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn query(
        &mut self,
        front: &Front,
        sql: &dyn Fn(&Connection) -> String,
        limit: Duration,
    ) -> Result<Answer, Error> {
        let sql = sql(self.connect(front, limit)?);
        let authority = self.server().authority();
        // Taken, because after most errors it cannot be used.
        let Some(mut connection) = self.connection.take() else {
            return Err(Error::NoAnswer(String::new()));
        };
        let sent = clock::now();
        let result = connection.query(front, &sql, sent + limit);
        if matches!(result, Ok(_) | Err(Error::NoTable)) {
            self.connection = Some(connection);
        }
        let rows = result.map_err(|error| error.at(&authority))?;
        Ok(Answer { rows, sent })
    }

    /// Gives up the connection, because it has ended.
    pub fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Gives up the connection, and uses the next server from now on.
    pub fn use_next_server(&mut self) {
        self.connection = None;
        self.current = (self.current + 1) % self.settings.servers.len();
    }

    /// Returns the number of servers.
    pub fn server_count(&self) -> usize {
        self.settings.servers.len()
    }

    /// Returns the server that is used.
    pub fn server(&self) -> &'a Server {
        &self.settings.servers[self.current]
    }

    /// Ends the connection.
    pub fn close(&mut self, front: &Front) {
        if let Some(connection) = self.connection.take() {
            connection.close(front, clock::now());
        }
    }
}
