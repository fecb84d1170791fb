//! What a command that has terminated leaves behind.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// The status and the output of a command that has terminated.
pub struct Outcome {
    /// How it has terminated.
    pub status: ExitStatus,
    /// Everything it wrote to stdout.
    pub stdout: Vec<u8>,
    /// Everything it wrote to stderr.
    pub stderr: Vec<u8>,
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stdout, stderr) = (self.stdout_text(), self.stderr_text());
        write!(f, "{}\nstdout: {stdout}\nstderr: {stderr}", self.status)
    }
}

impl Outcome {
    /// Returns the exit status as a shell's `$?`: 128+N for a death by signal N.
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| 128 + self.status.signal().expect("exited or was killed"))
    }

    /// Returns stdout as text.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Returns stderr as text.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Asserts the exit status, as [`Outcome::code`] returns it, and the whole output.
    #[track_caller]
    pub fn assert_all(self, status: i32, stdout: &str, stderr: &str) -> Self {
        self.assert_stderr(stderr)
            .assert_stdout(stdout)
            .assert_status(status)
    }

    /// Asserts the exit status, as [`Outcome::code`] returns it.
    #[track_caller]
    pub fn assert_status(self, expected: i32) -> Self {
        assert_eq!(self.code(), expected, "status of {self:?}");
        self
    }

    /// Asserts the whole of stdout.
    #[track_caller]
    pub fn assert_stdout(self, expected: &str) -> Self {
        assert_eq!(self.stdout_text(), expected, "stdout of {self:?}");
        self
    }

    /// Asserts the whole of stderr.
    #[track_caller]
    pub fn assert_stderr(self, expected: &str) -> Self {
        assert_eq!(self.stderr_text(), expected, "stderr of {self:?}");
        self
    }
}
