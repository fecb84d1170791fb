//! `flock --who` on a machine with many processes.

use crate::contenders::{Floor, Programs, command, lslocks, other_listings};
use crate::fixture::Fixture;
use crate::measurement::{Measurement, Target, Unit, interleave};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Instant;

/// As many processes as on a large machine. If the limit is lower, there are fewer.
const MAX_PROCESSES: u32 = 10_000;

const MIN_PROCESSES: u32 = 100;

/// Fewer rounds than usual, because each call is slow.
const MAX_ROUNDS: u32 = 8;

/// Starts `$1` processes, which wait until the end of the pipe on descriptor 3.
const SPAWN_SCRIPT: &str = r#"
exec 3<&0
n=$1
while [ $n -gt 0 ]; do
    (read x <&3) &
    n=$((n - 1))
done
echo ready
read x
"#;

pub fn measure(programs: &Programs, fixture: &Fixture, rounds: u32) -> Result<Vec<Measurement>> {
    let _processes = IdleProcesses::spawn()?;
    let count = count_processes()?;
    let measure = |state, held| {
        let file = fixture.lock_file().as_os_str();
        let mut commands = vec![programs.fdlock(&["--who".as_ref(), file])];
        // The others exit with other statuses if there is no holder.
        if held {
            commands.extend(Floor::Who.entry(&[]));
            commands.extend(other_listings(file));
        }
        anyhow::Ok(Measurement {
            title: format!("List the holders of a {state} lock, {count} processes"),
            command: "flock --who FILE",
            unit: Unit::Milliseconds,
            series: interleave(commands, rounds.min(MAX_ROUNDS), |command| {
                let _lock = if held { Some(fixture.lock()?) } else { None };
                time(command, if held { 0 } else { 1 })
            })?,
            target: held.then_some(Target::RatioToFloor(1.20)),
        })
    };
    let all = Measurement {
        title: format!("List all locks of the machine, {count} processes"),
        command: "flock --who",
        unit: Unit::Milliseconds,
        series: interleave(
            [programs.fdlock(&["--who".as_ref()])]
                .into_iter()
                .chain(lslocks())
                .collect(),
            rounds.min(MAX_ROUNDS),
            |command| {
                let _lock = fixture.lock()?;
                time(command, 0)
            },
        )?,
        target: None,
    };
    Ok(vec![measure("held", true)?, measure("free", false)?, all])
}

/// Returns the time in milliseconds.
fn time(command: &mut Command, expected_status: i32) -> Result<f64> {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let status = command.status()?;
    let elapsed = start.elapsed();
    let is_expected = status.code() == Some(expected_status);
    ensure!(is_expected, "{command:?}: {status}");
    Ok(elapsed.as_secs_f64() * 1e3)
}

fn count_processes() -> Result<usize> {
    let is_pid = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    let entries = fs::read_dir("/proc").context("cannot read /proc")?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter(|name| is_pid(name)).count())
}

/// Many processes that do nothing, until this is dropped.
struct IdleProcesses {
    shell: Child,
    _stdin: ChildStdin,
}

impl IdleProcesses {
    /// Starts as many processes as the limit allows, at most [`MAX_PROCESSES`].
    fn spawn() -> Result<Self> {
        let mut count = MAX_PROCESSES;
        while count > MIN_PROCESSES {
            if let Some(processes) = Self::try_spawn(count)? {
                return Ok(processes);
            }
            count /= 2;
        }
        Self::try_spawn(count)?.context("cannot start the idle processes")
    }

    /// Returns `None` if the limit is lower: then the shell gives up, and the processes that it has
    /// started exit.
    fn try_spawn(count: u32) -> Result<Option<Self>> {
        let count = count.to_string();
        let args = ["-c", SPAWN_SCRIPT, "sh", &count].map(AsRef::as_ref);
        let mut shell = command(Path::new("/bin/sh"), &args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start a shell")?;
        let (Some(stdin), Some(stdout)) = (shell.stdin.take(), shell.stdout.take()) else {
            bail!("no pipes to the shell");
        };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line == "ready\n" {
            return Ok(Some(Self {
                shell,
                _stdin: stdin,
            }));
        }
        drop(stdin);
        shell.wait()?;
        Ok(None)
    }
}

impl Drop for IdleProcesses {
    fn drop(&mut self) {
        // Only the shell: the others exit when the pipe is closed next.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
