//! The command line.

use clap::Parser;
use std::path::PathBuf;

/// Measure fdlock's flock beside util-linux's and beside the floor.
#[derive(Parser)]
pub struct Options {
    /// The flock to measure
    #[arg(long, value_name = "PROGRAM")]
    pub flock: PathBuf,

    /// The bash builtin to measure, which otherwise is left out
    #[arg(long, value_name = "FILE")]
    pub builtin: Option<PathBuf>,

    /// What to measure it against: util-linux's flock
    #[arg(long, value_name = "PROGRAM", default_value = "/usr/bin/flock")]
    pub reference: PathBuf,

    /// How often each short command is started
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,

    /// The folder for results.md and results.svg
    #[arg(long, value_name = "FOLDER", default_value = "benches/results")]
    pub out: PathBuf,
}

impl Options {
    /// How often the measurements are taken that start many processes, or wait for one to block.
    pub fn rounds(&self) -> u32 {
        self.runs.div_ceil(100)
    }

    /// How often a shell is told to repeat something in a loop.
    pub fn loops(&self) -> u32 {
        self.runs.div_ceil(20)
    }
}
