//! The two descriptors of a function's lock.

use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use fdlock::sys::fd;
use rustix::io::{self, FdFlags};

/// The lowest numbers for the two descriptors of a lock, in order of preference. The later ones are
/// for a low limit of open files. A script that opens descriptors by number uses small or round
/// ones (`exec 3>log`, `exec 300>lock`), and `{fd}>file` takes the free ones from 10 on. Numbers
/// below 512 keep the descriptor table small, which every fork copies.
const MIN_LOCK_FDS: [&[RawFd]; 2] = [&[367, 137, 29, 10], &[491, 211, 47]];

/// Two duplicates, far apart: whatever the function opens on one of these numbers, or closes, the
/// other one keeps the lock.
#[derive(Clone, Copy, Debug)]
pub struct LockFds {
    fds: [Option<RawFd>; 2],
    /// The [mark](fd::mark) of the open file description.
    mark: i32,
}

impl LockFds {
    /// Takes over a descriptor. Both duplicates have these flags.
    pub fn new(fd: OwnedFd, flags: FdFlags) -> Self {
        let duplicate = |min: &RawFd| fd::duplicate(&fd, *min, flags).ok();
        let mark = next_mark();
        // If the kernel has no memory for the mark, every unmarked open file description on one of
        // these numbers counts as that of the lock.
        let mark = fd::set_mark(&fd, mark).map_or(0, |()| mark);
        let [first, mut second] = MIN_LOCK_FDS.map(|mins| mins.iter().find_map(duplicate));
        if second.is_none() {
            // The limit is low. The descriptor stays where it is, among the numbers that the
            // function is likely to use. This does not fail: it is open.
            let _ = io::fcntl_setfd(&fd, flags);
            second = Some(fd);
        }
        let fds = [first, second].map(|fd| fd.map(IntoRawFd::into_raw_fd));
        Self { fds, mark }
    }

    /// Returns the descriptor of this number if it is still one of the lock.
    ///
    /// The function may have closed it, and opened another file on its number, or the same one
    /// again. That descriptor belongs to the script; the mark shows the difference.
    fn open_at(&self, number: RawFd) -> Option<BorrowedFd<'static>> {
        fd::inherited(number).filter(|fd| fd::mark(*fd) == Some(self.mark))
    }

    /// Returns whether a descriptor, perhaps a duplicate, keeps the lock.
    pub fn keeps_lock(&self, number: RawFd) -> bool {
        self.mark != 0 && self.open_at(number).is_some()
    }

    /// Returns those that are still open.
    pub fn open(self) -> impl Iterator<Item = BorrowedFd<'static>> {
        let numbers = self.fds.into_iter().flatten();
        numbers.filter_map(move |number| self.open_at(number))
    }
}

/// Returns the mark of the next lock. That it recurs does no harm: locks are not mixed up unless a
/// function duplicates the descriptor of one of them onto the number of another.
fn next_mark() -> i32 {
    static NEXT: AtomicI32 = AtomicI32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed).rem_euclid(31) + 1
}
