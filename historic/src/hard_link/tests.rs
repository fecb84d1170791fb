use std::fs;

use super::*;
use crate::new_file::TempFile;
use fdlock::lock::Timeout;

/// Runs the test with the paths of a lock and of a counter, and with a request for the lock.
fn with_lock(timeout: Timeout, max_age: Duration, test: impl Fn(&OsStr, &OsStr, LinkLock<'_>)) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let [lock, counter] = ["lock", "counter"].map(|name| dir.path().join(name).into_os_string());
    let deferred = DeferredSignals::terminating();
    let request = LinkLock::new(&lock, timeout.start(), max_age, &deferred);
    test(&lock, &counter, request);
}

const HOUR: Duration = Duration::from_secs(3600);
const ANY_AGE: Duration = Duration::ZERO;

fn held<G>(result: Result<Acquired<G>, Error>) -> G {
    match result.expect("no error") {
        Acquired::Held(guard) => guard,
        Acquired::NotHeld(reason) => panic!("{reason:?}"),
    }
}

/// Puts another file in the place of LOCK, as a takeover does that came too late.
fn replace(lock: &OsStr) {
    let other = TempFile::named_in_dir_of(lock).expect("a new file");
    fs::rename(other.temp_path().expect("a named file"), lock).expect("both exist");
}

#[test]
fn a_dropped_lock_is_removed_and_a_kept_one_is_not() {
    with_lock(Timeout::NonBlocking, HOUR, |lock, _, mut request| {
        drop(held(request.acquire()));
        assert!(!fs::exists(lock).expect("the directory exists"));
        held(request.acquire()).disarm();
        assert!(fs::exists(lock).expect("the directory exists"));
        let refused = request.acquire().expect("no error").map(drop);
        assert_eq!(refused, Acquired::NotHeld(Refusal::WouldBlock));
    });
}

#[test]
fn a_fresh_lock_is_ours_whatever_file_it_is() {
    with_lock(Timeout::NonBlocking, HOUR, |lock, _, mut request| {
        let mut guard = held(request.acquire());
        assert_eq!(guard.confirm().expect("it exists"), Ownership::Held);
        replace(lock);
        assert_eq!(guard.confirm().expect("it exists"), Ownership::Held);
        fs::remove_file(lock).expect("it exists");
        assert_eq!(guard.confirm().expect("no error"), Ownership::Lost);
        fs::write(lock, "").expect("a new file");
        drop(guard);
    });
}

#[test]
fn a_stale_lock_is_ours_only_if_it_is_the_same_file() {
    with_lock(Timeout::NonBlocking, ANY_AGE, |lock, _, mut request| {
        let mut guard = held(request.acquire());
        assert_eq!(guard.confirm().expect("it exists"), Ownership::Held);
        replace(lock);
        // The file system's clock may tick rarely.
        while guard.confirm().expect("it exists") == Ownership::Held {}
        drop(guard);
        let exists = fs::exists(lock).expect("the directory exists");
        assert!(exists, "it belongs to another process");
    });
}

#[test]
fn every_takeover_method_acquires_a_stale_lock() {
    for takeover in [
        takeover::by_any_method as TakeoverFn,
        takeover::by_exchange,
        takeover::by_rename,
    ] {
        with_lock(Timeout::Infinite, ANY_AGE, |lock, counter, mut request| {
            request.takeover = takeover;
            fs::write(lock, "").expect("a new file");
            held(request.acquire()).disarm();
            fs::write(counter, "").expect("a new file");
            held(request.write(counter)).disarm();
            let reader = held(request.read(counter));
            reader.unregister().expect("the link exists");
        });
    }
}
