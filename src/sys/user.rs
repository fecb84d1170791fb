//! User names.

use std::ffi::{CStr, OsStr, OsString};
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::ptr;

/// The limit for the strings of an entry; longer entries are treated as missing.
const MAX_ENTRY_SIZE: usize = 1 << 20;

/// Returns the name of a user, or `None` if there is no such user.
///
/// # References
///
/// getpwuid_r(3).
pub fn name_of(uid: u32) -> Option<OsString> {
    let mut buffer = vec![0; 1024];
    loop {
        // SAFETY: all zeroes is a valid `passwd`: null pointers and numbers.
        let mut entry: libc::passwd = unsafe { mem::zeroed() };
        let mut found = ptr::null_mut();
        // SAFETY: room for the entry, for its strings, with the length of that room, and for a
        // pointer.
        let error = unsafe {
            libc::getpwuid_r(
                uid,
                &raw mut entry,
                buffer.as_mut_ptr(),
                buffer.len(),
                &raw mut found,
            )
        };
        if error == libc::ERANGE && buffer.len() < MAX_ENTRY_SIZE {
            buffer.resize(2 * buffer.len(), 0);
            continue;
        }
        if error != 0 || found.is_null() || entry.pw_name.is_null() {
            return None;
        }
        // SAFETY: an entry was found, so its name is a string in the buffer, which still exists.
        let name = unsafe { CStr::from_ptr(entry.pw_name) };
        return Some(OsStr::from_bytes(name.to_bytes()).to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_existing_users_have_a_name() {
        assert_eq!(name_of(0), Some("root".into()));
        assert_eq!(name_of(u32::MAX - 7), None);
    }
}
