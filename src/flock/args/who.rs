//! What words with `--who` ask for.

use std::ffi::OsString;

use super::{Draft, Usage};
use crate::flock::{Afterwards, Form, Request, Target, Who};

/// What the options have said so far about the question who has a lock.
#[derive(Debug, Default)]
pub(super) struct Asking {
    pub who: bool,
    pub json: bool,
    pub pids: bool,
}

impl Asking {
    /// Whether any of it was said.
    pub fn is_anything(&self) -> bool {
        self.who || self.json || self.pids
    }

    /// For whom the answer is. `None` if nothing is asked.
    fn form(&self) -> Result<Option<Form>, Usage> {
        match self {
            Self {
                json: true,
                pids: true,
                ..
            } => Err(Usage::new("the --json and --pids options are incompatible")),
            Self {
                who: true,
                json,
                pids,
            } => Ok(Some(match (json, pids) {
                (true, _) => Form::Json,
                (_, true) => Form::Pids,
                _ => Form::Table,
            })),
            Self { json: true, .. } => Err(Usage::new(
                "--json requires --who: flock --who --json FILE...",
            )),
            Self { pids: true, .. } => Err(Usage::new(
                "--pids requires --who: flock --who --pids FILE...",
            )),
            Self { .. } => Ok(None),
        }
    }
}

impl Draft {
    /// What is asked for about the holders of a lock; `None` if it is the lock that is asked for.
    #[cold]
    pub(super) fn question(&self, operands: &[OsString]) -> Result<Option<Request>, Usage> {
        let Some(form) = self.asking.form()? else {
            return Ok(None);
        };
        if let Some(option) = self.option_of_locks() {
            return Err(Usage::new(format!("{option} cannot be used with --who")));
        }
        let targets = match (self.descriptor, operands) {
            (Some(number), []) => vec![Target::Descriptor(number)],
            (Some(_), _) => {
                return Err(Usage::new(
                    "--who takes either files or --fd NUMBER, not both",
                ));
            }
            (None, []) => {
                return Err(Usage::new(
                    "--who requires files or a descriptor: flock --who FILE... or flock --who --fd NUMBER",
                ));
            }
            (None, files) => files.iter().cloned().map(Target::Path).collect(),
        };
        Ok(Some(Request::Who(Who { targets, form })))
    }

    /// An option that has been given and says how a lock is taken.
    fn option_of_locks(&self) -> Option<&'static str> {
        let given = [
            (self.mode.is_some(), "--shared, --exclusive or --unlock"),
            (self.nonblock, "--nonblock"),
            (self.limit.is_some(), "--timeout"),
            (self.on_conflict.is_some(), "--conflict-exit-code"),
            (self.close, "--close"),
            (self.no_fork, "--no-fork"),
            (self.fcntl.is_some(), "--fcntl, --start or --length"),
            (self.fair, "--fair"),
            (self.slots.is_some(), "--slots"),
            (!self.also.is_empty(), "--also"),
            (self.afterwards != Afterwards::Keep, "--unlink"),
        ];
        let first = given.into_iter().find(|(is_given, _)| *is_given);
        first.map(|(_, option)| option)
    }
}
