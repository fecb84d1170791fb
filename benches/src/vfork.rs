//! Starts a program with as little overhead as possible.
//!
//! std uses `posix_spawn(3)`, which resets the disposition of every signal in the child: about 120
//! system calls, half as much again as the whole floor. This cost is the same for all contenders,
//! so it would draw every ratio towards 1. Here a start costs a `vfork(2)` and an `execve(2)`.

#![allow(unsafe_code)]

use anyhow::{Context, Result};
use rustix::process::{Pid, WaitOptions, waitpid};
use std::borrow::Cow;
use std::ffi::{CString, OsStr, OsString, c_char, c_int, c_void};
use std::io;
use std::iter::once;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::ptr::null;
use std::time::{Duration, Instant};

/// A command with the arguments of `execve(2)` ready.
pub struct PreparedCommand {
    path: CString,
    args: StringArray,
    env: StringArray,
    stack: Box<[StackUnit]>,
}

/// Strings, and a null-terminated array of pointers to them.
struct StringArray {
    pointers: Vec<*const c_char>,
    _strings: Vec<CString>,
}

/// A piece of the child's stack, with the alignment that every architecture accepts.
#[derive(Clone)]
#[repr(align(16))]
struct StackUnit(#[expect(dead_code, reason = "the child writes here")] [u8; 16]);

/// The arguments of `execve(2)`, and its error if it fails.
struct ExecCall {
    path: *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
    errno: c_int,
}

impl PreparedCommand {
    /// Prepares `command`, whose program must be a path. Its environment consists of the variables
    /// that were set on `command`.
    pub fn new(command: &Command) -> Result<Self> {
        let variables = command.get_envs().filter_map(|(name, value)| {
            let mut variable = name.to_owned();
            variable.push("=");
            variable.push(value?);
            Some(variable)
        });
        let args = once(command.get_program()).chain(command.get_args());
        Ok(Self {
            path: CString::new(command.get_program().as_bytes())?,
            args: StringArray::new(args.map(OsStr::to_owned))?,
            env: StringArray::new(variables)?,
            stack: vec![StackUnit([0; 16]); 4096].into(),
        })
    }

    pub fn name(&self) -> Cow<'_, str> {
        self.path.to_string_lossy()
    }

    /// Runs the command. Returns its status, and the time from before the start until the exit was
    /// reported.
    pub fn run(&mut self) -> Result<(ExitStatus, Duration)> {
        let mut call = ExecCall {
            path: self.path.as_ptr(),
            argv: self.args.pointers.as_ptr(),
            envp: self.env.pointers.as_ptr(),
            errno: 0,
        };
        let stack_end = self.stack.as_mut_ptr_range().end.cast();
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;

        let start = Instant::now();
        // SAFETY: CLONE_VFORK suspends this thread until the child has executed the program or
        // exited, so nothing else uses the memory that the child borrows: `call`, which lives until
        // the end of this function, and a stack of its own, which is aligned, grows down from
        // `stack_end`, and has 64 KiB for a single call.
        let child = unsafe { libc::clone(execute, stack_end, flags, (&raw mut call).cast()) };
        let child = Pid::from_raw(child.max(0))
            .ok_or_else(io::Error::last_os_error)
            .context("cannot start a process")?;
        let (_, status) =
            waitpid(Some(child), WaitOptions::empty())?.context("cannot wait for the child")?;
        let elapsed = start.elapsed();

        if call.errno != 0 {
            return Err(io::Error::from_raw_os_error(call.errno))
                .with_context(|| format!("cannot execute {}", self.name()));
        }
        Ok((ExitStatus::from_raw(status.as_raw()), elapsed))
    }
}

/// Runs in the child: executes the program, or stores the error and exits.
extern "C" fn execute(call: *mut c_void) -> c_int {
    // SAFETY: `run` passes an `ExecCall` whose pointers are valid until this process has executed
    // the program or exited, and does not access it before.
    unsafe {
        let call = &mut *call.cast::<ExecCall>();
        libc::execve(call.path, call.argv, call.envp);
        call.errno = *libc::__errno_location();
    }
    127
}

impl StringArray {
    fn new(strings: impl Iterator<Item = OsString>) -> Result<Self> {
        let strings = strings.map(|string| CString::new(string.into_vec()));
        let strings = strings.collect::<Result<Vec<_>, _>>()?;
        let pointers = strings.iter().map(|string| string.as_ptr());
        Ok(Self {
            pointers: pointers.chain(once(null())).collect(),
            _strings: strings,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(command: &mut Command) -> Result<ExitStatus> {
        let command = command.env_clear().env("GREETING", "good day");
        Ok(PreparedCommand::new(command)?.run()?.0)
    }

    #[test]
    fn passes_arguments_and_environment_and_returns_the_status() -> Result<()> {
        let script =
            r#"[ "$*" = "one two" ] && [ "$GREETING" = "good day" ] && [ -z "$HOME" ] && exit 7"#;
        let status = run(Command::new("/bin/sh").args(["-c", script, "sh", "one", "two"]))?;
        assert_eq!(status.code(), Some(7));
        Ok(())
    }

    #[test]
    fn missing_program_is_an_error() {
        let error = run(&mut Command::new("/nonexistent/program")).expect_err("no such program");
        assert_eq!(
            format!("{error:#}"),
            "cannot execute /nonexistent/program: No such file or directory (os error 2)"
        );
    }
}
