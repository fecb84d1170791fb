//! Several locks of one system, held as one: all or none, in the order of their names.

use libc::SIGKILL;
use rstest::rstest;
use test_support::process::{ExitReason, Process, send_signal};
use test_support::wait_until;

use super::failures::{NEXT, assert_no_overlap};
use super::{Engine, EngineTest, TTL};
use crate::remote::form::child;
use crate::remote::lease::STUBBORN;

impl EngineTest {
    /// The URL of another lock of this test.
    fn url_of(&self, lock: &str) -> String {
        self.url() + lock
    }

    fn keys_of(&self, lock: &str) -> Vec<String> {
        self.system.keys(&(self.name() + lock))
    }

    /// Waits until these locks have these numbers of entries.
    #[track_caller]
    fn wait_for_keys_of(&self, counts: &[(&str, usize)]) {
        for (lock, count) in counts {
            wait_until(&format!("{lock} has {count} keys"), || {
                self.keys_of(lock).len() == *count
            });
        }
    }

    /// Starts `flock` for these locks, the first of which is the operand.
    #[track_caller]
    fn start_several<'a>(
        &self,
        options: &[&str],
        locks: &str,
        command: impl IntoIterator<Item = &'a str>,
    ) -> Process {
        let mut flock = self.env.flock(["--ttl=1h"].iter().chain(options));
        for lock in locks.split(' ').skip(1) {
            flock.arg("--also").arg(self.url_of(lock));
        }
        flock.arg(self.url_of(locks.split(' ').next().expect("a lock")));
        flock.args(command);
        self.env.start(flock)
    }

    /// Starts `flock` for these locks, and returns when it holds them.
    #[track_caller]
    fn hold_several(&self, options: &[&str], locks: &str) -> Process {
        let script = ["sh", "-c", "echo held; read x; exit 0"];
        let mut holder = self.start_several(options, locks, script);
        holder.expect_line("held");
        holder
    }

    /// Returns the status with which `flock` for these locks exits without waiting.
    fn try_several(&self, locks: &str) -> ExitReason {
        self.start_several(&["-n"], locks, ["true"]).wait()
    }
}

#[rstest]
fn command_sees_all_tokens_and_urls(#[values(Engine::Etcd, Engine::Postgres)] engine: Engine) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let script = r#"echo "$FLOCK_TOKEN"; echo "$FLOCK_URL"; exit 5"#;
    let mut last = vec![0; 4];
    for _ in 0..2 {
        let mut flock = test.start_several(&[], "b a c b", ["sh", "-c", script]);
        let tokens = Vec::from_iter((0..4).map(|_| flock.read_line()));
        let tokens = Vec::from_iter(tokens.iter().map(|token| token.parse::<u64>()));
        let tokens = Vec::from_iter(tokens.into_iter().map(|token| token.expect("a number")));
        for lock in ["b", "a", "c", "b"] {
            flock.expect_line(&test.url_of(lock));
        }
        assert_eq!(flock.wait(), ExitReason::Exited(5));
        // Each token is that of its lock. They are granted in the order of names.
        let [b, a, c, again] = tokens[..] else {
            panic!("{tokens:?}");
        };
        assert!(a < b && b < c && b == again, "{tokens:?}");
        let mut pairs = last.iter().zip(&tokens);
        assert!(pairs.all(|(last, token)| last < token), "{tokens:?}");
        last = tokens;
        for lock in ["a", "b", "c"] {
            assert_eq!(test.keys_of(lock), [""; 0], "released before flock exits");
        }
    }
}

#[rstest]
fn each_lock_is_held(#[values(Engine::Etcd, Engine::Postgres)] engine: Engine) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let holder = test.hold_several(&[], "b a");
    for (locks, status) in [("a", 1), ("b", 1), ("c a", 1), ("b c", 1), ("c d", 0)] {
        let reason = test.try_several(locks);
        assert_eq!(reason, ExitReason::Exited(status), "{locks}");
    }
    holder.release();
    let reader = test.hold_several(&["-s"], "b a");
    let other = test.hold_several(&["-s"], "a b");
    assert_eq!(test.try_several("b"), ExitReason::Exited(1));
    for process in [reader, other] {
        process.release();
    }
}

#[rstest]
#[case::nonblocking("-n")]
#[case::timeout("-w0.3")]
fn none_is_kept_if_one_is_not_free(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
    #[case] wait: &str,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let holder = test.hold_several(&[], "c");
    let mut flock = test.start_several(&[wait, "-E9"], "c b a", ["echo", "never"]);
    assert_eq!(flock.wait(), ExitReason::Exited(9));
    for lock in ["a", "b"] {
        assert_eq!(test.keys_of(lock), [""; 0], "released before flock exits");
    }
    holder.release();
}

