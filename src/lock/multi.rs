//! Locks on several files at once.

use std::ffi::{OsStr, OsString};

use super::acquire::{self, LockKind};
use super::file::{LockFile, Locked};
use super::file_id::{FileId, ReplacementCheck};
use super::{Acquired, Deadline, Error, Guard, Mode, Refusal};

/// A lock file and the kind of lock that is wanted on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockTarget {
    /// The path of the file.
    pub path: OsString,
    /// The kind of lock.
    pub kind: LockKind,
}

/// The lock that could not be acquired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contended<'a> {
    /// The path of its file.
    pub path: &'a OsStr,
    /// Why it is not held.
    pub reason: Refusal,
}

/// How often in a row a file may be replaced between opening and locking it. Files are not replaced
/// that fast; a file system that reports a new identity each time looks as if they were.
const MAX_RETRIES: u32 = 1000;

/// Opens the lock files, at least one, creates the missing ones, and locks them all. Several names
/// of one file are one lock, of the kind that is wanted for the first name.
///
/// Calls `on_wait` with the path before each wait.
///
/// *Race:* two processes that want the same locks in different orders could wait for each other.
/// Therefore all files are opened first and locked in the order of device and inode. An open file
/// keeps its place in the order, but its path may be given to another file in the meantime. We look
/// before we wait, so as not to wait for a file that no longer matters, and again once the lock is
/// held ([`file::acquire`](super::file::acquire) says why). If a file was replaced, we release all
/// locks and start again, within the same deadline. A model visits all cases: see
/// `docs/design/protocols.md`.
///
/// # Errors
///
/// As for [`file::acquire`](super::file::acquire).
pub fn acquire<'a>(
    targets: &'a [LockTarget],
    mode: Mode,
    deadline: &Deadline,
    on_wait: &mut dyn FnMut(&OsStr),
) -> Result<Acquired<Vec<Guard>, Contended<'a>>, Error> {
    let mut replaced = targets[0].path.as_os_str();
    let mut check = ReplacementCheck::default();
    for _ in 0..MAX_RETRIES {
        match attempt(targets, mode, deadline, on_wait) {
            Ok(Attempt::Done(outcome)) => return Ok(outcome),
            Ok(Attempt::Replaced(path)) => replaced = path,
            Err(error) if error.may_be_replacement() && check.may_retry() => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::UnstableInode {
        path: replaced.to_owned(),
    })
}

enum Attempt<'a> {
    Done(Acquired<Vec<Guard>, Contended<'a>>),
    /// The file at this path was replaced.
    Replaced(&'a OsStr),
}

/// Opens and locks all files once.
fn attempt<'a>(
    targets: &'a [LockTarget],
    mode: Mode,
    deadline: &Deadline,
    on_wait: &mut dyn FnMut(&OsStr),
) -> Result<Attempt<'a>, Error> {
    let (mut files, aliases) = open_in_order(targets, mode)?;
    for (file, kind) in &mut files {
        let path = file.path;
        if let Some(path) = replaced_path(file, &aliases)? {
            return Ok(Attempt::Replaced(path));
        }
        let locked = file.lock_with(mode, |fd| {
            acquire::acquire(fd, *kind, mode, deadline, &mut || on_wait(path))
        })?;
        match locked {
            Locked::Yes => {
                if let Some(path) = replaced_path(file, &aliases)? {
                    return Ok(Attempt::Replaced(path));
                }
            }
            Locked::Replaced(_) => return Ok(Attempt::Replaced(path)),
            Locked::No(reason) => {
                let contended = Contended { path, reason };
                return Ok(Attempt::Done(Acquired::NotHeld(contended)));
            }
        }
    }
    let guards = files.into_iter().map(|(file, _)| file.into_guard());
    Ok(Attempt::Done(Acquired::Held(guards.collect())))
}

