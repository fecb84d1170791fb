//! The state of bash.

use std::ffi::{CStr, c_int};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use fdlock::sys::signal::Disposition;

use super::jobs::Job;
use super::symbols::{Bash, value};

/// Flags of `subshell_environment`: a child that runs in the background, one for a command or
/// process substitution, and one that was forked for one simple command.
const SUBSHELL_ASYNC: c_int = 0x01;
const SUBSHELL_COMSUB: c_int = 0x04;
const SUBSHELL_FORK: c_int = 0x08;

/// How many children had exited at the last call of [`Bash::disregard_children`].
static CHILDREN_REAPED: AtomicI32 = AtomicI32::new(0);

impl Bash {
    /// Returns whether a signal has arrived that bash has not handled yet. May be called at any
    /// time.
    pub fn signal_pending(&self) -> bool {
        value(self.terminating_signal) != 0
            || value(self.interrupt_state) != 0
            || value(self.trapped_signal_received) != 0
            || self.missed_children() > 0
    }

    /// Returns whether a signal has arrived that ends what the shell does. May be called at any time.
    pub fn interrupt_pending(&self) -> bool {
        self.is_terminating() || value(self.interrupt_state) != 0
    }

    /// Returns whether a signal has arrived that ends the shell. May be called at any time.
    pub fn is_terminating(&self) -> bool {
        value(self.terminating_signal) != 0
    }

    /// Disregards children that have exited until now.
    pub fn disregard_children(&self) {
        CHILDREN_REAPED.store(self.children_reaped(), Ordering::Relaxed);
    }

    /// Returns how many children the shell has forked.
    pub fn children_forked(&self) -> c_int {
        // SAFETY: a variable of bash.
        unsafe { (*self.js).forked }
    }

    fn children_reaped(&self) -> c_int {
        // SAFETY: a variable of bash, which its signal handler may write.
        unsafe { ptr::read_volatile(&raw const (*self.js).reaped) }
    }

    /// Returns how many children have exited for which bash has not noted that their `CHLD` trap is
    /// to run: before 5.0, it does so only with job control.
    pub(super) fn missed_children(&self) -> c_int {
        // SAFETY: takes a signal number.
        let is_trapped = || unsafe { (self.signal_is_trapped)(libc::SIGCHLD) != 0 };
        let missed = self.children_reaped() - CHILDREN_REAPED.load(Ordering::Relaxed);
        if missed > 0 && self.is_older_than_5() && !self.has_job_control() && is_trapped() {
            missed
        } else {
            0
        }
    }

    /// Returns whether commands are jobs, which Ctrl-Z stops and `fg` continues.
    pub fn has_job_control(&self) -> bool {
        value(self.job_control) != 0
    }

    /// Returns the jobs, if there is job control.
    pub fn jobs(&self) -> Vec<Job> {
        match self.has_job_control() {
            // SAFETY: the variables of bash.
            true => unsafe { Job::list(self.jobs, self.js) },
            false => Vec::new(),
        }
    }

    /// Returns whether bash uses its [hash table](Self::add_to_hash_table) of programs.
    pub fn hashing_enabled(&self) -> bool {
        value(self.hashing_enabled) != 0
    }

    /// Returns whether bash supports [`EX_DISKFALLBACK`].
    pub fn supports_disk_fallback(&self) -> bool {
        !self.is_older_than_5()
    }

    fn is_older_than_5(&self) -> bool {
        // SAFETY: a constant of bash, a string such as 5.2.
        let version = unsafe { CStr::from_ptr(*self.dist_version) };
        version.to_bytes().starts_with(b"4.")
    }

    pub fn is_restricted(&self) -> bool {
        value(self.restricted) != 0
    }

    /// Returns whether this process was forked for a simple command: the current one, or one that
    /// contains it.
    pub fn is_forked_for_command(&self) -> bool {
        value(self.subshell_environment) & SUBSHELL_FORK != 0
    }

    /// Returns the disposition that commands inherit: a signal is ignored if it was when the shell
    /// started, or by `trap ''`.
    pub fn inherited_disposition(&self, signal: c_int) -> Disposition {
        // SAFETY: both take a signal number.
        let is_ignored = unsafe {
            (self.signal_is_hard_ignored)(signal) != 0 || (self.signal_is_ignored)(signal) != 0
        };
        if is_ignored {
            Disposition::Ignore
        } else {
            Disposition::Default
        }
    }

    pub fn is_in_substitution(&self) -> bool {
        value(self.subshell_environment) & SUBSHELL_COMSUB != 0
    }

    pub fn is_in_background(&self) -> bool {
        value(self.subshell_environment) & SUBSHELL_ASYNC != 0
    }

    /// Returns the nesting depth of functions, and that of `eval`, sourced files, traps and the
    /// like.
    pub fn depth(&self) -> (c_int, c_int) {
        (
            value(self.variable_context),
            value(self.parse_and_execute_level),
        )
    }

    /// Returns the command that is being executed as the user wrote it, including redirections.
    /// Returns `None` in a trap, where bash keeps the text of the command before it.
    pub fn command_text(&self) -> Option<&CStr> {
        if value(self.running_trap) != 0 {
            return None;
        }
        // SAFETY: a variable of bash.
        let text = unsafe { *self.the_printed_command_except_trap };
        // SAFETY: null or a string, which bash replaces only when it executes the next command.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
    }

    /// Returns the command that bash has most recently formatted as text. Just after a fork, this
    /// is the command that bash forked for, unless that is a simple command.
    pub fn last_printed_command(&self) -> &[u8] {
        // SAFETY: a variable of bash: null or a string; the caller copies what it keeps.
        unsafe {
            let text = *self.the_printed_command;
            (!text.is_null()).then(|| CStr::from_ptr(text).to_bytes())
        }
        .unwrap_or_default()
    }

    pub fn has_function(&self, name: &CStr) -> bool {
        // SAFETY: a string.
        unsafe { !(self.find_function)(name.as_ptr()).is_null() }
    }
}
