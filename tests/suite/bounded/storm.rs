//! Many callers at once: N wait, all others are refused, and no trigger is lost.

use std::sync::atomic::{AtomicUsize, Ordering};

use fastrand::Rng;
use rstest::rstest;
use test_support::locks::{assert_unlocked, place_count};
use test_support::stress::{StressSettings, random_delay};
use test_support::{TestEnv, wait_until};

#[rstest]
fn exactly_as_many_wait_as_permitted(
    #[values(&[][..], &["--fair"], &["--slots=1"])] order: &[&str],
    #[values(1, 5)] limit: usize,
) {
    let StressSettings { size, .. } = StressSettings::from_env();
    let calls = if size > 1 { 300 } else { 20 };
    for _ in 0..size {
        let env = &TestEnv::new();
        let holder = env.hold(order, "l");
        let number = limit.to_string();
        let args = &[&["--queue", &number][..], order, &["l", "true"]].concat();
        let counts = &[AtomicUsize::new(0), AtomicUsize::new(0)];
        let count = |status: usize| counts[status].load(Ordering::Relaxed);
        std::thread::scope(|scope| {
            for _ in 0..calls {
                scope.spawn(move || {
                    let outcome = env.run(args);
                    match outcome.code() {
                        status @ (0 | 1) => counts[status as usize].fetch_add(1, Ordering::Relaxed),
                        _ => panic!("{outcome:?}"),
                    }
                });
            }
            wait_until("all but those that may wait are refused", || {
                assert!(place_count(env.file("l")) <= limit);
                count(1) >= calls - limit
            });
            assert_eq!(place_count(env.file("l")), limit);
            holder.release();
        });
        assert_eq!([count(0), count(1)], [limit, calls - limit]);
        assert_unlocked(env.file("l"));
    }
}

/// The callers are slow, so that they count the waiters at the same time if nothing prevents that.
#[test]
fn counting_and_joining_are_one_step() {
    let env = &TestEnv::without_builtin();
    let holder = env.hold(&[], "l");
    let args = ["--queue", "1", "l", "true"];
    let slow = "inject=fcntl:delay_exit=50000";
    let calls = [(); 4].map(|()| env.with_fault_injection("l", slow, &args));
    let refused = &AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let calls: Vec<_> = calls.into_iter().flatten().collect();
        let others = calls.len().saturating_sub(1);
        for call in calls {
            scope.spawn(move || match env.run_command(call).code() {
                0 => {}
                1 => drop(refused.fetch_add(1, Ordering::Relaxed)),
                status => panic!("{status}"),
            });
        }
        wait_until("all but one are refused", || {
            refused.load(Ordering::Relaxed) == others
        });
        holder.release();
    });
}

/// Every trigger leaves a file and starts the job, which takes away all files. If a trigger is
/// refused although no job is about to begin, its file stays.
#[test]
fn no_trigger_is_lost() {
    let StressSettings { size, seed } = StressSettings::from_env();
    let env = &TestEnv::new();
    std::fs::create_dir(env.file("inbox")).expect("a directory");
    let (threads, rounds) = (5, 12 * size);
    let refused = &AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let mut rng = Rng::with_seed(seed + thread);
                for number in 0..rounds {
                    random_delay(&mut rng);
                    let file = format!("inbox/{thread}-{number}");
                    std::fs::write(env.file(&file), "").expect("a trigger");
                    let outcome = env.run(["--queue", "1", "l", "sh", "-c", "rm -f inbox/*"]);
                    match outcome.code() {
                        0 => {}
                        1 => drop(refused.fetch_add(1, Ordering::Relaxed)),
                        _ => panic!("{outcome:?}"),
                    }
                }
            });
        }
    });
    let left = std::fs::read_dir(env.file("inbox"));
    assert_eq!(left.expect("it exists").count(), 0, "triggers were lost");
    println!("{refused:?} of {} were refused", threads * rounds);
    assert_unlocked(env.file("l"));
}
