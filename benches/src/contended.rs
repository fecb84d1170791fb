//! Many processes that compete for one lock.

use crate::contenders::{Contender, Floor, Programs, TRUE, gnu_sem};
use crate::fixture::Fixture;
use crate::measurement::{Measurement, Percentiles, Target, Unit, interleave};
use anyhow::{Context, Result, bail, ensure};
use fdlock::sys::ofd::{self, Blocking, Operation};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Resource, Rlimit, WaitOptions, getrlimit, setrlimit, wait};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub const DRAIN_COUNTS: [usize; 3] = [100, 500, 1000];

pub const HAND_OVER_COUNTS: [usize; 5] = [100, 500, 1000, 2000, 5000];

/// The most waiters for which there is a target.
const TARGET_COUNT: usize = 1000;

/// Descriptors that the benchmark needs in addition to one per waiter.
const SPARE_FDS: u64 = 100;

const READERS: u32 = 10;

/// How long each reader holds the lock before it starts again.
const READ_TIME: Duration = Duration::from_millis(50);

/// The writer's timeout, in seconds.
const WRITER_TIMEOUT: u32 = 3;

const JOBS: usize = 40;

/// Measures the time from the release of the lock until the last of many waiters has exited.
pub fn drain(programs: &Programs, fixture: &Fixture, rounds: u32) -> Result<Vec<Measurement>> {
    let args = [fixture.lock_file().as_os_str(), TRUE.as_ref()];
    let measure = |count| {
        let mut commands = vec![
            programs.reference(&args),
            programs.fdlock(&args),
            programs.fair(&args),
        ];
        commands.extend(Floor::Wrapper.entry(&args));
        Ok(Measurement {
            title: format!("Drain {count} waiters"),
            command: "flock FILE /bin/true",
            unit: Unit::Milliseconds,
            series: interleave(commands, rounds_for(count, rounds), |command| {
                time_drain(command, count, fixture)
            })?,
            target: None,
        })
    };
    DRAIN_COUNTS.into_iter().map(measure).collect()
}

/// Measures the time from the release of the lock until the next of many waiters reports that it
/// has the lock, when each of them holds it as briefly as possible.
pub fn hand_over(programs: &Programs, fixture: &Fixture, rounds: u32) -> Result<Vec<Measurement>> {
    let most_waiters = HAND_OVER_COUNTS.into_iter().max().unwrap_or_default();
    raise_fd_limit(most_waiters as u64 + SPARE_FDS)?;
    let args = ["0".as_ref()];
    let measure = |count| {
        let commands = vec![
            programs.reference(&args),
            programs.fdlock(&args),
            programs.fair(&args),
        ];
        Ok(Measurement {
            title: format!("Hand over to the next of {count} waiters"),
            command: "flock 0",
            unit: Unit::Microseconds,
            series: {
                let rounds = rounds_for(count, rounds);
                let mut series = interleave(commands, rounds, |command| {
                    time_hand_over(command, count, fixture)
                })?;
                series.extend(interleave(vec![(Contender::Kernel, ())], rounds, |()| {
                    time_list_walks(count, fixture)
                })?);
                series
            },
            target: (count <= TARGET_COUNT).then_some(Target::Amount(200.0)),
        })
    };
    HAND_OVER_COUNTS.into_iter().map(measure).collect()
}

