//! Memory, instructions and processor time.

use crate::contended;
use crate::contenders::{Floor, Programs, TRUE, command};
use crate::fixture::Fixture;
use crate::measurement::{Measurement, Target, Unit, interleave};
use anyhow::{Context, Result, ensure};
use rustix::fs::{FlockOperation, flock};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

const IDLE_WAITERS: usize = 1000;

/// How long the idle waiters are observed. Each checks every two seconds whether the queue has
/// stalled.
const IDLE_TIME: Duration = Duration::from_secs(4);

/// Measures the peak resident memory of a waiter.
pub fn memory(programs: &Programs, fixture: &Fixture, rounds: u32) -> Result<Measurement> {
    let args = [fixture.lock_file().as_os_str(), TRUE.as_ref()];
    let mut commands = vec![programs.reference(&args), programs.fdlock(&args)];
    commands.extend(Floor::Wrapper.entry(&args));
    Ok(Measurement {
        title: "Memory of a waiter".into(),
        command: "flock FILE /bin/true",
        unit: Unit::Kilobytes,
        series: interleave(commands, rounds, |command| peak_memory(command, fixture))?,
        target: Some(Target::Amount(250.0)),
    })
}

/// Measures the instructions in user mode, as counted by callgrind: a result without noise. Returns
/// `None` if valgrind is not installed.
pub fn instructions(programs: &Programs, fixture: &Fixture) -> Result<Option<Measurement>> {
    if !has_valgrind()? {
        eprintln!("fdlock-bench: valgrind is not installed: not counting instructions");
        return Ok(None);
    }
    let fd = fixture.open_as_fd_8()?;
    let profile = fixture.temp_path("callgrind.out");
    let args = ["-n".as_ref(), "8".as_ref()];
    let mut commands = vec![programs.reference(&args), programs.fdlock(&args)];
    commands.extend(Floor::Descriptor.entry(&[]));
    Ok(Some(Measurement {
        title: "Instructions in user mode".into(),
        command: "flock -n 8",
        unit: Unit::Instructions,
        series: interleave(commands, 1, |command| {
            flock(&fd, FlockOperation::Unlock)?;
            count_instructions(command, &profile)
        })?,
        target: Some(Target::Amount(6_000.0)),
    }))
}

/// Measures the processor time of a `--fair` queue in which nothing happens. (Waiters that sleep in
/// the kernel for the lock use none.)
pub fn idle_queue(programs: &Programs, fixture: &Fixture, rounds: u32) -> Result<Measurement> {
    let commands = vec![programs.fair(&[fixture.lock_file().as_os_str(), TRUE.as_ref()])];
    Ok(Measurement {
        title: format!("CPU time of {IDLE_WAITERS} idle waiters, per second"),
        command: "flock --fair FILE /bin/true",
        unit: Unit::Milliseconds,
        series: interleave(commands, rounds, |command| idle_cpu_time(command, fixture))?,
        target: None,
    })
}

/// Returns the peak resident memory of a process that has blocked on the lock, in kB.
///
/// `/proc` counts only the program itself. `wait4(2)` and `time -v` may report more: they include
/// the process before it executed the program, and the command that it ran afterwards.
fn peak_memory(command: &mut Command, fixture: &Fixture) -> Result<f64> {
    let lock = fixture.lock()?;
    let mut waiter = command.spawn().context("cannot start a waiter")?;
    fixture.wait_for_waiters(1)?;
    let proc_status = fs::read_to_string(format!("/proc/{}/status", waiter.id()))?;
    drop(lock);
    let status = waiter.wait()?;
    ensure!(status.success(), "{command:?}: {status}");
    number_after("VmHWM:", &proc_status).context("no VmHWM in /proc/PID/status")
}

fn number_after(label: &str, text: &str) -> Option<f64> {
    let (_, rest) = text.split_once(label)?;
    rest.split_whitespace().next()?.parse().ok()
}

fn has_valgrind() -> Result<bool> {
    match valgrind(&["--version".as_ref()]).output() {
        Ok(output) => Ok(output.status.success()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).context("cannot start valgrind"),
    }
}

fn count_instructions(command: &Command, profile: &Path) -> Result<f64> {
    let mut out_file = OsString::from("--callgrind-out-file=");
    out_file.push(profile);
    let output = valgrind(&["--tool=callgrind".as_ref(), &out_file])
        .arg(command.get_program())
        .args(command.get_args())
        .output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{command:?} failed under valgrind: {stderr}"
    );
    // In a line like `==42== Collected : 9876`.
    number_after("Collected :", &stderr)
        .with_context(|| format!("no count from callgrind: {stderr}"))
}

fn valgrind(args: &[&OsStr]) -> Command {
    command(Path::new("valgrind"), args)
}

/// Returns the processor time of the waiters and their sentinels, in milliseconds per second.
fn idle_cpu_time(command: &mut Command, fixture: &Fixture) -> Result<f64> {
    let lock = fixture.lock()?;
    let mut waiters = contended::spawn(command, IDLE_WAITERS)?;
    fixture.wait_for_waiters(IDLE_WAITERS)?;
    let mut pids = fixture.sentinels()?;
    pids.extend(waiters.iter().map(Child::id));
    let total = || pids.iter().map(|pid| cpu_time(*pid)).sum::<Result<u64>>();

    let (before, start) = (total()?, Instant::now());
    thread::sleep(IDLE_TIME);
    let (nanoseconds, elapsed) = (total()? - before, start.elapsed());

    drop(lock);
    contended::wait_for_exit(&mut waiters)?;
    Ok(nanoseconds as f64 / 1e6 / elapsed.as_secs_f64())
}

/// Returns the processor time that a process has used, in nanoseconds.
fn cpu_time(pid: u32) -> Result<u64> {
    let schedstat = fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    let field = schedstat.split(' ').next().context("empty schedstat")?;
    Ok(field.parse()?)
}
