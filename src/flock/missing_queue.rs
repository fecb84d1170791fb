//! The warnings of `--verbose` where locks are not acquired in arrival order.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::{Fairness, LockRequest, Target};
use crate::lock::fair::ticket;
use crate::report::Report;
use crate::sys;

/// Warns if a request asks for an order that one of these files cannot have.
pub(super) fn warn<'f>(
    request: &LockRequest,
    fds: impl Iterator<Item = BorrowedFd<'f>>,
    report: &Report,
) {
    let effect = match request.fairness {
        Fairness::None => return,
        Fairness::Fifo => "--fair has no effect",
        Fairness::Slots(_) => "--slots does not keep the order",
    };
    for reason in fds.filter_map(ticket::unsupported_reason) {
        report.error(format!("warning: {effect}: {reason}"));
    }
}

/// Does the same for the files of a request that did not acquire them.
pub(super) fn warn_about_targets(request: &LockRequest, report: &Report) {
    if request.fairness == Fairness::None {
        return;
    }
    match &request.target {
        Target::Descriptor(number) => {
            warn(request, sys::fd::inherited(*number).into_iter(), report);
        }
        Target::Path(path) => {
            // The files could be opened a moment ago.
            let open = |path| {
                let flags = OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
                rustix::fs::open(path, flags, Mode::empty()).ok()
            };
            let paths = std::iter::once(path).chain(&request.also);
            let files: Vec<OwnedFd> = paths.filter_map(open).collect();
            warn(request, files.iter().map(std::os::fd::AsFd::as_fd), report);
        }
    }
}
