//! A request to `me-only`, carried out: the name, then the script under it, then how it ended.

use std::ffi::OsString;

use fdlock::exit::Exit;
use fdlock::flock::failure::{Failure, finish};

use crate::abstract_socket::{self, Name};
use crate::exit;
use crate::me_only::Request;
use fdlock::report::Report;
use fdlock::run::RunOptions;

/// Carries out a request and says how to end.
pub fn perform(request: &Request, report: &mut Report) -> Exit {
    finish(&exit::ME_ONLY, report, |report| attempt(request, report))
}

/// The name comes first: that a script is missing is no news to anybody while another instance runs.
fn attempt(request: &Request, report: &mut Report) -> Result<Exit, Failure> {
    let Some(_held) = abstract_socket::acquire(&request.name)? else {
        report.error(refused(&request.name));
        return Ok(Exit::Status(exit::ME_ONLY.conflict));
    };
    let ended = request.command.run(RunOptions::default(), &mut |error| {
        report.error(error.message());
    })?;
    Ok(exit::of_script(ended))
}

fn refused(name: &Name) -> OsString {
    let mut message = name.as_os_str().to_owned();
    message.push(": not the only instance");
    if let Some(process) = abstract_socket::holder(name) {
        message.push(format!(" (held by process {process})"));
    }
    message
}
