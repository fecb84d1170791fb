//! Requests for a lock elsewhere.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use super::conflicts;
use super::raw::{RawArgs, TermArgs};
use crate::cli::{UsageError, duration};
use crate::exit;
use crate::flock::{RemoteJob, RemoteRequest, Request};
use crate::lock::Mode;
use crate::remote::terms::Terms;
use crate::remote::url::{Url, is_url};

impl RawArgs {
    /// Returns the request for the lock that this operand names, which must be a URL. No message
    /// contains the URL, because it may contain a password.
    #[cold]
    pub(super) fn remote_request(
        self,
        operand: &OsStr,
        job: Option<RemoteJob>,
    ) -> Result<Request, UsageError> {
        conflicts::check_for_url(&self)?;
        if self.mode == Some(Mode::Unlocked) && !matches!(job, Some(RemoteJob::Descriptor(_))) {
            return Err(UsageError::new(
                "--unlock cannot be used with a lock elsewhere: it is released when its command has \
                 exited; for that of a descriptor, use: flock -u NUMBER [SCHEME://...]",
            ));
        }
        if self.terms.prints_token
            && (self.mode == Some(Mode::Unlocked) || !matches!(job, Some(RemoteJob::Descriptor(_))))
        {
            return Err(no_token());
        }
        if !self.also.is_empty() && matches!(job, Some(RemoteJob::Descriptor(_))) {
            return Err(UsageError::new(
                "--also with a lock elsewhere requires a command: a descriptor has one lock",
            ));
        }
        let error = |reason| UsageError::new(format!("invalid URL: {reason}"));
        let url = Url::parse(operand).map_err(error)?;
        let job = job.ok_or_else(no_command)?;
        Ok(Request::Remote(RemoteRequest {
            also: also(&url, &self.also)?,
            url,
            terms: self.terms.complete()?,
            slots: self.slots,
            mode: self.mode.unwrap_or(Mode::Exclusive),
            timeout: self.lock_timeout(),
            job,
            prints_token: self.terms.prints_token,
            conflict_status: self.conflict_status.unwrap_or(exit::FLOCK.conflict),
            verbosity: self.verbosity,
        }))
    }

    /// Checks that no option was given that only applies to a lock elsewhere, and that no other file
    /// is one.
    pub(super) fn check_for_file(&self) -> Result<(), UsageError> {
        let is_for_replace = self.replace.is_some();
        if self.terms.ttl.is_some() || self.terms.grace.is_some() && !is_for_replace {
            return Err(UsageError::new(
                "--ttl and --grace require a lock elsewhere: flock --ttl 30s SCHEME://... COMMAND",
            ));
        }
        if self.terms.prints_token {
            return Err(no_token());
        }
        match self.also.iter().any(|path| is_url(path)) {
            true => Err(mixed()),
            false => Ok(()),
        }
    }
}

/// How many locks elsewhere a call acquires, at most: each needs a connection, and a request is
/// limited to 64 KiB.
const MAX_LOCKS: usize = 10;

/// Returns the URLs of `--also`, which one helper must be able to hold together with this one.
fn also(url: &Url, paths: &[OsString]) -> Result<Vec<Url>, UsageError> {
    if paths.iter().any(|path| !is_url(path)) {
        return Err(mixed());
    }
    if paths.len() >= MAX_LOCKS {
        let text = format!("--also: a call acquires at most {MAX_LOCKS} locks elsewhere");
        return Err(UsageError::new(text));
    }
    let error = |reason| UsageError::new(format!("invalid URL: {reason}"));
    let also = paths.iter().map(|path| Url::parse(path).map_err(error));
    let also: Vec<Url> = also.collect::<Result<_, _>>()?;
    match also.iter().any(|other| other.scheme() != url.scheme()) {
        true => Err(UsageError::new(
            "--also: locks elsewhere are acquired as one only if their URLs have the same scheme",
        )),
        false => Ok(also),
    }
}

/// Returns the error that a file and a URL are given.
fn mixed() -> UsageError {
    UsageError::new(
        "--also: a file and a lock elsewhere cannot be acquired as one; for a file, use: \
         ./SCHEME://...",
    )
}

/// Returns the error that `--fd` was given a lock elsewhere and a command.
pub(super) fn no_descriptor() -> UsageError {
    UsageError::new(
        "--fd cannot be used with a lock elsewhere; use either flock NUMBER SCHEME://... or flock \
         SCHEME://... COMMAND",
    )
}

/// Returns the error that a descriptor, a lock elsewhere and a command were given.
pub(super) fn no_command_beside() -> UsageError {
    UsageError::new(
        "a lock elsewhere is for a descriptor or for a command; use either flock NUMBER \
         SCHEME://... or flock SCHEME://... COMMAND",
    )
}

/// Returns the error that there is no token to print.
fn no_token() -> UsageError {
    UsageError::new(
        "--print-token requires a descriptor and a lock elsewhere: flock --print-token NUMBER \
         SCHEME://...; a command finds the token in FLOCK_TOKEN",
    )
}

/// Returns the error that a URL is the only operand.
pub(super) fn no_command() -> UsageError {
    UsageError::new(
        "a lock elsewhere requires a command or a descriptor: flock SCHEME://... COMMAND, or \
         flock NUMBER SCHEME://...",
    )
}

impl TermArgs {
    fn complete(&self) -> Result<Terms, UsageError> {
        let terms = Terms::new(self.ttl, self.grace);
        if terms.ttl < Terms::MIN_TTL || terms.ttl > Terms::MAX_TTL {
            return Err(UsageError::new("--ttl must be from 5s to 1d"));
        }
        if terms.grace > terms.ttl / 2 {
            return Err(UsageError::new("--grace must be at most half of --ttl"));
        }
        Ok(terms)
    }
}

/// Parses the value of `--ttl` or `--grace`.
pub(super) fn parse_time(option: &str, arg: &OsStr) -> Result<Option<Duration>, UsageError> {
    let what = format!("invalid {option} value");
    let time = duration::parse(arg);
    let time = time.ok_or_else(|| UsageError::invalid(&what, arg, duration::EXPECTED))?;
    Ok(Some(time))
}
