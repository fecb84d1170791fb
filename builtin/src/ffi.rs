//! bash, as its loadable builtins see it: the structures they share, and those of its functions that are called here.
//!
//! The structures have been the same from 4.2 to 5.3 (`builtins.h`, `command.h` of bash). The functions are looked up in
//! the running bash when the builtin is loaded; a bash that lacks one of them does not get the builtin.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_int, c_void};
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use fdlock::sys::signal::Disposition;

/// `WORD_DESC`
#[repr(C)]
pub struct WordDesc {
    word: *mut c_char,
    flags: c_int,
}

/// `WORD_LIST`
#[repr(C)]
pub struct WordList {
    next: *mut WordList,
    word: *mut WordDesc,
}

/// `SHELL_VAR`, into which nobody looks here.
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

/// `BUILTIN_ENABLED`
pub const ENABLED: c_int = 0x01;

/// What bash jumps with: why.
#[derive(Clone, Copy, Debug)]
pub struct Jump(c_int);

unsafe extern "C" {
    /// catch.c
    fn flock_catch(
        place: *mut c_void,
        function: extern "C" fn(*mut c_void) -> c_int,
        argument: *mut c_void,
        jump: *mut c_int,
    ) -> c_int;
}

/// `EX_DISKFALLBACK`, from 5.0 on: what a builtin returns that wants the program of its name to be run in its stead.
pub const FALL_BACK: c_int = 262;

/// `SUBSHELL_ASYNC`: in a child that runs in the background.
const BACKGROUND: c_int = 0x01;

/// `SUBSHELL_COMSUB`: in a child for a command or process substitution.
const SUBSTITUTION: c_int = 0x04;

/// `SUBSHELL_FORK`: in a child that was forked for one simple command.
const FORKED: c_int = 0x08;

/// `JM_PREFIX | JM_STOPPED | JM_FIRSTMATCH`: the last job that is stopped.
const STOPPED: c_int = 0x01 | 0x08 | 0x10;

