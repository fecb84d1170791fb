//! Calls of the bash builtin by a shell that is already running, compared with bash's `:`, with
//! zsh's builtin lock, and with util-linux's program.

use crate::contenders::{Contender, Programs, command, floor_builtin};
use crate::fixture::Fixture;
use crate::measurement::{Measurement, Target, Unit, interleave};
use anyhow::{Context, Result, ensure};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Instant;

/// Two commands that do nothing, with as many arguments as `flock -x 8; flock -u 8`.
const COLON: &str = ": -x 8; : -u 8";

/// A shell that reads commands from a pipe. Its own start is not part of any time.
struct Shell {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// A line that a shell repeats in a loop, and the iterations per sample.
struct Loop {
    shell: Shell,
    line: String,
    iterations: u32,
}

/// Returns nothing if there is no builtin to measure, or no bash.
pub fn measure(programs: &Programs, fixture: &Fixture, rounds: u32) -> Result<Vec<Measurement>> {
    let Some(builtin) = &programs.builtin else {
        return Ok(Vec::new());
    };
    if Shell::bash()?.is_none() {
        eprintln!("fdlock-bench: bash is not installed: not measuring the builtin");
        return Ok(Vec::new());
    }
    let enable = format!("enable -f {} flock", quote(builtin));
    Ok(vec![
        lock_and_unlock(programs, fixture, &enable, rounds)?,
        run_function(programs, fixture, &enable, rounds)?,
        load(&enable, rounds)?,
    ])
}

fn lock_and_unlock(
    programs: &Programs,
    fixture: &Fixture,
    enable: &str,
    rounds: u32,
) -> Result<Measurement> {
    let (file, program) = (quote(fixture.lock_file()), quote(&programs.reference));
    let open = &*format!("exec 8>>{file}");
    let builtin_line = "flock -x 8; flock -u 8";
    // zsh opens the file each time, because it has no other way.
    let zsh_line = format!("zsystem flock -f fd {file}; zsystem flock -u $fd");
    let program_line = format!("{program} -x 8; {program} -u 8");
    let mut loops = vec![
        Loop::bash(Contender::BashColon, &[open], COLON, 5000)?,
        Loop::bash(Contender::Fdlock, &[open, enable], builtin_line, 5000)?,
    ];
    if let Some(enable) = enable_floor() {
        let line = "floor -x 8; floor -u 8";
        loops.push(Loop::bash(Contender::Floor, &[open, &enable], line, 5000)?);
    }
    if let Some(zsh) = Shell::start("zsh", &["-f", "-s"])? {
        let zsh = Loop::new(zsh, &["zmodload zsh/system"], &zsh_line, 5000)?;
        loops.push((Contender::Zsh, zsh));
    }
    loops.push(Loop::bash(Contender::Reference, &[open], &program_line, 5)?);
    Ok(Measurement {
        title: "Lock and unlock with the builtin".into(),
        command: builtin_line,
        unit: Unit::Microseconds,
        series: interleave(loops, rounds, Loop::time)?,
        target: Some(Target::RatioToFloor(1.35)),
    })
}

fn run_function(
    programs: &Programs,
    fixture: &Fixture,
    enable: &str,
    rounds: u32,
) -> Result<Measurement> {
    let (file, program) = (quote(fixture.lock_file()), quote(&programs.reference));
    let define = "f() { :; }";
    let builtin_line = format!("flock {file} f");
    let program_line = format!("{program} {file} bash -c f");
    let export = "export -f f";
    let mut loops = vec![
        Loop::bash(Contender::BashColon, &[], COLON, 2000)?,
        Loop::bash(Contender::Fdlock, &[define, enable], &builtin_line, 2000)?,
        Loop::bash(Contender::NoLock, &[define], "f", 2000)?,
        Loop::bash(Contender::Reference, &[define, export], &program_line, 2)?,
    ];
    if let Some(enable) = enable_floor() {
        let (setup, line) = (&[define, &*enable], format!("floor {file} f"));
        loops.push(Loop::bash(Contender::Floor, setup, &line, 2000)?);
    }
    Ok(Measurement {
        title: "Run a function under a lock".into(),
        command: "flock FILE f",
        unit: Unit::Microseconds,
        series: interleave(loops, rounds, Loop::time)?,
        target: Some(Target::RatioToFloor(1.35)),
    })
}

/// Returns the line that loads the builtin of `floor/`.
fn enable_floor() -> Option<String> {
    Some(format!("enable -f {} floor", quote(&floor_builtin()?)))
}

fn load(enable: &str, rounds: u32) -> Result<Measurement> {
    let line = format!("{enable}; enable -d flock");
    let loops = vec![Loop::bash(Contender::Fdlock, &[], &line, 20)?];
    Ok(Measurement {
        title: "Load and unload the builtin".into(),
        command: "enable -f …/flock flock; enable -d flock",
        unit: Unit::Microseconds,
        series: interleave(loops, rounds, Loop::time)?,
        target: Some(Target::Amount(250.0)),
    })
}

impl Loop {
    fn bash(
        contender: Contender,
        setup: &[&str],
        line: &str,
        iterations: u32,
    ) -> Result<(Contender, Self)> {
        let shell = Shell::bash()?.context("bash is not installed any more")?;
        Ok((contender, Self::new(shell, setup, line, iterations)?))
    }

