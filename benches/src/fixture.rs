//! The environment of all measurements: one processor and one lock file.

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FlockOperation, flock};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub struct Fixture {
    lock_file: PathBuf,
    inode: u64,
    dir: TempDir,
}

/// The holders of the lock on a file, and the waiters for it.
struct Waiters {
    /// The number of locks that are held.
    held: usize,
    /// The number of processes that are blocked in the kernel.
    blocked: usize,
    /// The sentinels of the tickets in the queue.
    sentinels: Vec<u32>,
}

impl Fixture {
    /// Pins this process to one processor and creates the lock file.
    pub fn new() -> Result<Self> {
        pin_to_last_cpu().context("cannot pin the process to one processor")?;
        let dir = TempDir::with_prefix("fdlock-bench-")
            .context("cannot create a directory for the lock file")?;
        let lock_file = dir.path().join("lock");
        let metadata = File::create(&lock_file)
            .and_then(|created| created.metadata())
            .context("cannot create the lock file")?;
        Ok(Self {
            lock_file,
            inode: metadata.ino(),
            dir,
        })
    }

    pub fn lock_file(&self) -> &Path {
        &self.lock_file
    }

    /// Returns a path in the fixture's temporary directory.
    pub fn temp_path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Locks the lock file until the result is dropped. Commands do not inherit this lock.
    pub fn lock(&self) -> Result<File> {
        let file = File::open(&self.lock_file)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .context("the lock file is already locked")?;
        Ok(file)
    }

    /// Opens the lock file on descriptor 8, which commands inherit, as after `exec 8<FILE` in a
    /// shell.
    pub fn open_as_fd_8(&self) -> Result<OwnedFd> {
        let fd = fcntl_dupfd_cloexec(File::open(&self.lock_file)?, 8)?;
        ensure!(
            fd.as_raw_fd() == 8,
            "descriptor 8 is in use: close it before starting the benchmark"
        );
        fcntl_setfd(&fd, FdFlags::empty())?;
        Ok(fd)
    }

    /// Waits until `count` processes wait for the lock: either all of them are blocked in the
    /// kernel, or all of them are in the queue and the first one is blocked. More than one may be:
    /// two waiters can both consider themselves first, and if the kernel wakes the wrong one, it
    /// notices.
    pub fn wait_for_waiters(&self, count: usize) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        // The waiters need this processor to get that far, and reading /proc/locks takes longer the
        // more of them there are.
        let pause = Duration::from_millis(1 + count as u64 / 50);
        loop {
            let Waiters {
                blocked, sentinels, ..
            } = self.waiters()?;
            let queued = sentinels.len();
            thread::sleep(pause);
            if blocked == count && queued == 0 || blocked > 0 && queued == count {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("expected {count} waiters, found {blocked} blocked and {queued} queued");
            }
        }
    }

    /// Returns the sentinels of the tickets in the lock file's queue.
    pub fn sentinels(&self) -> Result<Vec<u32>> {
        Ok(self.waiters()?.sentinels)
    }

    /// Counts the locks on the lock file that are held or waited for.
    pub fn holders_and_waiters(&self) -> Result<usize> {
        let Waiters {
            held,
            blocked,
            sentinels,
        } = self.waiters()?;
        // The first one in the queue is blocked, too.
        Ok(held + blocked.max(sentinels.len()))
    }

    fn waiters(&self) -> Result<Waiters> {
        let locks = fs::read_to_string("/proc/locks").context("cannot read /proc/locks")?;
        Ok(Waiters::parse(&locks, self.inode))
    }
}

/// Pins this process and everything that it starts to the last processor that it may use. The first
/// processor handles most of the machine's interrupts.
fn pin_to_last_cpu() -> Result<()> {
    let allowed = sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU)
        .rev()
        .find(|&cpu| allowed.is_set(cpu))
        .context("no processor is allowed")?;
    pin_to(last)
}

