//! System calls that a sandbox refuses, as container runtimes and security modules do: for a
//! [`Command`], or in a script with `test-helper deny CALL ERROR COMMAND...`.

#![allow(unsafe_code, reason = "raw system calls between fork and exec")]

use std::io;
use std::process::Command;
use std::sync::OnceLock;

use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};

use crate::pre_exec::{CommandPreExecExt, check};

/// A system call that fails with an error.
#[derive(Clone, Copy, Debug)]
pub struct RefusedCall {
    number: libc::c_long,
    /// The index of the argument that decides.
    index: u32,
    /// The values of this argument that are refused; an empty list means all.
    arguments: &'static [u32],
    errno: i32,
}

#[cfg(target_pointer_width = "64")]
const FCNTL: libc::c_long = libc::SYS_fcntl;
#[cfg(not(target_pointer_width = "64"))]
const FCNTL: libc::c_long = libc::SYS_fcntl64;

impl RefusedCall {
    /// pidfd_open(2) does not exist, as before Linux 5.3.
    pub const PIDFD_OPEN: Self = Self::new(libc::SYS_pidfd_open, &[], libc::ENOSYS);

    /// kill(2) is forbidden.
    pub const KILL: Self = Self::new(libc::SYS_kill, &[], libc::EPERM);

    /// The signal that a process sends to its children when it exits is forbidden. (The first
    /// argument is the operation.)
    pub const PARENT_DEATH_SIGNAL: Self =
        Self::new(libc::SYS_prctl, &[libc::SIGKILL as u32], libc::EPERM);

    /// Locks of fcntl(2) are forbidden.
    pub const OFD_LOCK: Self = Self::new(FCNTL, &[libc::F_OFD_SETLK as u32], libc::EACCES);

    /// clone(2) creates no process that shares memory but is neither a thread nor the result of
    /// vfork(2), as in qemu-user.
    pub const SHARED_MEMORY: Self = Self {
        // On s390x, the first argument is the stack.
        index: if cfg!(target_arch = "s390x") { 1 } else { 0 },
        ..Self::new(
            libc::SYS_clone,
            &[
                libc::CLONE_VM as u32,
                (libc::CLONE_VM | libc::SIGCHLD) as u32,
                (libc::CLONE_VM | libc::CLONE_FILES) as u32,
            ],
            libc::EINVAL,
        )
    };

    const fn new(number: libc::c_long, arguments: &'static [u32], errno: i32) -> Self {
        Self {
            number,
            index: 1,
            arguments,
            errno,
        }
    }

    /// Returns the call and the error of these names.
    fn from_names(call: &str, error: &str) -> Self {
        const OFD_LOCKS: &[u32] = &[
            libc::F_OFD_GETLK as u32,
            libc::F_OFD_SETLK as u32,
            libc::F_OFD_SETLKW as u32,
        ];
        let (number, arguments) = match call {
            "flock" => (libc::SYS_flock, &[][..]),
            "fcntl-locks" => (FCNTL, OFD_LOCKS),
            "kill" => (libc::SYS_kill, &[][..]),
            _ => panic!("{call}"),
        };
        let errno = match error {
            "EACCES" => libc::EACCES,
            "EINTR" => libc::EINTR,
            "ENOLCK" => libc::ENOLCK,
            "ENOSYS" => libc::ENOSYS,
            "EOPNOTSUPP" => libc::EOPNOTSUPP,
            "EPERM" => libc::EPERM,
            _ => panic!("{error}"),
        };
        Self::new(number, arguments, errno)
    }

    /// Makes the call fail from now on, in this process and all processes that it starts, with
    /// seccomp(2).
    fn install(self) -> io::Result<()> {
        // The number is at offset 0 of `seccomp_data`, the arguments of 64 bits begin at 16. On
        // big-endian processors, their lower halves come last.
        let lower_half = if cfg!(target_endian = "big") { 4 } else { 0 };
        let argument_offset = 16 + 8 * self.index + lower_half;
        let load = |offset| statement(BPF_LD | BPF_W | BPF_ABS, offset);
        let jump_if_equal = |value, jt, jf| sock_filter {
            jt,
            jf,
            ..statement(BPF_JMP | BPF_JEQ | BPF_K, value)
        };
        let count = self.arguments.len() as u8;
        let mut program = vec![load(0)];
        if count == 0 {
            program.push(jump_if_equal(self.number as u32, 1, 0));
        } else {
            program.push(jump_if_equal(self.number as u32, 0, count + 1));
            program.push(load(argument_offset));
            let compare = |(value, left)| jump_if_equal(value, left, 0);
            let left = (1..=count).rev();
            program.extend(self.arguments.iter().copied().zip(left).map(compare));
        }
        program.push(statement(BPF_RET | BPF_K, libc::SECCOMP_RET_ALLOW));
        let refusal = libc::SECCOMP_RET_ERRNO | self.errno as u32;
        program.push(statement(BPF_RET | BPF_K, refusal));
        let filter = libc::sock_fprog {
            len: program.len() as u16,
            filter: program.as_mut_ptr(),
        };
        // SAFETY: takes numbers, and a filter that outlives the call.
        check(unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(
                    libc::PR_SET_SECCOMP,
                    libc::SECCOMP_MODE_FILTER,
                    &raw const filter,
                ) == 0
        })
    }
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

/// Makes a call fail with an error, both given by name, from now on in this process.
pub(crate) fn deny(call: &str, error: &str) -> io::Result<()> {
    RefusedCall::from_names(call, error).install()
}

/// Running a command in a sandbox.
pub trait CommandSandboxExt {
    /// Refuses the command, and all processes that it starts, a system call.
    fn refuse(&mut self, call: RefusedCall) -> &mut Self;
}

impl CommandSandboxExt for Command {
    fn refuse(&mut self, call: RefusedCall) -> &mut Self {
        self.before_exec(move || call.install())
    }
}

/// Whether calls can be refused here. Prints a note if not.
pub fn can_refuse_calls() -> bool {
    static CAN_REFUSE: OnceLock<bool> = OnceLock::new();
    let works = *CAN_REFUSE.get_or_init(|| {
        let status = Command::new("true").refuse(RefusedCall::KILL).status();
        status.is_ok_and(|status| status.success())
    });
    if !works {
        println!("skipped: seccomp filters are not permitted here");
    }
    works
}
