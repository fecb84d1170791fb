//! Measures fdlock's `flock` beside util-linux's and beside the floor, the least that the job can cost, and its bash builtin.
//! What is measured, how, and how to read it: `README.md` here.

mod builtin;
mod contenders;
mod drain;
mod instructions;
mod interleave;
mod lean;
mod machine;
mod measurement;
mod memory;
mod options;
mod plot;
mod shell;
mod stage;
mod starts;
mod stats;
mod table;

use anyhow::{Context, Result};
use clap::Parser;
use std::fs;

fn main() -> Result<()> {
    let options = options::Options::parse();
    let contenders = contenders::Contenders::find(&options)?;
    let stage = stage::Stage::set()?;

    let mut measurements = starts::measure(&contenders, &stage, options.runs)?;
    measurements.push(drain::measure(&contenders, &stage, options.rounds())?);
    measurements.push(memory::measure(&contenders, &stage, options.rounds())?);
    measurements.extend(instructions::measure(&contenders, &stage)?);
    measurements.extend(builtin::measure(&contenders, &stage, options.loops())?);

    let table = table::render(&measurements, &machine::describe(&contenders)?);
    print!("{table}");
    let out = &options.out;
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    fs::write(out.join("results.md"), &table).context("cannot write results.md")?;
    plot::draw(&measurements, &out.join("results.svg")).context("cannot write results.svg")
}
