//! The instructions that a program executes in user mode, as callgrind counts them: a number without noise.

use crate::contenders::{self, Contenders, Floor};
use crate::fixture::Stage;
use crate::interleave::interleaved;
use crate::measurement::{Measurement, Target, Unit};
use anyhow::{Context, Result, ensure};
use rustix::fs::{FlockOperation, flock};
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

/// None where valgrind is not installed.
pub fn measure(contenders: &Contenders, stage: &Stage) -> Result<Option<Measurement>> {
    if !has_valgrind()? {
        eprintln!("fdlock-bench: valgrind is not installed: no instructions are counted");
        return Ok(None);
    }
    let eight = stage.descriptor_eight()?;
    let profile = stage.scratch("callgrind.out");
    let mut commands = contenders.both(&["-n".as_ref(), "8".as_ref()]);
    commands.extend(Floor::Descriptor.command(&[]));
    Ok(Some(Measurement {
        title: "Instructions in user mode",
        command: "flock -n 8",
        unit: Unit::Instructions,
        series: interleaved(commands, 1, |command| {
            flock(&eight, FlockOperation::Unlock)?;
            count(command, &profile)
        })?,
        target: Some(Target::Amount(10_000.0)),
    }))
}

fn has_valgrind() -> Result<bool> {
    match valgrind(&["--version".as_ref()]).output() {
        Ok(output) => Ok(output.status.success()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).context("cannot start valgrind"),
    }
}

fn count(command: &Command, profile: &Path) -> Result<f64> {
    let mut profile_to = OsString::from("--callgrind-out-file=");
    profile_to.push(profile);
    let output = valgrind(&["--tool=callgrind".as_ref(), &profile_to])
        .arg(command.get_program())
        .args(command.get_args())
        .output()?;
    let report = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "under valgrind {command:?} fails: {report}"
    );
    collected(&report).with_context(|| format!("callgrind tells no count: {report}"))
}

fn valgrind(arguments: &[&OsStr]) -> Command {
    contenders::command(Path::new("valgrind"), arguments)
}

/// The number in a line like `==42== Collected : 9876`.
fn collected(report: &str) -> Option<f64> {
    report
        .lines()
        .find_map(|line| line.split_once("Collected :"))?
        .1
        .trim()
        .parse()
        .ok()
}
