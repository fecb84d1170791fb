//! Locks in a real PostgreSQL: what is particular about it.

mod errors;
mod pooler;
pub mod server;
mod stopped;
mod trace;

use std::ops::Deref;
use std::sync::Arc;

use libc::SIGKILL;
use rstest::rstest;
use test_support::process::{ExitReason, Process, send_signal};
use test_support::wait_until;

use super::engines::proxy::{Mode, Proxy};
use super::engines::{Engine, EngineTest, TTL};
use super::form::{Form, child};
use server::Server;

/// An environment for locks in PostgreSQL.
struct PostgresTest {
    test: EngineTest,
    server: Arc<Server>,
}

impl Deref for PostgresTest {
    type Target = EngineTest;

    fn deref(&self) -> &EngineTest {
        &self.test
    }
}

impl PostgresTest {
    /// Uses the server that tests share. `None` if the test is skipped.
    fn new() -> Option<Self> {
        Self::with(Server::shared)
    }

    /// Creates a database for this test.
    fn with_database() -> Option<Self> {
        Self::with(|| Arc::new(Server::shared().new_database()))
    }

    /// Starts a server for this test, after a script has prepared its data.
    fn with_server(prepare: &str, options: &[&str]) -> Option<Self> {
        Self::with(|| Arc::new(Server::start(prepare, options)))
    }

    fn with(start: impl FnOnce() -> Arc<Server>) -> Option<Self> {
        let env = Engine::Postgres.environment()?;
        let server = start();
        let system = server.clone();
        let test = EngineTest { env, system };
        Some(Self { test, server })
    }

    /// Sets a default for all sessions of the database.
    fn set_default(&self, name: &str, value: &str) {
        let database = self.server.database();
        let sql = format!("alter database {database} set {name} = '{value}'");
        Server::shared().query(&sql);
    }

    /// Returns a column of the only row of the lock.
    #[track_caller]
    fn column(&self, column: &str) -> String {
        let name = self.name();
        let sql = format!("select {column} from flock.entry where name = '{name}'");
        self.server.query(&sql).concat().concat()
    }
}

#[track_caller]
fn kill_helper(flock: &Process) {
    assert!(send_signal(child(flock, "flock-postgres"), SIGKILL));
}

/// Only a process that was granted the lock is waited for.
#[test]
fn waiter_that_disappears_is_overtaken() {
    let Some(test) = PostgresTest::new() else {
        return;
    };
    let holder = test.hold(&[]);
    let mut waiter = test.start(&[], "echo never");
    test.wait_for_keys(2);
    let mut next = test.start(&[], "echo next");
    let keys = test.wait_for_keys(3);
    kill_helper(&waiter);
    assert_eq!(waiter.wait(), ExitReason::Exited(69));
    assert_eq!(test.wait_for_keys(2), [&*keys[0], &*keys[2]]);
    holder.release();
    next.expect_line("next");
    assert_eq!(next.wait(), ExitReason::Exited(0));
}

