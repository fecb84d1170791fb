//! Carries out a request for a lock elsewhere: has a helper acquire it, and runs the command under
//! its lease.

mod grant;
mod handle;

use std::ffi::OsString;

use super::failure::Failure;
use super::{RemoteJob, RemoteRequest, Verbosity, exec_hint};
use crate::exit::{self, Exit};
use crate::remote::url::Url;
use crate::report::Report;
use crate::run::lease::Lease;
use crate::run::{self, Command, RunOptions, Supervision};
use crate::sys::environment;
use crate::sys::process;

pub(super) use grant::describe;
use grant::{Outcome, acquire};
pub use handle::release_all;

/// Carries out a request and returns how to exit.
// Not between the code of the calls that lock files: each page there counts.
#[cold]
#[inline(never)]
pub fn run(request: &RemoteRequest, report: &mut Report) -> Exit {
    let result = lock_and_run(request, report);
    report.finish(&exit::FLOCK, result)
}

fn lock_and_run(request: &RemoteRequest, report: &mut Report) -> Result<Exit, Failure> {
    match &request.job {
        RemoteJob::Descriptor(number) => handle::run(request, *number, report),
        RemoteJob::Command(command) => run_command(request, command, report),
    }
}

/// Acquires the lock, and runs the command under it.
fn run_command(
    request: &RemoteRequest,
    command: &Command,
    report: &mut Report,
) -> Result<Exit, Failure> {
    let may_adopt = process::has_no_children();
    let Outcome::Granted(grant) = acquire(request, &describe(command.args()), None, report)? else {
        return Ok(Exit::Status(request.conflict_status));
    };
    if request.verbosity == Verbosity::Verbose {
        let name = command.name();
        report.info(["executing".as_ref(), name].join(" ".as_ref()));
    }
    environment::set("FLOCK_TOKEN", grant.token.to_string());
    environment::set("FLOCK_URL", urls(request));
    let lease = Lease {
        helper: &grant.helper,
        terms: request.terms,
        until: grant.until,
        may_adopt,
    };
    let options = RunOptions {
        supervision: Supervision::Leased(&lease),
        ..RunOptions::default()
    };
    let result = command.run(options, &mut |error| report.error(error.message()));
    if !matches!(result, Err(run::Error::LockLost(_))) {
        grant.release(request);
    }
    Ok(result.map_err(exec_hint::add_for_url)?.into())
}

/// Returns the URLs, one per line: they contain no control characters.
fn urls(request: &RemoteRequest) -> OsString {
    let urls = [&request.url].into_iter().chain(&request.also);
    Vec::from_iter(urls.map(Url::as_os_str)).join("\n".as_ref())
}
