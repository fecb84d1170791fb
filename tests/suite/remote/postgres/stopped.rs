//! Waiters that are stopped (Ctrl-Z).

use libc::{SIGCONT, SIGTSTP};
use test_support::process::send_signal;
use test_support::wait_until;

use super::PostgresTest;
use crate::remote::engines::proxy::{Mode, Proxy};

/// The statement that says that a waiter is stopped.
const MARK: &str = "\"stopped\":true";

/// Another process would move the holder behind itself, and hold the lock as well.
#[test]
fn late_mark_does_not_concern_a_holder() {
    let Some(test) = PostgresTest::with_database() else {
        return;
    };
    let first = test.hold(&[]);
    let proxy = Proxy::start(test.system.hosts(), Mode::Delay(MARK));
    let url = test.url_by(&proxy.host());
    let command = ["--ttl=1h", &url, "sh", "-c", "echo held; read x; exit 0"];
    let mut waiter = test.env.start(test.env.flock(command));
    test.wait_for_keys(2);
    assert!(send_signal(waiter.pid(), SIGTSTP));
    proxy.wait_for_delayed_request();
    send_signal(waiter.pid(), SIGCONT);
    first.release();
    waiter.expect("held\n");
    proxy.set(Mode::Forward);
    // The server ends the session when it has executed the statement.
    wait_until("only the session of the holder is left", || {
        let sql = "select count(*) from pg_stat_activity \
                   where datname = current_database() and application_name = 'flock'";
        test.server.query(sql).concat() == ["1"]
    });
    let outcome = test.env.run(["-n", &test.url(), "echo", "also held"]);
    outcome.assert_all(1, "", "");
    assert_eq!(test.column("value like '%stopped%'"), "f");
    waiter.release();
}
