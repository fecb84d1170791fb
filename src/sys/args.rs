//! The arguments of a C `main`.

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

static ARGV: AtomicPtr<*const c_char> = AtomicPtr::new(ptr::null_mut());
static ARGC: AtomicUsize = AtomicUsize::new(0);
/// The size of the arguments, once they have been overwritten.
static ROOM: AtomicUsize = AtomicUsize::new(0);

/// Copies the argument vector of a C `main`, name first, byte for byte.
///
/// `std::env::args` is empty under a C `main` with musl: there, only the standard library's own
/// start-up code fills it.
///
/// # Safety
///
/// `argv` must point to `argc` pointers to NUL-terminated strings, as the C standard (5.1.2.2.1)
/// guarantees for `main`.
pub unsafe fn from_main(argc: c_int, argv: *const *const c_char) -> Vec<OsString> {
    let count = usize::try_from(argc).unwrap_or(0);
    ARGV.store(argv.cast_mut(), Ordering::Relaxed);
    ARGC.store(count, Ordering::Relaxed);
    (0..count)
        .map(|index| {
            // SAFETY: `index` is below `argc`, and the caller guarantees that many strings.
            let arg = unsafe { CStr::from_ptr(*argv.add(index)) };
            OsStr::from_bytes(arg.to_bytes()).to_owned()
        })
        .collect()
}

/// Overwrites the arguments of `main` with a name, as far as there is room. This is where ps(1) and
/// pkill(1) `-f` read the command line. [`from_main`] has copied the arguments.
///
/// Does nothing in a process with another `main`.
pub fn overwrite(name: &str) {
    let argv = ARGV.load(Ordering::Relaxed);
    let count = ARGC.swap(0, Ordering::Relaxed);
    // SAFETY: the caller of `from_main` guaranteed that many strings; nothing has changed them
    // since.
    let arg = |index| unsafe { CStr::from_ptr(*argv.add(index)) };
    let end = |arg: &CStr| arg.as_ptr().addr() + arg.count_bytes() + 1;
    // The kernel places the arguments next to each other. If a debugger has moved some, none is
    // changed.
    let is_contiguous =
        || (1..count).all(|index| arg(index).as_ptr().addr() == end(arg(index - 1)));
    if count > 0 && is_contiguous() {
        let room = end(arg(count - 1)) - arg(0).as_ptr().addr();
        ROOM.store(room, Ordering::Relaxed);
    }
    // A process that was forked by one with a name of its own gets another one.
    let room = ROOM.load(Ordering::Relaxed);
    if room == 0 {
        return;
    }
    let length = name.len().min(room - 1);
    // SAFETY: that many bytes are there, `main` may modify them (C standard, 5.1.2.2.1), and
    // nothing refers to them.
    unsafe {
        let first = (*argv).cast_mut().cast::<u8>();
        ptr::write_bytes(first, 0, room);
        ptr::copy_nonoverlapping(name.as_ptr(), first, length);
    }
}

/// Defines the C `main` of a program, which passes the arguments to a
/// [`Program`](crate::program::Program).
///
/// The crate needs `#![no_main]`. The standard library's start-up code would open a closed
/// descriptor 0, 1 or 2 on `/dev/null`, so that `flock 0 <&-` would succeed, and it would ignore
/// `SIGPIPE`, which the command would inherit.
#[macro_export]
macro_rules! c_main {
    ($program:expr) => {
        #[unsafe(no_mangle)]
        extern "C" fn main(
            argc: ::std::ffi::c_int,
            argv: *const *const ::std::ffi::c_char,
        ) -> ::std::ffi::c_int {
            // SAFETY: the C library calls `main` with its argument vector.
            let args = unsafe { $crate::sys::args::from_main(argc, argv) };
            $program.main(args).into()
        }
    };
}
