//! execve(2) without the C library, whose errno a child that shares memory with its parent must not
//! change.

use std::ffi::{CStr, c_char, c_int};

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// Whether [`execve`] leaves errno alone on this processor.
pub(super) const EXECVE_KEEPS_ERRNO: bool =
    cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// Executes a program in place of this process, with the current environment. Returns the error.
///
/// # Safety
///
/// The vector must consist of pointers to strings, followed by null.
///
/// # References
///
/// execve(2), syscall(2) "Architecture calling conventions".
pub(super) unsafe fn execve(path: &CStr, argv: &[*const c_char]) -> c_int {
    // SAFETY: the program has only one thread that could change the environment.
    let environment = unsafe { environ };
    let (path, argv) = (path.as_ptr(), argv.as_ptr());
    #[cfg(target_arch = "x86_64")]
    {
        let mut result = libc::SYS_execve;
        // SAFETY: the arguments of the system call; the kernel changes rcx and r11.
        unsafe {
            std::arch::asm!(
                "syscall",
                inlateout("rax") result,
                in("rdi") path,
                in("rsi") argv,
                in("rdx") environment,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack, readonly),
            );
        }
        -result as c_int
    }
    #[cfg(target_arch = "aarch64")]
    {
        let mut result = path.addr();
        // SAFETY: the arguments of the system call.
        unsafe {
            std::arch::asm!(
                "svc 0",
                in("x8") libc::SYS_execve,
                inlateout("x0") result,
                in("x1") argv,
                in("x2") environment,
                options(nostack, readonly),
            );
        }
        (result as c_int).wrapping_neg()
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        // SAFETY: the arguments of the system call.
        unsafe { libc::execve(path, argv, environment) };
        std::io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::EINVAL)
    }
}
