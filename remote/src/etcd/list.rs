//! The list of all holders and waiters of a lock.

use std::time::Duration;

use super::api;
use super::client::{Attempts, Client};
use super::error::{Error, NOT_UNDERSTOOD};
use super::settings::Settings;
use crate::front::{Answer as Line, Front};
use crate::record::send_list;

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
    send_list(front, &mut listing.records);
}