/// Returns the first name of a file that leads to another one by now, or to none.
fn replaced_path<'a>(
    file: &mut LockFile<'a>,
    aliases: &[(FileId, &'a OsStr)],
) -> Result<Option<&'a OsStr>, Error> {
    let (id, own) = (file.id, file.path);
    let aliases = aliases.iter().filter(|(of, _)| *of == id);
    for path in aliases.map(|(_, path)| *path).chain([own]) {
        file.path = path;
        if file.id_at_path()? != Some(id) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Opened files in the order in which they are locked, each one once, and their further names.
type OpenedFiles<'a> = (Vec<(LockFile<'a>, LockKind)>, Vec<(FileId, &'a OsStr)>);

/// Opens the files. Any of several names of a file may lead to another one by the time at which the
/// file is locked, so all of them are compared.
fn open_in_order(targets: &[LockTarget], mode: Mode) -> Result<OpenedFiles<'_>, Error> {
    let mut files: Vec<(LockFile<'_>, LockKind)> = Vec::with_capacity(targets.len());
    let mut aliases = Vec::new();
    for target in targets {
        let file = LockFile::open(&target.path, target.kind.api(), mode)?;
        // The lists are short, and the sort of the standard library takes 9 kB.
        match files.binary_search_by_key(&file.id, |(file, _)| file.id) {
            Err(index) => files.insert(index, (file, target.kind)),
            Ok(_) => aliases.push((file.id, file.path)),
        }
    }
    Ok((files, aliases))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::Timeout;
    use super::super::advisory::LockApi;
    use super::*;

    type Outcome<'a> = Acquired<Vec<Guard>, Contended<'a>>;

    fn lock<'a>(targets: &'a [LockTarget], deadline: &Deadline) -> Outcome<'a> {
        acquire(targets, Mode::Exclusive, deadline, &mut |_| {}).expect("no error")
    }

    fn try_lock(targets: &[LockTarget]) -> Outcome<'_> {
        lock(targets, &Deadline::Immediate)
    }

    fn is_free(target: &LockTarget) -> bool {
        matches!(try_lock(std::slice::from_ref(target)), Acquired::Held(_))
    }

    impl Outcome<'_> {
        #[track_caller]
        fn expect_held(self) -> Vec<Guard> {
            match self {
                Acquired::Held(guards) => guards,
                Acquired::NotHeld(contended) => panic!("{contended:?}"),
            }
        }
    }

    /// A function that returns lock files in a temporary directory.
    fn temporary_files() -> (tempfile::TempDir, impl Fn(&str) -> LockTarget) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().to_owned();
        (dir, move |name: &str| LockTarget {
            path: path.join(name).into_os_string(),
            kind: LockKind::Advisory(LockApi::Flock),
        })
    }

    #[test]
    fn several_names_of_one_file_are_one_lock() {
        let (_dir, file) = temporary_files();
        fs::write(file("a").path, "").expect("a file");
        fs::hard_link(file("a").path, file("b").path).expect("a link");
        std::os::unix::fs::symlink("a", file("c").path).expect("a link");
        let targets = [file("a"), file("b"), file("c"), file("a")];
        assert_eq!(try_lock(&targets).expect_held().len(), 1);
    }

    #[test]
    fn a_refusal_releases_all_locks_and_names_the_file() {
        let (_dir, file) = temporary_files();
        let held = [file("b")];
        let holder = try_lock(&held).expect_held();
        let all = [file("a"), file("b"), file("c")];
        let Acquired::NotHeld(Contended { path, reason }) = try_lock(&all) else {
            panic!("b is held");
        };
        assert_eq!((path, reason), (&*held[0].path, Refusal::WouldBlock));
        let others = [file("a"), file("c")];
        assert_eq!(try_lock(&others).expect_held().len(), 2);
        drop(holder);
        assert_eq!(try_lock(&all).expect_held().len(), 3);
    }

    #[test]
    fn opposite_orders_do_not_deadlock() {
        let (_dir, file) = temporary_files();
        let targets = ["a", "b", "c"].map(&file);
        let inside = AtomicU32::new(0);
        let start = Barrier::new(4);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let mut targets = targets.to_vec();
                targets.rotate_left(thread % 3);
                if thread % 2 == 0 {
                    targets.reverse();
                }
                let (inside, start) = (&inside, &start);
                scope.spawn(move || {
                    start.wait();
                    for _ in 0..500 {
                        let guards = lock(&targets, &Timeout::Infinite.start()).expect_held();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(guards);
                    }
                });
            }
        });
    }

    /// Creates files and returns them in the order in which they are locked.
    fn files_in_order<const N: usize>(file: impl Fn(&str) -> LockTarget) -> [LockTarget; N] {
        let mut targets = std::array::from_fn(|index| file(&index.to_string()));
        for target in &targets {
            fs::write(&target.path, "").expect("a file");
        }
        targets.sort_by_key(|target| fs::metadata(&target.path).expect("it exists").ino());
        targets
    }

    /// Waits for the first of two files, which is held. Then `change` changes the second one, and
    /// `on_next_wait` is called for further waits. Returns the number of locks.
    fn change_second_while_waiting_for_first(
        targets: &[LockTarget; 2],
        change: impl Fn(),
        mut on_next_wait: impl FnMut(&OsStr),
    ) -> usize {
        let mut holder = Some(try_lock(&targets[..1]).expect_held());
        let mut on_wait = |path: &OsStr| match holder.take() {
            Some(_) => change(),
            None => on_next_wait(path),
        };
        let deadline = Timeout::Infinite.start();
        let outcome = acquire(targets, Mode::Exclusive, &deadline, &mut on_wait);
        outcome.expect("no error").expect_held().len()
    }

    #[test]
    fn a_later_file_at_the_path_keeps_the_order() {
        let (_dir, file) = temporary_files();
        let [first, second, new] = files_in_order(file);
        let hold = |target: &LockTarget| Some(try_lock(std::slice::from_ref(target)).expect_held());
        let (mut holder, mut other) = (hold(&first), hold(&second));
        let targets = [first.clone(), second.clone()];
        let mut on_wait = |path: &OsStr| {
            if path == first.path {
                fs::rename(&new.path, &first.path).expect("it exists");
                holder.take();
            } else {
                assert!(is_free(&first), "held while waiting for the second");
                other.take();
            }
        };
        let deadline = Timeout::Infinite.start();
        let outcome = acquire(&targets, Mode::Exclusive, &deadline, &mut on_wait);
        assert_eq!(outcome.expect("no error").expect_held().len(), 2);
        assert!(holder.is_none() && other.is_none());
    }

    #[test]
    fn an_earlier_file_at_the_path_keeps_the_order() {
        let (_dir, file) = temporary_files();
        let [new, first, second] = files_in_order(file);
        let mut other = Some(try_lock(std::slice::from_ref(&new)).expect_held());
        let locks = change_second_while_waiting_for_first(
            &[first.clone(), second.clone()],
            || fs::rename(&new.path, &second.path).expect("it exists"),
            |path| {
                assert_eq!(path, second.path);
                assert!(is_free(&first), "held while waiting for an earlier file");
                other.take();
            },
        );
        assert_eq!(locks, 2);
    }

    #[test]
    fn two_files_that_become_one_are_one_lock() {
        let (_dir, file) = temporary_files();
        let [first, second] = files_in_order(file);
        let become_one = || {
            fs::remove_file(&second.path).expect("it exists");
            fs::hard_link(&first.path, &second.path).expect("a link");
        };
        let targets = [first.clone(), second.clone()];
        let locks = change_second_while_waiting_for_first(&targets, become_one, |_| {
            panic!("all locks are free")
        });
        assert_eq!(locks, 1);
    }
}