/// Starts a server on the first processor, where it does not disturb what is measured.
pub fn start_on_first_cpu(server: &mut Command) -> Result<Child> {
    let own = sched_getaffinity(None)?;
    pin_to(0)?;
    let child = server.spawn().with_context(|| format!("{server:?}"));
    sched_setaffinity(None, &own)?;
    child
}

fn pin_to(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

impl Waiters {
    /// Parses `/proc/locks`. Compares only the inode, because the device there is not always the
    /// one that `stat` reports (overlayfs, btrfs).
    fn parse(locks: &str, inode: u64) -> Self {
        let inode = inode.to_string();
        let matches = |id: &str| id.rsplit(':').next() == Some(&inode) && id.contains(':');
        let (mut held, mut blocked, mut sentinels) = (0, 0, Vec::new());
        for line in locks.lines() {
            let fields: Vec<_> = line.split_whitespace().skip(1).collect();
            match fields[..] {
                ["->", .., id, _, _] if matches(id) => blocked += 1,
                ["FLOCK", .., id, _, _] if matches(id) => held += 1,
                ["OFDLCK", _, "READ", _, id, offset, _] if matches(id) => {
                    sentinels.extend(sentinel_pid(offset));
                }
                _ => {}
            }
        }
        Self {
            held,
            blocked,
            sentinels,
        }
    }
}

/// Returns the PID in the marker of a ticket: its lowest 22 bits (see `src/lock/fair/marker.rs`).
fn sentinel_pid(offset: &str) -> Option<u32> {
    let offset: u64 = offset.parse().ok()?;
    (offset >= 1 << 62).then_some((offset & 0x3f_ffff) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_only_the_locks_on_this_file() {
        let locks = "\
1: FLOCK  ADVISORY  WRITE 4059 fe:00:1001 0 EOF
1: -> FLOCK  ADVISORY  WRITE 4060 fe:00:1001 0 EOF
1:  -> FLOCK  ADVISORY  WRITE 1001 fe:00:1001 0 EOF
2: FLOCK  ADVISORY  READ 4059 fe:00:1002 0 EOF
2: -> FLOCK  ADVISORY  READ 1001 fe:00:1002 0 EOF
3: OFDLCK ADVISORY  READ -1 fe:00:1001 0 EOF
";
        let counts = |inode| {
            let waiters = Waiters::parse(locks, inode);
            (waiters.held, waiters.blocked)
        };
        assert_eq!(counts(1001), (1, 2));
        assert_eq!(counts(1002), (1, 1));
        assert_eq!(counts(1), (0, 0));
    }

    #[test]
    fn finds_the_sentinels_of_queued_tickets() {
        let ticket = |pid: u64| (1_u64 << 62) + (4711 << 23) + pid;
        let (first, second, slot) = (ticket(4059), ticket(4060), (1_u64 << 61) + 4061);
        let locks = format!(
            "\
1: OFDLCK ADVISORY  READ -1 fe:00:1001 {first} {first}
2: OFDLCK ADVISORY  READ -1 fe:00:1001 {second} {second}
3: OFDLCK ADVISORY  READ -1 fe:00:1001 {slot} {slot}
4: OFDLCK ADVISORY  READ -1 fe:00:1002 {first} {first}
5: OFDLCK ADVISORY  READ -1 fe:00:1001 0 EOF
"
        );
        assert_eq!(Waiters::parse(&locks, 1001).sentinels, [4059, 4060]);
    }

    #[test]
    fn sees_a_waiter_for_a_held_lock() -> Result<()> {
        let fixture = Fixture::new()?;
        let lock = fixture.lock()?;
        let file = File::open(fixture.lock_file())?;
        thread::scope(|scope| {
            let waiter = scope.spawn(|| flock(&file, FlockOperation::LockExclusive));
            let seen = fixture.wait_for_waiters(1);
            drop(lock);
            waiter.join().expect("the waiter does not panic")?;
            seen
        })
    }
}
