//! What a queue costs while nothing happens. (Whoever sleeps in the kernel for the lock costs nothing.)

use crate::contenders::{Contenders, TRUE};
use crate::drain;
use crate::fixture::Stage;
use crate::interleave::interleaved;
use crate::measurement::{Measurement, Unit, Who};
use anyhow::{Context, Result};
use std::fs;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

const WAITERS: usize = 1000;

/// Each of them looks every two seconds whether the queue stands still.
const WATCHED: Duration = Duration::from_secs(4);

pub fn measure(contenders: &Contenders, stage: &Stage, rounds: u32) -> Result<Measurement> {
    let arguments = ["--fair".as_ref(), stage.file().as_os_str(), TRUE.as_ref()];
    let commands = vec![(Who::Fair, contenders.ours(&arguments))];
    Ok(Measurement {
        title: "Processor for 1000 idle waiters, in a second",
        command: "flock --fair FILE /bin/true",
        unit: Unit::Milliseconds,
        series: interleaved(commands, rounds, |command| idle(command, stage))?,
        target: None,
    })
}

/// The processor time, in milliseconds for each second.
fn idle(command: &mut Command, stage: &Stage) -> Result<f64> {
    let held = stage.hold()?;
    let mut waiters = drain::start(command, WAITERS)?;
    stage.until_waiting(WAITERS)?;
    let mut processes = stage.tokens()?;
    processes.extend(waiters.iter().map(Child::id));
    let used = || processes.iter().map(|pid| used(*pid)).sum::<Result<u64>>();

    let (before, start) = (used()?, Instant::now());
    thread::sleep(WATCHED);
    let (nanoseconds, watched) = (used()? - before, start.elapsed());

    drop(held);
    drain::end(&mut waiters)?;
    Ok(nanoseconds as f64 / 1e6 / watched.as_secs_f64())
}

/// The processor time that a process has used, in nanoseconds.
fn used(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    let first = text.split(' ').next().context("an empty schedstat")?;
    Ok(first.parse()?)
}
