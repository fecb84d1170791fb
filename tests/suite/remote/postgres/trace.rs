//! The model of the lock (`models/src/postgres.rs`) against the statements that the helper sends, which
//! strace(1) records.

mod stopped;

use models::postgres::Postgres;
use test_support::process::{ExitReason, Process};
use test_support::system_calls::{Call, SystemCall, assert_explained};
use test_support::wait_until;

use super::PostgresTest;

/// Names the statements of the helper. Those of the login, and of others, are not in the model.
fn statements(recorded: &[SystemCall]) -> Vec<Call> {
    let is_sent = |call: &&SystemCall| matches!(&*call.name, "write" | "sendto" | "send");
    let named = recorded.iter().filter(is_sent).filter_map(|call| {
        let has = |text: &str| call.args.contains(text);
        Some(match () {
            () if has("pg_advisory_xact_lock(") => "enter",
            () if has("select pg_advisory_lock(") => "resume",
            () if has("unlisten *; listen ") => "listen",
            () if has("select e.id, e.token") => "list",
            () if has("set granted = true") => "grant",
            () if has("set marker = marker") => "renew",
            () if has("set sightings = ") => "note",
            () if has("with replaced as (") => stopped::name_of(&call.args),
            () if has("delete from flock.entry") && has(" and marker = ") => "delete",
            () if has("delete from flock.entry") => "release",
            () => return None,
        })
    });
    let named = stopped::without_readings(named);
    let mut calls = Vec::from_iter(named.into_iter().map(|name| (name, "")));
    // A waiter looks again from time to time, and a slow statement is repeated.
    calls.dedup();
    // What follows is about other locks.
    let released = calls.iter().position(|(name, _)| *name == "release");
    calls.truncate(released.map_or(calls.len(), |index| index + 1));
    calls
}

impl PostgresTest {
    /// Starts `flock` under strace, with a command that prints a word and waits for its input. `None`
    /// without strace.
    fn start_recorded(&self) -> Option<Process> {
        let url = self.url();
        let script = "echo held; read x; exit 0";
        let args = ["--ttl=1h", &url, "sh", "-c", script];
        let command = self.env.with_recording_of_all("flock", args)?;
        Some(self.env.start(command))
    }

    /// Ends it, and returns the statements.
    #[track_caller]
    fn finish_recorded(&self, mut process: Process) -> Vec<Call> {
        process.send_line("");
        assert_eq!(process.wait(), ExitReason::Exited(0));
        let processes = self.env.recorded_processes();
        let is_helper = |calls: &&Vec<SystemCall>| {
            let mut calls = calls.iter();
            calls.any(|call| call.name == "execve" && call.args.contains("/flock-postgres"))
        };
        let helper = processes.values().find(is_helper).expect("a helper");
        statements(helper)
    }
}

#[test]
fn a_free_lock_is_a_path_of_the_model() {
    let Some(test) = PostgresTest::new() else {
        return;
    };
    // With the table.
    test.env.run([&test.url(), "true"]).assert_status(0);
    let Some(mut holder) = test.start_recorded() else {
        return;
    };
    holder.expect_line("held");
    let calls = test.finish_recorded(holder);
    assert_eq!(calls, [("enter", ""), ("release", "")]);
    let model = Postgres::new(1, 3, 0);
    assert_explained(&calls, |calls| model.explain(calls));
}

#[test]
fn a_wait_is_a_path_of_the_model() {
    let Some(test) = PostgresTest::new() else {
        return;
    };
    let holder = test.hold(&[]);
    let Some(mut waiter) = test.start_recorded() else {
        return holder.release();
    };
    test.wait_for_keys(2);
    holder.release();
    waiter.expect_line("held");
    let calls = test.finish_recorded(waiter);
    let entered = calls.iter().filter(|(name, _)| *name == "enter");
    if entered.count() > 1 {
        // On a slow machine, a statement is not answered in time, and the attempt begins again.
        return;
    }
    let mut expected = vec!["enter", "listen", "list", "grant", "release"];
    if calls.contains(&("note", "")) {
        // The holder has gone after its row was read, and before the locks were.
        expected.splice(3..3, ["note", "list"]);
    }
    let names = Vec::from_iter(calls.iter().map(|(name, _)| *name));
    assert_eq!(names, expected);
    let model = Postgres::new(2, 3, 0);
    assert_explained(&calls, |calls| model.explain(calls));
}

#[test]
fn a_new_session_is_a_path_of_the_model() {
    let Some(test) = PostgresTest::with_database() else {
        return;
    };
    test.env.run([&test.url(), "true"]).assert_status(0);
    let Some(mut holder) = test.start_recorded() else {
        return;
    };
    holder.expect_line("held");
    let before = test.column("marker");
    test.server.query(
        "select pg_terminate_backend(pid) from pg_stat_activity \
         where datname = current_database() and application_name = 'flock'",
    );
    wait_until("the holder has another session", || {
        test.column("marker") != before
    });
    let calls = test.finish_recorded(holder);
    assert_eq!(calls, [("enter", ""), ("resume", ""), ("release", "")]);
    let model = Postgres::new(1, 3, 1);
    assert_explained(&calls, |calls| model.explain(calls));
}