    /// Runs each line of `setup`, then `line` once, all of which must succeed.
    fn new(mut shell: Shell, setup: &[&str], line: &str, iterations: u32) -> Result<Self> {
        for line in setup.iter().copied().chain([line]) {
            shell.run(line)?;
        }
        Ok(Self {
            shell,
            line: line.to_owned(),
            iterations,
        })
    }

    /// Returns the time of one iteration, in microseconds.
    fn time(&mut self) -> Result<f64> {
        let (line, count) = (&self.line, self.iterations);
        let line = format!("for ((i = 0; i < {count}; i++)); do {line}; done");
        let start = Instant::now();
        self.shell.run(&line)?;
        Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(count))
    }
}

impl Shell {
    fn bash() -> Result<Option<Self>> {
        Self::start("bash", &["--norc", "-s"])
    }

    /// Returns `None` if the shell is not installed.
    fn start(name: &str, args: &[&str]) -> Result<Option<Self>> {
        let args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
        let spawned = command(Path::new(name), &args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot start {name}")),
        };
        let stdin = child.stdin.take().context("no pipe to the shell")?;
        let stdout = child.stdout.take().context("no pipe from the shell")?;
        Ok(Some(Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
        }))
    }

    /// Runs a line that must succeed and print nothing.
    fn run(&mut self, line: &str) -> Result<()> {
        writeln!(self.stdin, "{line}; echo $?")?;
        let mut reply = String::new();
        self.stdout.read_line(&mut reply)?;
        ensure!(reply == "0\n", "`{line}` failed: {reply:?}");
        Ok(())
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Quotes a path for a shell.
fn quote(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failing_line_is_an_error_and_the_shell_continues() -> Result<()> {
        let mut shell = Shell::start("sh", &["-s"])?.context("a shell")?;
        shell.run("n=7")?;
        let error = shell.run("false").expect_err("it fails");
        assert_eq!(error.to_string(), r#"`false` failed: "1\n""#);
        shell.run("[ $n = 7 ]")
    }

    #[test]
    fn quoted_path_is_one_argument() -> Result<()> {
        let path = quote(Path::new("a b'c$(d)"));
        let mut shell = Shell::start("sh", &["-s"])?.context("a shell")?;
        shell.run(&format!(r#"printf %s {path} | grep -qxF "a b'c\$(d)""#))
    }

    #[test]
    fn missing_shell_is_not_an_error() -> Result<()> {
        assert!(Shell::start("no-such-shell", &[])?.is_none());
        Ok(())
    }
}
