use std::ffi::OsString;
use std::fs;
use std::sync::Barrier;
use std::thread;

use super::*;

/// By exchange on any file system that tests are likely to run on; and as over NFS.
const WAYS: [Way; 2] = [best, by_rename];

/// Any age is too old.
const NONE: Duration = Duration::ZERO;

/// A scratch folder and the name of a lock in it.
struct Scratch {
    folder: tempfile::TempDir,
    lock: OsString,
}

impl Scratch {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let lock = folder.path().join("lock").into_os_string();
        Self { folder, lock }
    }

    /// Somebody makes the lock, and then some time passes by the file system's clock.
    fn make(&self) -> Suspect {
        fs::write(&self.lock, "").expect("it can be written");
        let suspect = self.suspect();
        let draft = Draft::beside(&self.lock, b"").expect("it can be made");
        while metadata::touch(&draft)
            .expect("it is ours")
            .left_of(NONE, suspect.seen.changed)
            .is_some()
        {}
        suspect
    }

    fn suspect(&self) -> Suspect {
        let suspect = Suspect::at(&self.lock).expect("it can be looked at");
        suspect.expect("it is there")
    }

    /// The owner removes the lock, and a newcomer makes it anew.
    fn change_hands(&self) -> Seen {
        fs::remove_file(&self.lock).expect("it is there");
        let draft = Draft::beside(&self.lock, b"").expect("it can be made");
        assert_eq!(draft.publish(&self.lock), Ok(true));
        self.suspect().seen
    }

    fn names(&self) -> Vec<OsString> {
        let entries = fs::read_dir(self.folder.path()).expect("a folder");
        let mut names = entries
            .map(|entry| entry.expect("an entry").file_name())
            .collect::<Vec<_>>();
        names.sort();
        names
    }
}

/// Whether a thief has the lock in the end, where those who find the name free compete for it.
fn wins(way: Way, lock: &OsStr, suspect: &Suspect) -> bool {
    let draft = Draft::beside(lock, b"").expect("it can be made");
    match way(lock, suspect, NONE).expect("it can be taken over") {
        Stolen::Ours(..) => true,
        Stolen::Cleared => draft.publish(lock).expect("it can be made"),
        Stolen::Lost | Stolen::Busy => false,
    }
}

#[test]
fn names_can_be_exchanged_here_or_the_other_tests_show_little() {
    let scratch = Scratch::new();
    let suspect = scratch.make();
    let stolen = by_exchange(&scratch.lock, &suspect, NONE);
    let unsupported = matches!(stolen, Err(Errno::INVAL | Errno::NOSYS));
    assert!(
        unsupported || matches!(stolen, Ok(Stolen::Ours(..))),
        "{stolen:?}"
    );
}

#[test]
fn an_old_lock_is_taken_over_and_nothing_is_left() {
    for way in WAYS {
        let scratch = Scratch::new();
        let suspect = scratch.make();
        assert!(wins(way, &scratch.lock, &suspect));
        assert_ne!(scratch.suspect().seen.id, suspect.seen.id);
        assert_eq!(scratch.names(), ["lock"]);
    }
}

#[test]
fn of_many_thieves_one_wins_each_time() {
    for way in WAYS {
        for _ in 0..100 {
            let scratch = Scratch::new();
            scratch.make();
            let ready = Barrier::new(4);
            let thief = || {
                let suspect = scratch.suspect();
                ready.wait();
                wins(way, &scratch.lock, &suspect)
            };
            let won = thread::scope(|scope| {
                let thieves = [(); 4].map(|()| scope.spawn(thief));
                let won = thieves.map(|thief| thief.join().expect("it ends"));
                won.iter().filter(|won| **won).count()
            });
            assert_eq!(won, 1);
            assert_eq!(scratch.names(), ["lock"]);
        }
    }
}

#[test]
fn a_thief_who_comes_late_does_not_win_and_the_name_is_there_all_the_time() {
    for way in WAYS {
        let scratch = Scratch::new();
        let suspect = scratch.make();
        scratch.change_hands();
        assert!(!wins(way, &scratch.lock, &suspect));
        assert_eq!(scratch.names(), ["lock"]);
        // The newcomer removes it as ever.
        fs::remove_file(&scratch.lock).expect("it is there");
        assert!(scratch.names().is_empty());
    }
}

