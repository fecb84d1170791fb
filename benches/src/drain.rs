//! Many waiters on one lock: how long from its release until the last of them has ended.

use crate::contenders::{Contenders, Floor, TRUE};
use crate::fixture::Stage;
use crate::interleave::interleaved;
use crate::measurement::{Measurement, Unit};
use anyhow::{Context, Result, ensure};
use std::process::{Child, Command};
use std::time::Instant;

/// How many wait.
pub const COUNTS: [usize; 3] = [100, 500, 1000];

const TITLES: [&str; 3] = [
    "Drain 100 waiters",
    "Drain 500 waiters",
    "Drain 1000 waiters",
];

pub fn measure(contenders: &Contenders, stage: &Stage, rounds: u32) -> Result<Vec<Measurement>> {
    let arguments = [stage.file().as_os_str(), TRUE.as_ref()];
    let measure = |(count, title)| {
        let mut commands = contenders.and_fair(&arguments);
        commands.extend(Floor::Wrapper.command(&arguments));
        Ok(Measurement {
            title,
            command: "flock FILE /bin/true",
            unit: Unit::Milliseconds,
            series: interleaved(commands, fewer(rounds, count), |command| {
                drain(command, count, stage)
            })?,
            target: None,
        })
    };
    COUNTS.into_iter().zip(TITLES).map(measure).collect()
}

/// Where there are many waiters, each round takes long, and its figure is steady.
pub fn fewer(rounds: u32, count: usize) -> u32 {
    if count > 100 {
        rounds.div_ceil(4)
    } else {
        rounds
    }
}

/// How long it takes, in milliseconds.
fn drain(command: &mut Command, count: usize, stage: &Stage) -> Result<f64> {
    let held = stage.hold()?;
    let mut waiters = start(command, count)?;
    stage.until_waiting(count)?;
    let release = Instant::now();
    drop(held);
    end(&mut waiters).with_context(|| format!("{command:?}"))?;
    Ok(release.elapsed().as_secs_f64() * 1e3)
}

/// Starts so many.
pub fn start(command: &mut Command, count: usize) -> Result<Vec<Child>> {
    (0..count)
        .map(|_| command.spawn())
        .collect::<Result<_, _>>()
        .context("cannot start a waiter")
}

/// Waits until all have ended.
pub fn end(waiters: &mut [Child]) -> Result<()> {
    let ends = waiters
        .iter_mut()
        .map(Child::wait)
        .collect::<Result<Vec<_>, _>>()?;
    let failed = ends.iter().filter(|status| !status.success()).count();
    ensure!(failed == 0, "{failed} waiters failed");
    Ok(())
}
