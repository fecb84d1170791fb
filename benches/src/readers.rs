//! A writer among readers that overlap, so that the lock is never free: how long he waits.

use crate::contenders::{Contenders, TRUE};
use crate::fixture::Stage;
use crate::interleave::interleaved;
use crate::measurement::{Measurement, Unit};
use anyhow::{Result, bail, ensure};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const READERS: u32 = 10;

/// How long each of them reads, before he begins anew.
const READS: Duration = Duration::from_millis(50);

/// How long the writer waits before he gives up, in seconds.
const PATIENCE: u32 = 3;

pub fn measure(contenders: &Contenders, stage: &Stage, rounds: u32) -> Result<Measurement> {
    let file = stage.file().as_os_str();
    let patience = PATIENCE.to_string();
    let reader = ["-s".as_ref(), file, "/bin/sleep".as_ref(), "0.05".as_ref()];
    let writer = ["-w".as_ref(), patience.as_ref(), file, TRUE.as_ref()];
    let mut commands = contenders
        .and_fair(&writer)
        .into_iter()
        .map(|(who, writer)| (who, (writer, Vec::new())))
        .collect::<Vec<_>>();
    for _ in 0..READERS {
        let readers = contenders.and_fair(&reader).into_iter();
        for ((_, (_, all)), (_, reader)) in commands.iter_mut().zip(readers) {
            all.push(reader);
        }
    }
    Ok(Measurement {
        title: "A writer among overlapping readers",
        command: "flock -w 3 FILE /bin/true",
        unit: Unit::Within(f64::from(PATIENCE) * 1e3),
        series: interleaved(commands, rounds, |(writer, readers)| among(readers, writer))?,
        target: None,
    })
}

/// How long the writer takes, in milliseconds.
fn among(readers: &mut [Command], writer: &mut Command) -> Result<f64> {
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut reading = Vec::new();
        for reader in readers {
            reading.push(scope.spawn(|| read(reader, &enough)));
            thread::sleep(READS / READERS);
        }
        // By now all of them read.
        thread::sleep(READS);
        let start = Instant::now();
        let status = writer.status();
        let took = start.elapsed();
        enough.store(true, Ordering::Relaxed);
        for reader in reading {
            reader.join().expect("it does not panic")?;
        }
        match status?.code() {
            Some(0) => Ok(took.as_secs_f64() * 1e3),
            Some(1) => Ok(f64::from(PATIENCE) * 1e3),
            _ => bail!("the writer fails: {writer:?}"),
        }
    })
}

fn read(reader: &mut Command, enough: &AtomicBool) -> Result<()> {
    while !enough.load(Ordering::Relaxed) {
        ensure!(reader.status()?.success(), "a reader fails: {reader:?}");
    }
    Ok(())
}
