//! The environment that programs inherit which this process executes.

use std::ffi::OsStr;

/// Sets a variable. This process must not have other threads.
///
/// # References
///
/// setenv(3).
pub fn set(name: &str, value: impl AsRef<OsStr>) {
    // SAFETY: there is no other thread that could read the environment.
    unsafe { std::env::set_var(name, value) };
}
