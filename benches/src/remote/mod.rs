//! Locks elsewhere, each beside a client of the same server.

mod etcd;
mod postgres;
mod ssh;

use crate::contended::{spawn, wait_for_exit};
use crate::contenders::{Contender, Programs, TRUE};
use crate::fixture::Fixture;
use crate::measurement::{Measurement, Target, Unit, interleave};
use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may take to start, and the waiters to enter the queue.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server, and the two programs that use it.
trait System {
    /// How a user would name the system.
    const NAME: &str;

    /// The command line that is measured.
    const COMMAND: &str;

    /// The limit for fdlock, relative to the other program.
    const TARGET: Option<Target>;

    /// How many processes wait for a lock that is handed over.
    const WAITERS: usize = 100;

    /// Returns the program that fdlock is compared with.
    fn contenders(&self) -> [Contender; 2];

    /// Returns the command with which a contender runs this job under the lock.
    fn command(&self, contender: Contender, job: &[&OsStr]) -> Command;

    /// Returns the command that holds the lock, against this contender, until its standard input is
    /// closed.
    fn holder(&self, contender: Contender) -> Command;

    /// Counts the processes that hold the lock or wait for it.
    fn count(&self) -> Result<usize>;
}

/// Measures locks in all systems that are installed.
pub fn measure(programs: &Programs, fixture: &Fixture, rounds: u32) -> Result<Vec<Measurement>> {
    let mut measurements = Vec::new();
    // Those with many processes.
    let slow_rounds = rounds.div_ceil(30);
    match etcd::Etcd::start(programs, fixture)? {
        Some(etcd) => measurements.extend(measure_in(&etcd, rounds, slow_rounds)?),
        None => eprintln!("fdlock-bench: etcd is not installed: measuring without it"),
    }
    match postgres::Postgres::start(programs, fixture)? {
        Some(postgres) => measurements.extend(measure_in(&postgres, rounds, slow_rounds)?),
        None => eprintln!("fdlock-bench: PostgreSQL is not installed: measuring without it"),
    }
    match ssh::Ssh::start(programs, fixture)? {
        // A connection takes a hundred times as long as a call.
        Some(ssh) => measurements.extend(measure_in(&ssh, rounds.div_ceil(5), slow_rounds)?),
        None => eprintln!("fdlock-bench: sshd is not installed: measuring without it"),
    }
    Ok(measurements)
}

fn measure_in<S: System>(system: &S, rounds: u32, slow_rounds: u32) -> Result<Vec<Measurement>> {
    let measure = |title: &str, unit, rounds, job: &str, sample: &Sample<'_, S>| {
        let contenders = system.contenders().map(|contender| (contender, contender));
        let job = [OsStr::new(job)];
        anyhow::Ok(Measurement {
            title: title.replace("NAME", S::NAME),
            command: S::COMMAND,
            unit,
            series: interleave(contenders.into(), rounds, |contender| {
                let command = &mut system.command(*contender, &job);
                sample(system, *contender, command).with_context(|| format!("{command:?}"))
            })?,
            target: S::TARGET,
        })
    };
    let (time, memory) = (Unit::Milliseconds, Unit::Kilobytes);
    Ok(vec![
        measure(
            "Run a command under a lock in NAME",
            time,
            rounds,
            TRUE,
            &|_, _, command| time_call(command),
        )?,
        measure(
            "Start a command under a lock in NAME",
            time,
            rounds,
            "/bin/echo",
            &|_, _, command| time_start(command),
        )?,
        measure(
            &format!(
                "Hand a lock in NAME over to the next of {} waiters",
                S::WAITERS
            ),
            time,
            slow_rounds,
            TRUE,
            &time_hand_over,
        )?,
        measure(
            "Memory of a waiter for a lock in NAME",
            memory,
            slow_rounds,
            TRUE,
            &memory_of_waiter,
        )?,
    ])
}

type Sample<'f, S> = dyn Fn(&S, Contender, &mut Command) -> Result<f64> + 'f;

/// Puts the program where it finds its helper, and returns its path.
fn install(programs: &Programs, fixture: &Fixture, helper: &str) -> Result<PathBuf> {
    let [bin, libexec] = ["bin", "libexec/fdlock"].map(|dir| fixture.temp_path(dir));
    fs::create_dir_all(&bin)?;
    fs::create_dir_all(&libexec)?;
    let program = programs.fdlock.with_file_name(helper);
    ensure!(program.is_file(), "not a file: {}", program.display());
    // A copy, not a link: `flock-ssh` there looks for `flock` beside its own file.
    fs::copy(program, libexec.join(helper))?;
    let flock = bin.join("flock");
    fs::copy(&programs.fdlock, &flock)?;
    Ok(flock)
}

/// Returns a port of this machine that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A server process, which is killed when this is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until that many processes hold the lock or wait for it.
fn wait_for_count(system: &impl System, expected: usize) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let count = system.count();
        if matches!(count, Ok(count) if count == expected) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("expected {expected} holders and waiters, found {}", count?);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn hold(system: &impl System, contender: Contender) -> Result<Child> {
    wait_for_count(system, 0)?;
    let mut holder = system.holder(contender);
    let holder = holder.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    wait_for_count(system, 1)?;
    Ok(holder)
}

/// Returns the time of a whole call, in milliseconds.
fn time_call(command: &mut Command) -> Result<f64> {
    let start = Instant::now();
    let status = command.stdout(Stdio::null()).status()?;
    ensure!(status.success(), "{status}");
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

/// Returns the time until the command, which prints something, has done so, in milliseconds.
fn time_start(command: &mut Command) -> Result<f64> {
    let start = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut stdout = child.stdout.take().context("no standard output")?;
    stdout.read_exact(&mut [0])?;
    let elapsed = start.elapsed();
    stdout.read_to_end(&mut Vec::new())?;
    let status = child.wait()?;
    ensure!(status.success(), "{status}");
    Ok(elapsed.as_secs_f64() * 1e3)
}

/// Returns the time per waiter from the release of the lock until the last of them has exited, in
/// milliseconds.
fn time_hand_over<S: System>(
    system: &S,
    contender: Contender,
    command: &mut Command,
) -> Result<f64> {
    let mut holder = hold(system, contender)?;
    let mut waiters = spawn(
        command.stdin(Stdio::null()).stdout(Stdio::null()),
        S::WAITERS,
    )?;
    wait_for_count(system, 1 + S::WAITERS)?;
    let start = Instant::now();
    drop(holder.stdin.take());
    wait_for_exit(&mut waiters)?;
    let elapsed = start.elapsed();
    wait_for_exit(&mut [holder])?;
    Ok(elapsed.as_secs_f64() * 1e3 / S::WAITERS as f64)
}

/// Returns the memory of a waiter, its helper and what that has started, of which shared pages count
/// in part, in kB.
fn memory_of_waiter<S: System>(
    system: &S,
    contender: Contender,
    command: &mut Command,
) -> Result<f64> {
    let mut holder = hold(system, contender)?;
    let mut waiter = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    wait_for_count(system, 2)?;
    let mut pids = Vec::from([waiter.id().to_string()]);
    let mut total = 0.0;
    while let Some(pid) = pids.pop() {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        pids.extend(children.split_whitespace().map(str::to_owned));
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let pss = pss.and_then(|pss| pss.split_whitespace().next());
        total += pss.context("no Pss in smaps_rollup")?.parse::<f64>()?;
    }
    drop(holder.stdin.take());
    wait_for_exit(&mut [holder])?;
    wait_for_exit(std::slice::from_mut(&mut waiter))?;
    Ok(total)
}
