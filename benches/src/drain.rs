//! A hundred waiters on one lock: how long from its release until the last of them has ended.

use crate::contenders::{Contenders, Floor, TRUE};
use crate::interleave::interleaved;
use crate::measurement::{Measurement, Unit};
use crate::stage::Stage;
use anyhow::{Context, Result, ensure};
use std::process::{Child, Command};
use std::time::Instant;

const WAITERS: usize = 100;

pub fn measure(contenders: &Contenders, stage: &Stage, rounds: u32) -> Result<Measurement> {
    let arguments = [stage.file().as_os_str(), TRUE.as_ref()];
    let mut commands = contenders.both(&arguments);
    commands.extend(Floor::Wrapper.command(&arguments));
    Ok(Measurement {
        title: "Drain 100 waiters",
        command: "flock FILE /bin/true",
        unit: Unit::Milliseconds,
        series: interleaved(commands, rounds, |command| drain(command, stage))?,
        target: None,
    })
}

/// How long it takes, in milliseconds.
fn drain(command: &mut Command, stage: &Stage) -> Result<f64> {
    let held = stage.hold()?;
    let mut waiters: Vec<Child> = (0..WAITERS)
        .map(|_| command.spawn())
        .collect::<Result<_, _>>()
        .context("cannot start a waiter")?;
    stage.until_waiting(WAITERS)?;
    let release = Instant::now();
    drop(held);
    let ends = waiters
        .iter_mut()
        .map(Child::wait)
        .collect::<Result<Vec<_>, _>>()?;
    let took = release.elapsed();
    ensure!(
        ends.iter().all(|status| status.success()),
        "a waiter failed: {command:?}"
    );
    Ok(took.as_secs_f64() * 1e3)
}
