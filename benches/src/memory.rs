//! The memory of a process that waits for a lock.

use crate::contenders::{Contenders, Floor, TRUE};
use crate::fixture::Stage;
use crate::interleave::interleaved;
use crate::measurement::{Measurement, Target, Unit};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::process::Command;

pub fn measure(contenders: &Contenders, stage: &Stage, rounds: u32) -> Result<Measurement> {
    let arguments = [stage.file().as_os_str(), TRUE.as_ref()];
    let mut commands = contenders.both(&arguments);
    commands.extend(Floor::Wrapper.command(&arguments));
    Ok(Measurement {
        title: "Memory of a waiter",
        command: "flock FILE /bin/true",
        unit: Unit::Kilobytes,
        series: interleaved(commands, rounds, |command| waiter(command, stage))?,
        target: Some(Target::Amount(400.0)),
    })
}

/// The most memory that a waiter had resident until it slept, in kB.
///
/// Read from `/proc`, where it is that of the program itself. What `wait4(2)` and `time -v` tell may be more: it
/// counts what the process was before it executed the program too, and the command that it ran afterwards.
fn waiter(command: &mut Command, stage: &Stage) -> Result<f64> {
    let held = stage.hold()?;
    let mut waiter = command.spawn().context("cannot start a waiter")?;
    stage.until_waiting(1)?;
    let status = fs::read_to_string(format!("/proc/{}/status", waiter.id()))?;
    drop(held);
    let end = waiter.wait()?;
    ensure!(end.success(), "{command:?}: {end}");
    peak(&status).context("no VmHWM in /proc/PID/status")
}

fn peak(status: &str) -> Option<f64> {
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?
        .trim()
        .strip_suffix(" kB")?
        .parse()
        .ok()
}
