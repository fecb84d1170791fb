//! Starts the guards of a lock that has been granted.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{chdir, setsid};
use rustix::stdio;

use super::descriptor::Handle;
use super::error::Error;
use super::record::Record;
use super::state::State;
use super::timekeeper::Timekeeper;
use super::watched::Watched;
use crate::remote::helper::Helper;
use crate::remote::terms::Terms;
use crate::remote::url::Url;
use crate::sys::fd;
use crate::sys::procfs::fdinfo::FdInfo;
use crate::sys::signal::{self, Disposition, SignalSet, number};
use crate::sys::spawn;

/// A lock elsewhere that has been granted.
#[derive(Clone, Copy, Debug)]
pub struct Lease<'a> {
    /// The helper that holds it.
    pub helper: &'a Helper,
    /// The lock.
    pub url: &'a Url,
    /// Its token.
    pub token: u64,
    /// Its terms.
    pub terms: Terms,
    /// When it ends unless it is renewed, by `CLOCK_BOOTTIME`.
    pub until: Duration,
}

impl Handle {
    /// Ties a lock that has been granted to the descriptor, and leaves it to the guards: this
    /// process may exit.
    ///
    /// # Errors
    ///
    /// The descriptor cannot be marked, or there are not enough processes, descriptors or memory.
    /// The lock is released when this process closes its connection to the helper.
    pub fn tie(&self, lease: &Lease<'_>) -> Result<(), Error> {
        self.set_mark()?;
        let started = self.start_guards(lease);
        if started.is_err() {
            self.remove_mark();
        }
        started.map_err(Error::Start)
    }

    fn start_guards(&self, lease: &Lease<'_>) -> io::Result<()> {
        let state = State::new(lease.until)?;
        let info = FdInfo::read_own(self.file.as_fd())?;
        let lock = info.locks.first().ok_or(Errno::NOLCK)?;
        let (ready, guards_end) = pipe_with(PipeFlags::CLOEXEC)?;
        // Not one of those that it replaces in the guard.
        let guards_end = fd::dup_above_stderr(guards_end)?;
        // Nothing that the terminal or a service manager sends to the script is meant for the
        // guards, from the first moment on.
        let mask = signal::set_mask(SignalSet::ALL);
        let started = spawn::fork_with(|| {
            let watched = Watched {
                state: &state,
                terms: lease.terms,
                mark: self.mark,
                file: lock.file,
                url: lease.url.as_os_str().to_owned(),
            };
            // The caller may ignore it, and then no guard would be told of the end of another.
            signal::set_disposition(number::CHLD, Disposition::Default);
            let become_guard = || {
                setsid()?;
                stdio::dup2_stdin(lease.helper.socket())?;
                stdio::dup2_stdout(&self.file)?;
                stdio::dup2_stderr(&guards_end)
            };
            if become_guard().is_err() {
                return 1;
            }
            fd::close_from(3);
            // Fails only without permission, and then the file system stays busy for as long.
            let _ = chdir("/");
            let record = Record::store(lease.token, &watched.url);
            let lines = lease.helper.lines();
            let status = Timekeeper::start(watched, lines).map_or(1, Timekeeper::run);
            drop(record);
            status
        });
        signal::set_mask(mask);
        started?;
        drop(guards_end);
        // The end comes without it if the timekeeper could not start.
        let mut byte = [0];
        match crate::sys::repeat_if_interrupted(|| rustix::io::read(&ready, &mut byte)) {
            Ok(1) => Ok(()),
            _ => Err(Errno::AGAIN.into()),
        }
    }
}
