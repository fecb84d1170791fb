//! A shell function under a lock elsewhere.
//!
//! The program acquires the lock for a descriptor of this shell, as `flock NUMBER URL` does for a
//! script. The descriptor belongs to a file in memory that exists for this call only. So the guards of
//! descriptors (`fdlock::handle`) watch over the lock, and stop this shell and the processes of the
//! function if it is lost. What remains to be done here is to wait for the program, so that the shell
//! handles its signals meanwhile, and to release the lock when the function has returned.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use fdlock::exit::{self, ExitError};
use fdlock::flock::failure::Failure;
use fdlock::flock::verbose::VerboseLog;
use fdlock::flock::{RemoteJob, RemoteRequest};
use fdlock::holders::Caller;
use fdlock::lock::InterruptCheck;
use fdlock::report::Report;
use fdlock::sys::{errno, fd};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{Errno, FdFlags, pread};
use rustix::process::getpid;

use crate::external::{self, NAME};
use crate::ffi::{Bash, Detached, WordList, Words, word};
use crate::function::{self, GuardedCall};
use crate::lock_fds::LockFds;
use crate::next::{Next, Progress};
use crate::remote_lock::RemoteLock;

/// The name of the file, as /proc shows it.
const FILE_NAME: &str = "flock-function";

/// The status if the program was killed or could not be started: `EX_UNAVAILABLE`.
const UNAVAILABLE: u8 = 69;

/// Carries out a call until it is complete or bash is needed.
#[cold]
#[inline(never)]
pub fn attempt(
    bash: &Bash,
    list: *mut WordList,
    request: &RemoteRequest,
    progress: &mut Progress,
    check: InterruptCheck,
    report: &mut Report,
) -> Next {
    let command = match &request.job {
        RemoteJob::Descriptor(number) => {
            return match function::check_descriptor(*number) {
                Ok(()) => Next::RunExternal,
                Err(error) => {
                    let failure = Failure::from(error);
                    report.error(failure.message());
                    Next::Return(failure.exit_status(&exit::FLOCK))
                }
            };
        }
        RemoteJob::Command(command) => command,
    };
    // The program forks, and waits for a helper, which a host process must not do.
    let Some(words) = function::words(bash, list, command.args()) else {
        // A trap may have removed the function.
        if let Some((call, _)) = progress.remote {
            call.finish();
            bash.run_unwind();
        }
        return Next::RunExternal;
    };
    if !request.also.is_empty() {
        report.error("--also with a lock elsewhere cannot be used with a shell function");
        return Next::Return(exit::FLOCK.usage);
    }
    let waiting = progress
        .remote
        .map_or_else(|| start(bash, list, words, request, report), Ok);
    let (call, log) = match waiting {
        Ok(waiting) => *progress.remote.insert(waiting),
        Err(status) => return Next::Return(status),
    };
    let program = call.with_remote(|lock| lock.program).flatten();
    if program.is_some_and(|program| !program.wait(check)) {
        if bash.is_terminating() {
            // An EXIT trap may want the lock.
            call.finish();
        }
        return Next::HandleSignals;
    }
    let status = match acquired(call, program, request.url.as_os_str(), report) {
        Ok(token) => {
            log.report_acquired(report);
            log.report_command(command, report);
            bash.assign_for_function("FLOCK_TOKEN", &token);
            bash.assign_for_function("FLOCK_URL", request.url.as_os_str());
            return Next::CallFunction(words, call);
        }
        Err(status) => call.finish().unwrap_or(status),
    };
    bash.run_unwind();
    Next::Return(status)
}

/// Starts the program that acquires the lock, and registers the cleanup.
fn start(
    bash: &Bash,
    list: *mut WordList,
    words: *mut WordList,
    request: &RemoteRequest,
    report: &Report,
) -> Result<(GuardedCall, VerboseLog), u8> {
    let program = external::find_program(bash).ok_or(external::COMMAND_NOT_FOUND)?;
    let exhausted = |error: io::Error| {
        report.error(format!("cannot start the program: {}", errno::text(&error)));
        exit::FLOCK.exhausted
    };
    let log = VerboseLog::start(request.verbosity, Caller::Shell);
    // No program that a trap starts inherits it before the lock is held.
    let file = create_file().map_err(|error| exhausted(error.into()))?;
    // The program describes the holder.
    fd::set_owner(&file, getpid());
    let mut lock = RemoteLock::new(LockFds::new(file, FdFlags::CLOEXEC));
    let started = start_program(bash, program, list, words, &lock.fds);
    lock.program = started.as_ref().ok().copied();
    let call = GuardedCall::start_remote(request.url.as_os_str().to_owned(), lock);
    match started {
        Ok(_) => {
            let finish = |call: GuardedCall| {
                call.finish();
            };
            bash.push_unwind(finish, call);
            Ok((call, log))
        }
        Err(error) => {
            call.finish();
            Err(exhausted(error))
        }
    }
}

fn create_file() -> Result<OwnedFd, Errno> {
    let create = |flags| memfd_create(FILE_NAME, MemfdFlags::CLOEXEC | flags);
    // Before Linux 6.3, there is no such flag; after that, an administrator may require it.
    create(MemfdFlags::NOEXEC_SEAL).or_else(|_| create(MemfdFlags::empty()))
}

/// Starts `flock --print-token OPTIONS NUMBER URL`. The token goes to the file.
fn start_program(
    bash: &Bash,
    program: &CStr,
    list: *mut WordList,
    words: *mut WordList,
    fds: &LockFds,
) -> io::Result<Detached> {
    let fd = fds.open().next().ok_or(Errno::MFILE)?;
    let number = CString::new(fd.as_raw_fd().to_string())?;
    let operand = Words(list).count() - Words(words).count() - 1;
    let mut args = vec![NAME, c"--print-token"];
    args.extend(Words(list).take(operand).map(word));
    args.push(&number);
    args.extend(Words(list).nth(operand).map(word));
    Detached::start(bash, program, &args, fd)
}

/// Returns the token if the program has acquired the lock, and a status otherwise.
fn acquired(
    call: GuardedCall,
    program: Option<Detached>,
    url: &OsStr,
    report: &Report,
) -> Result<OsString, u8> {
    let status = program.and_then(Detached::reap);
    let fd = call.with_remote(|lock| {
        lock.program = None;
        lock.fds.open().next()
    });
    let Some(status) = status else {
        let text = OsStr::new(": the program that acquires it was killed, or could not be started");
        report.error([url, text].join(OsStr::new("")));
        return Err(UNAVAILABLE);
    };
    let mut token = [0; 32];
    // A trap may have closed it.
    let length = fd.flatten().map(|fd| pread(fd, &mut token, 0));
    match (status, length) {
        // With `-E 0`, success may also mean that there is no lock, and then there is no token.
        (exit::SUCCESS, Some(Ok(length))) if length > 0 => {
            call.with_remote(RemoteLock::set_held);
            Ok(OsStr::from_bytes(token[..length].trim_ascii_end()).to_owned())
        }
        (exit::SUCCESS, Some(Ok(_))) => Err(status),
        (exit::SUCCESS, _) => Err(exit::FLOCK.lock_failed),
        _ => Err(status),
    }
}
