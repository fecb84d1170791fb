//! The `main` function that the programs share: from arguments to a request to an exit status.

use std::ffi::OsString;
use std::panic::{self, AssertUnwindSafe};

use crate::cli::{ParseResult, ProgramSpec, UsageError, UsageHint};
use crate::exit::{self, Exit, Statuses};
use crate::report::{Output, Report};

/// A program with requests of type `R`.
#[derive(Clone, Copy)]
pub struct Program<R> {
    /// Its name, synopses and options.
    pub spec: &'static ProgramSpec,
    /// Its exit statuses.
    pub statuses: &'static Statuses,
    /// Parses the arguments after the name.
    pub parse: fn(Vec<OsString>) -> Result<ParseResult<R>, UsageError>,
    /// Carries out a request.
    pub run: fn(&R, &mut Report) -> Exit,
}

impl<R> Program<R> {
    /// Runs the program with these arguments, name first, and returns the status to exit with.
    pub fn main(&self, mut args: Vec<OsString>) -> u8 {
        let name = if args.is_empty() {
            self.spec.name.into()
        } else {
            args.remove(0)
        };
        let mut report = Report::new(&name);
        // A panic must not look like a result, and must not unwind into the C library.
        let exit = panic::catch_unwind(AssertUnwindSafe(|| match self.parse(args, &mut report) {
            Ok(request) => (self.run)(&request, &mut report),
            Err(status) => Exit::Status(status),
        }));
        exit.map_or(exit::SOFTWARE, Exit::into_code)
    }

    /// Parses the arguments after the name.
    ///
    /// # Errors
    ///
    /// The exit status: the help, the version or a usage error has been printed.
    pub fn parse(&self, args: Vec<OsString>, report: &mut Report) -> Result<R, u8> {
        match (self.parse)(args) {
            Ok(ParseResult::Request(request)) => Ok(request),
            Ok(ParseResult::Help) => Err(self.print(report, self.spec.help)),
            Ok(ParseResult::Version) => Err(self.print(report, &self.spec.version())),
            Err(error) => {
                report.error(error.message());
                match self.spec.usage_hint {
                    UsageHint::TryHelp => report.hint_help(),
                    UsageHint::ShowSynopses => report.error_raw(self.spec.usage()),
                }
                Err(self.statuses.usage)
            }
        }
    }

    fn print(&self, report: &mut Report, text: &str) -> u8 {
        report.print(text.as_bytes());
        match report.output() {
            Output::Good => exit::SUCCESS,
            Output::Failed => self.statuses.no_output,
        }
    }
}
