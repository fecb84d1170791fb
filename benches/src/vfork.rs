//! A process start with as little as possible around it.
//!
//! `posix_spawn(3)`, which std uses, puts every signal's disposition back in the child: a hundred and twenty system
//! calls, half as much again as the whole of the floor, and the same for everybody, so that it draws every ratio
//! towards 1. This is what `vfork(2)` and `execve(2)` cost, and no more.

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

/// A command with everything ready that the kernel wants to be told.
pub struct Prepared {
    program: CString,
    arguments: Words,
    environment: Words,
    stack: Box<[Aligned]>,
}

/// Strings, and the array of pointers to them that ends with a null.
struct Words {
    pointers: Vec<*const c_char>,
    _strings: Vec<CString>,
}

/// The stack of the child, in units of the alignment that every processor wants.
#[derive(Clone)]
#[repr(align(16))]
struct Aligned(#[expect(dead_code, reason = "the child writes here")] [u8; 16]);

/// What the child is to execute, and why it could not.
struct Call {
    program: *const c_char,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    errno: c_int,
}

impl Prepared {
    /// The program of `command`, which is to be a path, with its arguments and with the environment that was set on
    /// it, and no other.
    pub fn new(command: &Command) -> Result<Self> {
        let variables = command.get_envs().filter_map(|(name, value)| {
            let mut variable = name.to_owned();
            variable.push("=");
            variable.push(value?);
            Some(variable)
        });
        let arguments = once(command.get_program()).chain(command.get_args());
        Ok(Self {
            program: CString::new(command.get_program().as_bytes())?,
            arguments: Words::new(arguments.map(OsStr::to_owned))?,
            environment: Words::new(variables)?,
            stack: vec![Aligned([0; 16]); 4096].into(),
        })
    }

    pub fn name(&self) -> Cow<'_, str> {
        self.program.to_string_lossy()
    }

    /// Runs the program: how it ended, and how long it took from before its start until its end was known.
    pub fn run(&mut self) -> Result<(ExitStatus, Duration)> {
        let mut call = Call {
            program: self.program.as_ptr(),
            arguments: self.arguments.pointers.as_ptr(),
            environment: self.environment.pointers.as_ptr(),
            errno: 0,
        };
        let stack_end = self.stack.as_mut_ptr_range().end.cast();
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;

        let start = Instant::now();
        // SAFETY: CLONE_VFORK keeps this thread asleep until the child has executed the program or is gone, so that
        // nobody else uses the memory that the child borrows: `call`, which lives until the end of this function,
        // and a stack of its own, aligned, which grows down from `stack_end` and has 64 KiB for a single call.
        let child = unsafe { libc::clone(execute, stack_end, flags, (&raw mut call).cast()) };
        let child = Pid::from_raw(child.max(0))
            .ok_or_else(io::Error::last_os_error)
            .context("clone")?;
        let (_, status) =
            waitpid(Some(child), WaitOptions::empty())?.context("the child is not a child")?;
        let took = start.elapsed();

        if call.errno != 0 {
            return Err(io::Error::from_raw_os_error(call.errno))
                .with_context(|| format!("cannot execute {}", self.name()));
        }
        Ok((ExitStatus::from_raw(status.as_raw()), took))
    }
}

/// The child: it makes one system call, and if that fails says why and ends.
extern "C" fn execute(call: *mut c_void) -> c_int {
    // SAFETY: `run` passes a `Call` whose pointers are good until this process has executed the program or is gone,
    // and does not look at it before.
    unsafe {
        let call = &mut *call.cast::<Call>();
        libc::execve(call.program, call.arguments, call.environment);
        call.errno = *libc::__errno_location();
    }
    127
}

impl Words {
    fn new(words: impl Iterator<Item = OsString>) -> Result<Self> {
        let strings = words
            .map(|word| CString::new(word.into_vec()))
            .collect::<Result<Vec<_>, _>>()?;
        let pointers = strings
            .iter()
            .map(|string| string.as_ptr())
            .chain(once(null()))
            .collect();
        Ok(Self {
            pointers,
            _strings: strings,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(command: &mut Command) -> Result<ExitStatus> {
        Ok(
            Prepared::new(command.env_clear().env("GREETING", "good day"))?
                .run()?
                .0,
        )
    }

    #[test]
    fn the_program_gets_its_arguments_and_its_environment_and_its_status_comes_back() -> Result<()>
    {
        let script =
            r#"[ "$*" = "one two" ] && [ "$GREETING" = "good day" ] && [ -z "$HOME" ] && exit 7"#;
        let status = run(Command::new("/bin/sh").args(["-c", script, "sh", "one", "two"]))?;
        assert_eq!(status.code(), Some(7));
        Ok(())
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let error =
            run(&mut Command::new("/nonexistent/program")).expect_err("there is no such program");
        assert_eq!(
            format!("{error:#}"),
            "cannot execute /nonexistent/program: No such file or directory (os error 2)"
        );
    }
}
