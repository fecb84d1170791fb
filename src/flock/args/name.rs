//! Requests with `--name`.

use std::ffi::OsString;

use super::raw::RawArgs;
use crate::cli::UsageError;
use crate::flock::Request;
use crate::lock::named;

impl RawArgs {
    /// Puts the path of the lock file before the operands, as if it were FILE, or returns the request
    /// to print it.
    ///
    /// Without a command, nothing but the path could be meant. But if that were printed without
    /// `--path`, a script that forgets the command would believe that it holds the lock.
    #[cold]
    pub(super) fn name_operand(
        &self,
        operands: &mut Vec<OsString>,
    ) -> Result<Option<Request>, UsageError> {
        let usage_error = |message| Err(UsageError::new(message));
        let Some(name) = &self.name else {
            return usage_error("--path requires --name: flock --name NAME --path");
        };
        let path = named::path(name);
        match (self.path, operands.is_empty()) {
            (true, true) => return Ok(Some(Request::PrintPath(path))),
            (true, false) => return usage_error("--path takes no command"),
            (false, true) if !self.who.is_given() => {
                return usage_error("--name requires a command to run, or --path");
            }
            (false, _) => {}
        }
        operands.insert(0, path);
        Ok(None)
    }
}
