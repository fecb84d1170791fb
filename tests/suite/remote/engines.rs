//! Locks in real systems: what is the same in all of them. The installed helpers are tested,
//! because those of the development build have no TLS: `FLOCK_UNDER_TEST` names the program that
//! they belong to.

pub mod answers;
pub mod environment;
pub mod errors;
pub mod failures;
mod functions;
mod handle;
pub mod proxy;
mod several;
mod stopped;
pub mod storm;

use libc::SIGKILL;
use rstest::rstest;
use test_support::process::ExitReason;
use test_support::wait_until;

use super::form::child;
pub use environment::{Engine, EngineTest, System, TTL};

#[rstest]
fn command_runs_under_the_lock(#[values(Engine::Etcd, Engine::Postgres)] engine: Engine) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let (env, url) = (&test.env, test.url());
    let mut tokens = Vec::new();
    for _ in 0..3 {
        let outcome = env.run([&url, "sh", "-c", "echo $FLOCK_TOKEN $FLOCK_URL; exit 5"]);
        let outcome = outcome.assert_stderr("").assert_status(5);
        let stdout = outcome.stdout_text();
        let (token, rest) = stdout.split_once(' ').expect("two words");
        assert_eq!(rest, format!("{url}\n"));
        tokens.push(token.parse::<u64>().expect("a number"));
        assert_eq!(
            test.system.keys(&test.name()),
            [""; 0],
            "released before flock exits"
        );
    }
    assert!(tokens.is_sorted_by(|one, other| one < other), "{tokens:?}");
}

#[rstest]
#[case::exclusive(&[], &[], 1)]
#[case::reader_behind_a_writer(&[], &["-s"], 1)]
#[case::writer_behind_a_reader(&["-s"], &[], 1)]
#[case::readers(&["-s"], &["-s"], 0)]
#[case::slots(&["--slots=2"], &["--slots=2"], 0)]
#[case::last_slot(&["--slots=1"], &["--slots=1"], 1)]
#[case::writer_behind_a_slot(&["--slots=2"], &[], 1)]
fn lock_excludes(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
    #[case] held: &[&str],
    #[case] other: &[&str],
    #[case] status: i32,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let holder = test.hold(held);
    let url = test.url();
    let expected = if status == 0 { "got it\n" } else { "" };
    for wait in ["-n", "-w0.05"] {
        let args = [wait, &url, "echo", "got it"];
        let outcome = test.env.run(other.iter().chain(&args));
        outcome.assert_all(status, expected, "");
        test.wait_for_keys(1);
    }
    holder.release();
    test.wait_for_keys(0);
}

/// A process that does not wait must not keep others that do not wait from a free lock.
#[rstest]
fn process_that_does_not_wait_enters_no_queue(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
) {
    let Some(test) = EngineTest::isolated(engine) else {
        return;
    };
    let holder = test.hold(&[]);
    let before = test.system.revision();
    test.env
        .run(["-n", &test.url(), "true"])
        .assert_all(1, "", "");
    assert_eq!(test.system.revision(), before);
    holder.release();
}

#[rstest]
fn locks_with_a_common_beginning_are_different(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let holder = test.hold(&[]);
    for suffix in ["/x", "/12", "x", "0"] {
        let url = test.url() + suffix;
        test.env.run(["-n", &url, "true"]).assert_all(0, "", "");
    }
    holder.release();
}

#[rstest]
fn lock_is_granted_in_the_order_of_arrival(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let holder = test.hold(&[]);
    let mut waiters = Vec::new();
    for (number, options) in (0..).zip([&[][..], &["-s"], &["-s"], &[], &["--slots=3"]]) {
        waiters.push(test.start(options, &format!("echo {number} >>order; sleep 0.1")));
        test.wait_for_keys(2 + number);
    }
    holder.release();
    for mut waiter in waiters {
        assert_eq!(waiter.wait(), ExitReason::Exited(0));
    }
    let order = test.env.read_file("order");
    // The two readers run at the same time.
    assert!(
        ["0\n1\n2\n3\n4\n", "0\n2\n1\n3\n4\n"].contains(&order.as_str()),
        "{order}"
    );
}

#[rstest]
fn slots_are_passed_on(#[values(Engine::Etcd, Engine::Postgres)] engine: Engine) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let first = test.hold(&["--slots=2"]);
    let second = test.hold(&["--slots=2"]);
    let mut third = test.start(&["--slots=2"], "echo third");
    test.wait_for_keys(3);
    second.release();
    third.expect_line("third");
    assert_eq!(third.wait(), ExitReason::Exited(0));
    first.release();
}

#[rstest]
fn verbose_names_the_holder(#[values(Engine::Etcd, Engine::Postgres)] engine: Engine) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let holder = test.hold(&[]);
    let mut waiter = test.start(&["--verbose"], "true");
    let line = waiter.read_line();
    let pid = holder.pid();
    let expected = format!("flock: waiting for process {pid} of ");
    assert!(line.starts_with(&expected), "{line}");
    assert!(
        line.ends_with(" (sh -c echo held; read x; exit 0)"),
        "{line}"
    );
    holder.release();
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[rstest]
fn holders_and_waiters_are_listed(#[values(Engine::Etcd, Engine::Postgres)] engine: Engine) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let who = || test.env.run(["--who", "--json", &test.url()]);
    who().assert_all(1, "[]\n", "");
    let holder = test.hold(&["-s"]);
    let reader = test.hold(&["-s"]);
    let mut waiter = test.start(&["--slots=2"], "true");
    test.wait_for_keys(3);
    let list = who().assert_status(0).stdout_text();
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    let hostname = test.env.sh("uname -n").stdout_text();
    let expected = [
        ("holder", "shared", holder.pid()),
        ("holder", "shared", reader.pid()),
        ("waiter", "slot", waiter.pid()),
    ];
    for (index, (role, mode, pid)) in expected.into_iter().enumerate() {
        let entry = &list[index];
        assert_eq!(
            (&entry["role"], &entry["mode"]),
            (&role.into(), &mode.into())
        );
        assert_eq!(
            (&entry["pid"], &entry["host"]),
            (&pid.into(), &hostname.trim().into())
        );
    }
    for process in [holder, reader] {
        process.release();
    }
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[rstest]
fn killed_waiter_leaves_the_queue(#[values(Engine::Etcd, Engine::Postgres)] engine: Engine) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let holder = test.hold(&[]);
    let mut waiter = test.start(&[], "echo never");
    test.wait_for_keys(2);
    waiter.kill();
    test.wait_for_keys(1);
    holder.release();
}

/// A waiter without a key is not first only because no key is before its own.
#[rstest]
fn waiter_whose_key_is_deleted_queues_again(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let holder = test.hold(&[]);
    let mut waiter = test.start(&["--ttl=5s"], "echo got it");
    let keys = test.wait_for_keys(2);
    test.system.delete(&keys[1]);
    // It notices that when it reads the keys again, after some time.
    wait_until("another key is created", || {
        let now = test.system.keys(&test.name());
        now.len() == keys.len() && now != keys
    });
    holder.release();
    waiter.expect_line("got it");
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[rstest]
fn helper_that_is_killed_as_a_waiter_is_reported(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let holder = test.hold(&[]);
    let mut waiter = test.start(&[], "echo never");
    test.wait_for_keys(2);
    let helper = child(&waiter, test.system.helper());
    assert!(test_support::process::send_signal(helper, SIGKILL));
    waiter.expect("the helper has exited without an answer");
    assert_eq!(waiter.wait(), ExitReason::Exited(69));
    holder.release();
}
