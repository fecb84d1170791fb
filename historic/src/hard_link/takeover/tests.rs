use std::ffi::OsString;
use std::fs;
use std::sync::Barrier;
use std::thread;

use super::*;

/// An exchange, on any file system on which the tests are likely to run, and the method for NFS.
const METHODS: [TakeoverFn; 2] = [by_any_method, by_rename];

/// Makes every lock stale.
const ANY_AGE: Duration = Duration::ZERO;

/// A temporary directory and the path of a lock in it.
struct Scratch {
    dir: tempfile::TempDir,
    lock: OsString,
}

impl Scratch {
    fn with_stale_lock() -> (Self, StaleLock) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let lock = dir.path().join("lock").into_os_string();
        let scratch = Self { dir, lock };
        let stale = scratch.create_stale();
        (scratch, stale)
    }

    /// Creates LOCK, and waits until it is stale by the file system's clock.
    fn create_stale(&self) -> StaleLock {
        fs::write(&self.lock, "").expect("a new file");
        let stale = self.open();
        let clock = TempFile::new_in_dir_of(&self.lock, b"").expect("a new file");
        while metadata::touch(&clock)
            .expect("our own file")
            .until_stale(ANY_AGE, stale.meta.changed)
            .is_some()
        {}
        stale
    }

    fn open(&self) -> StaleLock {
        let opened = StaleLock::open(&self.lock).expect("no error");
        opened.expect("it exists")
    }

    /// Lets the owner remove LOCK and a newcomer create it again.
    fn change_hands(&self) -> FileMeta {
        fs::remove_file(&self.lock).expect("it exists");
        let file = TempFile::new_in_dir_of(&self.lock, b"").expect("a new file");
        assert_eq!(file.persist_noclobber(&self.lock), Ok(true));
        self.open().meta
    }

    fn names(&self) -> Vec<OsString> {
        let entries = fs::read_dir(self.dir.path()).expect("the directory exists");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names.collect()
    }
}

/// Returns whether a contender has LOCK in the end; if LOCK is cleared, contenders compete for it.
fn wins(method: TakeoverFn, lock: &OsStr, stale: &StaleLock) -> bool {
    let file = TempFile::new_in_dir_of(lock, b"").expect("a new file");
    match method(lock, stale, ANY_AGE).expect("no error") {
        Takeover::Won(..) => true,
        Takeover::Cleared => file.persist_noclobber(lock).expect("no error"),
        Takeover::Lost | Takeover::Busy => false,
    }
}

/// Without an exchange, the other tests show little.
#[test]
fn names_can_be_exchanged_here() {
    let (scratch, stale) = Scratch::with_stale_lock();
    let result = by_exchange(&scratch.lock, &stale, ANY_AGE);
    let unsupported = matches!(result, Err(Errno::INVAL | Errno::NOSYS));
    assert!(
        unsupported || matches!(result, Ok(Takeover::Won(..))),
        "{result:?}"
    );
}

#[test]
fn a_takeover_leaves_nothing_behind() {
    for method in METHODS {
        let (scratch, stale) = Scratch::with_stale_lock();
        assert!(wins(method, &scratch.lock, &stale));
        assert_ne!(scratch.open().meta.id, stale.meta.id);
        assert_eq!(scratch.names(), ["lock"]);
    }
}

#[test]
fn only_one_of_many_contenders_wins() {
    for method in METHODS {
        for _ in 0..100 {
            let (scratch, _) = Scratch::with_stale_lock();
            let ready = Barrier::new(4);
            let contend = || {
                let stale = scratch.open();
                ready.wait();
                wins(method, &scratch.lock, &stale)
            };
            let winners = thread::scope(|scope| {
                let contenders = [(); 4].map(|()| scope.spawn(contend));
                let won = contenders.map(|thread| thread.join().expect("it does not panic"));
                won.iter().filter(|won| **won).count()
            });
            assert_eq!(winners, 1);
            assert_eq!(scratch.names(), ["lock"]);
        }
    }
}

