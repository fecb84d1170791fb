//! Measures fdlock's `flock` beside util-linux's and beside the floor, the least that the job can cost, and its bash builtin.
//! What is measured, how, and how to read it: `README.md` here.

mod builtin;
mod charts;
mod contended;
mod contenders;
mod curve;
mod drain;
mod fixture;
mod idle;
mod interleave;
mod machine;
mod measurement;
mod memory;
mod options;
mod readers;
mod report;
mod resources;
mod shell;
mod slots;
mod stats;
mod turns;
mod uncontended;
mod vfork;
mod who;

use anyhow::{Context, Result};
use clap::Parser;
use std::fs;

fn main() -> Result<()> {
    let options = options::Options::parse();
    let contenders = contenders::Contenders::find(&options)?;
    let stage = fixture::Stage::set()?;

    let mut measurements = uncontended::measure(&contenders, &stage, options.runs)?;
    measurements.push(memory::measure(&contenders, &stage, options.rounds())?);
    measurements.extend(resources::measure(&contenders, &stage)?);
    measurements.extend(builtin::measure(&contenders, &stage, options.loops())?);
    let drains = drain::measure(&contenders, &stage, options.rounds())?;
    let turns = turns::measure(&contenders, &stage, &options)?;
    let holders = who::measure(&contenders, &stage, options.rounds())?;

    let out = &options.out;
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    curve::draw(&drains, &out.join("drain.svg")).context("cannot write drain.svg")?;
    let heading = "fdlock's flock beside util-linux's, and beside the floor";
    charts::draw(&measurements, heading, &out.join("results.svg"))
        .context("cannot write results.svg")?;
    charts::draw(
        &turns,
        "fdlock's flock --fair and --slots",
        &out.join("fairness.svg"),
    )
    .context("cannot write fairness.svg")?;
    measurements.extend(drains);
    measurements.extend(turns);
    measurements.extend(holders);
    let table = report::render(&measurements, &machine::describe(&contenders)?);
    print!("{table}");
    fs::write(out.join("results.md"), &table).context("cannot write results.md")
}
