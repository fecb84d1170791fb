//! Has bash handle signals, call functions and clean up, and catches the jumps by which it leaves
//! them.

use std::ffi::{CStr, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::symbols::{Bash, bash};
use super::words::{WordList, word};

/// The value that bash jumps with: the reason.
#[derive(Clone, Copy, Debug)]
pub struct Jump(c_int);

unsafe extern "C" {
    /// catch.c
    fn flock_catch(
        target: *mut c_void,
        function: extern "C" fn(*mut c_void) -> c_int,
        argument: *mut c_void,
        jump: *mut c_int,
    ) -> c_int;
}

impl Bash {
    /// Lets bash handle its pending signals: it runs their traps, or exits. *May jump.*
    pub fn check_signals_and_traps(&self) {
        let missed = self.missed_children();
        // SAFETY: any builtin may call them; the caller owns nothing (see the crate's
        // documentation). The first takes a number of children, possibly 0, and does not jump.
        unsafe {
            (self.queue_sigchld_trap)(missed);
            (self.check_signals_and_traps)();
        }
        // Those that the traps themselves have started do not count.
        self.disregard_children();
    }

    /// Does the same, but catches a jump.
    ///
    /// # Errors
    ///
    /// The jump to [resume](Self::resume_jump).
    pub fn catch_signals_and_traps(&self) -> Result<(), Jump> {
        extern "C" fn check(_: *mut c_void) -> c_int {
            if let Some(bash) = bash() {
                bash.check_signals_and_traps();
            }
            0
        }
        self.catch(check, ptr::null_mut()).map(drop)
    }

    /// Calls the shell function that is the first of these words. *May jump.*
    ///
    /// # Errors
    ///
    /// The shell exits or abandons the command line: the jump to [resume](Self::resume_jump).
    pub fn execute_function(&self, words: *mut WordList) -> Result<c_int, Jump> {
        extern "C" fn execute(words: *mut c_void) -> c_int {
            let words = words.cast();
            // SAFETY: words of bash, and its function of that name; the frames below own nothing.
            bash().map_or(0, |bash| unsafe {
                let function = (bash.find_function)(word(words).as_ptr());
                (bash.execute_shell_function)(function, words)
            })
        }
        self.catch(execute, words.cast())
    }

    fn catch(
        &self,
        function: extern "C" fn(*mut c_void) -> c_int,
        argument: *mut c_void,
    ) -> Result<c_int, Jump> {
        let mut jump = 0;
        // SAFETY: the target of bash's jumps, and the argument that the function expects.
        let status = unsafe { flock_catch(self.top_level, function, argument, &raw mut jump) };
        if jump == 0 {
            Ok(status)
        } else {
            Err(Jump(jump))
        }
    }

    /// Resumes a jump that was caught. The caller owns nothing.
    pub fn resume_jump(&self, Jump(value): Jump) -> ! {
        // SAFETY: the jump continues as if it had not been caught.
        unsafe { (self.jump_to_top_level)(value) }
    }

    /// Registers a function that bash calls at the next [`run_unwind`](Self::run_unwind), or when
    /// it jumps before that.
    pub fn push_unwind<T>(&self, function: fn(T), argument: T) {
        unsafe extern "C" fn run<T>(entry: *mut c_void) {
            PENDING_UNWINDS.fetch_sub(1, Ordering::Relaxed);
            // SAFETY: bash passes the pointer that it was given, once.
            let (function, argument) = *unsafe { Box::from_raw(entry.cast::<(fn(T), T)>()) };
            function(argument);
        }
        PENDING_UNWINDS.fetch_add(1, Ordering::Relaxed);
        let entry = Box::into_raw(Box::new((function, argument)));
        // SAFETY: the tag is a static string; `run` takes the pointer that is registered with it.
        // Neither call jumps.
        unsafe {
            (self.begin_unwind_frame)(FRAME.as_ptr());
            (self.add_unwind_protect)(run::<T>, entry.cast());
        }
    }

    /// Calls the function that was registered last.
    pub fn run_unwind(&self) {
        // SAFETY: the tag of a frame that was begun; those that began inside it have ended.
        unsafe { (self.run_unwind_frame)(FRAME.as_ptr()) }
    }
}

/// The number of registered unwind functions that have not been called.
static PENDING_UNWINDS: AtomicUsize = AtomicUsize::new(0);

/// Returns whether bash may still call an unwind function of this library. It may do so long after
/// a jump for which it did not call all of them.
pub fn has_pending_unwinds() -> bool {
    PENDING_UNWINDS.load(Ordering::Relaxed) > 0
}

/// The tag of our frames among bash's unwind-protects.
const FRAME: &CStr = c"flock_builtin";
