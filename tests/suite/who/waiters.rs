//! Who waits for a lock.

use super::{WHY, asked, parties, script_that_holds};
use test_support::locks::{status_field, waiters};
use test_support::{departure, wait_until};

#[test]
fn those_who_wait_are_listed_and_do_not_count_as_holders() {
    departure(WHY, |lab| {
        let holder = script_that_holds(lab);
        let one = lab.start_flock(["f", "true"]);
        let two = lab.start_flock(["-s", "f", "true"]);
        wait_until("they wait", || waiters(lab.file("f")) == 2);
        assert_eq!(
            parties(lab, &["f"]),
            [
                ("holder FLOCK exclusive".to_owned(), holder.pid().into()),
                ("waiter FLOCK exclusive".to_owned(), one.pid().into()),
                ("waiter FLOCK shared".to_owned(), two.pid().into()),
            ]
        );
        let pids = lab.run(["--who", "--pids", "f"]).expect_code(0);
        pids.expect_out(&format!("{}\n", holder.pid()));
    });
}

#[test]
fn holders_come_before_waiters() {
    departure(WHY, |lab| {
        // The one that waits is the older process.
        let mut waiter = lab.command("/bin/sh");
        waiter.args(["-c", "read x; exec flock f true"]);
        let mut waiter = lab.start(waiter);
        let holder = lab.hold(&[], "f");
        waiter.say("now");
        wait_until("it waits", || waiters(lab.file("f")) == 1);
        let roles: Vec<_> = asked(lab, &["f"])
            .iter()
            .map(|row| row["role"].as_str().expect("a role").to_owned())
            .collect();
        assert_eq!(roles, ["holder", "holder", "waiter"]);
        drop(holder);
    });
}

#[test]
fn who_waits_for_an_open_file_description_lock_is_found_by_what_it_does() {
    departure(WHY, |lab| {
        let holder = lab.hold(&["-F", "--fcntl"], "f");
        let waiter = lab.start_flock(["--fcntl", "-s", "--start", "3", "f", "true"]);
        wait_until("it waits", || waiters(lab.file("f")) == 1);
        let rows = asked(lab, &["f"]);
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
    departure(WHY, |lab| {
        let holder = lab.hold(&["-F", "--fcntl"], "f");
        let waiter = lab.lock_by_probe("posix", 0, 0, "f");
        wait_until("it waits", || waiters(lab.file("f")) == 1);
        assert_eq!(
            parties(lab, &["f"]),
            [
                ("holder OFDLCK exclusive".to_owned(), holder.pid().into()),
                ("waiter POSIX exclusive".to_owned(), waiter.pid().into()),
            ]
        );
    });
}

#[test]
fn who_queues_for_his_turn_is_listed_once_and_what_stands_for_him_never() {
    departure(WHY, |lab| {
        let holder = script_that_holds(lab);
        let one = lab.start_flock(["--fair", "f", "true"]);
        let two = lab.start_flock(["--fair", "-s", "f", "true"]);
        let wanted = [
            ("holder FLOCK exclusive".to_owned(), holder.pid().into()),
            ("waiter FLOCK exclusive".to_owned(), i64::from(one.pid())),
            ("waiter FLOCK shared".to_owned(), two.pid().into()),
        ];
        wait_until("they queue", || parties(lab, &["f"]).len() == 3);
        assert_eq!(parties(lab, &["f"]), wanted);
        for row in &asked(lab, &["f"])[1..] {
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
    departure(WHY, |lab| {
        let holder = script_that_holds(lab);
        let waiter = lab.start_flock(["--fair", "f", "true"]);
        wait_until("it queues", || parties(lab, &["f"]).len() == 2);
        waiter.signal(libc::SIGSTOP);
        wait_until("it is stopped", || {
            status_field(waiter.pid(), "State").starts_with('T')
        });
        holder.let_go();
        let outcome = lab.run(["--who", "f"]).expect_code(1);
        let table = outcome.out();
        assert!(
            table.contains("waiter") && !table.contains("holder"),
            "{table}"
        );
        lab.run(["--who", "--pids", "f"])
            .expect_out("")
            .expect_code(1);
    });
}
