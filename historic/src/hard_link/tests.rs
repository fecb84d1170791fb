use std::ffi::OsString;
use std::fs;

use super::*;
use crate::new_file::Draft;
use fdlock::lock::Wait;

/// A scratch folder in which there is a lock, a counter, and somebody who wants them.
fn scratch(wait: Wait, invalid: Duration, test: impl Fn(&OsStr, &OsStr, Contender<'_>)) {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let name = |name| folder.path().join(name).into_os_string();
    let (lock, counter): (OsString, OsString) = (name("lock"), name("counter"));
    let held = DeferredSignals::terminating();
    let contender = Contender::new(&lock, wait.begin(), invalid, &held);
    test(&lock, &counter, contender);
}

const LONG: Duration = Duration::from_secs(3600);

fn taken<'a>(contender: &mut Contender<'a>) -> Taken<'a> {
    contender.take().expect("it is free")
}

#[test]
fn a_lock_that_is_dropped_is_removed_and_one_that_is_left_is_not() {
    scratch(Timeout::NonBlocking, LONG, |lock, _, mut contender| {
        drop(taken(&mut contender));
        assert!(!fs::exists(lock).expect("a folder"));
        taken(&mut contender).leave();
        assert!(fs::exists(lock).expect("a folder"));
        let refused = contender.take();
        assert!(matches!(refused, Err(NotTaken::TimedOut)), "{refused:?}");
    });
}

#[test]
fn a_young_lock_is_ours_whatever_file_it_is_and_only_while_it_is_there() {
    scratch(Timeout::NonBlocking, LONG, |lock, _, mut contender| {
        let mut taken = taken(&mut contender);
        assert_eq!(taken.confirm().expect("it is there"), Hold::Firm);
        // As a thief leaves it who came too late.
        let other = Draft::named(lock).expect("it can be made");
        fs::rename(other.place().expect("its name"), lock).expect("it can be renamed");
        assert_eq!(taken.confirm().expect("it is there"), Hold::Firm);
        fs::remove_file(lock).expect("it is there");
        assert_eq!(taken.confirm().expect("a folder"), Hold::Lost);
        fs::write(lock, "").expect("it can be written");
        drop(taken);
    });
}

#[test]
fn an_old_lock_is_ours_only_if_it_is_the_same_file() {
    scratch(
        Timeout::NonBlocking,
        Duration::ZERO,
        |lock, _, mut contender| {
            let mut taken = taken(&mut contender);
            assert_eq!(taken.confirm().expect("it is there"), Hold::Firm);
            let other = Draft::named(lock).expect("it can be made");
            fs::rename(other.place().expect("its name"), lock).expect("it can be renamed");
            // Any age is too old; by a clock that ticks now and then, some time may have to pass.
            while taken.confirm().expect("it is there") == Hold::Firm {}
            drop(taken);
            assert!(
                fs::exists(lock).expect("a folder"),
                "it is a thief's by now"
            );
        },
    );
}

#[test]
fn both_ways_of_taking_over_lead_to_the_lock() {
    for steal in [
        takeover::best as Way,
        takeover::by_exchange,
        takeover::by_rename,
    ] {
        scratch(
            Timeout::Infinite,
            Duration::ZERO,
            |lock, counter, mut contender| {
                contender.steal = steal;
                fs::write(lock, "").expect("it can be written");
                taken(&mut contender).leave();
                fs::write(counter, "").expect("it can be written");
                let taken = contender.write(counter).expect("nobody reads");
                taken.forget();
                contender
                    .read(counter)
                    .expect("it is old")
                    .leave()
                    .expect("it is there");
            },
        );
    }
}
