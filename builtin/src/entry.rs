//! The functions that bash calls: to load the builtin, to run it, and to unload it.

#![allow(unsafe_code)]

use std::ffi::{CString, OsStr, c_char, c_int};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use fdlock::exit;
use fdlock::flock::args;
use fdlock::lock::InterruptCheck;
use fdlock::report::Report;

use crate::call;
use crate::external::{self, NAME, Plan};
use crate::ffi::{self, BUILTIN_ENABLED, Bash, Builtin, EX_DISKFALLBACK, WordList};
use crate::fork;
use crate::function::GuardedCall;
use crate::next::{Next, Progress};

/// How many times in a row bash may leave a pending signal unhandled before signals no longer
/// interrupt the wait. bash does not handle some signals that arrive while their own trap runs.
const MAX_UNHANDLED: u32 = 16;

/// bash's description of the builtin, to which bash writes. `flock_builtin_load` fills in the text
/// of `help flock`.
#[unsafe(no_mangle)]
static mut flock_struct: Builtin = Builtin {
    name: NAME.as_ptr(),
    function: flock_builtin,
    flags: BUILTIN_ENABLED,
    long_doc: ptr::null(),
    short_doc: c"flock [OPTION]... NUMBER | FILE COMMAND [ARGUMENT]...".as_ptr(),
    handle: ptr::null_mut(),
};

/// Whether the fork and exit handlers are registered with the C library.
static IS_REGISTERED: AtomicBool = AtomicBool::new(false);

/// Runs `flock` with the words after its name, and returns the exit status.
///
/// This frame owns nothing, so that bash may jump across it.
extern "C" fn flock_builtin(list: *mut WordList) -> c_int {
    let Some(bash) = ffi::bash() else {
        return exit::SOFTWARE.into();
    };
    bash.disregard_children();
    let mut progress = Progress::default();
    let mut unhandled = 0;
    loop {
        let check: InterruptCheck = if unhandled < MAX_UNHANDLED {
            signal_pending
        } else {
            || false
        };
        let next = catch_panic(Next::Return(exit::SOFTWARE), || {
            call::attempt(bash, list, &mut progress, check)
        });
        match next {
            Next::Return(status) => return status.into(),
            Next::HandleSignals => {
                // There is nothing to undo, but a pending unwind keeps the library in memory if a
                // trap unloads it: bash will return to this code.
                bash.push_unwind(|()| {}, ());
                match progress.remote {
                    None => bash.check_signals_and_traps(),
                    Some((call, _)) => {
                        // An EXIT trap may want the lock that this call waits for.
                        if let Err(jump) = bash.catch_signals_and_traps() {
                            call.finish();
                            bash.resume_jump(jump);
                        }
                    }
                }
                bash.run_unwind();
                let is_unhandled = bash.signal_pending();
                unhandled = if is_unhandled { unhandled + 1 } else { 0 };
            }
            Next::CallFunction(words, call) => {
                return match bash.execute_function(words) {
                    Ok(status) => {
                        let failure = call.finish();
                        bash.run_unwind();
                        failure.map_or(status, c_int::from)
                    }
                    Err(jump) => {
                        // bash does not run all unwind-protects when it exits, and hardly any when
                        // functions nest too deep. But an EXIT trap may want the lock, and a shell
                        // that continues must not keep it.
                        call.finish();
                        bash.resume_jump(jump)
                    }
                };
            }
            Next::RunExternal => {
                return match catch_panic(Plan::NotFound, || external::plan(bash)) {
                    Plan::DiskFallback => EX_DISKFALLBACK,
                    Plan::NotFound => external::COMMAND_NOT_FOUND.into(),
                    Plan::Spawn(program) => {
                        bash.spawn_program(program, NAME, list);
                        exit::SUCCESS.into()
                    }
                    Plan::Exec(program) => {
                        bash.exec_program(program, NAME, list, restore_interrupts)
                    }
                };
            }
        }
    }
}

