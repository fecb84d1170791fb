//! Error numbers as people know them.

use std::ffi::CStr;
use std::io;

/// The system's text for an error number, without the number behind it: `Bad file descriptor`.
///
/// Where musl words an error otherwise than glibc, glibc's words are used: scripts and people grep for those, and the
/// same program must not change its messages with the C library that it was linked to.
///
/// # References
///
/// strerror(3).
pub fn text(error: &io::Error) -> String {
    let Some(number) = error.raw_os_error() else {
        return error.to_string();
    };
    if let Some((_, words)) = GLIBC_WORDS.iter().find(|(known, _)| *known == number) {
        return (*words).to_owned();
    }
    let mut buffer = [0; 128];
    // SAFETY: the buffer is as long as said. Both libraries end the text with NUL, cut if need be.
    let done = unsafe { libc::strerror_r(number, buffer.as_mut_ptr(), buffer.len()) };
    if done != 0 {
        return format!("Unknown error {number}");
    }
    // SAFETY: strerror_r(3) succeeded, so the buffer holds a string that ends in NUL.
    unsafe { CStr::from_ptr(buffer.as_ptr()) }
        .to_string_lossy()
        .into_owned()
}

/// The errors that a locking tool can meet and that musl words in its own way.
const GLIBC_WORDS: &[(i32, &str)] = &[
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
    fn the_text_has_no_number_behind_it() {
        assert_eq!(
            text(&io::Error::from_raw_os_error(libc::EBADF)),
            "Bad file descriptor"
        );
        assert_eq!(
            text(&io::Error::from_raw_os_error(libc::EMFILE)),
            "Too many open files"
        );
    }
}
