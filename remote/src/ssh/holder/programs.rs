//! The programs of this installation.

use std::io;
use std::path::PathBuf;

/// Returns the paths of this program, `PREFIX/libexec/fdlock/flock-ssh`, and of the `flock` that it
/// belongs to, `PREFIX/bin/flock`.
pub(super) fn paths() -> io::Result<(PathBuf, PathBuf)> {
    let program = std::env::current_exe()?;
    let prefix = program.ancestors().nth(3).map(PathBuf::from);
    let prefix = prefix.ok_or(io::ErrorKind::NotFound)?;
    Ok((program, prefix.join("bin/flock")))
}
