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

/// Who waits for the lock on a file.
struct Waiting {
    /// How many sleep in the kernel for it.
    blocked: usize,
    /// The processes that stand for those who queue for it.
    tokens: Vec<u32>,
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

    /// Returns when `count` processes wait for the lock on the file: all sleep in the kernel for it, or all queue and
    /// the first of them does. (Two may take themselves for the first: the kernel wakes the wrong one, who finds it out.)
    pub fn until_waiting(&self, count: usize) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        // The waiters run on the same processor: make room for them, and for the more the more there are, as it takes
        // long to read of them.
        let pause = Duration::from_millis(1 + count as u64 / 50);
        loop {
            let Waiting { blocked, tokens } = self.waiting()?;
            let queued = tokens.len();
            thread::sleep(pause);
            if blocked == count && queued == 0 || blocked > 0 && queued == count {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{count} should wait for the lock; {blocked} are blocked, {queued} queue");
            }
        }
    }

    /// The processes that stand for those who queue for the file.
    pub fn tokens(&self) -> Result<Vec<u32>> {
        Ok(self.waiting()?.tokens)
    }

    fn waiting(&self) -> Result<Waiting> {
        let locks = fs::read_to_string("/proc/locks").context("cannot read /proc/locks")?;
        Ok(Waiting::of(&locks, self.inode))
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

impl Waiting {
    /// As `/proc/locks` tells it. The inode alone has to do: the device there is not always the one that `stat` tells
    /// (overlayfs, btrfs).
    fn of(locks: &str, inode: u64) -> Self {
        let inode = inode.to_string();
        let is_on_it = |word: &str| word.rsplit(':').next() == Some(&inode) && word.contains(':');
        let (mut blocked, mut tokens) = (0, Vec::new());
        for line in locks.lines() {
            let words: Vec<_> = line.split_whitespace().skip(1).collect();
            match words[..] {
                ["->", .., file, _, _] if is_on_it(file) => blocked += 1,
                ["OFDLCK", _, "READ", _, file, byte, _] if is_on_it(file) => {
                    tokens.extend(token(byte));
                }
                _ => {}
            }
        }
        Self { blocked, tokens }
    }
}

/// The process that a turn's byte tells of: its lowest 22 bits (`src/lock/mark.rs`).
fn token(byte: &str) -> Option<u32> {
    let byte: u64 = byte.parse().ok()?;
    (byte >= 1 << 62).then_some((byte & 0x3f_ffff) as u32)
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
        let blocked = |inode| Waiting::of(locks, inode).blocked;
        assert_eq!(blocked(1001), 2);
        assert_eq!(blocked(1002), 1);
        assert_eq!(blocked(1), 0);
    }

    #[test]
    fn those_who_queue_are_known_by_their_bytes() {
        let turn = |pid: u64| (1_u64 << 62) + (4711 << 23) + pid;
        let (first, second, slot) = (turn(4059), turn(4060), (1_u64 << 61) + 4061);
        let locks = format!(
            "\
1: OFDLCK ADVISORY  READ -1 fe:00:1001 {first} {first}
2: OFDLCK ADVISORY  READ -1 fe:00:1001 {second} {second}
3: OFDLCK ADVISORY  READ -1 fe:00:1001 {slot} {slot}
4: OFDLCK ADVISORY  READ -1 fe:00:1002 {first} {first}
5: OFDLCK ADVISORY  READ -1 fe:00:1001 0 EOF
"
        );
        assert_eq!(Waiting::of(&locks, 1001).tokens, [4059, 4060]);
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
