//! This library, as the dynamic loader and the C library see it.

use std::ffi::{CStr, CString, OsStr, c_void};
use std::mem;
use std::os::unix::ffi::OsStrExt;

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
