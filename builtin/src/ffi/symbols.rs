//! The functions and variables of bash, and where they are.

use std::ffi::{c_char, c_int, c_void};
use std::mem;
use std::ptr;
use std::sync::OnceLock;

use super::jobs::{BashJob, JobStats};
use super::words::{WordDesc, WordList};

/// `SHELL_VAR`, which is opaque here.
pub(super) enum ShellVar {}

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

/// Since 5.0: the status of a builtin that wants the program of its name to run instead.
pub const EX_DISKFALLBACK: c_int = 262;

macro_rules! bash {
    ($($name:ident: $kind:ty,)*) => {
        /// bash's functions and variables, under the names that they have there.
        pub struct Bash { $(pub(super) $name: $kind,)* }

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
    assign_in_env: unsafe extern "C" fn(*mut WordDesc, c_int) -> c_int,
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

static BASH: OnceLock<Option<Bash>> = OnceLock::new();

/// Returns the bash that has loaded this library, or `None` if it lacks a symbol.
pub fn bash() -> Option<&'static Bash> {
    BASH.get_or_init(Bash::look_up).as_ref()
}

/// Returns the value of one of bash's variables.
pub(super) fn value(flag: Flag) -> c_int {
    // SAFETY: a variable of bash, which exists as long as bash does. A signal handler may write it.
    unsafe { ptr::read_volatile(flag) }
}
