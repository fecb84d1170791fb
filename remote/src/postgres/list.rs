//! The list of all holders and waiters of a lock.

use std::time::Duration;

use super::client::Client;
use super::error::{Error, NOT_UNDERSTOOD};
use super::row::Row;
use super::settings::Settings;
use super::statements::OwnRow;
use crate::front::{Answer as Line, Front};
use crate::record::{Record, send_list};

/// How long a server may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Lists the processes, in the order in which they have arrived. Every server is asked once.
pub fn run(front: &Front, settings: &Settings) {
    let mut client = Client::new(settings, LIMIT);
    let row = OwnRow {
        id: 0,
        name: settings.name.clone(),
        ttl: Duration::ZERO,
        value: String::new(),
        clock: String::new(),
        bound: 0,
    };
    let mut result = Err(Error::not_understood());
    for _ in 0..client.server_count() {
        result = client.query(front, &|_| row.list(), LIMIT);
        match result {
            Err(Error::NoAnswer(_) | Error::Unusable(..)) => client.use_next_server(),
            _ => break,
        }
    }
    let fail = |status, text: &str| front.send(&Line::Error { status, text });
    let rows = match result {
        Ok(answer) => answer.rows,
        // No process has ever asked for a lock.
        Err(Error::NoTable) => Vec::new(),
        Err(Error::Released) => return,
        Err(Error::NoAnswer(text)) => {
            return fail(66, &format!("PostgreSQL is not reached: {text}"));
        }
        Err(Error::Unusable(status, text)) => return fail(status, &text),
    };
    let records = rows.iter().map(|row| Some(Row::decode(row)?.record));
    match records.collect::<Option<Vec<Record>>>() {
        Some(mut records) => send_list(front, &mut records),
        None => fail(65, NOT_UNDERSTOOD),
    }
    client.close(front);
}
