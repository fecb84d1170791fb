//! bash as loadable builtins see it: its structures, and those of its functions that are called
//! here.
//!
//! The structures are the same from 4.2 to 5.3 (`builtins.h`, `command.h` and `jobs.h` of bash). The
//! functions are looked up in the running bash when the builtin is loaded; loading fails if one is
//! missing.

#![allow(unsafe_code)]

mod jobs;
mod words;

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use fdlock::sys::signal::Disposition;

pub use jobs::Job;
use jobs::{BashJob, JobStats};
pub use words::{WordList, Words, word};

/// `SHELL_VAR`, which is opaque here.
enum ShellVar {}

/// `struct builtin`
#[repr(C)]
pub struct Builtin {
    pub name: *const c_char,
    pub function: extern "C" fn(*mut WordList) -> c_int,
    pub flags: c_int,
    pub long_doc: *const *const c_char,
    pub short_doc: *const c_char,
    pub handle: *mut c_char,
}

/// The flag of a builtin that is enabled.
pub const BUILTIN_ENABLED: c_int = 0x01;

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

/// Since 5.0: the status of a builtin that wants the program of its name to run instead.
pub const EX_DISKFALLBACK: c_int = 262;

/// Flags of `subshell_environment`: a child that runs in the background, one for a command or
/// process substitution, and one that was forked for one simple command.
const SUBSHELL_ASYNC: c_int = 0x01;
const SUBSHELL_COMSUB: c_int = 0x04;
const SUBSHELL_FORK: c_int = 0x08;

macro_rules! bash {
    ($($name:ident: $kind:ty,)*) => {
        /// bash's functions and variables, under the names that they have there.
        pub struct Bash { $($name: $kind,)* }

        impl Bash {
            fn look_up() -> Option<Self> {
                Some(Self { $($name: {
                    let name = concat!(stringify!($name), "\0");
                    // SAFETY: a string that ends in NUL.
                    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr().cast()) };
                    if address.is_null() {
                        return None;
                    }
                    // SAFETY: bash's symbol of that name has this type from 4.4 to 5.3; both types
                    // are pointers.
                    unsafe { mem::transmute_copy::<*mut c_void, $kind>(&address) }
                },)* })
            }
        }
    };
}

type Flag = *const c_int;
type Strings = *const *const c_char;

bash! {
    check_signals_and_traps: unsafe extern "C" fn(),
    terminating_signal: Flag,
    interrupt_state: Flag,
    trapped_signal_received: Flag,
    running_trap: Flag,
    signal_is_hard_ignored: unsafe extern "C" fn(c_int) -> c_int,
    signal_is_ignored: unsafe extern "C" fn(c_int) -> c_int,
    signal_is_trapped: unsafe extern "C" fn(c_int) -> c_int,
    queue_sigchld_trap: unsafe extern "C" fn(c_int),
    find_function: unsafe extern "C" fn(*const c_char) -> *mut ShellVar,
    execute_shell_function: unsafe extern "C" fn(*mut ShellVar, *mut WordList) -> c_int,
    top_level: *mut c_void,
    jump_to_top_level: unsafe extern "C" fn(c_int) -> !,
    begin_unwind_frame: unsafe extern "C" fn(*const c_char),
    add_unwind_protect: unsafe extern "C" fn(unsafe extern "C" fn(*mut c_void), *mut c_void),
    run_unwind_frame: unsafe extern "C" fn(*const c_char),
    make_child: unsafe extern "C" fn(*mut c_char, c_int) -> libc::pid_t,
    maybe_make_export_env: unsafe extern "C" fn(),
    put_command_name_into_env: unsafe extern "C" fn(*const c_char),
    export_env: *const Strings,
    reset_terminating_signals: unsafe extern "C" fn(),
    restore_original_signals: unsafe extern "C" fn(),
    shell_execve: unsafe extern "C" fn(*const c_char, Strings, Strings) -> c_int,
    phash_insert: unsafe extern "C" fn(*const c_char, *const c_char, c_int, c_int),
    get_string_value: unsafe extern "C" fn(*const c_char) -> *mut c_char,
    xmalloc: unsafe extern "C" fn(usize) -> *mut c_void,
    subshell_environment: Flag,
    variable_context: Flag,
    parse_and_execute_level: Flag,
    restricted: Flag,
    hashing_enabled: Flag,
    job_control: Flag,
    jobs: *const *const *const BashJob,
    js: *const JobStats,
    the_printed_command: Strings,
    the_printed_command_except_trap: Strings,
    dist_version: Strings,
}

// SAFETY: bash has one thread, and all of this is used by that thread only.
unsafe impl Send for Bash {}
// SAFETY: as above.
unsafe impl Sync for Bash {}

/// How many children had exited at the last call of [`Bash::disregard_children`].
static CHILDREN_REAPED: AtomicI32 = AtomicI32::new(0);

static BASH: OnceLock<Option<Bash>> = OnceLock::new();

/// Returns the bash that has loaded this library, or `None` if it lacks a symbol.
pub fn bash() -> Option<&'static Bash> {
    BASH.get_or_init(Bash::look_up).as_ref()
}

