//! The words that a C `main` is handed.

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// The vector that `main` was handed, and how many words are in it.
static VECTOR: AtomicPtr<*const c_char> = AtomicPtr::new(ptr::null_mut());
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// The argument vector of a C `main`, name first, byte for byte.
///
/// `std::env::args` is empty under a C `main` with musl: there the standard library fills it in its own start-up only.
///
/// # Safety
///
/// `argv` must point to `argc` pointers to strings that end in NUL, as the C standard (5.1.2.2.1) promises `main`.
pub unsafe fn from_main(argc: c_int, argv: *const *const c_char) -> Vec<OsString> {
    let count = usize::try_from(argc).unwrap_or(0);
    VECTOR.store(argv.cast_mut(), Ordering::Relaxed);
    COUNT.store(count, Ordering::Relaxed);
    (0..count)
        .map(|index| {
            // SAFETY: `index` is below `argc`, and the caller promises that many strings.
            let word = unsafe { CStr::from_ptr(*argv.add(index)) };
            OsStr::from_bytes(word.to_bytes()).to_owned()
        })
        .collect()
}

/// Writes a name over the words that `main` was handed, as far as there is room: ps(1) and pkill(1) `-f` read them there.
/// [`from_main`] has copied them. Does nothing in a process with another `main`, or when it was done before.
pub fn overwrite(name: &str) {
    let vector = VECTOR.load(Ordering::Relaxed);
    let count = COUNT.swap(0, Ordering::Relaxed);
    // SAFETY: `from_main` was promised that many strings, and nobody has changed them since.
    let word = |index| unsafe { CStr::from_ptr(*vector.add(index)) };
    let end = |word: &CStr| word.as_ptr().addr() + word.count_bytes() + 1;
    // The kernel puts them one behind the other; what a debugger has moved elsewhere is left alone.
    if count == 0 || (1..count).any(|index| word(index).as_ptr().addr() != end(word(index - 1))) {
        return;
    }
    let first = word(0).as_ptr().cast_mut().cast::<u8>();
    let room = end(word(count - 1)) - first.addr();
    let length = name.len().min(room - 1);
    // SAFETY: that many bytes are there, this process's own to change (C standard, 5.1.2.2.1), and nothing refers to them.
    unsafe {
        ptr::write_bytes(first, 0, room);
        ptr::copy_nonoverlapping(name.as_ptr(), first, length);
    }
}

/// The entry point of a program, which the C library calls: hands the words to the [`Program`](crate::program::Program).
///
/// A C `main` of its own, in a crate with `#![no_main]`: the standard library's start-up opens a closed 0, 1 or 2 on
/// `/dev/null`, so that `flock 0 <&-` would succeed, and ignores `SIGPIPE`, which the command would inherit.
#[macro_export]
macro_rules! c_main {
    ($program:expr) => {
        #[unsafe(no_mangle)]
        extern "C" fn main(
            argc: ::std::ffi::c_int,
            argv: *const *const ::std::ffi::c_char,
        ) -> ::std::ffi::c_int {
            // SAFETY: the C library calls `main` with its argument vector.
            let words = unsafe { $crate::sys::args::from_main(argc, argv) };
            $program.main(words).into()
        }
    };
}
