//! bash's lists of words: the arguments of a builtin.

#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;

/// `WORD_DESC`
#[repr(C)]
pub struct WordDesc {
    word: *mut c_char,
    flags: c_int,
}

impl WordDesc {
    /// Returns an assignment, which must not outlive its text.
    pub(super) fn assignment(text: &CStr) -> Self {
        /// `W_ASSIGNMENT`
        const ASSIGNMENT: c_int = 1 << 2;
        Self {
            word: text.as_ptr().cast_mut(),
            flags: ASSIGNMENT,
        }
    }
}

/// `WORD_LIST`
#[repr(C)]
pub struct WordList {
    next: *mut WordList,
    word: *mut WordDesc,
}

/// The nodes of a list of bash, which exist until the builtin returns.
#[derive(Clone, Copy)]
pub struct Words(pub *mut WordList);

impl Iterator for Words {
    type Item = *mut WordList;

    fn next(&mut self) -> Option<Self::Item> {
        let node = self.0;
        if node.is_null() {
            return None;
        }
        // SAFETY: a node of bash.
        self.0 = unsafe { (*node).next };
        Some(node)
    }
}

impl Words {
    /// Returns copies of the words.
    pub fn to_os_strings(self) -> Vec<OsString> {
        self.map(|node| OsStr::from_bytes(word(node).to_bytes()).to_owned())
            .collect()
    }
}

/// Returns the word of a node.
pub fn word<'a>(node: *mut WordList) -> &'a CStr {
    // SAFETY: every node of a list of bash has a word, which is a string; it exists until the
    // builtin returns, and no caller outlives that.
    unsafe { CStr::from_ptr((*(*node).word).word) }
}
