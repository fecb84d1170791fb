//! Waiters that are stopped.

use libc::{SIGCONT, SIGTSTP};
use models::postgres::Postgres;
use test_support::process::send_signal;
use test_support::procfs::children_of;
use test_support::system_calls::{Call, assert_explained};
use test_support::wait_until;

use super::super::PostgresTest;

/// Names a statement that writes to a row: that of its process, or another one.
pub fn name_of(sql: &str) -> &'static str {
    let (_, new_value) = sql.split_once("set value = ").expect("a write");
    let mut parts = new_value.split("where id = ");
    let new_value = parts.next().unwrap_or_default();
    let mut ids = parts.filter_map(|rest| rest.split(' ').next());
    let is_own = ids.next() == ids.next();
    match (is_own, new_value.contains(r#"stopped\":true"#)) {
        (true, true) => "stopped",
        (true, false) => "continued",
        (false, _) => "move",
    }
}

/// Leaves out that a process reads its row before it writes to it, which is one step in the model, and
/// what it reads while it is stopped, so that its session stays in use.
pub fn without_readings(calls: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let (mut visible, mut is_stopped) = (Vec::new(), false);
    for name in calls {
        if matches!(name, "stopped" | "continued") {
            is_stopped = name == "stopped";
            visible.pop_if(|last| *last == "list");
        }
        if !is_stopped || name != "list" {
            visible.push(name);
        }
    }
    visible
}

impl PostgresTest {
    /// Waits until a row says that its process is stopped.
    #[track_caller]
    fn wait_for_stopped(&self) {
        let sql = format!(
            "select count(*) from flock.entry where name = '{}' \
             and value like '%\"stopped\":true%'",
            self.name()
        );
        wait_until("a waiter is stopped", || {
            self.server.query(&sql).concat() == ["1"]
        });
    }

    /// Waits until another process passes one that is stopped.
    #[track_caller]
    fn pass_stopped(&self) {
        let url = self.url();
        wait_until("another process passes it", || {
            self.env.run(["-n", &url, "true"]).status.success()
        });
    }
}

/// Asserts that these are the statements, and a path of the model. On a slow machine, one may not be
/// answered in time, and the attempt begins again.
#[track_caller]
fn assert_path(calls: &[Call], expected: &[&str]) {
    let names = Vec::from_iter(calls.iter().map(|(name, _)| *name));
    if names.iter().filter(|name| **name == "enter").count() > 1 {
        return;
    }
    assert_eq!(names, expected);
    let model = Postgres {
        stops: 1,
        ..Postgres::new(2, 3, 0)
    };
    assert_explained(calls, |calls| model.explain(calls));
}

/// Another process passes one that is stopped, and exits before that is continued.
#[test]
fn a_stopped_waiter_is_a_path_of_the_model() {
    let Some(test) = PostgresTest::new() else {
        return;
    };
    let holder = test.hold(&[]);
    let Some(mut waiter) = test.start_recorded() else {
        return holder.release();
    };
    test.wait_for_keys(2);
    let flock = children_of(waiter.pid())[0];
    assert!(send_signal(flock, SIGTSTP));
    test.wait_for_stopped();
    holder.release();
    test.pass_stopped();
    send_signal(flock, SIGCONT);
    waiter.expect_line("held");
    let calls = test.finish_recorded(waiter);
    let mut expected = vec![
        "enter",
        "listen",
        "list",
        "stopped",
        "continued",
        "list",
        "grant",
        "release",
    ];
    if calls.contains(&("stopped", "")) && !calls.contains(&("listen", "")) {
        // It was stopped before it had read the rows.
        expected.drain(1..3);
    }
    assert_path(&calls, &expected);
}

/// The waiter is stopped before the process that passes it arrives.
#[test]
fn an_overtaking_is_a_path_of_the_model() {
    let Some(test) = PostgresTest::new() else {
        return;
    };
    let holder = test.hold(&[]);
    let mut stopped = test.start(&[], "echo held; read x; exit 0");
    test.wait_for_keys(2);
    assert!(send_signal(stopped.pid(), SIGTSTP));
    test.wait_for_stopped();
    holder.release();
    test.pass_stopped();
    let recorded = test.start_recorded();
    let calls = recorded.map(|mut next| {
        next.expect_line("held");
        test.finish_recorded(next)
    });
    send_signal(stopped.pid(), SIGCONT);
    stopped.expect_line("held");
    stopped.release();
    if let Some(calls) = calls {
        assert_path(&calls, &["enter", "move", "list", "grant", "release"]);
    }
}
