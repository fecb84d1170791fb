//! Who holds a lock, on a machine with many processes.

use crate::contenders::{Contenders, command};
use crate::fixture::Stage;
use crate::interleave::interleaved;
use crate::measurement::{Measurement, Unit, Who};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Instant;

/// As many as a large machine has. Where fewer are allowed, there are fewer.
const MANY: u32 = 10_000;

/// Each look takes long.
const ROUNDS: u32 = 8;

/// Children of one shell, which wait until descriptor 3 is closed.
const CROWD: &str = r#"
exec 3<&0
n=$1
while [ $n -gt 0 ]; do
    (read x <&3) &
    n=$((n - 1))
done
echo ready
read x
"#;

pub fn measure(contenders: &Contenders, stage: &Stage, rounds: u32) -> Result<Vec<Measurement>> {
    let crowd = Crowd::gather()?;
    let processes = count()?;
    let measure = |title, held| {
        let commands = vec![(
            Who::Ours,
            contenders.ours(&["--who".as_ref(), stage.file().as_os_str()]),
        )];
        Ok::<_, anyhow::Error>(Measurement {
            title,
            command: "flock --who FILE",
            unit: Unit::Milliseconds,
            series: interleaved(commands, rounds.min(ROUNDS), |command| {
                let _lock = if held { Some(stage.hold()?) } else { None };
                look(command, if held { 0 } else { 1 })
            })?,
            target: None,
        })
    };
    // Titles are for the whole run.
    let title = |state: &str| {
        &*Box::leak(format!("Who holds a {state} lock, {processes} processes").into_boxed_str())
    };
    let measurements = vec![
        measure(title("held"), true)?,
        measure(title("free"), false)?,
    ];
    drop(crowd);
    Ok(measurements)
}

/// How long it takes, in milliseconds.
fn look(command: &mut Command, status: i32) -> Result<f64> {
    command.stdout(Stdio::null());
    let start = Instant::now();
    let ended = command.status()?;
    let took = start.elapsed();
    ensure!(ended.code() == Some(status), "{command:?}: {ended}");
    Ok(took.as_secs_f64() * 1e3)
}

/// How many processes there are.
fn count() -> Result<usize> {
    let is_process = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    let entries = fs::read_dir("/proc").context("no /proc")?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter(|name| is_process(name)).count())
}

/// Processes that do nothing, until this is dropped.
struct Crowd {
    shell: Child,
    _end: ChildStdin,
}

impl Crowd {
    /// As many as are allowed, up to [`MANY`].
    fn gather() -> Result<Self> {
        let mut number = MANY;
        while number > 100 {
            if let Some(crowd) = Self::of(number)? {
                return Ok(crowd);
            }
            number /= 2;
        }
        Self::of(number)?.context("no processes can be had")
    }

    /// `None` if so many are not allowed: then the shell gives up, and those that it has started end.
    fn of(number: u32) -> Result<Option<Self>> {
        let number = number.to_string();
        let words = [
            "-c".as_ref(),
            CROWD.as_ref(),
            "sh".as_ref(),
            number.as_ref(),
        ];
        let mut shell = command(Path::new("/bin/sh"), &words);
        shell
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut shell = shell.spawn().context("cannot start a shell")?;
        let (Some(end), Some(voice)) = (shell.stdin.take(), shell.stdout.take()) else {
            anyhow::bail!("no pipes");
        };
        let mut line = String::new();
        BufReader::new(voice).read_line(&mut line)?;
        if line == "ready\n" {
            return Ok(Some(Self { shell, _end: end }));
        }
        drop(end);
        shell.wait()?;
        Ok(None)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // The shell alone; the others end with the pipe, which is closed next.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
