//! The bash builtin: what a call costs a script that runs already, beside what bash needs for a builtin that does nothing,
//! beside zsh's own lock, and beside a program.

use crate::contenders::Contenders;
use crate::fixture::Stage;
use crate::interleave::interleaved;
use crate::measurement::{Measurement, Series, Target, Unit, Who};
use crate::shell::{Shell, quoted};
use anyhow::{Context, Result};

/// Two commands of two words each that do nothing.
const COLON: &str = ": -x 8; : -u 8";

/// A line that a shell of its own repeats so often for one sample.
struct Loop {
    shell: Shell,
    line: String,
    times: u32,
}

/// Nothing where there is no bash.
pub fn measure(contenders: &Contenders, stage: &Stage, rounds: u32) -> Result<Vec<Measurement>> {
    let Some(builtin) = contenders.builtin() else {
        return Ok(Vec::new());
    };
    if Shell::bash()?.is_none() {
        eprintln!("fdlock-bench: bash is not installed: the builtin is not measured");
        return Ok(Vec::new());
    }
    let enable = format!("enable -f {} flock", quoted(builtin));
    Ok(vec![
        pair(contenders, stage, &enable, rounds)?,
        function(contenders, stage, &enable, rounds)?,
        loading(&enable, rounds)?,
    ])
}

fn pair(contenders: &Contenders, stage: &Stage, enable: &str, rounds: u32) -> Result<Measurement> {
    let file = quoted(stage.file());
    let open = format!("exec 8>>{file}");
    let program = quoted(contenders.reference());
    let mut loops = vec![
        (Who::Colon, bash(&[&open], COLON, 5000)?),
        (
            Who::Ours,
            bash(&[&open, enable], "flock -x 8; flock -u 8", 5000)?,
        ),
    ];
    // It opens the file too: there is no other way.
    let line = format!("zsystem flock -f fd {file}; zsystem flock -u $fd");
    loops.extend(zsh(&["zmodload zsh/system"], line, 5000)?.map(|it| (Who::Zsh, it)));
    let line = format!("{program} -x 8; {program} -u 8");
    loops.push((Who::Reference, bash(&[&open], line, 5)?));
    Ok(Measurement {
        title: "Lock and unlock with the builtin",
        command: "flock -x 8; flock -u 8",
        unit: Unit::Microseconds,
        series: taking_turns(loops, rounds)?,
        target: Some(Target::Ratio(1.94)),
    })
}

fn function(
    contenders: &Contenders,
    stage: &Stage,
    enable: &str,
    rounds: u32,
) -> Result<Measurement> {
    let file = quoted(stage.file());
    let (function, program) = ("f() { :; }", quoted(contenders.reference()));
    let program = format!("{program} {file} bash -c f");
    let loops = vec![
        (Who::Colon, bash(&[], COLON, 2000)?),
        (
            Who::Ours,
            bash(&[function, enable], format!("flock {file} f"), 2000)?,
        ),
        (Who::Bare, bash(&[function], "f", 2000)?),
        (
            Who::Reference,
            bash(&[function, "export -f f"], program, 2)?,
        ),
    ];
    Ok(Measurement {
        title: "Run a function under the lock",
        command: "flock FILE f",
        unit: Unit::Microseconds,
        series: taking_turns(loops, rounds)?,
        target: Some(Target::Ratio(4.7)),
    })
}

fn loading(enable: &str, rounds: u32) -> Result<Measurement> {
    let line = format!("{enable}; enable -d flock");
    let loops = vec![(Who::Ours, bash(&[], line, 20)?)];
    Ok(Measurement {
        title: "Load and unload the builtin",
        command: "enable -f …/flock flock; enable -d flock",
        unit: Unit::Microseconds,
        series: taking_turns(loops, rounds)?,
        target: Some(Target::Amount(250.0)),
    })
}

fn bash(first: &[&str], line: impl Into<String>, times: u32) -> Result<Loop> {
    let shell = Shell::bash()?.context("there was a bash, and is no more")?;
    begin(shell, first, line.into(), times)
}

fn zsh(first: &[&str], line: String, times: u32) -> Result<Option<Loop>> {
    let shell = Shell::zsh()?;
    shell
        .map(|shell| begin(shell, first, line, times))
        .transpose()
}

fn begin(mut shell: Shell, first: &[&str], line: String, times: u32) -> Result<Loop> {
    for step in first.iter().copied().chain([&line[..]]) {
        shell.run(step)?;
    }
    Ok(Loop { shell, line, times })
}

fn taking_turns(loops: Vec<(Who, Loop)>, rounds: u32) -> Result<Vec<Series>> {
    interleaved(loops, rounds, |one| one.shell.time(&one.line, one.times))
}
