//! Many waiters on one lock, each of which has it for as little as possible: how long from the release of the one until the
//! next is told that it is his.

use crate::contenders::Contenders;
use crate::drain::{COUNTS, fewer};
use crate::fixture::Stage;
use crate::interleave::interleaved;
use crate::measurement::{Measurement, Target, Unit};
use crate::stats::Spread;
use anyhow::{Context, Result, ensure};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Resource, Rlimit, WaitOptions, getrlimit, setrlimit, wait};
use std::collections::HashMap;
use std::fs::File;
use std::process::Command;
use std::time::Instant;

const TITLES: [&str; 3] = [
    "Hand over to the next of 100",
    "Hand over to the next of 500",
    "Hand over to the next of 1000",
];

pub fn measure(contenders: &Contenders, stage: &Stage, rounds: u32) -> Result<Vec<Measurement>> {
    let most = COUNTS.into_iter().max().unwrap_or_default();
    allow_descriptors(most as u64 + 100)?;
    let measure = |(count, title)| {
        Ok(Measurement {
            title,
            command: "flock 0",
            unit: Unit::Microseconds,
            series: interleaved(
                contenders.and_fair(&["0".as_ref()]),
                fewer(rounds, count),
                |command| hand_over(command, count, stage),
            )?,
            target: Some(Target::Amount(200.0)),
        })
    };
    COUNTS.into_iter().zip(TITLES).map(measure).collect()
}

/// The median, in microseconds, over all waiters.
///
/// Each locks an opening of the file of its own, which is open here too: so the lock outlives the program that took it,
/// as it does in a script, until it is unlocked here.
fn hand_over(command: &mut Command, count: usize, stage: &Stage) -> Result<f64> {
    let held = stage.hold()?;
    let mut openings = HashMap::new();
    for _ in 0..count {
        let opening = File::open(stage.file())?;
        let waiter = command
            .stdin(opening.try_clone()?)
            .spawn()
            .context("cannot start a waiter")?;
        openings.insert(waiter.id(), opening);
    }
    stage.until_waiting(count)?;
    let mut times = Vec::with_capacity(count);
    let mut release = Instant::now();
    drop(held);
    for _ in 0..count {
        let (waiter, status) = wait(WaitOptions::empty())?.context("no waiter is left")?;
        times.push(release.elapsed().as_secs_f64() * 1e6);
        ensure!(
            status.exit_status() == Some(0),
            "a waiter failed: {command:?}"
        );
        let opening = openings.get(&(waiter.as_raw_nonzero().get() as u32));
        let opening = opening.context("who was that?")?;
        release = Instant::now();
        flock(opening, FlockOperation::Unlock)?;
    }
    Ok(Spread::of(times).median)
}

/// Has so many descriptors allowed, if fewer are.
fn allow_descriptors(count: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < count) {
        let limit = Rlimit {
            current: Some(count),
            ..limit
        };
        setrlimit(Resource::Nofile, limit).context("too few descriptors are allowed")?;
    }
    Ok(())
}
