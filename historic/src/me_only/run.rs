//! Carries out a request to `me-only`: acquires the name, and runs the script.

use std::ffi::OsString;

use crate::abstract_socket::{self, Name};
use crate::error::Error;
use crate::exit;
use crate::me_only::Request;
use fdlock::exit::Exit;
use fdlock::lock::Acquired;
use fdlock::report::Report;
use fdlock::run::RunOptions;

/// Carries out a request and returns how to exit.
pub fn run(request: &Request, report: &mut Report) -> Exit {
    let result = lock_and_run(request, report);
    report.finish(&exit::ME_ONLY, result)
}

/// The name is acquired first: while another instance runs, it does not matter that a script is
/// missing.
fn lock_and_run(request: &Request, report: &Report) -> Result<Exit, Error> {
    let Acquired::Held(_guard) = abstract_socket::acquire(&request.name)? else {
        report.error(conflict_message(&request.name));
        return Ok(Exit::Status(exit::ME_ONLY.conflict));
    };
    let reason = request.command.run(RunOptions::default(), &mut |error| {
        report.error(error.message());
    })?;
    Ok(exit::for_script(reason))
}

fn conflict_message(name: &Name) -> OsString {
    let mut message = name.as_os_str().to_owned();
    message.push(": not the only instance");
    if let Some(pid) = abstract_socket::owner(name) {
        message.push(format!(" (held by process {pid})"));
    }
    message
}
