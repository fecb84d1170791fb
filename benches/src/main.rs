//! Measures fdlock's `flock` beside util-linux's and beside the floor, the least that the job can cost, and its bash builtin.
//! What is measured, how, and how to read it: `README.md` here.

mod builtin;
mod contenders;
mod curve;
mod drain;
mod handover;
mod holders;
mod idle;
mod instructions;
mod interleave;
mod lean;
mod machine;
mod measurement;
mod memory;
mod options;
mod plot;
mod readers;
mod shell;
mod slots;
mod stage;
mod starts;
mod stats;
mod table;
mod turns;

use anyhow::{Context, Result};
use clap::Parser;
use std::fs;

fn main() -> Result<()> {
    let options = options::Options::parse();
    let contenders = contenders::Contenders::find(&options)?;
    let stage = stage::Stage::set()?;

    let mut measurements = starts::measure(&contenders, &stage, options.runs)?;
    measurements.push(memory::measure(&contenders, &stage, options.rounds())?);
    measurements.extend(instructions::measure(&contenders, &stage)?);
    measurements.extend(builtin::measure(&contenders, &stage, options.loops())?);
    let drains = drain::measure(&contenders, &stage, options.rounds())?;
    let turns = turns::measure(&contenders, &stage, &options)?;
    let holders = holders::measure(&contenders, &stage, options.rounds())?;

    let out = &options.out;
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    curve::draw(&drains, &out.join("drain.svg")).context("cannot write drain.svg")?;
    let heading = "fdlock's flock beside util-linux's, and beside the floor";
    plot::draw(&measurements, heading, &out.join("results.svg"))
        .context("cannot write results.svg")?;
    plot::draw(
        &turns,
        "fdlock's flock --fair and --slots",
        &out.join("turns.svg"),
    )
    .context("cannot write turns.svg")?;
    measurements.extend(drains);
    measurements.extend(turns);
    measurements.extend(holders);
    let table = table::render(&measurements, &machine::describe(&contenders)?);
    print!("{table}");
    fs::write(out.join("results.md"), &table).context("cannot write results.md")
}
