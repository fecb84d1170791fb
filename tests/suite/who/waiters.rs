//! Who waits for a lock.

use super::{WHY, lock_users, start_holding_script, who_rows};
use test_support::locks::waiter_count;
use test_support::procfs::status_field;
use test_support::{differs_from_util_linux, wait_until};

#[test]
fn those_who_wait_are_listed_and_do_not_count_as_holders() {
    differs_from_util_linux(WHY, |env| {
        let holder = start_holding_script(env);
        let one = env.start_flock(["f", "true"]);
        let two = env.start_flock(["-s", "f", "true"]);
        wait_until("they wait", || waiter_count(env.file("f")) == 2);
        assert_eq!(
            lock_users(env, &["f"]),
            [
                ("holder FLOCK exclusive".to_owned(), holder.pid().into()),
                ("waiter FLOCK exclusive".to_owned(), one.pid().into()),
                ("waiter FLOCK shared".to_owned(), two.pid().into()),
            ]
        );
        let pids = env.run(["--who", "--pids", "f"]).assert_status(0);
        pids.assert_stdout(&format!("{}\n", holder.pid()));
    });
}

#[test]
fn holders_come_before_waiters() {
    differs_from_util_linux(WHY, |env| {
        // The one that waits is the older process.
        let mut waiter = env.command("/bin/sh");
        waiter.args(["-c", "read x; exec flock f true"]);
        let mut waiter = env.start(waiter);
        let holder = env.hold(&[], "f");
        waiter.send_line("now");
        wait_until("it waits", || waiter_count(env.file("f")) == 1);
        let roles: Vec<_> = who_rows(env, &["f"])
            .iter()
            .map(|row| row["role"].as_str().expect("a role").to_owned())
            .collect();
        assert_eq!(roles, ["holder", "holder", "waiter"]);
        drop(holder);
    });
}

#[test]
fn who_waits_for_an_open_file_description_lock_is_found_by_what_it_does() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["-F", "--fcntl"], "f");
        let waiter = env.start_flock(["--fcntl", "-s", "--start", "3", "f", "true"]);
        wait_until("it waits", || waiter_count(env.file("f")) == 1);
        let rows = who_rows(env, &["f"]);
        assert_eq!(rows.len(), 2, "{rows:?}");
        assert_eq!(rows[0]["pid"], holder.pid());
        let row = &rows[1];
        assert_eq!(
            (&row["role"], &row["pid"]),
            (&"waiter".into(), &waiter.pid().into())
        );
        assert_eq!(
            (&row["kind"], &row["mode"]),
            (&"OFDLCK".into(), &"shared".into())
        );
        assert_eq!(row["first"], 3);
    });
}

#[test]
fn who_waits_for_a_lock_of_a_process_is_one_too() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["-F", "--fcntl"], "f");
        let waiter = env.start_lock_holder("posix", 0, 0, "f");
        wait_until("it waits", || waiter_count(env.file("f")) == 1);
        assert_eq!(
            lock_users(env, &["f"]),
            [
                ("holder OFDLCK exclusive".to_owned(), holder.pid().into()),
                ("waiter POSIX exclusive".to_owned(), waiter.pid().into()),
            ]
        );
    });
}

#[test]
fn who_queues_for_his_turn_is_listed_once_and_what_stands_for_him_never() {
    differs_from_util_linux(WHY, |env| {
        let holder = start_holding_script(env);
        let one = env.start_flock(["--fair", "f", "true"]);
        let two = env.start_flock(["--fair", "-s", "f", "true"]);
        let wanted = [
            ("holder FLOCK exclusive".to_owned(), holder.pid().into()),
            ("waiter FLOCK exclusive".to_owned(), i64::from(one.pid())),
            ("waiter FLOCK shared".to_owned(), two.pid().into()),
        ];
        wait_until("they queue", || lock_users(env, &["f"]).len() == 3);
        assert_eq!(lock_users(env, &["f"]), wanted);
        for row in &who_rows(env, &["f"])[1..] {
            assert_eq!(row["since_of"], "lock", "{row}");
            assert!(
                row["seconds"].as_u64().is_some_and(|time| time < 60),
                "{row}"
            );
        }
    });
}

#[test]
fn who_only_waits_leaves_the_status_at_1() {
    // A waiter alone: the one who would be next is stopped, and the lock is free.
    differs_from_util_linux(WHY, |env| {
        let holder = start_holding_script(env);
        let waiter = env.start_flock(["--fair", "f", "true"]);
        wait_until("it queues", || lock_users(env, &["f"]).len() == 2);
        waiter.signal(libc::SIGSTOP);
        wait_until("it is stopped", || {
            status_field(waiter.pid(), "State").starts_with('T')
        });
        holder.release();
        let outcome = env.run(["--who", "f"]).assert_status(1);
        let table = outcome.stdout_text();
        assert!(
            table.contains("waiter") && !table.contains("holder"),
            "{table}"
        );
        env.run(["--who", "--pids", "f"])
            .assert_stdout("")
            .assert_status(1);
    });
}