/// A waiter would notice the end of another process after some time anyway.
#[rstest]
#[case::of_the_process_before_it(&[])]
#[case::of_any_process(&["--slots=1"])]
fn waiter_is_notified_of_the_end(#[case] options: &[&str]) {
    let Some(test) = PostgresTest::new() else {
        return;
    };
    let proxy = Proxy::start(test.system.hosts(), Mode::Forward);
    let holder = test.hold(options);
    let url = test.url_by(&proxy.host());
    let mut waiter = test.env.start(
        test.env
            .flock(options.iter().chain(&[url.as_str(), "true"])),
    );
    test.wait_for_keys(2);
    // It has read the rows again after the server has known the channel.
    proxy.wait_for_answer("LISTEN");
    let channel = match options {
        [] => format!("flock_{}", test.column("min(id) filter (where granted)")),
        _ => "flock_name_".to_owned(),
    };
    holder.release();
    proxy.wait_for_answer(&channel);
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

/// Others must not delete the row of a process whose command runs, although it has waited.
#[test]
fn grant_is_stored_before_the_command_starts() {
    let Some(test) = PostgresTest::new() else {
        return;
    };
    let holder = test.hold(&[]);
    let mut waiter = test.start(&[], "echo held; read x; exit 0");
    test.wait_for_keys(2);
    holder.release();
    waiter.expect_line("held");
    assert_eq!(test.column("granted"), "t");
    waiter.release();
}

/// If all others do not wait, one of them gets the lock of a holder that has disappeared.
#[test]
fn lock_of_a_vanished_holder_is_not_stuck() {
    let Some(test) = PostgresTest::new() else {
        return;
    };
    let url = test.url();
    let mut holder = test.start(&[TTL], "flock witness sh -c 'echo held; sleep 600'");
    holder.expect_line("held");
    test.system.prolong_leases(&test.name());
    kill_helper(&holder);
    let mut attempts = 0;
    wait_until("the lock is free", || {
        attempts += 1;
        let args = ["-n", &url, "flock", "-n", "-E99", "witness", "true"];
        let status = test.env.run(args).code();
        assert_ne!(status, 99, "both run");
        status == 0
    });
    assert!(attempts > 1);
    assert_eq!(holder.wait(), ExitReason::Exited(75));
}

/// The session ends, but its process does not.
#[rstest]
#[case::terminated("pg_terminate_backend(pid)")]
#[case::cancelled("pg_cancel_backend(pid)")]
fn holder_whose_session_ends_keeps_the_lock(
    #[values(Form::Command, Form::Descriptor)] form: Form,
    #[case] function: &str,
) {
    let Some(test) = PostgresTest::with_database() else {
        return;
    };
    let holder = test.hold_by(form, "--ttl=2m");
    let before = test.column("marker");
    // As if another process had seen that an earlier session had ended.
    test.server
        .query(r#"update flock.entry set sightings = '{"clock": 1}'"#);
    let own = "datname = current_database() and application_name = 'flock'";
    test.server.query(&format!(
        "select {function} from pg_stat_activity where {own}"
    ));
    if function.contains("terminate") {
        wait_until("the holder has another session", || {
            test.column("marker") != before
        });
        assert_eq!(test.column("sightings"), "{}");
    }
    test.assert_held();
    holder.finish();
    test.wait_for_keys(0);
}

/// Waiters queue again, as their rows may be deleted before they are connected again.
#[rstest]
#[case::stopped("stop")]
#[case::crashed("crash")]
#[case::crash_of_one_process("")]
fn lock_survives_a_restart_of_the_server(
    #[values(Form::Command, Form::Descriptor)] form: Form,
    #[case] how: &str,
) {
    let Some(test) = PostgresTest::with_server("", &[]) else {
        return;
    };
    let holder = test.hold_by(form, "--ttl=2m");
    let mut next = test.start(&[], "echo next");
    let keys = test.wait_for_keys(2);
    let marker = format!("select marker from flock.entry where token = {}", keys[0]);
    let before = test.server.query(&marker);
    match how {
        "" => {
            let own = "select pid from pg_stat_activity where application_name = 'flock' limit 1";
            let pid = test.server.query(own)[0][0].clone();
            assert!(send_signal(pid.parse().expect("a PID"), SIGKILL));
        }
        how => test.server.restart(how),
    }
    let waiter = "select from flock.entry join pg_locks \
                  on locktype = 'advisory' and objid = (marker & 4294967295)::oid \
                  where not flock.entry.granted";
    wait_until("both are connected again", || {
        test.server
            .try_query(&marker)
            .is_ok_and(|rows| rows != before)
            && test
                .server
                .try_query(waiter)
                .is_ok_and(|rows| rows.len() == 1)
    });
    assert_eq!(test.wait_for_keys(2)[0], keys[0]);
    holder.finish();
    next.expect("next\n");
    assert_eq!(next.wait(), ExitReason::Exited(0));
    test.wait_for_keys(0);
}

/// It waits for all transactions that may use the table, and would wait forever for one that waits
/// for the lock.
#[test]
fn index_is_created_concurrently_under_the_lock() {
    let Some(test) = PostgresTest::with_database() else {
        return;
    };
    let holder = test.hold(&[]);
    let mut waiter = test.start(&[], "true");
    test.wait_for_keys(2);
    test.server.query("create table numbers (number int)");
    test.server
        .query("create index concurrently on numbers (number)");
    holder.release();
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[test]
fn settings_of_the_database_do_not_matter() {
    let Some(test) = PostgresTest::with_database() else {
        return;
    };
    test.set_default("default_transaction_read_only", "on");
    test.set_default("standard_conforming_strings", "off");
    test.set_default("search_path", "elsewhere");
    let url = test.url();
    let odd = r#"it's "\"#;
    let script = "echo held; read x; exit 0";
    let mut holder = test.env.start_flock([&url, "sh", "-c", script, odd]);
    holder.expect_line("held");
    let list = test.env.run(["--who", "--json", &url]).stdout_text();
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    let command = list[0]["command"].as_str().expect("text");
    assert!(command.ends_with(odd), "{command}");
    holder.release();
}

/// Returns the number of the lock that a process holds while it inserts a row: a hash by FNV-1a.
fn number_of(name: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, step) >> 1
}

/// A row with a lower token that is not visible yet would be overlooked.
#[rstest]
#[case::usual("read committed")]
#[case::other_isolation("repeatable read")]
fn rows_become_visible_in_their_order(#[case] isolation: &str) {
    let Some(test) = PostgresTest::with_database() else {
        return;
    };
    let url = test.url();
    // Which creates the table.
    test.env.run([&url, "true"]).assert_all(0, "", "");
    test.set_default("default_transaction_isolation", isolation);
    let name = test.name();
    let number = number_of(&name);
    // The row of a holder whose session has ended.
    let sql = format!(
        "select pg_advisory_xact_lock({number}); insert into flock.entry \
         (id, name, marker, granted, ttl, value) values (1, '{name}', 1, true, 999999, '{{}}'); \
         select pg_sleep(2)"
    );
    std::thread::scope(|scope| {
        scope.spawn(|| test.server.query(&sql));
        let inserted = "select from pg_stat_activity where wait_event = 'PgSleep' \
                        and datname = current_database()";
        wait_until("the row is inserted", || {
            !test.server.query(inserted).is_empty()
        });
        test.env.run(["-n", &url, "true"]).assert_all(1, "", "");
    });
}

#[test]
fn names_may_contain_any_text() {
    let Some(test) = PostgresTest::new() else {
        return;
    };
    let url = |suffix: &str| format!("{}{suffix}", test.url());
    let odd = [r"it's \ ä", "/a/b", "%20", "\u{201c}"];
    let mut holders = Vec::new();
    for name in odd {
        let mut holder =
            test.env
                .start_flock([&url(name), "sh", "-c", "echo held; read x; exit 0"]);
        holder.expect_line("held");
        holders.push(holder);
    }
    for name in odd {
        test.env
            .run(["-n", &url(name), "true"])
            .assert_all(1, "", "");
    }
    for holder in holders {
        holder.release();
    }
}

/// What is left of processes that have disappeared vanishes although their lock is not used again.
#[test]
fn rows_in_other_queues_are_cleaned_up() {
    let Some(test) = PostgresTest::with_database() else {
        return;
    };
    let holder = test.hold(&[]);
    let mut waiter = test.start(&[], "echo never");
    test.wait_for_keys(2);
    kill_helper(&waiter);
    assert_eq!(waiter.wait(), ExitReason::Exited(69));
    assert_eq!(
        test.wait_for_keys(2).len(),
        2,
        "no other process has seen it"
    );
    let other = format!("{}-other", test.url());
    for _ in 0..16 {
        test.env.run([&other, "true"]).assert_all(0, "", "");
    }
    assert_eq!(test.system.keys(&test.name()).len(), 1);
    holder.release();
}
