//! A sandbox that refuses a system call, as a container's seccomp profile or a security module
//! does: `test-helper deny CALL ERROR COMMAND...` in a script.

#![allow(unsafe_code, reason = "a seccomp filter")]

use std::io;

use crate::TestEnv;

/// The calls that can be denied: the name, the number, and the values of the second argument that
/// are denied. An empty list means all.
const CALLS: &[(&str, libc::c_long, &[u32])] = &[
    ("flock", libc::SYS_flock, &[]),
    (
        "fcntl-locks",
        libc::SYS_fcntl,
        &[
            libc::F_OFD_GETLK as u32,
            libc::F_OFD_SETLK as u32,
            libc::F_OFD_SETLKW as u32,
        ],
    ),
    ("pidfd_open", libc::SYS_pidfd_open, &[]),
    ("kill", libc::SYS_kill, &[]),
];

const ERRORS: &[(&str, i32)] = &[
    ("EACCES", libc::EACCES),
    ("EAGAIN", libc::EAGAIN),
    ("EINTR", libc::EINTR),
    ("ENOLCK", libc::ENOLCK),
    ("ENOSYS", libc::ENOSYS),
    ("EOPNOTSUPP", libc::EOPNOTSUPP),
    ("EPERM", libc::EPERM),
];

/// Makes a system call fail with this error from now on, in this process and its children.
///
/// # Errors
///
/// The kernel does not support seccomp(2).
pub(crate) fn deny(call: &str, error: &str) -> io::Result<()> {
    let (_, number, values) = CALLS.iter().find(|(name, ..)| *name == call).expect(call);
    let (_, errno) = ERRORS.iter().find(|(name, _)| *name == error).expect(error);
    // `struct seccomp_data` starts with the number, and has the arguments, 8 bytes each, from 16.
    let second_argument = 16 + 8 + if cfg!(target_endian = "big") { 4 } else { 0 };
    let instruction = |code, jump_true, jump_false, k| libc::sock_filter {
        code: code as u16,
        jt: jump_true,
        jf: jump_false,
        k,
    };
    let load = |offset| instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let equal = |value, jump_true, jump_false| {
        instruction(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            jump_true,
            jump_false,
            value,
        )
    };
    let give_back = |value| instruction(libc::BPF_RET | libc::BPF_K, 0, 0, value);
    let count = values.len() as u8;
    let mut filter = vec![load(0)];
    if count == 0 {
        filter.push(equal(*number as u32, 1, 0));
    } else {
        filter.push(equal(*number as u32, 0, count + 1));
        filter.push(load(second_argument));
        let left = |index| count - index as u8;
        filter.extend((0..values.len()).map(|index| equal(values[index], left(index), 0)));
    }
    filter.push(give_back(libc::SECCOMP_RET_ALLOW));
    filter.push(give_back(libc::SECCOMP_RET_ERRNO | *errno as u32));
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    let check = |result| match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    // SAFETY: takes numbers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: a filter that outlives the call.
    check(unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) })
}

impl TestEnv {
    /// Returns whether `test-helper deny` works here.
    pub fn can_deny_calls(&self) -> bool {
        self.sh("test-helper deny kill EPERM true").code() == 0
    }
}
