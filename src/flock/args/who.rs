//! Requests with `--who`.

use std::ffi::OsString;

use super::raw::{RawArgs, WhoArgs};
use crate::cli::UsageError;
use crate::flock::{OutputFormat, RemoteWhoRequest, Request, Target, WhoRequest};
use crate::remote::url::{Url, is_url};

impl RawArgs {
    /// Returns the request to list holders, or `None` if there is no `--who`.
    #[cold]
    pub(super) fn who_request(&self, operands: &[OsString]) -> Result<Option<Request>, UsageError> {
        let format = match self.who {
            WhoArgs { json: true, .. } => OutputFormat::Json,
            WhoArgs { pids: true, .. } => OutputFormat::Pids,
            WhoArgs { .. } => OutputFormat::Table,
        };
        let usage_error = |message| Err(UsageError::new(message));
        match format {
            _ if self.who.who => {}
            OutputFormat::Table if self.who.watch => {
                return usage_error("--watch requires --who: flock --who --watch [FILE]...");
            }
            OutputFormat::Table => return Ok(None),
            OutputFormat::Json => {
                return usage_error("--json requires --who: flock --who --json [FILE]...");
            }
            OutputFormat::Pids => {
                return usage_error("--pids requires --who: flock --who --pids FILE...");
            }
        }
        let targets = match (self.descriptor, operands) {
            (Some(number), []) => vec![Target::Descriptor(number)],
            (Some(_), _) => {
                return usage_error("--who takes either files or --fd NUMBER, not both");
            }
            (None, []) if format == OutputFormat::Pids => {
                return usage_error(
                    "--pids requires files or a descriptor: flock --who --pids FILE... or flock --who --pids --fd NUMBER",
                );
            }
            (None, files) if files.iter().any(|file| is_url(file)) => {
                return self.remote_who_request(files, format).map(Some);
            }
            (None, files) => files.iter().cloned().map(Target::Path).collect(),
        };
        Ok(Some(Request::Who(WhoRequest {
            targets,
            format,
            watch: self.who.watch,
        })))
    }

    /// Returns the request to list the holders of a lock elsewhere.
    fn remote_who_request(
        &self,
        operands: &[OsString],
        format: OutputFormat,
    ) -> Result<Request, UsageError> {
        let [operand] = operands else {
            let message = "--who lists only one lock elsewhere at a time: flock --who SCHEME://...";
            return Err(UsageError::new(message));
        };
        if format == OutputFormat::Pids || self.who.watch {
            let option = if self.who.watch { "--watch" } else { "--pids" };
            return Err(UsageError::new(format!(
                "{option} does not support locks elsewhere: their processes are on other machines"
            )));
        }
        let url = Url::parse(operand);
        let url = url.map_err(|reason| UsageError::new(format!("invalid URL: {reason}")))?;
        Ok(Request::RemoteWho(RemoteWhoRequest { url, format }))
    }
}
