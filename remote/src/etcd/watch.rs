//! A watch for changes of keys.

use std::time::Duration;

use rustix::event::PollFlags;

use super::api::{self, Call, Event};
use super::client::Client;
use super::error::Error;
use crate::clock;
use crate::front::{Front, Wakeup};
use crate::http::Connection;

/// A watch, which is opened when it is polled.
pub(super) struct Watch {
    /// The keys; empty if all keys of the lock are watched.
    keys: Vec<Vec<u8>>,
    call: Call,
    connection: Option<Connection>,
    /// The server of the connection. When others are used, it may be dead without either end
    /// noticing.
    server: usize,
}

impl Watch {
    /// Watches for changes of these keys from a revision on.
    pub(super) fn of_keys(keys: Vec<Vec<u8>>, from: u64) -> Self {
        let call = api::watch(&keys, from);
        Self::new(keys, call)
    }

    /// Watches for changes of any key of a lock from a revision on.
    pub(super) fn of_all(name: &[u8], from: u64) -> Self {
        Self::new(Vec::new(), api::watch_all(name, from))
    }

    fn new(keys: Vec<Vec<u8>>, call: Call) -> Self {
        Self {
            keys,
            call,
            connection: None,
            server: 0,
        }
    }

    /// Returns whether it reports what [`Self::of_keys`] would, and perhaps more.
    pub(super) fn covers(&self, keys: &[Vec<u8>]) -> bool {
        match keys.is_empty() {
            true => self.keys.is_empty(),
            false => keys.iter().all(|key| self.keys.contains(key)),
        }
    }

    /// Closes the connection. The next one reports what happened since the same revision.
    pub(super) fn close(&mut self) {
        self.connection = None;
    }

    /// Waits for an event. Returns `None` when that time has come, or `flock` has been stopped or
    /// continued.
    pub(super) fn poll(
        &mut self,
        client: &mut Client,
        front: &Front,
        until: Duration,
        limit: Duration,
    ) -> Result<Option<Event>, Error> {
        if self.server != client.server() {
            self.connection = None;
        }
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let deadline = until.min(clock::now() + limit);
                self.server = client.server();
                let opened = client.watch(front, &self.call, deadline)?;
                self.connection.insert(opened)
            }
        };
        loop {
            while let Some(line) = connection.next_line().map_err(|_| ended())? {
                match api::event(&line) {
                    Event::Other => {}
                    event => return Ok(Some(event)),
                }
            }
            let fds = [(connection.as_fd(), PollFlags::IN)];
            let wakeup = front.wait_or_notice(&fds, Some(until));
            if wakeup.map_err(|_| Error::Released)? != Wakeup::Ready {
                return Ok(None);
            }
        }
    }
}

fn ended() -> Error {
    Error::NoAnswer("the watch has ended".to_owned())
}
