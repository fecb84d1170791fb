//! The list of all holders and waiters of a lock.

use std::time::Duration;

use super::api;
use super::client::{Attempts, Client};
use super::error::{Error, NOT_UNDERSTOOD};
use super::queue::{self, Entry, Place};
use super::settings::Settings;
use crate::front::{Answer as Line, Front};

/// How long a server may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Lists the processes, in the order in which they have arrived. Every server is asked once.
pub fn run(front: &Front, settings: &Settings) {
    let attempts = Attempts {
        each: LIMIT,
        until: None,
        once: true,
    };
    let call = api::list(&settings.name, None);
    let answer = Client::new(settings).call(front, &call, attempts, &mut |_| {});
    let fail = |status, text: &str| front.send(&Line::Error { status, text });
    let answer = match answer {
        Ok(answer) => answer,
        Err(Error::Released) => return,
        Err(Error::NoAnswer(text)) => return fail(66, &format!("etcd is not reached: {text}")),
        Err(Error::Final(status, text)) => return fail(status, &text),
        Err(Error::NotFound | Error::Exists) => return fail(65, NOT_UNDERSTOOD),
    };
    let Some(mut listing) = api::listing(&answer.value, &settings.name) else {
        return fail(65, NOT_UNDERSTOOD);
    };
    listing.records.sort_by_key(|record| record.entry.created);
    let records = listing.records.iter();
    let entries: Vec<Entry> = records.map(|record| record.entry.clone()).collect();
    for record in &listing.records {
        let place = queue::place(&entries, &record.entry.key);
        let fields = record.fields(matches!(place, Place::Holds { .. }));
        if front.send_all(&Line::Entry(&fields)).is_err() {
            return;
        }
    }
    let _ = front.send_all(&Line::End);
}