/// Returns the value of one of bash's variables.
fn value(flag: Flag) -> c_int {
    // SAFETY: a variable of bash, which exists as long as bash does. A signal handler may write it.
    unsafe { ptr::read_volatile(flag) }
}

/// The state of bash.
impl Bash {
    /// Returns whether a signal has arrived that bash has not handled yet. May be called at any
    /// time.
    pub fn signal_pending(&self) -> bool {
        value(self.terminating_signal) != 0
            || value(self.interrupt_state) != 0
            || value(self.trapped_signal_received) != 0
            || self.missed_children() > 0
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
    fn missed_children(&self) -> c_int {
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

/// Services of bash.
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
        let mut jump = 0;
        // SAFETY: the target of bash's jumps, and the argument that the function expects.
        let status = unsafe { flock_catch(self.top_level, execute, words.cast(), &raw mut jump) };
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

    /// Runs a program as the current command in a child, with job control. bash waits for it and
    /// returns its status, as for any program, once the builtin has returned and its redirections
    /// are undone. *May jump.*
    ///
    /// Must not be called in a process that was forked for this command: bash would not wait there.
    pub fn spawn_program(&self, program: &CStr, name: &CStr, list: *mut WordList) {
        let text = self.command_text().unwrap_or(name).to_bytes_with_nul();
        // SAFETY: xmalloc exits rather than return null, and the copy, which bash keeps, has this
        // length. The child does not return.
        unsafe {
            let copy = (self.xmalloc)(text.len()).cast::<c_char>();
            ptr::copy_nonoverlapping(text.as_ptr().cast(), copy, text.len());
            if (self.make_child)(copy, 0) == 0 {
                libc::_exit(self.exec_program(program, name, list, || {}));
            }
        }
    }

    /// Executes a program in place of this process, with the signal dispositions that the shell was
    /// started with, except for the changes that `before_exec` makes at the last moment. Returns a
    /// status if this fails; bash has printed the error.
    pub fn exec_program(
        &self,
        program: &CStr,
        name: &CStr,
        list: *mut WordList,
        before_exec: fn(),
    ) -> c_int {
        let words = Words(list).map(|node| word(node).as_ptr());
        let mut argv = vec![name.as_ptr()];
        argv.extend(words.chain([ptr::null()]));
        // SAFETY: bash does the same for programs; the elements are strings, followed by a null.
        unsafe {
            (self.reset_terminating_signals)();
            (self.restore_original_signals)();
            before_exec();
            (self.maybe_make_export_env)();
            (self.put_command_name_into_env)(program.as_ptr());
            (self.shell_execve)(program.as_ptr(), argv.as_ptr(), *self.export_env)
        }
    }

    /// Returns the value of `PATH`, which is valid until bash changes it.
    pub fn path(&self) -> Option<&[u8]> {
        // SAFETY: a string; returns null or the string of the variable.
        unsafe {
            let value = (self.get_string_value)(c"PATH".as_ptr());
            (!value.is_null()).then(|| CStr::from_ptr(value).to_bytes())
        }
    }

    /// Enters the path of a program in bash's hash table, as if it had been found in `PATH`.
    pub fn add_to_hash_table(&self, name: &CStr, program: &CStr) {
        // SAFETY: two strings, which are copied; not found through `.`; used once.
        unsafe { (self.phash_insert)(name.as_ptr(), program.as_ptr(), 0, 1) }
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

/// Returns the path from which this library was loaded.
pub fn library_path() -> Option<&'static OsStr> {
    let address = library_path as fn() -> _ as *const c_void;
    // SAFETY: all zeroes are null pointers.
    let mut info: libc::Dl_info = unsafe { mem::zeroed() };
    // SAFETY: an address, and memory for the result.
    let is_found = unsafe { libc::dladdr(address, &raw mut info) } != 0;
    // SAFETY: a string of the dynamic loader, which exists as long as the library is loaded.
    (is_found && !info.dli_fname.is_null())
        .then(|| OsStr::from_bytes(unsafe { CStr::from_ptr(info.dli_fname) }.to_bytes()))
}

/// Keeps this library in memory forever, even if bash closes it.
pub fn pin_library() {
    let path = library_path().and_then(|path| CString::new(path.as_bytes()).ok());
    if let Some(path) = path {
        let flags = libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
        // SAFETY: a string; the library is already loaded, so none of its code runs.
        unsafe { libc::dlopen(path.as_ptr(), flags) };
    }
}

/// Registers a function that is called in every child just after the fork. It must be
/// async-signal-safe.
pub fn after_fork_in_child(function: extern "C" fn()) {
    // SAFETY: the C library forgets the function when the library is closed. If memory is
    // exhausted, the function is not called.
    unsafe { libc::pthread_atfork(None, None, Some(function)) };
}

/// Registers a function that is called when the shell exits by exit(3) or the library is closed.
pub fn at_exit(function: extern "C" fn()) {
    // SAFETY: the C library ties it to this library. If memory is exhausted, the function is not
    // called.
    unsafe { libc::atexit(function) };
}
