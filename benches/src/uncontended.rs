//! Whole processes without contention: the time from the start of the program until its exit is
//! reported.

use crate::contenders::{Contender, Entry, Floor, Programs, TRUE, gnu_sem, no_lock};
use crate::fixture::Fixture;
use crate::measurement::{Measurement, Series, Target, Unit, interleave};
use crate::vfork::PreparedCommand;
use anyhow::{Result, ensure};
use rustix::fs::{FlockOperation, flock};
use std::ffi::OsStr;

pub fn lock_descriptor(programs: &Programs, fixture: &Fixture, rounds: u32) -> Result<Measurement> {
    let args = ["-n".as_ref(), "8".as_ref()];
    let mut commands = vec![programs.reference(&args), programs.fdlock(&args)];
    commands.extend(Floor::Descriptor.entry(&[]));
    commands.extend(Floor::CLibrary.entry(&args));
    Ok(Measurement {
        title: "Lock a descriptor".into(),
        command: "flock -n 8",
        unit: Unit::Microseconds,
        series: time_with_fd_8(commands, fixture, rounds)?,
        target: Some(Target::RatioToFloor(1.30)),
    })
}

pub fn run_command(programs: &Programs, fixture: &Fixture, rounds: u32) -> Result<Measurement> {
    let file = fixture.lock_file().as_os_str();
    let args = ["-n".as_ref(), file, TRUE.as_ref()];
    let mut commands = vec![programs.reference(&args), programs.fdlock(&args)];
    commands.extend(Floor::Wrapper.entry(&[file, TRUE.as_ref()]));
    commands.push(no_lock());
    Ok(Measurement {
        title: "Run a command under a lock".into(),
        command: "flock -n FILE /bin/true",
        unit: Unit::Microseconds,
        series: interleave(prepare(commands)?, rounds, time)?,
        target: Some(Target::RatioToFloor(1.15)),
    })
}

pub fn exec_command(programs: &Programs, fixture: &Fixture, rounds: u32) -> Result<Measurement> {
    let file = fixture.lock_file().as_os_str();
    let args = ["-n".as_ref(), "-F".as_ref(), file, TRUE.as_ref()];
    let mut commands = vec![programs.reference(&args), programs.fdlock(&args)];
    commands.extend(Floor::Exec.entry(&[file, TRUE.as_ref()]));
    commands.push(no_lock());
    Ok(Measurement {
        title: "Exec a command under a lock".into(),
        command: "flock -n -F FILE /bin/true",
        unit: Unit::Microseconds,
        series: interleave(prepare(commands)?, rounds, time)?,
        target: Some(Target::RatioToFloor(1.08)),
    })
}

/// Measures the overhead of `--fair` without contention.
pub fn fair(programs: &Programs, fixture: &Fixture, rounds: u32) -> Result<Vec<Measurement>> {
    let measure = |title: &str, command, args: &[&OsStr]| {
        let commands = vec![programs.fdlock(args), programs.fair(args)];
        anyhow::Ok(Measurement {
            title: title.into(),
            command,
            unit: Unit::Microseconds,
            series: time_with_fd_8(commands, fixture, rounds)?,
            target: Some(Target::Ratio(1.10)),
        })
    };
    let lock = ["-n".as_ref(), "8".as_ref()];
    let run = [
        "-n".as_ref(),
        fixture.lock_file().as_os_str(),
        TRUE.as_ref(),
    ];
    let run_line = "flock -n --fair FILE /bin/true";
    Ok(vec![
        measure("Lock a descriptor with --fair", "flock -n --fair 8", &lock)?,
        measure("Run a command with --fair", run_line, &run)?,
    ])
}

/// Measures the overhead of a free slot.
pub fn slot(
    programs: &Programs,
    fixture: &Fixture,
    rounds: u32,
    slow_rounds: u32,
) -> Result<Measurement> {
    let args = [fixture.lock_file().as_os_str(), TRUE.as_ref()];
    let commands = vec![programs.fdlock(&args), programs.slots(&args)];
    let mut series = interleave(prepare(commands)?, rounds, time)?;
    // Not interleaved with the others: it takes a hundred times as long, and would leave cold
    // caches to the next contender.
    let gnu_sem = gnu_sem(fixture, &[TRUE.as_ref()]).into_iter().collect();
    series.extend(interleave(prepare(gnu_sem)?, slow_rounds, time)?);
    Ok(Measurement {
        title: "Run a command in a slot".into(),
        command: "flock --slots 4 FILE /bin/true",
        unit: Unit::Microseconds,
        series,
        target: Some(Target::Ratio(1.3)),
    })
}

/// Times commands that inherit the lock file on descriptor 8.
///
/// The descriptor stays open here, so the lock outlives the program that acquires it. It is
/// released before each run; otherwise only the first one would acquire a lock, and the others
/// already have it.
fn time_with_fd_8(commands: Vec<Entry>, fixture: &Fixture, rounds: u32) -> Result<Vec<Series>> {
    let fd = fixture.open_as_fd_8()?;
    interleave(prepare(commands)?, rounds, |command| {
        flock(&fd, FlockOperation::Unlock)?;
        time(command)
    })
}

fn prepare(commands: Vec<Entry>) -> Result<Vec<(Contender, PreparedCommand)>> {
    commands
        .iter()
        .map(|(contender, command)| Ok((*contender, PreparedCommand::new(command)?)))
        .collect()
}

/// Runs a command, which must succeed, and returns the time in microseconds.
fn time(command: &mut PreparedCommand) -> Result<f64> {
    let (status, elapsed) = command.run()?;
    ensure!(status.success(), "{}: {status}", command.name());
    Ok(elapsed.as_secs_f64() * 1e6)
}
