//! Ties a lock elsewhere to a descriptor of the caller's, and releases it.

use std::os::fd::{BorrowedFd, RawFd};

use rustix::io::Errno;
use rustix::process::getppid;

use super::grant::{Outcome, acquire, describe};
use crate::exit::{self, Exit};
use crate::flock::RemoteRequest;
use crate::flock::failure::Failure;
use crate::handle::{self, Handle, Lease, Marked, marked, may_be_marked, release, token};
use crate::lock::descriptor::hint_if_open_in_parent;
use crate::lock::mark::HeldMode;
use crate::lock::{self, Mode};
use crate::remote::protocol::Holder;
use crate::report::{Output, Report};
use crate::sys;
use crate::sys::procfs::status::command_line;

/// Acquires or releases the lock, and returns how to exit.
pub(super) fn run(
    request: &RemoteRequest,
    number: RawFd,
    report: &mut Report,
) -> Result<Exit, Failure> {
    let caller = open_descriptor(number)?;
    if request.mode == Mode::Unlocked {
        release(number, caller, Some(&request.url))?;
        return Ok(Exit::Status(exit::SUCCESS));
    }
    let mode = match (request.slots, request.mode) {
        (Some(_), _) => HeldMode::Slot,
        (None, Mode::Shared) => HeldMode::Shared,
        (None, _) => HeldMode::Exclusive,
    };
    match marked(caller, &request.url, mode) {
        Marked::Yes => return Ok(already_held(request, caller, report)),
        // As with flock(2), a lock that is held is given up before it is acquired in another mode.
        Marked::OtherMode => release(number, caller, Some(&request.url))?,
        // Its processes are being stopped.
        Marked::Lost => return Err(handle::Error::Lost(number).into()),
        Marked::No => {}
    }
    let handle = Handle::prepare(number, caller, &request.url, mode)?;
    // Two calls for one descriptor may wait at the same time. As with flock(2), what one of them has
    // acquired is the other's as well, which would wait for itself otherwise.
    let is_held = || match marked(caller, &request.url, mode) {
        Marked::Yes => true,
        Marked::OtherMode => {
            // As above. If it was lost, its processes are being stopped.
            let _ = release(number, caller, Some(&request.url));
            false
        }
        Marked::No | Marked::Lost => false,
    };
    let grant = match acquire(request, &describe_caller(caller), Some(&is_held), report)? {
        Outcome::Granted(grant) => grant,
        Outcome::Refused => return Ok(Exit::Status(request.conflict_status)),
        Outcome::Held => return Ok(already_held(request, caller, report)),
    };
    if request.prints_token {
        print_token(grant.token.first(), report);
    }
    if report.output() == Output::Failed {
        grant.release(request);
        return Ok(Exit::Status(exit::FLOCK.no_output));
    }
    let lease = Lease {
        helper: &grant.helper,
        url: &request.url,
        token: grant.token.first(),
        terms: request.terms,
        until: grant.until,
    };
    if let Err(error) = handle.tie(&lease) {
        grant.release(request);
        return Err(error.into());
    }
    Ok(Exit::Status(exit::SUCCESS))
}

/// Releases the locks elsewhere of a descriptor, after its local lock.
///
/// # Errors
///
/// One of them was lost before.
#[cold]
#[inline(never)]
pub fn release_all(number: RawFd) -> Result<(), Failure> {
    match sys::fd::inherited(number) {
        Some(caller) if may_be_marked(caller) => Ok(release(number, caller, None)?),
        _ => Ok(()),
    }
}

/// Returns how to exit if the caller holds the lock already.
fn already_held(request: &RemoteRequest, caller: BorrowedFd<'_>, report: &mut Report) -> Exit {
    if request.prints_token {
        match token(caller, &request.url) {
            Some(token) => print_token(token, report),
            None => {
                report.error(
                    "the lock is held, but /proc does not show the processes that know its token",
                );
                return Exit::Status(exit::FLOCK.no_output);
            }
        }
    }
    Exit::Status(match report.output() {
        Output::Good => exit::SUCCESS,
        Output::Failed => exit::FLOCK.no_output,
    })
}

fn print_token(token: u64, report: &mut Report) {
    report.print(format!("{token}\n").as_bytes());
}

/// Describes the caller, which is the holder: this process exits. The bash builtin starts it by a
/// process in between, and stores in the descriptor which process the shell is.
fn describe_caller(caller: BorrowedFd<'_>) -> Holder {
    let mut holder = describe(&[]);
    if let Some(caller) = sys::fd::owner(caller).or_else(getppid) {
        holder.pid = caller.as_raw_nonzero().get();
        holder.command = command_line(caller).join(" ".as_ref());
    }
    holder
}

fn open_descriptor(number: RawFd) -> Result<BorrowedFd<'static>, lock::Error> {
    let fd = sys::fd::inherited(number);
    let opened = fd.filter(|fd| rustix::io::fcntl_getfd(fd).is_ok());
    opened.ok_or_else(|| {
        let error = lock::Error::Lock {
            target: number.to_string().into(),
            error: Errno::BADF.into(),
            hint: None,
        };
        hint_if_open_in_parent(error, number)
    })
}
