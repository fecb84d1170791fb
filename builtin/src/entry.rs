//! What bash calls: to load the builtin, to run it, to unload it.

#![allow(unsafe_code)]

use std::ffi::{CString, OsStr, c_char, c_int};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use fdlock::exit;
use fdlock::flock::args;
use fdlock::report::Report;

use crate::call::{self, Progress, Step};
use crate::external::{self, NAME, Plan};
use crate::ffi::{self, Bash, Builtin, ENABLED, WordList};
use crate::fork;
use crate::function::Errand;

/// How often in a row bash may leave a signal alone that we have told it of. It does so with some that come while their
/// own trap runs.
const DECLINED: u32 = 16;

/// What bash knows of the builtin; it writes to it. `flock_builtin_load` fills in what `help flock` shows.
#[unsafe(no_mangle)]
static mut flock_struct: Builtin = Builtin {
    name: NAME.as_ptr(),
    function: flock_builtin,
    flags: ENABLED,
    long_doc: ptr::null(),
    short_doc: c"flock [OPTION]... NUMBER | FILE COMMAND [ARGUMENT]...".as_ptr(),
    handle: ptr::null_mut(),
};

/// Whether the C library knows what is to be called in children and at the end.
static IS_REGISTERED: AtomicBool = AtomicBool::new(false);

/// `flock`, with the words after the name; returns its status.
///
/// It owns nothing, so that bash may jump away from it.
pub extern "C" fn flock_builtin(list: *mut WordList) -> c_int {
    let Some(bash) = ffi::bash() else {
        return exit::SOFTWARE.into();
    };
    let mut progress = Progress::default();
    let mut declined = 0;
    loop {
        let called = if declined < DECLINED {
            is_called
        } else {
            never
        };
        let step = guarded(Step::Over(exit::SOFTWARE), || {
            call::attempt(bash, list, &mut progress, called)
        });
        match step {
            Step::Over(status) => return status.into(),
            Step::Signal => {
                // Nothing to undo, but somebody to come back to, should a trap unload us.
                bash.protect(|()| {}, ());
                bash.check_signals_and_traps();
                bash.unwind();
                declined = if bash.is_called() { declined + 1 } else { 0 };
            }
            Step::Function(words, errand) => {
                return match bash.execute_function(words) {
                    Ok(status) => {
                        bash.unwind();
                        status
                    }
                    Err(jump) => {
                        // bash does not undo everything when it exits, and next to nothing when a function nests too
                        // deep. But an EXIT trap may want the lock, and a shell that goes on must not keep it.
                        errand.end();
                        bash.jump(jump)
                    }
                };
            }
            Step::Elsewhere => {
                return match guarded(Plan::FallBack, || external::plan(bash)) {
                    Plan::FallBack => ffi::FALL_BACK,
                    Plan::Start(program) => {
                        bash.start(program, NAME, list);
                        exit::SUCCESS.into()
                    }
                    Plan::Become(program) => {
                        bash.become_program(program, NAME, list, restore_interrupts)
                    }
                };
            }
        }
    }
}

fn is_called() -> bool {
    ffi::bash().is_some_and(Bash::is_called)
}

fn restore_interrupts() {
    if let Some(bash) = ffi::bash() {
        fork::restore_interrupts(bash);
    }
}

fn never() -> bool {
    false
}

/// A defect of ours is a line and a status; the shell lives.
fn guarded<T>(defect: T, deed: impl FnOnce() -> T) -> T {
    panic::catch_unwind(AssertUnwindSafe(deed)).unwrap_or(defect)
}

/// One line about a panic.
fn tell_of_defect(defect: &PanicHookInfo<'_>) {
    let payload = defect.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let what = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let what = what.unwrap_or("no message").replace('\n', " ");
    let place = match defect.location() {
        Some(place) => format!(" ({}:{})", place.file(), place.line()),
        None => String::new(),
    };
    Report::new(OsStr::new("flock")).error(format!("internal error: {what}{place}"));
}

/// InterruptCheck when the builtin is loaded; 0 says that it cannot be.
#[unsafe(no_mangle)]
pub extern "C" fn flock_builtin_load(_name: *const c_char) -> c_int {
    let load = || {
        // The standard library's own hook looks for symbols, which takes 35 MB with RUST_BACKTRACE=1.
        panic::set_hook(Box::new(tell_of_defect));
        if ffi::bash().is_none() {
            let _ = panic::take_hook();
            return 0;
        }
        // It may be loaded again before it is unloaded.
        if !IS_REGISTERED.swap(true, Ordering::Relaxed) {
            ffi::in_every_child(fork::in_child);
            ffi::at_exit(Errand::end_all);
        }
        free_help();
        let mut lines: Vec<_> = args::SPEC
            .help
            .lines()
            .filter_map(|line| CString::new(line).ok())
            .map(|line| line.into_raw().cast_const())
            .collect();
        lines.push(ptr::null());
        // SAFETY: bash has one thread, and looks at it when we have returned.
        unsafe { flock_struct.long_doc = Box::leak(lines.into_boxed_slice()).as_ptr() };
        1
    };
    guarded(0, load)
}

/// InterruptCheck when the builtin is unloaded, before its code goes.
#[unsafe(no_mangle)]
pub extern "C" fn flock_builtin_unload(_name: *const c_char) {
    guarded((), || {
        if ffi::is_awaited() {
            // `enable -d flock` in a function under `flock f function`: bash will return to us.
            if let Some(library) = external::library() {
                ffi::pin(library);
            }
            return;
        }
        let _ = panic::take_hook();
        free_help();
    });
}

/// Frees the lines that `flock_builtin_load` has made.
fn free_help() {
    // SAFETY: bash has one thread, and has done with them.
    unsafe {
        let lines = flock_struct.long_doc;
        flock_struct.long_doc = ptr::null();
        if !lines.is_null() {
            let count = (0..).take_while(|at| !(*lines.add(*at)).is_null()).count();
            for at in 0..count {
                drop(CString::from_raw((*lines.add(at)).cast_mut()));
            }
            drop(Box::from_raw(ptr::slice_from_raw_parts_mut(
                lines.cast_mut(),
                count + 1,
            )));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_panic_is_one_line_and_the_status_of_a_defect() {
        let mut file = tempfile::tempfile().expect("a scratch file");
        let terminal = File::from(
            std::io::stderr()
                .as_fd()
                .try_clone_to_owned()
                .expect("open"),
        );
        panic::set_hook(Box::new(tell_of_defect));
        rustix::stdio::dup2_stderr(&file).expect("descriptor 2");
        let ended = guarded(exit::SOFTWARE, || panic!("two\nlines"));
        rustix::stdio::dup2_stderr(&terminal).expect("descriptor 2");
        let _ = panic::take_hook();

        assert_eq!(ended, 70);
        let mut told = String::new();
        file.rewind().expect("a file");
        file.read_to_string(&mut told).expect("text");
        assert!(
            told.starts_with("flock: internal error: two lines (builtin/src/entry.rs:"),
            "{told}"
        );
        assert_eq!(told.matches('\n').count(), 1, "{told}");
    }
}
