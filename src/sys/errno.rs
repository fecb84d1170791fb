//! Texts of system errors.

use std::ffi::CStr;
use std::io;

use rustix::io::Errno;

/// Returns the text of an error without the number that [`io::Error`] appends: `Bad file
/// descriptor`.
///
/// Where the texts of musl and glibc differ, glibc's is used: scripts and people grep for it, and
/// the messages must not depend on the C library that the program is linked to.
///
/// # References
///
/// strerror(3).
pub fn text(error: &io::Error) -> String {
    let Some(number) = error.raw_os_error() else {
        return error.to_string();
    };
    if let Some((_, text)) = GLIBC_TEXTS.iter().find(|(known, _)| *known == number) {
        return (*text).to_owned();
    }
    let mut buffer = [0; 128];
    // SAFETY: the length is that of the buffer. Both libraries terminate the text, truncated if
    // necessary.
    let result = unsafe { libc::strerror_r(number, buffer.as_mut_ptr(), buffer.len()) };
    if result != 0 {
        return format!("Unknown error {number}");
    }
    // SAFETY: strerror_r(3) succeeded, so the buffer holds a NUL-terminated string.
    unsafe { CStr::from_ptr(buffer.as_ptr()) }
        .to_string_lossy()
        .into_owned()
}

/// Returns whether an error means that descriptors or memory are exhausted.
pub fn is_exhaustion(errno: Errno) -> bool {
    matches!(errno, Errno::NOMEM | Errno::MFILE | Errno::NFILE)
}

/// The errors that a lock tool can encounter and whose text is different in musl.
const GLIBC_TEXTS: &[(i32, &str)] = &[
    (libc::EIO, "Input/output error"),
    (libc::ECHILD, "No child processes"),
    (libc::ENOMEM, "Cannot allocate memory"),
    (libc::EBUSY, "Device or resource busy"),
    (libc::EMFILE, "Too many open files"),
    (libc::EDEADLK, "Resource deadlock avoided"),
    (libc::ENAMETOOLONG, "File name too long"),
    (libc::ELOOP, "Too many levels of symbolic links"),
    (libc::EOVERFLOW, "Value too large for defined data type"),
    (libc::ELIBBAD, "Accessing a corrupted shared library"),
    (libc::EOPNOTSUPP, "Operation not supported"),
    (libc::ENOTCONN, "Transport endpoint is not connected"),
    (libc::ETIMEDOUT, "Connection timed out"),
    (libc::EUCLEAN, "Structure needs cleaning"),
    (libc::EDQUOT, "Disk quota exceeded"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_contains_no_error_number() {
        let text = |errno| text(&io::Error::from_raw_os_error(errno));
        assert_eq!(text(libc::EBADF), "Bad file descriptor");
        assert_eq!(text(libc::EMFILE), "Too many open files");
    }
}