#[test]
fn a_late_contender_loses_and_the_name_remains() {
    for method in METHODS {
        let (scratch, stale) = Scratch::with_stale_lock();
        scratch.change_hands();
        assert!(!wins(method, &scratch.lock, &stale));
        assert_eq!(scratch.names(), ["lock"]);
        // The newcomer removes it as usual.
        fs::remove_file(&scratch.lock).expect("it exists");
        assert!(scratch.names().is_empty());
    }
}

#[test]
fn a_lock_touched_in_between_is_not_taken_over() {
    for method in METHODS {
        let (scratch, stale) = Scratch::with_stale_lock();
        metadata::touch_path_nofollow(&scratch.lock).expect("our own file");
        assert!(!wins(method, &scratch.lock, &stale));
        assert_eq!(scratch.names(), ["lock"]);
    }
}

#[test]
fn a_lock_removed_in_between_is_free() {
    for method in METHODS {
        let (scratch, stale) = Scratch::with_stale_lock();
        fs::remove_file(&scratch.lock).expect("it exists");
        let result = method(&scratch.lock, &stale, ANY_AGE);
        assert!(matches!(result, Ok(Takeover::Cleared)), "{result:?}");
        assert!(scratch.names().is_empty());
    }
}

#[test]
fn a_fresh_lock_moved_by_a_rename_is_restored() {
    let (scratch, stale) = Scratch::with_stale_lock();
    let mut newcomer = None;
    let result = by_rename_with(&scratch.lock, &stale, ANY_AGE, |temp_path| {
        newcomer = Some(scratch.change_hands());
        rustix::fs::rename(&scratch.lock, temp_path)
    });
    assert!(matches!(result, Ok(Takeover::Lost)), "{result:?}");
    let newcomer = newcomer.expect("the rename was called");
    assert_eq!(scratch.open().meta.id, newcomer.id);
    assert_eq!(scratch.names(), ["lock"]);
}

#[test]
fn the_effect_of_a_rename_counts_not_its_reply() {
    let (scratch, stale) = Scratch::with_stale_lock();
    let result = by_rename_with(&scratch.lock, &stale, ANY_AGE, |temp_path| {
        rustix::fs::rename(&scratch.lock, temp_path)?;
        Err(Errno::NOENT)
    });
    assert!(matches!(result, Ok(Takeover::Cleared)), "{result:?}");
    let stale = scratch.create_stale();
    let refused = by_rename_with(&scratch.lock, &stale, ANY_AGE, |_| Err(Errno::PERM));
    assert!(matches!(refused, Err(Errno::PERM)), "{refused:?}");
    let vanished = by_rename_with(&scratch.lock, &stale, ANY_AGE, |_| {
        fs::remove_file(&scratch.lock).expect("it exists");
        Err(Errno::NOENT)
    });
    assert!(matches!(vanished, Ok(Takeover::Cleared)), "{vanished:?}");
    assert!(scratch.names().is_empty());
}

#[test]
fn a_rename_admits_one_contender_at_a_time() {
    let (scratch, stale) = Scratch::with_stale_lock();
    let other = open_for_flock(&scratch.lock).expect("it exists");
    rustix::fs::flock(&other, rustix::fs::FlockOperation::LockExclusive).expect("it is free");
    let result = by_rename(&scratch.lock, &stale, ANY_AGE);
    assert!(matches!(result, Ok(Takeover::Busy)), "{result:?}");
    drop(other);
    assert!(wins(by_rename, &scratch.lock, &stale));
}

#[test]
fn a_lock_once_found_stale_remains_stale() {
    for method in METHODS {
        let (scratch, stale) = Scratch::with_stale_lock();
        // By a clock that was set back in the meantime, it is fresh.
        let result = method(&scratch.lock, &stale, Duration::from_secs(3600));
        let is_taken_over = matches!(result, Ok(Takeover::Won(..) | Takeover::Cleared));
        assert!(is_taken_over, "{result:?}");
    }
}

#[test]
fn a_directory_is_not_a_lock() {
    let (scratch, _) = Scratch::with_stale_lock();
    let opened = StaleLock::open(scratch.dir.path().as_os_str());
    assert!(matches!(opened, Err(Errno::ISDIR)), "{opened:?}");
}
