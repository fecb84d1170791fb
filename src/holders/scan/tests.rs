use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::FlockOperation;
use rustix::process::getpid;

use super::*;
use crate::holders::file;
use crate::sys::delegate;

/// A locked file with many descriptors, and what identifies it.
fn file_with_many_descriptors() -> (Vec<File>, Identity) {
    let file = tempfile::tempfile().expect("a temporary file");
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).expect("no conflict");
    let copies = (0..MANY_DESCRIPTORS + 16).map(|_| file.try_clone().expect("a descriptor"));
    let copies = copies.collect();
    let handle = file::File::from_inherited(file.as_raw_fd());
    let identity = handle.expect("/proc").identity;
    // The copies keep it open.
    drop(OwnedFd::from(file));
    (copies, identity)
}

fn search(files: &[Identity]) -> Search<'_> {
    Search {
        files: Files::Listed(files),
        waiters: WaiterSearch::TableOnly,
        is_wanted: |_| true,
        limit: None,
        first: &[],
        on_other: None,
    }
}

#[test]
fn only_some_descriptors_of_a_process_are_listed() {
    let (_copies, identity) = file_with_many_descriptors();
    let files = [identity];
    let found = scan(search(&files));
    let own = found.fd_locks.iter().filter(|lock| lock.pid == getpid());
    assert_eq!(own.count(), MANY_DESCRIPTORS);
    assert_eq!(found.uncounted.len(), 1);
}

/// The process that makes the call shares the descriptors of this one.
#[test]
fn shared_descriptors_are_examined_once() {
    let (_copies, identity) = file_with_many_descriptors();
    let files = [identity];
    let (mut owners, mut pids) = ([None; 2], 0);
    let call = || {
        let mut scanner = Scanner::new(search(&files), Scan::default());
        let child = Pid::from_raw(rustix::thread::gettid().as_raw_nonzero().get());
        for (owner, pid) in owners.iter_mut().zip([Some(getpid()), child]) {
            let start = scanner.found.fd_locks.len();
            let _ = scanner.examine_process(pid.expect("a process"));
            *owner = Some(scanner.found.fd_locks.len() - start);
        }
        pids = scanner.large.len();
    };
    delegate::run(None, call).expect("a process");
    assert_eq!(owners, [Some(MANY_DESCRIPTORS); 2]);
    assert_eq!(pids, 1, "the second one is not examined");
}
