//! The command line of `flock`, and from arguments to a request.

mod conflicts;
mod name;
mod options;
mod raw;
mod remote;
mod replace;
mod values;
mod who;

use std::ffi::OsString;
use std::os::fd::RawFd;

use crate::cli::parser::{ScanResult, scan};
use crate::cli::{OptionSpec, ParseResult, ProgramSpec, Synopsis, UsageError, UsageHint};
use crate::exit;
use crate::flock::{ExecMode, Fairness, Job, LockRequest, RemoteJob, Request, Target};
use crate::lock::advisory::LockApi;
use crate::lock::{Mode, Timeout};
use crate::remote::url::is_url;
use crate::run::Command;

use options::OPTIONS;
use raw::RawArgs;
use remote::{no_command, no_command_beside, no_descriptor};
use values::parse_descriptor;

/// The description of `flock`.
pub static SPEC: ProgramSpec = ProgramSpec {
    name: "flock",
    about: "Lock files from shell scripts, or run a command under a lock.",
    synopses: &[
        Synopsis {
            args: "[OPTION]... NUMBER",
            help: "lock a descriptor that the script has opened",
        },
        Synopsis {
            args: "[OPTION]... FILE COMMAND [ARGUMENT]...",
            help: "lock FILE, then run COMMAND",
        },
        Synopsis {
            args: "[OPTION]... FILE -c LINE",
            help: "lock FILE, then run a shell command line",
        },
        Synopsis {
            args: "[OPTION]... --fd NUMBER COMMAND [ARGUMENT]...",
            help: "lock descriptor NUMBER, then run COMMAND",
        },
        Synopsis {
            args: "[OPTION]... --name NAME COMMAND [ARGUMENT]...",
            help: "lock the user's lock file of this name, then run COMMAND",
        },
        Synopsis {
            args: "[OPTION]... SCHEME://... COMMAND [ARGUMENT]...",
            help: "the same with a lock in another system",
        },
        Synopsis {
            args: "[OPTION]... NUMBER SCHEME://...",
            help: "the same for the rest of the script",
        },
        Synopsis {
            args: "--who [OPTION]... [FILE]...",
            help: "list the holders and waiters of the lock on FILE, or of all locks",
        },
        Synopsis {
            args: "--who [OPTION]... --fd NUMBER",
            help: "the same for the file open on NUMBER",
        },
    ],
    options: || OPTIONS.iter().map(OptionSpec::doc).collect(),
    after_help: "\
Exit status: COMMAND's own; 1 (or -E STATUS) if the lock is held elsewhere; 64 on
usage errors; 65-77 on other errors, see flock(1).

Examples:
  exec 8>>/run/lock/job; flock 8          wait, then hold the lock until the script exits
  if flock -n 8; then ...; else ...; fi   do something else if the lock is held
  flock -n /run/lock/backup backup.sh     skip this run if the previous one is still active
  flock -w 5m /run/lock/deploy ./deploy   wait at most five minutes",
    help: include_str!("../help.txt"),
    usage_hint: UsageHint::TryHelp,
};

/// Parses the arguments after the program's name.
///
/// # Errors
///
/// The arguments are invalid. Nothing has been opened, created or locked.
pub fn parse(args: Vec<OsString>) -> Result<ParseResult<Request>, UsageError> {
    if args.is_empty() {
        return Err(UsageError::new("not enough arguments"));
    }
    let mut raw = RawArgs::default();
    match scan(OPTIONS, args, 1, &mut raw)? {
        ScanResult::Help => Ok(ParseResult::Help),
        ScanResult::Version => Ok(ParseResult::Version),
        ScanResult::Operands(operands) => raw.into_request(operands).map(ParseResult::Request),
    }
}

