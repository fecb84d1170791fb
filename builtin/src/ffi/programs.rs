//! Programs that bash starts for the builtin.

use std::ffi::{CStr, c_char, c_int};
use std::ptr;

use super::symbols::Bash;
use super::words::{WordList, Words, word};

impl Bash {
    /// Runs a program as the current command in a child, with job control. bash waits for it and
    /// returns its status, as for any program, once the builtin has returned and its redirections
    /// are undone. *May jump.*
    ///
    /// Must not be called in a process that was forked for this command: bash would not wait there.
    pub fn spawn_program(&self, program: &CStr, name: &CStr, list: *mut WordList) {
        let text = self.command_text().unwrap_or(name).to_bytes_with_nul();
        // SAFETY: xmalloc exits rather than return null, and the copy, which bash keeps, has this
        // length. The child does not return.
        unsafe {
            let copy = (self.xmalloc)(text.len()).cast::<c_char>();
            ptr::copy_nonoverlapping(text.as_ptr().cast(), copy, text.len());
            if (self.make_child)(copy, 0) == 0 {
                libc::_exit(self.exec_program(program, name, list, || {}));
            }
        }
    }

    /// Executes a program in place of this process, with the signal dispositions that the shell was
    /// started with, except for the changes that `before_exec` makes at the last moment. Returns a
    /// status if this fails; bash has printed the error.
    pub fn exec_program(
        &self,
        program: &CStr,
        name: &CStr,
        list: *mut WordList,
        before_exec: fn(),
    ) -> c_int {
        let args = Vec::from_iter([name].into_iter().chain(Words(list).map(word)));
        self.exec_with_args(program, &args, before_exec)
    }

    /// Does the same with other arguments, name first.
    pub(super) fn exec_with_args(
        &self,
        program: &CStr,
        args: &[&CStr],
        before_exec: impl FnOnce(),
    ) -> c_int {
        let args = args.iter().map(|arg| arg.as_ptr());
        let argv = Vec::from_iter(args.chain([ptr::null()]));
        // SAFETY: bash does the same for programs; the elements are strings, followed by a null.
        unsafe {
            (self.reset_terminating_signals)();
            (self.restore_original_signals)();
            before_exec();
            (self.maybe_make_export_env)();
            (self.put_command_name_into_env)(program.as_ptr());
            (self.shell_execve)(program.as_ptr(), argv.as_ptr(), *self.export_env)
        }
    }

    /// Enters the path of a program in bash's hash table, as if it had been found in `PATH`.
    pub fn add_to_hash_table(&self, name: &CStr, program: &CStr) {
        // SAFETY: two strings, which are copied; not found through `.`; used once.
        unsafe { (self.phash_insert)(name.as_ptr(), program.as_ptr(), 0, 1) }
    }
}
