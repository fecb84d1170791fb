//! Has a helper acquire a lock elsewhere.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use crate::flock::failure::Failure;
use crate::flock::{RemoteRequest, Verbosity};
use crate::lock::{Mode, Timeout};
use crate::remote::Error;
use crate::remote::helper::{Answer, Helper};
use crate::remote::protocol::{self, Holder, Message, Tokens};
use crate::remote::stops::StopSignals;
use crate::report::Report;
use crate::sys::clock::since_boot;
use crate::sys::init_signals;
use crate::sys::user;

/// How long a helper may take beyond the timeout: it knows the limit, and has more to say than that
/// there was no answer.
const ANSWER_SLACK: Duration = Duration::from_secs(2);

/// How long a helper may take that is not to wait for the lock.
const NONBLOCKING_LIMIT: Duration = Duration::from_secs(30);

/// Describes this process, which will be a holder, and its command.
pub(in crate::flock) fn describe(args: &[OsString]) -> Holder {
    let uid = rustix::process::getuid().as_raw();
    let user = user::name_of(uid).unwrap_or_else(|| uid.to_string().into());
    Holder::describe(args, user)
}

/// A lock that has been granted.
#[derive(Debug)]
pub(super) struct Grant {
    /// The helper that holds it.
    pub helper: Helper,
    /// A number that is higher than that of all earlier holders; one for each URL.
    pub token: Tokens,
    /// When it ends unless it is renewed, by `CLOCK_BOOTTIME`.
    pub until: Duration,
}

impl Grant {
    /// Has the lock released, and waits until that has been done.
    pub fn release(self, request: &RemoteRequest) {
        // The lock is free by then, with or without an answer: it was renewed before this moment.
        let end = Instant::now().checked_add(request.terms.ttl);
        self.helper.release(end);
    }
}

/// What a request for a lock has led to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It was granted.
    Granted(Grant),
    /// Another process holds it.
    Refused,
    /// The caller holds it already, by another call.
    Held,
}

/// How often a waiter looks whether the caller holds the lock already.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Acquires the lock, unless `is_held` returns true while this process waits.
pub(super) fn acquire(
    request: &RemoteRequest,
    holder: &Holder,
    is_held: Option<&dyn Fn() -> bool>,
    report: &mut Report,
) -> Result<Outcome, Failure> {
    let started = Instant::now();
    // The wait for an answer is a wait for the lock.
    init_signals::die_of_signals();
    // Before the helper enters the queue, where it must let others pass.
    let stops = StopSignals::block();
    let mut helper = Helper::start(&protocol::Request {
        url: &request.url,
        also: &request.also,
        mode: match request.mode {
            Mode::Shared => "shared",
            Mode::Exclusive | Mode::Unlocked => "exclusive",
        },
        slots: request.slots,
        wait: match request.timeout {
            Timeout::NonBlocking => Some(Duration::ZERO),
            Timeout::Infinite => None,
            Timeout::After(time) => Some(time),
        },
        terms: request.terms,
        holder,
    })?;
    let (token, until) =
        match wait_for_grant(request, &mut helper, stops, started, is_held, report)? {
            Answered::Granted(token, until) => (token, until),
            Answered::Refused => return Ok(Outcome::Refused),
            Answered::NotNeeded => return Ok(Outcome::Held),
        };
    // With a token to print, nothing else is on standard output.
    if request.verbosity == Verbosity::Verbose && !request.prints_token {
        let took = started.elapsed();
        let (seconds, micros) = (took.as_secs(), took.subsec_micros());
        report.info(format!("getting lock took {seconds}.{micros:06} seconds"));
    }
    Ok(Outcome::Granted(Grant {
        helper,
        token,
        until,
    }))
}

/// How a wait ends.
enum Answered {
    /// With the lock: its token, and the end of its lease.
    Granted(Tokens, Duration),
    /// Another process holds the lock.
    Refused,
    /// The caller holds the lock already.
    NotNeeded,
}

/// Waits until the helper has acquired the lock.
fn wait_for_grant(
    request: &RemoteRequest,
    helper: &mut Helper,
    stops: Option<StopSignals>,
    started: Instant,
    is_held: Option<&dyn Fn() -> bool>,
    report: &Report,
) -> Result<Answered, Failure> {
    let deadline = match request.timeout {
        Timeout::NonBlocking => started.checked_add(NONBLOCKING_LIMIT),
        Timeout::Infinite => None,
        Timeout::After(time) => started.checked_add(time.saturating_add(ANSWER_SLACK)),
    };
    let is_verbose = request.verbosity == Verbosity::Verbose;
    loop {
        // No other system tells when it happens.
        let look = is_held.and_then(|_| Instant::now().checked_add(LOOK_INTERVAL));
        let look = look.filter(|look| deadline.is_none_or(|deadline| *look < deadline));
        match helper.next_message(look.or(deadline), stops.as_ref())? {
            Answer::TimedOut if look.is_some() => {
                if is_held.is_some_and(|is_held| is_held()) {
                    return Ok(Answered::NotNeeded);
                }
            }
            Answer::Message(Message::Waits(text)) if is_verbose => {
                report.error(format!("waiting for {text}"));
            }
            Answer::Message(Message::Waits(_)) => {}
            Answer::Message(Message::Warning(text)) => report.error(text),
            Answer::Message(Message::Granted { token, .. })
                if token.0.len() != 1 + request.also.len() =>
            {
                return Err(helper.error("has not granted each lock").into());
            }
            Answer::Message(Message::Granted { token, until }) => {
                // The helper, or the whole machine, may have been stopped in between.
                if since_boot() < request.terms.stop_at(until) {
                    return Ok(Answered::Granted(token, until));
                }
                return Err(Error::Late(request.url.as_os_str().to_owned()).into());
            }
            Answer::Message(Message::Error { status, text }) => {
                let url = match request.also.is_empty() {
                    true => Some(request.url.as_os_str().to_owned()),
                    // The text says which of them is meant.
                    false => None,
                };
                return Err(Error::Engine { url, status, text }.into());
            }
            Answer::Message(Message::Refused) => {
                report_refusal(request, report);
                return Ok(Answered::Refused);
            }
            Answer::Message(Message::Until(_) | Message::Lost(_)) => {
                return Err(helper
                    .error("has renewed a lock that it had not acquired")
                    .into());
            }
            Answer::Message(Message::Entry(_) | Message::End) => {
                return Err(helper.error("has sent a list, not a lock").into());
            }
            Answer::TimedOut if request.timeout == Timeout::NonBlocking => {
                return Err(helper.error("does not answer").into());
            }
            Answer::TimedOut => {
                report_refusal(request, report);
                return Ok(Answered::Refused);
            }
        }
    }
}

fn report_refusal(request: &RemoteRequest, report: &Report) {
    if request.verbosity == Verbosity::Verbose {
        report.error(match request.timeout {
            Timeout::After(_) => "timeout while waiting to get lock",
            Timeout::NonBlocking | Timeout::Infinite => "failed to get lock",
        });
    }
}
