//! Calls of etcd's JSON gateway: by the next server if one does not answer, and with a user's token.
//!
//! A call whose answer is lost may or may not have been carried out. All calls of a lock may be
//! repeated, because the ID of the lease, and with it the key, is our choice.

use std::time::Duration;

use serde_json::Value;

use super::api::{self, Call};
use super::error::{self, Error, Refusal};
use super::settings::{Endpoint, Settings, User};
use crate::clock;
use crate::front::Front;
use crate::http::{self, Connection};
use crate::net::stream::Stream;
use crate::net::{address, error as net, tls};

/// How long to wait after all servers have failed.
pub const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// How long a login may take at least: a server takes its time to check a password.
const MIN_LOGIN_LIMIT: Duration = Duration::from_secs(2);

/// Makes a member that has no leader refuse a call or end a watch at once, so that another member is
/// asked: it would otherwise answer only after seconds, and a watch would be silent.
const REQUIRE_LEADER: (&str, &str) = ("Grpc-Metadata-hasleader", "true");

/// An answer, and when the request for it was sent.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The answer.
    pub value: Value,
    /// When the request was sent. What etcd has done, it has done later.
    pub sent: Duration,
}

/// How often a call is attempted.
#[derive(Clone, Copy, Debug)]
pub struct Attempts {
    /// How long one may take.
    pub each: Duration,
    /// Until when they are repeated; `None` without limit.
    pub until: Option<Duration>,
    /// Whether they end when every server has been asked once.
    pub once: bool,
}

impl Attempts {
    /// Returns when an attempt ends that begins now.
    fn deadline(&self) -> Duration {
        let deadline = clock::now() + self.each;
        self.until.map_or(deadline, |until| deadline.min(until))
    }
}

/// The servers, and the connection to one of them.
pub struct Client {
    endpoints: Vec<Endpoint>,
    current: usize,
    connection: Option<Connection>,
    tls: Option<tls::Config>,
    user: Option<User>,
    /// The token of the user; `None` if there is no token yet.
    token: Option<String>,
    /// How many requests were sent.
    sent: u64,
}

impl Client {
    /// Creates a client, which connects when it is used.
    pub fn new(settings: &Settings) -> Self {
        Self {
            endpoints: settings.endpoints.clone(),
            current: 0,
            connection: None,
            tls: settings.tls.clone(),
            user: settings.user.clone(),
            token: None,
            sent: 0,
        }
    }

