//! Compares fdlock's `flock` with util-linux's and with the floor, the least that can do the job,
//! and measures its bash builtin. `README.md` explains the measurements, the method and the
//! results.

mod builtin;
mod charts;
mod contended;
mod contenders;
mod fixture;
mod measurement;
mod remote;
mod report;
mod resources;
mod uncontended;
mod vfork;
mod who;

use anyhow::{Context, Result};
use clap::Parser;
use contenders::{Contender, Programs};
use fixture::Fixture;
use measurement::Measurement;
use std::fs;
use std::path::PathBuf;

/// The number of rounds for measurements that take seconds each.
const VERY_SLOW_ROUNDS: u32 = 3;

/// Compare fdlock's flock with util-linux's
#[derive(Parser)]
struct Options {
    /// The flock to measure
    #[arg(long, value_name = "PROGRAM")]
    flock: PathBuf,

    /// The bash builtin to measure [default: none]
    #[arg(long, value_name = "FILE")]
    builtin: Option<PathBuf>,

    /// The flock to compare with
    #[arg(long, value_name = "PROGRAM", default_value = "/usr/bin/flock")]
    reference: PathBuf,

    /// The number of runs of each short command
    #[arg(long, value_name = "N", default_value_t = 2000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,

    /// The directory for results.md and the pictures
    #[arg(long, value_name = "DIRECTORY", default_value = "benches/results")]
    out: PathBuf,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let programs = &Programs::new(&options)?;
    let fixture = &Fixture::new()?;
    let runs = options.runs;
    // For measurements that start many processes, or wait until one has blocked.
    let slow_rounds = runs.div_ceil(100);
    // For loops of a shell.
    let loop_rounds = runs.div_ceil(20);

    let mut short_calls = vec![
        uncontended::lock_descriptor(programs, fixture, runs)?,
        uncontended::run_command(programs, fixture, runs)?,
        uncontended::exec_command(programs, fixture, runs)?,
        resources::memory(programs, fixture, slow_rounds)?,
    ];
    short_calls.extend(resources::instructions(programs, fixture)?);
    short_calls.extend(builtin::measure(programs, fixture, loop_rounds)?);

    let drains = contended::drain(programs, fixture, slow_rounds)?;

    let mut fairness = uncontended::fair(programs, fixture, runs)?;
    let hand_overs = contended::hand_over(programs, fixture, slow_rounds)?;
    fairness.extend([
        resources::idle_queue(programs, fixture, VERY_SLOW_ROUNDS)?,
        contended::writer(programs, fixture, VERY_SLOW_ROUNDS)?,
        uncontended::slot(programs, fixture, runs, slow_rounds)?,
        contended::slots(programs, fixture, VERY_SLOW_ROUNDS)?,
    ]);

    let who = who::measure(programs, fixture, slow_rounds)?;
    let remote = remote::measure(programs, fixture, loop_rounds)?;

    let out = &options.out;
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let calls = &short_calls[..3];
    let is_complete = |call: &Measurement| {
        let mut contenders = call.contenders();
        contenders.any(|contender| contender == Contender::Floor)
    };
    let has_start = calls[0]
        .contenders()
        .any(|contender| contender == Contender::CLibrary);
    if has_start && calls.iter().all(is_complete) {
        charts::draw_breakdown(calls, &out.join("breakdown.svg"))
            .context("cannot write breakdown.svg")?;
    }
    for (measurements, counts, heading, name) in [
        (
            &drains,
            &contended::DRAIN_COUNTS[..],
            "Time from the release of the lock until the last waiter has exited",
            "drain.svg",
        ),
        (
            &hand_overs,
            &contended::HAND_OVER_COUNTS,
            "Time until the next waiter has the lock",
            "hand-over.svg",
        ),
    ] {
        charts::draw_lines(measurements, counts, heading, &out.join(name))
            .with_context(|| format!("cannot write {name}"))?;
    }
    let heading = "fdlock compared with util-linux and with the floor";
    charts::draw_bars(&short_calls, heading, &out.join("results.svg"))
        .context("cannot write results.svg")?;
    let heading = "fdlock with --fair and with --slots";
    charts::draw_bars(&fairness, heading, &out.join("fairness.svg"))
        .context("cannot write fairness.svg")?;
    let measurements = [short_calls, drains, fairness, hand_overs, who, remote]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>();
    let report = report::render(&measurements, &report::environment(programs)?);
    print!("{report}");
    fs::write(out.join("results.md"), &report).context("cannot write results.md")
}
