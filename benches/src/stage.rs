//! Where everything is measured: one processor, and one file to lock.

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FlockOperation, flock};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub struct Stage {
    file: PathBuf,
    inode: u64,
    folder: TempDir,
}

/// A lock on the stage's file that is held until this is dropped.
pub struct Held {
    _file: File,
}

impl Stage {
    pub fn set() -> Result<Self> {
        pin().context("cannot stay on one processor")?;
        let folder = TempDir::with_prefix("fdlock-bench-")
            .context("cannot make a folder for the lock file")?;
        let file = folder.path().join("lock");
        let inode = File::create(&file)
            .and_then(|created| created.metadata())
            .context("cannot make the lock file")?;
        Ok(Self {
            file,
            inode: inode.ino(),
            folder,
        })
    }

    /// The file to lock: it exists.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// A name for a file that goes away with the stage.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Locks the file. No program that is started inherits this lock.
    pub fn hold(&self) -> Result<Held> {
        let file = File::open(&self.file)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .context("the lock file is locked already")?;
        Ok(Held { _file: file })
    }

    /// Opens the file at descriptor 8, which every program that is started inherits, as after `exec 8<FILE` in a
    /// shell.
    pub fn descriptor_eight(&self) -> Result<OwnedFd> {
        let eight = fcntl_dupfd_cloexec(File::open(&self.file)?, 8)?;
        ensure!(
            eight.as_raw_fd() == 8,
            "descriptor 8 is taken: start the bench without it"
        );
        fcntl_setfd(&eight, FdFlags::empty())?;
        Ok(eight)
    }

    /// Returns when `count` processes sleep in the kernel for the lock on the file.
    pub fn until_waiting(&self, count: usize) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let waiting = waiters(&fs::read_to_string("/proc/locks")?, self.inode);
            if waiting == count {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{count} processes should wait for the lock, and {waiting} do");
            }
            // The waiters run on the same processor: make room for them.
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Stays on the last processor that this process may use, and with it all that it starts: the first one has most
/// of the machine's interrupts.
fn pin() -> Result<()> {
    let allowed = sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU)
        .rev()
        .find(|&cpu| allowed.is_set(cpu))
        .context("no processor")?;
    let mut one = CpuSet::new();
    one.set(last);
    Ok(sched_setaffinity(None, &one)?)
}

/// How many lines of `/proc/locks` are of a process that waits for a lock on this file. The inode alone has to do:
/// the device there is not always the one that `stat` tells (overlayfs, btrfs).
fn waiters(locks: &str, inode: u64) -> usize {
    let inode = inode.to_string();
    let waits_for_it = |line: &&str| {
        let mut words = line.split_whitespace();
        words.nth(1) == Some("->")
            && words.any(|word| word.rsplit(':').next() == Some(&inode) && word.contains(':'))
    };
    locks.lines().filter(waits_for_it).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_who_wait_for_this_file_count() {
        let locks = "\
1: FLOCK  ADVISORY  WRITE 4059 fe:00:1001 0 EOF
1: -> FLOCK  ADVISORY  WRITE 4060 fe:00:1001 0 EOF
1:  -> FLOCK  ADVISORY  WRITE 1001 fe:00:1001 0 EOF
2: FLOCK  ADVISORY  READ 4059 fe:00:1002 0 EOF
2: -> FLOCK  ADVISORY  READ 1001 fe:00:1002 0 EOF
3: OFDLCK ADVISORY  READ -1 fe:00:1001 0 EOF
";
        assert_eq!(waiters(locks, 1001), 2);
        assert_eq!(waiters(locks, 1002), 1);
        assert_eq!(waiters(locks, 1), 0);
    }

    #[test]
    fn the_waiters_of_a_held_lock_are_seen() -> Result<()> {
        let stage = Stage::set()?;
        let held = stage.hold()?;
        let file = File::open(stage.file())?;
        thread::scope(|scope| {
            let waiter = scope.spawn(|| flock(&file, FlockOperation::LockExclusive));
            let seen = stage.until_waiting(1);
            drop(held);
            waiter.join().expect("the waiter ends")?;
            seen
        })
    }
}
