//! Variables of the shell.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;

use super::symbols::Bash;
use super::words::WordDesc;

impl Bash {
    /// Returns the value of a variable, which is valid until bash changes it.
    pub fn variable(&self, name: &str) -> Option<&[u8]> {
        let name = CString::new(name).ok()?;
        // SAFETY: a string; returns null or the string of the variable.
        unsafe {
            let value = (self.get_string_value)(name.as_ptr());
            (!value.is_null()).then(|| CStr::from_ptr(value).to_bytes())
        }
    }

    /// Assigns a variable for the function that is called next, as in `NAME=VALUE function`: it is
    /// exported, and has its former value again after the call, however that ends.
    pub fn assign_for_function(&self, name: &str, value: &OsStr) {
        // bash expands the value, like that of any assignment.
        let mut text = format!("{name}='").into_bytes();
        for byte in value.as_bytes() {
            match byte {
                b'\'' => text.extend_from_slice(b"'\\''"),
                _ => text.push(*byte),
            }
        }
        text.push(b'\'');
        let Ok(text) = CString::new(text) else { return };
        let mut word = WordDesc::assignment(&text);
        // SAFETY: a word that is a string, which bash copies. It does not jump, because there is
        // nothing to expand.
        unsafe { (self.assign_in_env)(&raw mut word, 0) };
    }
}