#[test]
fn a_lock_that_its_owner_touches_meanwhile_is_not_taken_over() {
    for way in WAYS {
        let scratch = Scratch::new();
        let suspect = scratch.make();
        metadata::touch_at(&scratch.lock).expect("it is ours");
        assert!(!wins(way, &scratch.lock, &suspect));
        assert_eq!(scratch.names(), ["lock"]);
    }
}

#[test]
fn a_lock_that_its_owner_removes_meanwhile_is_free() {
    for way in WAYS {
        let scratch = Scratch::new();
        let suspect = scratch.make();
        fs::remove_file(&scratch.lock).expect("it is there");
        let stolen = way(&scratch.lock, &suspect, NONE).expect("there is nothing to take over");
        assert!(matches!(stolen, Stolen::Cleared), "{stolen:?}");
        assert!(scratch.names().is_empty());
    }
}

#[test]
fn a_fresh_lock_that_a_rename_has_taken_away_is_given_back() {
    let scratch = Scratch::new();
    let suspect = scratch.make();
    let mut newcomer = None;
    let stolen = by_rename_with(&scratch.lock, &suspect, NONE, |place| {
        newcomer = Some(scratch.change_hands());
        rustix::fs::rename(&scratch.lock, place)
    });
    assert!(matches!(stolen, Ok(Stolen::Lost)), "{stolen:?}");
    assert_eq!(
        scratch.suspect().seen.id,
        newcomer.expect("it came").id,
        "it is another's lock"
    );
    assert_eq!(scratch.names(), ["lock"]);
}

#[test]
fn what_a_rename_has_done_is_believed_and_not_its_answer() {
    let scratch = Scratch::new();
    let suspect = scratch.make();
    let stolen = by_rename_with(&scratch.lock, &suspect, NONE, |place| {
        rustix::fs::rename(&scratch.lock, place)?;
        Err(Errno::NOENT)
    });
    assert!(matches!(stolen, Ok(Stolen::Cleared)), "{stolen:?}");
    let suspect = scratch.make();
    let refused = by_rename_with(&scratch.lock, &suspect, NONE, |_| Err(Errno::PERM));
    assert!(matches!(refused, Err(Errno::PERM)), "{refused:?}");
    let vanished = by_rename_with(&scratch.lock, &suspect, NONE, |_| {
        fs::remove_file(&scratch.lock).expect("it is there");
        Err(Errno::NOENT)
    });
    assert!(matches!(vanished, Ok(Stolen::Cleared)), "{vanished:?}");
    assert!(scratch.names().is_empty());
}

#[test]
fn by_rename_there_is_one_thief_at_a_time() {
    let scratch = Scratch::new();
    let suspect = scratch.make();
    let other = open_to_lock(&scratch.lock).expect("it is there");
    rustix::fs::flock(&other, FlockOperation::LockExclusive).expect("it is free");
    let stolen = by_rename(&scratch.lock, &suspect, NONE);
    assert!(matches!(stolen, Ok(Stolen::Busy)), "{stolen:?}");
    drop(other);
    assert!(wins(by_rename, &scratch.lock, &suspect));
}

#[test]
fn what_was_found_to_be_old_is_taken_over_whatever_the_clock_says_by_now() {
    for way in WAYS {
        let scratch = Scratch::new();
        let suspect = scratch.make();
        // Its age would not do, had the clock been right.
        let stolen = way(&scratch.lock, &suspect, Duration::from_secs(3600));
        assert!(
            matches!(stolen, Ok(Stolen::Ours(..) | Stolen::Cleared)),
            "{stolen:?}"
        );
    }
}

#[test]
fn a_folder_is_nobodys_lock() {
    let scratch = Scratch::new();
    let suspect = Suspect::at(scratch.folder.path().as_os_str());
    assert!(matches!(suspect, Err(Errno::ISDIR)), "{suspect:?}");
}