/// Returns the time that the kernel takes for the calls of a hand-over that walk over all markers on
/// the file, in microseconds.
fn time_list_walks(count: usize, fixture: &Fixture) -> Result<f64> {
    const MARKERS: i64 = 1 << 62;
    let open = || File::open(fixture.lock_file());
    let mut waiters = Vec::with_capacity(count);
    for marker in (MARKERS..).step_by(2).take(count) {
        let file = open()?;
        ofd::set(file.as_fd(), Operation::Read, marker, 1, Blocking::No)?;
        waiters.push(file);
    }
    let caller = open()?;
    let mut times = Vec::with_capacity(count);
    for waiter in waiters {
        let stdin = caller.try_clone()?;
        let start = Instant::now();
        // The waiter looks for others before it locks the file and afterwards: for earlier ones
        // before its own marker, and after the wrap of the clock.
        for _ in 0..4 {
            ofd::conflict(caller.as_fd(), 0, MARKERS - 1)?;
        }
        // It leaves the queue and exits. On every close of the file, the kernel looks for the
        // process's locks.
        drop(waiter);
        drop(stdin);
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(Percentiles::new(times).median)
}

/// Measures how long a writer waits for a lock that is never free, because its readers overlap.
pub fn writer(programs: &Programs, fixture: &Fixture, rounds: u32) -> Result<Measurement> {
    let file = fixture.lock_file().as_os_str();
    let timeout = WRITER_TIMEOUT.to_string();
    let reader_args = ["-s".as_ref(), file, "/bin/sleep".as_ref(), "0.05".as_ref()];
    let writer_args = ["-w".as_ref(), timeout.as_ref(), file, TRUE.as_ref()];
    let commands = [Programs::reference, Programs::fdlock, Programs::fair]
        .map(|entry| {
            let (contender, writer) = entry(programs, &writer_args);
            let readers = (0..READERS).map(|_| entry(programs, &reader_args).1);
            (contender, (writer, readers.collect::<Vec<_>>()))
        })
        .into();
    Ok(Measurement {
        title: "Writer among overlapping readers".into(),
        command: "flock -w 3 FILE /bin/true",
        unit: Unit::MillisecondsUpTo(f64::from(WRITER_TIMEOUT) * 1e3),
        series: interleave(commands, rounds, |(writer, readers)| {
            time_writer(writer, readers)
        })?,
        target: None,
    })
}

/// Measures how long many short jobs take, four at a time. The minimum is one second.
pub fn slots(programs: &Programs, fixture: &Fixture, rounds: u32) -> Result<Measurement> {
    let job = ["/bin/sleep", "0.1"].map(OsStr::new);
    let args = [&[fixture.lock_file().as_os_str()], &job[..]].concat();
    let mut commands = vec![programs.slots(&args)];
    let gnu_sem = gnu_sem(fixture, &job);
    if gnu_sem.is_none() {
        eprintln!("fdlock-bench: GNU sem is not installed: measuring without it");
    }
    commands.extend(gnu_sem);
    Ok(Measurement {
        title: format!("{JOBS} jobs of 0.1 s, four at a time"),
        command: "flock --slots 4 FILE /bin/sleep 0.1",
        unit: Unit::Milliseconds,
        series: interleave(commands, rounds, time_jobs)?,
        target: None,
    })
}

/// Returns fewer rounds for many waiters, because these rounds are slow and their results vary
/// little.
fn rounds_for(waiters: usize, rounds: u32) -> u32 {
    rounds.div_ceil(match waiters {
        0..=100 => 1,
        101..=1000 => 4,
        _ => 20,
    })
}

/// Returns the time in milliseconds.
fn time_drain(command: &mut Command, count: usize, fixture: &Fixture) -> Result<f64> {
    let lock = fixture.lock()?;
    let mut waiters = spawn(command, count)?;
    fixture.wait_for_waiters(count)?;
    let start = Instant::now();
    drop(lock);
    wait_for_exit(&mut waiters).with_context(|| format!("{command:?}"))?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

/// Returns the median over all waiters, in microseconds.
///
/// Each waiter locks an open file description of its own, which is open here too, so the lock
/// outlives the program that acquired it, as in a script, until it is released here.
fn time_hand_over(command: &mut Command, count: usize, fixture: &Fixture) -> Result<f64> {
    let lock = fixture.lock()?;
    let mut files = HashMap::new();
    for _ in 0..count {
        let file = File::open(fixture.lock_file())?;
        let waiter = command
            .stdin(file.try_clone()?)
            .spawn()
            .context("cannot start a waiter")?;
        files.insert(waiter.id(), file);
    }
    fixture.wait_for_waiters(count)?;
    let mut times = Vec::with_capacity(count);
    let mut release = Instant::now();
    drop(lock);
    for _ in 0..count {
        let (pid, status) = wait(WaitOptions::empty())?.context("no waiter is left")?;
        times.push(release.elapsed().as_secs_f64() * 1e6);
        let is_success = status.exit_status() == Some(0);
        ensure!(is_success, "a waiter failed: {command:?}");
        let file = files.get(&(pid.as_raw_nonzero().get() as u32));
        let file = file.context("unknown child process")?;
        release = Instant::now();
        flock(file, FlockOperation::Unlock)?;
    }
    Ok(Percentiles::new(times).median)
}

/// Returns the writer's time in milliseconds, or its timeout.
fn time_writer(writer: &mut Command, readers: &mut [Command]) -> Result<f64> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for reader in readers {
            threads.push(scope.spawn(|| read_repeatedly(reader, &stop)));
            thread::sleep(READ_TIME / READERS);
        }
        // Give all readers time to acquire the lock.
        thread::sleep(READ_TIME);
        let start = Instant::now();
        let status = writer.status();
        let elapsed = start.elapsed();
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().expect("a reader thread does not panic")?;
        }
        match status?.code() {
            Some(0) => Ok(elapsed.as_secs_f64() * 1e3),
            Some(1) => Ok(f64::from(WRITER_TIMEOUT) * 1e3),
            _ => bail!("the writer failed: {writer:?}"),
        }
    })
}

fn read_repeatedly(reader: &mut Command, stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        ensure!(reader.status()?.success(), "a reader failed: {reader:?}");
    }
    Ok(())
}

/// Returns the time in milliseconds.
fn time_jobs(command: &mut Command) -> Result<f64> {
    let start = Instant::now();
    let mut jobs = spawn(command, JOBS)?;
    wait_for_exit(&mut jobs).with_context(|| format!("{command:?}"))?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

/// Starts `count` processes.
pub fn spawn(command: &mut Command, count: usize) -> Result<Vec<Child>> {
    (0..count)
        .map(|_| command.spawn())
        .collect::<Result<_, _>>()
        .context("cannot start a process")
}

/// Waits until all children have exited, and checks that they succeeded.
pub fn wait_for_exit(children: &mut [Child]) -> Result<()> {
    let statuses = children
        .iter_mut()
        .map(Child::wait)
        .collect::<Result<Vec<_>, _>>()?;
    let failed = statuses.iter().filter(|status| !status.success()).count();
    ensure!(failed == 0, "{failed} processes failed");
    Ok(())
}

/// Raises the limit of open descriptors to `count` if it is lower.
fn raise_fd_limit(count: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < count) {
        let limit = Rlimit {
            current: Some(count),
            ..limit
        };
        setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")?;
    }
    Ok(())
}
