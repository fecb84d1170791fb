//! A shell that stays, and is told line by line what to do: its own start is in no time.

use crate::contenders::command;
use anyhow::{Context, Result, ensure};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Instant;

pub struct Shell {
    child: Child,
    lines: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Shell {
    /// None where there is no bash.
    pub fn bash() -> Result<Option<Self>> {
        Self::start("bash", &["--norc", "-s"])
    }

    /// None where there is no zsh.
    pub fn zsh() -> Result<Option<Self>> {
        Self::start("zsh", &["-f", "-s"])
    }

    fn start(name: &str, arguments: &[&str]) -> Result<Option<Self>> {
        let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        let started = command(Path::new(name), &arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = match started {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot start {name}")),
        };
        let lines = child.stdin.take().context("no way to the shell")?;
        let answers = child.stdout.take().context("no way back from the shell")?;
        Ok(Some(Self {
            child,
            lines,
            answers: BufReader::new(answers),
        }))
    }

    /// Has a line executed that prints nothing, and must succeed.
    pub fn run(&mut self, line: &str) -> Result<()> {
        writeln!(self.lines, "{line}; echo $?")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        ensure!(answer == "0\n", "`{line}` ends with {answer:?}");
        Ok(())
    }

    /// How long a line takes, in microseconds, when it is repeated so often in a loop.
    pub fn time(&mut self, line: &str, times: u32) -> Result<f64> {
        let looped = format!("for ((i = 0; i < {times}; i++)); do {line}; done");
        let start = Instant::now();
        self.run(&looped)?;
        Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(times))
    }
}

/// A path as a word of a line.
pub fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_fails_is_an_error_and_the_shell_goes_on() -> Result<()> {
        let mut shell = Shell::start("sh", &["-s"])?.context("a shell")?;
        shell.run("n=7")?;
        let error = shell.run("false").expect_err("it fails");
        assert_eq!(error.to_string(), r#"`false` ends with "1\n""#);
        shell.run("[ $n = 7 ]")
    }

    #[test]
    fn a_path_is_one_word() -> Result<()> {
        let word = quoted(Path::new("a b'c$(d)"));
        let mut shell = Shell::start("sh", &["-s"])?.context("a shell")?;
        shell.run(&format!(r#"printf %s {word} | grep -qxF "a b'c\$(d)""#))
    }

    #[test]
    fn there_are_machines_without_a_shell() -> Result<()> {
        assert!(Shell::start("no-such-shell", &[])?.is_none());
        Ok(())
    }
}