fn signal_pending() -> bool {
    ffi::bash().is_some_and(Bash::signal_pending)
}

fn restore_interrupts() {
    if let Some(bash) = ffi::bash() {
        fork::restore_interrupts(bash);
    }
}

/// Calls a function. If it panics, the hook prints a message, and the default is returned: the
/// shell survives.
fn catch_panic<T>(default: T, f: impl FnOnce() -> T) -> T {
    panic::catch_unwind(AssertUnwindSafe(f)).unwrap_or(default)
}

/// Prints one line about a panic.
fn report_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("no message").replace('\n', " ");
    let location = panic.location().map_or_else(String::new, |location| {
        format!(" ({}:{})", location.file(), location.line())
    });
    Report::new(OsStr::new("flock")).error(format!("internal error: {text}{location}"));
}

/// Called when the builtin is loaded. Returns 0 if it does not work in this bash.
#[unsafe(no_mangle)]
extern "C" fn flock_builtin_load(_name: *const c_char) -> c_int {
    let load = || {
        // The standard library's hook looks up symbols, which takes 35 MB with RUST_BACKTRACE=1.
        panic::set_hook(Box::new(report_panic));
        if ffi::bash().is_none() {
            let _ = panic::take_hook();
            return 0;
        }
        // The builtin can be loaded again before it is unloaded.
        if !IS_REGISTERED.swap(true, Ordering::Relaxed) {
            ffi::after_fork_in_child(fork::record_fork);
            ffi::at_exit(GuardedCall::finish_all);
        }
        external::locate_installed_program();
        free_help();
        let mut lines: Vec<_> = args::SPEC
            .help
            .lines()
            .filter_map(|line| CString::new(line).ok())
            .map(|line| line.into_raw().cast_const())
            .collect();
        lines.push(ptr::null());
        // SAFETY: bash has one thread, and reads this only after we have returned.
        unsafe { flock_struct.long_doc = Box::leak(lines.into_boxed_slice()).as_ptr() };
        1
    };
    catch_panic(0, load)
}

/// Called when the builtin is unloaded, before its code is unmapped.
#[unsafe(no_mangle)]
extern "C" fn flock_builtin_unload(_name: *const c_char) {
    catch_panic((), || {
        if ffi::has_pending_unwinds() {
            // `enable -d flock` in a function that `flock f function` runs: bash will return here.
            ffi::pin_library();
            return;
        }
        let _ = panic::take_hook();
        free_help();
    });
}

/// Frees the lines that `flock_builtin_load` has allocated.
fn free_help() {
    // SAFETY: bash has one thread, and no longer uses the lines.
    unsafe {
        let lines = flock_struct.long_doc;
        flock_struct.long_doc = ptr::null();
        if !lines.is_null() {
            let count = (0..).take_while(|i| !(*lines.add(*i)).is_null()).count();
            for i in 0..count {
                drop(CString::from_raw((*lines.add(i)).cast_mut()));
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
    use std::io::{Read, Seek};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_panic_prints_one_line_and_returns_the_default() {
        let mut file = tempfile::tempfile().expect("a temporary file");
        let stderr = std::io::stderr().as_fd().try_clone_to_owned();
        let stderr = stderr.expect("an open descriptor");
        panic::set_hook(Box::new(report_panic));
        rustix::stdio::dup2_stderr(&file).expect("descriptor 2");
        let status = catch_panic(exit::SOFTWARE, || panic!("two\nlines"));
        rustix::stdio::dup2_stderr(&stderr).expect("descriptor 2");
        let _ = panic::take_hook();

        assert_eq!(status, 70);
        let mut output = String::new();
        file.rewind().expect("a file");
        file.read_to_string(&mut output).expect("text");
        assert!(
            output.starts_with("flock: internal error: two lines (builtin/src/entry.rs:"),
            "{output}"
        );
        assert_eq!(output.matches('\n').count(), 1, "{output}");
    }
}
