//! Whole processes that lock and go: how long from the start of the program until its end is known.

use crate::contenders::{Contenders, Floor, TRUE, command};
use crate::fixture::Stage;
use crate::interleave::interleaved;
use crate::measurement::{Measurement, Target, Unit, Who};
use crate::vfork::Prepared;
use anyhow::{Result, ensure};
use rustix::fs::{FlockOperation, flock};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

pub fn measure(contenders: &Contenders, stage: &Stage, runs: u32) -> Result<Vec<Measurement>> {
    Ok(vec![
        descriptor(contenders, stage, runs)?,
        wrapper(contenders, stage, runs)?,
        in_place(contenders, stage, runs)?,
    ])
}

/// What it costs to ask for one's turn where nobody else does.
pub fn in_turn(contenders: &Contenders, stage: &Stage, runs: u32) -> Result<Vec<Measurement>> {
    let eight = stage.descriptor_eight()?;
    let series = |arguments: &[&OsStr]| {
        let commands = prepared(contenders.plain_and_fair(arguments))?;
        interleaved(commands, runs, |program| {
            flock(&eight, FlockOperation::Unlock)?;
            start_to_end(program)
        })
    };
    let file = stage.file().as_os_str();
    let target = Some(Target::Ratio(1.10));
    Ok(vec![
        Measurement {
            title: "Lock a descriptor in turn",
            command: "flock -n --fair 8",
            unit: Unit::Microseconds,
            series: series(&["-n".as_ref(), "8".as_ref()])?,
            target,
        },
        Measurement {
            title: "Run a command in turn",
            command: "flock -n --fair FILE /bin/true",
            unit: Unit::Microseconds,
            series: series(&["-n".as_ref(), file, TRUE.as_ref()])?,
            target,
        },
    ])
}

/// What a free slot costs.
pub fn in_a_slot(
    contenders: &Contenders,
    stage: &Stage,
    runs: u32,
    rounds: u32,
) -> Result<Measurement> {
    let arguments = [stage.file().as_os_str(), TRUE.as_ref()];
    let commands = vec![
        (Who::Ours, contenders.ours(&arguments)),
        (Who::Slots, contenders.slots(&arguments)),
    ];
    let mut series = interleaved(prepared(commands)?, runs, start_to_end)?;
    // Not in turn with the others: it takes a hundred times as long, and leaves nothing in the caches to whoever is next.
    let sem = contenders.sem(stage, &[TRUE.as_ref()]);
    let sem = prepared(sem.into_iter().collect())?;
    series.extend(interleaved(sem, rounds, start_to_end)?);
    Ok(Measurement {
        title: "Run a command in a slot",
        command: "flock --slots 4 FILE /bin/true",
        unit: Unit::Microseconds,
        series,
        target: Some(Target::Ratio(1.3)),
    })
}

fn descriptor(contenders: &Contenders, stage: &Stage, runs: u32) -> Result<Measurement> {
    let eight = stage.descriptor_eight()?;
    let mut commands = contenders.both(&["-n".as_ref(), "8".as_ref()]);
    commands.extend(Floor::Descriptor.command(&[]));
    Ok(Measurement {
        title: "Lock a descriptor",
        command: "flock -n 8",
        unit: Unit::Microseconds,
        series: interleaved(prepared(commands)?, runs, |program| {
            // The lock outlives the program that took it, for descriptor 8 stays open here. Without this only the
            // first program would take a lock, and the others find that they have it.
            flock(&eight, FlockOperation::Unlock)?;
            start_to_end(program)
        })?,
        target: Some(Target::Ratio(0.30)),
    })
}

fn wrapper(contenders: &Contenders, stage: &Stage, runs: u32) -> Result<Measurement> {
    let file = stage.file().as_os_str();
    let mut commands = contenders.both(&["-n".as_ref(), file, TRUE.as_ref()]);
    commands.extend(Floor::Wrapper.command(&[file, TRUE.as_ref()]));
    commands.push((Who::Alone, command(Path::new(TRUE), &[])));
    Ok(Measurement {
        title: "Run a command under the lock",
        command: "flock -n FILE /bin/true",
        unit: Unit::Microseconds,
        series: interleaved(prepared(commands)?, runs, start_to_end)?,
        target: Some(Target::Ratio(0.62)),
    })
}

fn in_place(contenders: &Contenders, stage: &Stage, runs: u32) -> Result<Measurement> {
    let file = stage.file().as_os_str();
    let mut commands = contenders.both(&["-n".as_ref(), "-F".as_ref(), file, TRUE.as_ref()]);
    commands.extend(Floor::InPlace.command(&[file, TRUE.as_ref()]));
    commands.push((Who::Alone, command(Path::new(TRUE), &[])));
    Ok(Measurement {
        title: "Become the command, under the lock",
        command: "flock -n -F FILE /bin/true",
        unit: Unit::Microseconds,
        series: interleaved(prepared(commands)?, runs, start_to_end)?,
        target: Some(Target::Ratio(0.63)),
    })
}

fn prepared(commands: Vec<(Who, Command)>) -> Result<Vec<(Who, Prepared)>> {
    commands
        .iter()
        .map(|(who, command)| Ok((*who, Prepared::new(command)?)))
        .collect()
}

/// How long the program takes, in microseconds. One that fails is not worth a time.
fn start_to_end(program: &mut Prepared) -> Result<f64> {
    let (status, took) = program.run()?;
    ensure!(status.success(), "{}: {status}", program.name());
    Ok(took.as_secs_f64() * 1e6)
}