#[rstest]
fn locks_are_waited_for_in_the_order_of_names(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let holder = test.hold_several(&[], "b");
    let mut waiter = test.start_several(&[], "c a b", ["echo", "got it"]);
    test.wait_for_keys_of(&[("a", 1), ("b", 2)]);
    // It holds the first one.
    assert_eq!(test.try_several("a"), ExitReason::Exited(1));
    assert_eq!(test.try_several("c"), ExitReason::Exited(0));
    holder.release();
    waiter.expect_line("got it");
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
    test.wait_for_keys_of(&[("a", 0), ("b", 0), ("c", 0)]);
}

/// Processes with the same locks, in all orders, and with single ones, all at once.
#[rstest]
fn no_order_leads_to_a_deadlock(#[values(Engine::Etcd, Engine::Postgres)] engine: Engine) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    // Each command has a local lock for each of its own, which must be free.
    let command = |locks: &str| {
        let nested = locks.split(' ');
        let nested = nested.map(|lock| format!("flock -n -E99 witness-{lock} "));
        let command = nested.collect::<String>() + "true";
        format!("{command} && echo done")
    };
    let orders = ["a b c", "a c b", "b a c", "b c a", "c a b", "c b a"];
    let others = ["a", "b", "c", "c a", "a c", "b a"];
    let mut processes = Vec::new();
    for locks in orders.iter().chain(&others).chain(&orders) {
        processes.push(test.start_several(&[], locks, ["sh", "-c", &command(locks)]));
    }
    for mut process in processes {
        process.expect_line("done");
        assert_eq!(process.wait(), ExitReason::Exited(0));
    }
    test.wait_for_keys_of(&[("a", 0), ("b", 0), ("c", 0)]);
}

#[rstest]
fn killed_waiter_keeps_no_lock(#[values(Engine::Etcd, Engine::Postgres)] engine: Engine) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let holder = test.hold_several(&[], "b");
    let mut waiter = test.start_several(&[], "a b", ["echo", "never"]);
    test.wait_for_keys_of(&[("a", 1), ("b", 2)]);
    waiter.kill();
    test.wait_for_keys_of(&[("a", 0), ("b", 1)]);
    holder.release();
}

/// The next command needs one of the locks. It must not run beside the other one.
#[rstest]
fn killed_process_leads_to_no_overlap(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
    #[values("flock", "helper")] name: &str,
    #[values("a", "b")] lock: &str,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let mut flock = test.start_several(&[TTL], "b a", STUBBORN);
    flock.expect_line("working");
    test.system.prolong_leases(&(test.name() + "a"));
    test.system.prolong_leases(&(test.name() + "b"));
    let next = test.start_several(&["--ttl=15s"], lock, NEXT);
    test.wait_for_keys_of(&[(lock, 2)]);
    match name {
        "helper" => assert!(send_signal(child(&flock, test.system.helper()), SIGKILL)),
        _ => flock.kill(),
    }
    flock.wait();
    assert_no_overlap(next);
    let mut last = test.start_several(&[], "a b", ["true"]);
    assert_eq!(last.wait(), ExitReason::Exited(0));
}

#[rstest]
fn command_is_stopped_if_one_lock_is_lost(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
    #[values("a", "b")] lost: &str,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let script = ["sh", "-c", "echo held; read x"];
    let mut holder = test.start_several(&[TTL], "a b", script);
    holder.expect_line("held");
    test.system.delete(&test.keys_of(lost)[0]);
    let url = test.url_of(lost);
    let why = test.system.deletion();
    holder.expect(&format!(
        "flock: lock lost, command stopped: {url}: {why}\n"
    ));
    assert_eq!(holder.wait(), ExitReason::Exited(75));
    test.wait_for_keys_of(&[("a", 0), ("b", 0)]);
}

#[rstest]
fn lock_that_is_lost_during_the_wait_is_acquired_again(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let holder = test.hold_several(&[], "b");
    let mut waiter = test.start_several(&[TTL], "a b", ["echo", "got it"]);
    test.wait_for_keys_of(&[("a", 1), ("b", 2)]);
    let keys = test.keys_of("a");
    test.system.delete(&keys[0]);
    wait_until("another key is created", || {
        let now = test.keys_of("a");
        now.len() == 1 && now != keys && test.keys_of("b").len() == 2
    });
    holder.release();
    waiter.expect("got it\n");
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[rstest]
fn invalid_urls_are_named(#[values(Engine::Etcd, Engine::Postgres)] engine: Engine) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let long = format!("a {}", "x".repeat(300));
    let mut flock = test.start_several(&[], &long, ["echo", "never"]);
    flock.expect(": its name is longer than 200 bytes\n");
    assert_eq!(flock.wait(), ExitReason::Exited(64));
    let same = test.system.url("other", &(test.name() + "a"));
    let outcome = test
        .env
        .run(["--also", &same, &test.url_of("a"), "echo", "never"]);
    let url = test.url_of("a");
    let text = "their names must be different, or their servers the same";
    outcome.assert_all(64, "", &format!("flock: {url} and {same}: {text}\n"));
}
