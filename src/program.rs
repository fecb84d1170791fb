//! The `main` that the programs share: words to a request, the request carried out, a status.

use std::ffi::OsString;
use std::panic::{self, AssertUnwindSafe};

use crate::cli::{self, Asked, OnMisuse, Usage};
use crate::exit::{self, Exit, Table};
use crate::report::{Output, Report};

/// One program: its table, what its words mean, and what is done about it.
#[derive(Clone, Copy)]
pub struct Program<R> {
    /// Name, forms and options.
    pub page: &'static cli::Page,
    /// Its statuses.
    pub statuses: &'static Table,
    /// From words to a request.
    pub parse: fn(Vec<OsString>) -> Result<Asked<R>, Usage>,
    /// From a request to an end.
    pub perform: fn(&R, &mut Report) -> Exit,
}

impl<R> Program<R> {
    /// Runs it with the words of a command line, name first, and returns the status to exit with.
    pub fn main(&self, mut words: Vec<OsString>) -> u8 {
        let called = if words.is_empty() {
            self.page.name.into()
        } else {
            words.remove(0)
        };
        let mut report = Report::new(&called);
        // A defect of ours must not look like an answer, and must not unwind into the C library.
        panic::catch_unwind(AssertUnwindSafe(|| self.exit(words, &mut report)))
            .map_or(exit::DEFECT, Exit::take)
    }

    fn exit(&self, words: Vec<OsString>, report: &mut Report) -> Exit {
        match self.read(words, report) {
            Ok(request) => (self.perform)(&request, report),
            Err(status) => Exit::Status(status),
        }
    }

    /// What the words after the name ask for.
    ///
    /// # Errors
    ///
    /// The status to end with: help or version has been shown, or what is wrong with the words.
    pub fn read(&self, words: Vec<OsString>, report: &mut Report) -> Result<R, u8> {
        match (self.parse)(words) {
            Ok(Asked::Request(request)) => Ok(request),
            Ok(Asked::Help) => Err(self.show(report, self.page.help)),
            Ok(Asked::Version) => Err(self.show(report, &self.page.version())),
            Err(usage) => {
                report.complain(usage.message());
                match self.page.on_misuse {
                    OnMisuse::ReferToHelp => report.refer_to_help(),
                    OnMisuse::ShowForms => report.complain_in_full(self.page.usage()),
                }
                Err(self.statuses.usage)
            }
        }
    }

    fn show(&self, report: &mut Report, text: &str) -> u8 {
        report.print(text.as_bytes());
        match report.output() {
            Output::Good => exit::SUCCESS,
            Output::Failed => self.statuses.no_output,
        }
    }
}
