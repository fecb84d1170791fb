//! Many short jobs, four at a time: how long until all are done. No lock at all could do it in a second.

use crate::contenders::Contenders;
use crate::drain;
use crate::fixture::Stage;
use crate::interleave::interleaved;
use crate::measurement::{Measurement, Unit, Who};
use anyhow::{Context, Result};
use std::ffi::OsStr;
use std::process::Command;
use std::time::Instant;

const JOBS: usize = 40;

pub fn measure(contenders: &Contenders, stage: &Stage, rounds: u32) -> Result<Measurement> {
    let job = ["/bin/sleep", "0.1"].map(OsStr::new);
    let arguments = [&[stage.file().as_os_str()], &job[..]].concat();
    let mut commands = vec![(Who::Slots, contenders.slots(&arguments))];
    let sem = contenders.sem(stage, &job);
    if sem.is_none() {
        eprintln!("fdlock-bench: GNU sem is not installed: measuring without it");
    }
    commands.extend(sem);
    Ok(Measurement {
        title: "40 jobs of 0.1 s, four at a time",
        command: "flock --slots 4 FILE /bin/sleep 0.1",
        unit: Unit::Milliseconds,
        series: interleaved(commands, rounds, all)?,
        target: None,
    })
}

/// How long they take, in milliseconds.
fn all(command: &mut Command) -> Result<f64> {
    let start = Instant::now();
    let mut jobs = drain::start(command, JOBS)?;
    drain::end(&mut jobs).with_context(|| format!("{command:?}"))?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}