macro_rules! bash {
    ($($name:ident: $kind:ty,)*) => {
        /// What is used of bash, by the names it has there.
        pub struct Bash { $($name: $kind,)* }

        impl Bash {
            fn look_up() -> Option<Self> {
                Some(Self { $($name: {
                    let name = concat!(stringify!($name), "\0");
                    // SAFETY: a string that ends in NUL.
                    let place = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr().cast()) };
                    if place.is_null() {
                        return None;
                    }
                    // SAFETY: bash's own thing of that name, of this type from 4.4 to 5.3; both are pointers.
                    unsafe { mem::transmute_copy::<*mut c_void, $kind>(&place) }
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
    find_user_command: unsafe extern "C" fn(*const c_char) -> *mut c_char,
    xmalloc: unsafe extern "C" fn(usize) -> *mut c_void,
    subshell_environment: Flag,
    variable_context: Flag,
    parse_and_execute_level: Flag,
    restricted: Flag,
    hashing_enabled: Flag,
    job_control: Flag,
    get_job_by_name: unsafe extern "C" fn(*const c_char, c_int) -> c_int,
    the_printed_command: Strings,
    the_printed_command_except_trap: Strings,
    dist_version: Strings,
}

// SAFETY: bash has one thread, and that is where all of this is used.
unsafe impl Send for Bash {}
// SAFETY: as above.
unsafe impl Sync for Bash {}

static BASH: OnceLock<Option<Bash>> = OnceLock::new();

/// The bash that has loaded us; `None` if it lacks something.
pub fn bash() -> Option<&'static Bash> {
    BASH.get_or_init(Bash::look_up).as_ref()
}

/// The value of one of bash's variables.
fn value(flag: Flag) -> c_int {
    // SAFETY: a variable of bash's, which is there as long as bash is. A signal's handler may write to it.
    unsafe { ptr::read_volatile(flag) }
}

/// What bash is doing.
impl Bash {
    /// Whether a signal has come that bash has not seen to yet. May be asked at any time.
    pub fn is_called(&self) -> bool {
        [
            self.terminating_signal,
            self.interrupt_state,
            self.trapped_signal_received,
        ]
        .into_iter()
        .any(|flag| value(flag) != 0)
    }

    /// Whether commands are jobs, which Ctrl-Z can stop and `fg` continue.
    pub fn has_job_control(&self) -> bool {
        value(self.job_control) != 0
    }

    /// Whether a job is stopped, by Ctrl-Z or otherwise.
    pub fn has_stopped_job(&self) -> bool {
        // SAFETY: a string, with which every job's command line begins, and flags.
        self.has_job_control() && unsafe { (self.get_job_by_name)(c"".as_ptr(), STOPPED) } >= 0
    }

    /// Whether it remembers [where programs are](Self::remember).
    pub fn has_memory(&self) -> bool {
        value(self.hashing_enabled) != 0
    }

    /// Whether it understands [`FALL_BACK`].
    pub fn can_fall_back(&self) -> bool {
        // SAFETY: a constant of bash's, a string such as 5.2.
        let version = unsafe { CStr::from_ptr(*self.dist_version) };
        !version.to_bytes().starts_with(b"4.")
    }

    /// Whether it is a restricted shell.
    pub fn is_restricted(&self) -> bool {
        value(self.restricted) != 0
    }

    /// Whether this process was forked for a simple command, which may be this one or one that this one is part of.
    pub fn is_forked_for_command(&self) -> bool {
        value(self.subshell_environment) & FORKED != 0
    }

    /// Whether a signal is to be ignored because the shell was started so, or by `trap ''`.
    pub fn wanted(&self, signal: c_int) -> Disposition {
        // SAFETY: both take the number of a signal.
        let is_ignored = unsafe {
            (self.signal_is_hard_ignored)(signal) != 0 || (self.signal_is_ignored)(signal) != 0
        };
        if is_ignored {
            Disposition::Ignore
        } else {
            Disposition::Default
        }
    }

    /// Whether this process was forked for a substitution.
    pub fn is_in_substitution(&self) -> bool {
        value(self.subshell_environment) & SUBSTITUTION != 0
    }

    /// Whether this process runs in the background.
    pub fn is_in_background(&self) -> bool {
        value(self.subshell_environment) & BACKGROUND != 0
    }

    /// How deep in functions, and in `eval`, sourced files, traps and the like.
    pub fn depth(&self) -> (c_int, c_int) {
        (
            value(self.variable_context),
            value(self.parse_and_execute_level),
        )
    }

    /// The command that is being executed, redirections included, as the user wrote it; `None` in a trap, where bash
    /// keeps the one before.
    pub fn command_text(&self) -> Option<&CStr> {
        if value(self.running_trap) != 0 {
            return None;
        }
        // SAFETY: a variable of bash's.
        let text = unsafe { *self.the_printed_command_except_trap };
        // SAFETY: null or a string, which bash replaces with the next command only.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
    }

    /// The command that was written out last. Where bash has just forked, it is what it has forked for, unless that is a
    /// simple command.
    pub fn last_written(&self) -> &[u8] {
        // SAFETY: a variable of bash's: null or a string.
        let text = unsafe { *self.the_printed_command };
        if text.is_null() {
            return &[];
        }
        // SAFETY: as above; the caller copies what it wants to keep.
        unsafe { CStr::from_ptr(text) }.to_bytes()
    }

    /// Whether there is a shell function of this name.
    pub fn has_function(&self, name: &CStr) -> bool {
        // SAFETY: a string.
        unsafe { !(self.find_function)(name.as_ptr()).is_null() }
    }
}

/// What bash does for us.
impl Bash {
    /// Lets it see to the signals that have come: it runs their traps, or ends. *May jump.*
    pub fn check_signals_and_traps(&self) {
        // SAFETY: any builtin may call it; the caller owns nothing (see the crate's page).
        unsafe { (self.check_signals_and_traps)() }
    }

    /// Calls a shell function; name first. *May jump.*
    ///
    /// # Errors
    ///
    /// The shell exits, or the command line is given up: what to go on [with](Self::jump).
    pub fn execute_function(&self, words: *mut WordList) -> Result<c_int, Jump> {
        extern "C" fn execute(words: *mut c_void) -> c_int {
            let words = words.cast();
            // SAFETY: words of bash's, and its function of the first one's name; below us are frames that own nothing.
            bash().map_or(0, |bash| unsafe {
                let function = (bash.find_function)(word(words).as_ptr());
                (bash.execute_shell_function)(function, words)
            })
        }
        let mut jump = 0;
        // SAFETY: bash's place to jump to, and what goes with the function.
        let status = unsafe { flock_catch(self.top_level, execute, words.cast(), &raw mut jump) };
        if jump == 0 {
            Ok(status)
        } else {
            Err(Jump(jump))
        }
    }

    /// Goes on with a jump that was caught. The caller owns nothing.
    pub fn jump(&self, Jump(value): Jump) -> ! {
        // SAFETY: where it would have gone if it had not been caught.
        unsafe { (self.jump_to_top_level)(value) }
    }

    /// Sees to it that something is undone at the next [`unwind`](Self::unwind), or when bash jumps before that.
    pub fn protect<T>(&self, undo: fn(T), what: T) {
        unsafe extern "C" fn run<T>(kept: *mut c_void) {
            PROTECTED.fetch_sub(1, Ordering::Relaxed);
            // SAFETY: bash hands back what it was given, once.
            let (undo, what) = *unsafe { Box::from_raw(kept.cast::<(fn(T), T)>()) };
            undo(what);
        }
        PROTECTED.fetch_add(1, Ordering::Relaxed);
        let kept = Box::into_raw(Box::new((undo, what)));
        // SAFETY: the tag is a string for ever; the function takes what goes with it. Neither jumps.
        unsafe {
            (self.begin_unwind_frame)(FRAME.as_ptr());
            (self.add_unwind_protect)(run::<T>, kept.cast());
        }
    }

    /// Undoes what was protected last.
    pub fn unwind(&self) {
        // SAFETY: the tag of a frame that has been params; those that were params within it are gone.
        unsafe { (self.run_unwind_frame)(FRAME.as_ptr()) }
    }

    /// Executes a program as the command that is being executed, in a child, with job control. bash waits for it, and
    /// takes its status, once the builtin has returned and its redirections are undone, as for any program. *May jump.*
    ///
    /// Not for a process that was forked for this command: there it would not wait.
    pub fn start(&self, program: &CStr, name: &CStr, list: *mut WordList) {
        let text = self.command_text().unwrap_or(name).to_bytes_with_nul();
        // SAFETY: xmalloc ends the shell rather than return null, and the copy, which bash keeps, is as long as said.
        // The child returns to nobody.
        unsafe {
            let copy = (self.xmalloc)(text.len()).cast::<c_char>();
            ptr::copy_nonoverlapping(text.as_ptr().cast(), copy, text.len());
            if (self.make_child)(copy, 0) == 0 {
                libc::_exit(self.become_program(program, name, list, || {}));
            }
        }
    }

    /// Executes a program in place of this process, with the signals that the shell was started with, but for what is done
    /// about them at the last moment. Returns, with a status, if that cannot be done, which bash has said then.
    pub fn become_program(
        &self,
        program: &CStr,
        name: &CStr,
        list: *mut WordList,
        before_program: fn(),
    ) -> c_int {
        let words = Words(list).map(|node| word(node).as_ptr());
        let words: Vec<_> = [name.as_ptr()]
            .into_iter()
            .chain(words)
            .chain([ptr::null()])
            .collect();
        // SAFETY: this is what bash does for programs; the words are strings, with a null at the end.
        unsafe {
            (self.reset_terminating_signals)();
            (self.restore_original_signals)();
            before_program();
            (self.maybe_make_export_env)();
            (self.put_command_name_into_env)(program.as_ptr());
            (self.shell_execve)(program.as_ptr(), words.as_ptr(), *self.export_env)
        }
    }

    /// The path of a program by `PATH`. It stays in memory.
    pub fn search_path(&self, name: &CStr) -> Option<&'static CStr> {
        // SAFETY: a string; null or a new string.
        unsafe {
            let found = (self.find_user_command)(name.as_ptr());
            (!found.is_null()).then(|| CStr::from_ptr(found))
        }
    }

    /// Tells bash where the program of a name is, as if it had been looked for in PATH.
    pub fn remember(&self, name: &CStr, program: &CStr) {
        // SAFETY: two strings, which are copied; not found by `.`; used once.
        unsafe { (self.phash_insert)(name.as_ptr(), program.as_ptr(), 0, 1) }
    }
}

/// How much is protected.
static PROTECTED: AtomicUsize = AtomicUsize::new(0);

/// Whether bash may still come back to us, to undo something. It may do so long after a jump that it did not undo
/// everything for.
pub fn is_awaited() -> bool {
    PROTECTED.load(Ordering::Relaxed) > 0
}

/// The tag of our frames among bash's unwind-protects.
const FRAME: &CStr = c"flock_builtin";

/// The words of a list of bash's, one node each. They are there until the builtin returns.
#[derive(Clone, Copy)]
pub struct Words(pub *mut WordList);

impl Iterator for Words {
    type Item = *mut WordList;

    fn next(&mut self) -> Option<Self::Item> {
        let node = self.0;
        if node.is_null() {
            return None;
        }
        // SAFETY: a node of bash's.
        self.0 = unsafe { (*node).next };
        Some(node)
    }
}

impl Words {
    /// Copies of all of them.
    pub fn copied(self) -> Vec<OsString> {
        self.map(|node| OsStr::from_bytes(word(node).to_bytes()).to_owned())
            .collect()
    }
}

/// The word of a node.
pub fn word<'a>(node: *mut WordList) -> &'a CStr {
    // SAFETY: a node of a list that bash made, each of which has a word, which is a string; it is there until the builtin
    // returns, and whoever asks does not outlive that.
    unsafe { CStr::from_ptr((*(*node).word).word) }
}

/// The path by which the library that this function is in was loaded.
pub fn library_of(function: extern "C" fn(*mut WordList) -> c_int) -> Option<&'static OsStr> {
    // SAFETY: all zeroes are null pointers.
    let mut info: libc::Dl_info = unsafe { mem::zeroed() };
    // SAFETY: any address, and a place for the answer.
    let found = unsafe { libc::dladdr(function as *const c_void, &raw mut info) } != 0;
    // SAFETY: a string of the dynamic loader's, which is there as long as the library is.
    (found && !info.dli_fname.is_null())
        .then(|| OsStr::from_bytes(unsafe { CStr::from_ptr(info.dli_fname) }.to_bytes()))
}

/// Keeps a library in memory for ever, though bash should close it.
pub fn pin(library: &OsStr) {
    if let Ok(path) = CString::new(library.as_bytes()) {
        let flags = libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
        // SAFETY: a string; the library is loaded already, so no code of it runs.
        unsafe { libc::dlopen(path.as_ptr(), flags) };
    }
}

/// Has a function called in every child that is forked from now on, at once. It must be async-signal-safe.
pub fn in_every_child(function: extern "C" fn()) {
    // SAFETY: the C library forgets the function when the library is closed. Without memory for it, it is not called.
    unsafe { libc::pthread_atfork(None, None, Some(function)) };
}

/// Has a function called when the shell ends by exit(3), or the library is closed.
pub fn at_exit(function: extern "C" fn()) {
    // SAFETY: the C library ties it to this library. Without memory for it, it is not called.
    unsafe { libc::atexit(function) };
}