impl RawArgs {
    fn into_request(self, mut operands: Vec<OsString>) -> Result<Request, UsageError> {
        conflicts::check(&self)?;
        if (self.name.is_some() || self.path)
            && let Some(request) = self.name_operand(&mut operands)?
        {
            return Ok(request);
        }
        if self.who.is_given()
            && let Some(request) = self.who_request(&operands)?
        {
            return Ok(request);
        }
        if let Some(number) = self.handle(&operands)? {
            return self.remote_request(&operands[1], Some(RemoteJob::Descriptor(number)));
        }
        let (target, command) = self.operands(operands)?;
        match &target {
            Target::Path(path) if is_url(path) => {
                return self.remote_request(path, command.map(RemoteJob::Command));
            }
            Target::Path(_) => self.check_for_file()?,
            Target::Descriptor(_) => {
                conflicts::check_for_descriptor(&self)?;
                self.check_for_file()?;
            }
        }
        let exec_mode = match (self.close, self.no_fork) {
            (true, _) => ExecMode::ForkAndClose,
            (false, true) => ExecMode::Exec,
            (false, false) => ExecMode::Fork,
        };
        let timeout = self.lock_timeout();
        let replace = self.replace_request()?;
        Ok(Request::Lock(LockRequest {
            api: self.api()?,
            close_on_exec: self.close && command.is_none(),
            target,
            is_named: self.name.is_some(),
            also: self.also,
            on_release: self.on_release,
            fairness: match (self.slots, self.fair) {
                (Some(limit), _) => Fairness::Slots(limit),
                (None, true) => Fairness::Fifo,
                (None, false) => Fairness::None,
            },
            max_waiters: self.max_waiters,
            replace,
            mode: self.mode.unwrap_or(Mode::Exclusive),
            timeout,
            job: command.map(|command| Job { command, exec_mode }),
            conflict_status: self.conflict_status.unwrap_or(exit::FLOCK.conflict),
            verbosity: self.verbosity,
            progress: self.progress,
        }))
    }

    fn lock_timeout(&self) -> Timeout {
        match self.timeout {
            _ if self.nonblock => Timeout::NonBlocking,
            None => Timeout::Infinite,
            Some(timeout) => Timeout::After(timeout),
        }
    }

    fn api(&self) -> Result<LockApi, UsageError> {
        match self.range {
            None => Ok(LockApi::Flock),
            // The largest offset of a byte is i64::MAX.
            Some((start, length)) if length > 0 && start.checked_add(length - 1).is_none() => {
                Err(UsageError::new(format!(
                    "--start {start} with --length {length} exceeds the largest file offset"
                )))
            }
            Some((start, length)) => Ok(LockApi::Ofd { start, length }),
        }
    }

    /// Returns the descriptor to which a lock elsewhere is to be tied: `NUMBER SCHEME://…`.
    fn handle(&self, operands: &[OsString]) -> Result<Option<RawFd>, UsageError> {
        let [number, url, command @ ..] = operands else {
            return Ok(None);
        };
        if self.descriptor.is_some() || self.name.is_some() || !is_url(url) {
            return Ok(None);
        }
        match parse_descriptor(number) {
            Ok(_) if !command.is_empty() => Err(no_command_beside()),
            number => Ok(number.ok()),
        }
    }

    fn operands(
        &self,
        mut operands: Vec<OsString>,
    ) -> Result<(Target, Option<Command>), UsageError> {
        if let Some(number) = self.descriptor {
            if operands.first().is_some_and(|operand| is_url(operand)) {
                return Err(no_descriptor());
            }
            let command = parse_command(operands)?
                .ok_or_else(|| UsageError::new("--fd requires a command to run"))?;
            return Ok((Target::Descriptor(number), Some(command)));
        }
        match operands.len() {
            0 => Err(UsageError::new(
                "requires file descriptor, file or directory",
            )),
            1 => match parse_descriptor(&operands[0]) {
                Err(_) if is_url(&operands[0]) => Err(no_command()),
                number => Ok((Target::Descriptor(number?), None)),
            },
            _ => {
                let args = operands.split_off(1);
                let path = Target::Path(operands.remove(0));
                Ok((path, parse_command(args)?))
            }
        }
    }
}

/// Returns the command of these arguments: a program, or a line for the shell after `-c`.
fn parse_command(args: Vec<OsString>) -> Result<Option<Command>, UsageError> {
    if !args
        .first()
        .is_some_and(|arg| arg == "-c" || arg == "--command")
    {
        return Ok(Command::new(args));
    }
    match <[OsString; 2]>::try_from(args) {
        Ok([_, line]) => Ok(Some(Command::shell(line))),
        Err(mut args) => {
            let mut message = args.swap_remove(0);
            message.push(" requires exactly one command argument");
            Err(UsageError::new(message))
        }
    }
}

#[cfg(test)]
mod tests;