    /// Returns how many requests were sent, whether they were answered or not.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Calls until a server answers. `failed` is called when all servers have failed, with the
    /// reason for which the last one has.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn call(
        &mut self,
        front: &Front,
        call: &Call,
        attempts: Attempts,
        failed: &mut dyn FnMut(&str),
    ) -> Result<Answer, Error> {
        loop {
            let mut reason = String::new();
            let mut refusal = None;
            let mut refusals = 0;
            for _ in 0..self.endpoints.len() {
                match self.attempt(front, call, attempts) {
                    Err(Attempt::NoAnswer(text)) => reason = text,
                    Err(Attempt::BadServer(status, text)) => {
                        refusals += 1;
                        reason.clone_from(&text);
                        refusal = Some(Error::Final(status, text));
                    }
                    Err(Attempt::Answered(error)) => return Err(error),
                    Ok(answer) => return Ok(answer),
                }
                self.use_next_server();
            }
            // One server of several may be set up wrongly, but the others may only be down.
            if let Some(error) = refusal.filter(|_| refusals == self.endpoints.len()) {
                return Err(error);
            }
            let is_over = |until| clock::now() + RETRY_INTERVAL >= until;
            if attempts.once || attempts.until.is_some_and(is_over) {
                return Err(Error::NoAnswer(reason));
            }
            failed(&reason);
            let pause = clock::now() + RETRY_INTERVAL;
            front.wait(&[], Some(pause)).map_err(|_| Error::Released)?;
        }
    }

    /// Opens a watch on a connection of its own to the current server, with a single attempt.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn watch(
        &mut self,
        front: &Front,
        call: &Call,
        deadline: Duration,
    ) -> Result<Connection, Error> {
        let result = self.try_to_watch(front, call, deadline);
        result.map_err(|error| match error {
            Attempt::Answered(error) => error,
            Attempt::NoAnswer(text) | Attempt::BadServer(_, text) => {
                self.use_next_server();
                Error::NoAnswer(text)
            }
        })
    }

    /// Gives up the connection, and uses the next server from now on.
    pub fn use_next_server(&mut self) {
        self.connection = None;
        self.current = (self.current + 1) % self.endpoints.len();
    }

    /// Returns which server is used.
    pub fn server(&self) -> usize {
        self.current
    }

    fn try_to_watch(
        &mut self,
        front: &Front,
        call: &Call,
        deadline: Duration,
    ) -> Result<Connection, Attempt> {
        let attempts = Attempts {
            each: Duration::ZERO,
            until: None,
            once: true,
        };
        self.log_in(front, attempts)?;
        let mut connection = self.connect(front, deadline)?;
        let status = self.send(&mut connection, call, |connection, request| {
            connection.start(front, request, deadline)
        })?;
        match status {
            200 => Ok(connection),
            // The token may have expired.
            _ => {
                self.token = None;
                let text = format!("it refuses to watch a key (HTTP {status})");
                Err(self.no_answer(&text))
            }
        }
    }

    /// Asks the current server.
    fn attempt(
        &mut self,
        front: &Front,
        call: &Call,
        attempts: Attempts,
    ) -> Result<Answer, Attempt> {
        self.log_in(front, attempts)?;
        let result = self.exchange(front, call, attempts.deadline());
        match result {
            // Tokens expire, and a member forgets them when it is restarted.
            Err(Attempt::Answered(Error::Final(77, _))) if self.token.is_some() => {
                self.token = None;
                self.log_in(front, attempts)?;
                self.exchange(front, call, attempts.deadline())
            }
            result => result,
        }
    }

    /// Obtains a token, if there is a user.
    fn log_in(&mut self, front: &Front, attempts: Attempts) -> Result<(), Attempt> {
        let Some(user) = self.user.clone().filter(|_| self.token.is_none()) else {
            return Ok(());
        };
        let call = api::authenticate(&user.name, &user.password);
        let each = attempts.each.max(MIN_LOGIN_LIMIT);
        let deadline = Attempts { each, ..attempts }.deadline();
        match self.exchange(front, &call, deadline) {
            Ok(answer) => {
                let token = api::token(&answer.value);
                // It becomes a part of a header.
                let token = token.filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()));
                self.token = Some(token.ok_or_else(|| self.bad_server(65, error::NOT_UNDERSTOOD))?);
                Ok(())
            }
            Err(Attempt::Answered(Error::Exists)) => {
                // Authentication is not enabled.
                self.user = None;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn exchange(
        &mut self,
        front: &Front,
        call: &Call,
        deadline: Duration,
    ) -> Result<Answer, Attempt> {
        // Taken, because after an error the connection cannot be used.
        let kept = self.connection.take();
        let is_kept = kept.is_some();
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.connect(front, deadline)?,
        };
        let mut sent = clock::now();
        let run = |connection: &mut Connection, request: &http::Request<'_>| {
            connection.call(front, request, deadline)
        };
        let mut result = self.send(&mut connection, call, run);
        // A server may close a connection at any time while it is not used.
        if is_kept && matches!(result, Err(Attempt::NoAnswer(_))) && clock::now() < deadline {
            connection = self.connect(front, deadline)?;
            sent = clock::now();
            result = self.send(&mut connection, call, run);
        }
        let (status, body) = result?;
        if connection.is_reusable() {
            self.connection = Some(connection);
        }
        // The answer to a stream is a line, which others could follow.
        let line = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let value = serde_json::from_slice::<Value>(line).unwrap_or_default();
        if status == 200 && value.is_object() && value["error"].is_null() {
            return Ok(Answer { value, sent });
        }
        let has_user = self.user.is_some();
        Err(match error::of_answer(status, &value, has_user) {
            Refusal::Final(error) => Attempt::Answered(error),
            Refusal::NoAnswer(text) => self.no_answer(&text),
            Refusal::BadServer(text) => self.bad_server(65, &text),
        })
    }

    fn connect(&self, front: &Front, deadline: Duration) -> Result<Connection, Attempt> {
        let endpoint = self.endpoint();
        let connect = || {
            let addresses = address::resolve(front, &endpoint.host, endpoint.port, deadline)?;
            let mut result = Err(net::Error::timed_out());
            for address in addresses {
                result = Stream::connect(front, address, deadline);
                if !matches!(result, Err(net::Error::NotReached(_))) {
                    break;
                }
            }
            let mut stream = result?;
            if endpoint.is_secure
                && let Some(config) = &self.tls
            {
                stream.start_tls(config, &endpoint.host)?;
            }
            Ok(Connection::new(stream))
        };
        connect().map_err(|error| self.network_error(error))
    }

    fn send<T>(
        &mut self,
        connection: &mut Connection,
        call: &Call,
        run: impl Fn(&mut Connection, &http::Request<'_>) -> Result<T, net::Error>,
    ) -> Result<T, Attempt> {
        self.sent += 1;
        let host = self.endpoint().authority();
        let mut headers = vec![REQUIRE_LEADER];
        if let Some(token) = &self.token {
            headers.push(("Authorization", token));
        }
        let request = http::Request {
            host: &host,
            path: call.path,
            headers: &headers,
            body: &call.body,
        };
        run(connection, &request).map_err(|error| self.network_error(error))
    }

    fn endpoint(&self) -> &Endpoint {
        &self.endpoints[self.current]
    }

    fn network_error(&self, error: net::Error) -> Attempt {
        match error {
            net::Error::Released => Attempt::Answered(Error::Released),
            net::Error::NotReached(text) => self.no_answer(&text),
            net::Error::Unsuitable(text) => self.bad_server(65, &text),
            net::Error::Denied(text) => self.bad_server(77, &text),
        }
    }

    fn no_answer(&self, text: &str) -> Attempt {
        Attempt::NoAnswer(format!("{}: {text}", self.endpoint().authority()))
    }

    fn bad_server(&self, status: u8, text: &str) -> Attempt {
        Attempt::BadServer(status, format!("{}: {text}", self.endpoint().authority()))
    }
}

/// Why an attempt at one server has failed.
enum Attempt {
    /// It does not answer.
    NoAnswer(String),
    /// It cannot be used: the exit status if this is so for all of them.
    BadServer(u8, String),
    /// The error is final, whichever server is asked.
    Answered(Error),
}
