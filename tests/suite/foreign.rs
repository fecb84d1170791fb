//! A `flock` for another kind of processor beside the one under test, such as a 32-bit program on a
//! 64-bit kernel, or one in qemu-user: they exclude, queue and list each other.
//!
//! `FLOCK_FOREIGN` names the program; `make cross` sets it. It may be a script.

use std::process::Command;

use rstest::rstest;
use test_support::locks::waiter_count;
use test_support::process::Process;
use test_support::{TestEnv, foreign_flock, wait_until};

use crate::queue::{FAIR, HOLD, ONE_SLOT, assert_clean, assert_order, spawn_waiter_command};
use crate::who::{assert_lock_users, lock_users_in, parse_rows};

/// The two programs.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Own,
    Foreign,
}

impl Side {
    fn flock(self, env: &TestEnv, args: &[&str]) -> Command {
        match self {
            Self::Own => env.flock(args),
            Self::Foreign => {
                let mut flock = env.command(foreign_flock().expect("a program"));
                flock.args(args);
                flock
            }
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Own => Self::Foreign,
            Self::Foreign => Self::Own,
        }
    }

    /// Starts a holder of `l`, a single process.
    #[track_caller]
    fn hold(self, env: &TestEnv, option: &str) -> Process {
        let args = ["-F", option].into_iter().chain(HOLD);
        let mut holder = env.start(self.flock(env, &Vec::from_iter(args)));
        holder.expect_line("held");
        holder
    }
}

/// Whether there is a foreign program. Prints a note if not.
fn has_foreign_flock() -> bool {
    let exists = foreign_flock().is_some();
    if !exists {
        println!("skipped: FLOCK_FOREIGN does not name a program");
    }
    exists
}

#[rstest]
#[case::flock("-x", "-x")]
#[case::readers("-s", "-x")]
#[case::fcntl("--fcntl", "--fcntl")]
#[case::fair("-x", FAIR)]
#[case::slots(ONE_SLOT, ONE_SLOT)]
fn both_exclude_each_other(
    #[values(Side::Own, Side::Foreign)] side: Side,
    #[case] held: &str,
    #[case] requested: &str,
) {
    if !has_foreign_flock() {
        return;
    }
    let env = TestEnv::without_builtin();
    let holder = side.hold(&env, held);
    for limit in ["-n", "-w0.01"] {
        let args = [requested, limit, "-E42", "l", "true"];
        env.run_command(side.other().flock(&env, &args))
            .assert_all(42, "", "");
    }
    let mut waiter = env.start(
        side.other()
            .flock(&env, &[requested, "-w1000", "l", "echo", "ran"]),
    );
    waiter.wait_alive_until("it waits", || {
        requested == ONE_SLOT || waiter_count(env.file("l")) == 1
    });
    holder.release();
    waiter.expect_line("ran");
}

#[rstest]
fn both_queue_in_order_of_arrival(#[values(FAIR, ONE_SLOT)] queue: &str) {
    if !has_foreign_flock() {
        return;
    }
    let env = TestEnv::without_builtin();
    let holder = Side::Own.hold(&env, queue);
    let names = ["0", "1", "2", "3", "4", "5"];
    let sides = [Side::Foreign, Side::Own].into_iter().cycle();
    let waiters = Vec::from_iter(names.iter().zip(sides).map(|(name, side)| {
        let script = format!("echo {name} >>order");
        let args = [queue, "-w1000", "l", "sh", "-c", &script];
        spawn_waiter_command(&env, side.flock(&env, &args))
    }));
    holder.release();
    assert_order(&env, waiters, &names);
    assert_clean(&env, &[]);
}

#[rstest]
#[case::flock("-x", "FLOCK exclusive", "-s", "FLOCK shared")]
#[case::fcntl("--fcntl", "OFDLCK exclusive", "--fcntl", "OFDLCK exclusive")]
#[case::fair(FAIR, "FLOCK exclusive", FAIR, "FLOCK exclusive")]
#[case::slots(ONE_SLOT, "SLOT -", ONE_SLOT, "FLOCK exclusive")]
fn foreign_holders_and_waiters_are_listed(
    #[case] held: &str,
    #[case] held_lock: &str,
    #[case] requested: &str,
    #[case] requested_lock: &str,
) {
    if !has_foreign_flock() {
        return;
    }
    let env = TestEnv::without_builtin();
    let holder = Side::Foreign.hold(&env, held);
    let waiter = env.start(Side::Foreign.flock(&env, &[requested, "l", "true"]));
    wait_until("both are listed", || {
        env.run(["--who", "l"]).stdout_text().lines().count() == 3
    });
    let holder_row = format!("holder {held_lock}");
    let waiter_row = format!("waiter {requested_lock}");
    let expected = [(&*holder_row, holder.pid()), (&*waiter_row, waiter.pid())];
    assert_lock_users(&env, "l", &expected);
}

#[test]
fn foreign_program_lists_holders_and_waiters() {
    if !has_foreign_flock() {
        return;
    }
    let env = TestEnv::without_builtin();
    let holder = Side::Own.hold(&env, "-x");
    let waiter = env.start_flock([FAIR, "l", "true"]);
    let users = || {
        let who = Side::Foreign.flock(&env, &["--who", "--json", "l"]);
        lock_users_in(&parse_rows(&env.run_command(who).stdout))
    };
    wait_until("both are listed", || users().len() == 2);
    let row = |role: &str, pid: i32| (format!("{role} FLOCK exclusive"), i64::from(pid));
    let expected = [row("holder", holder.pid()), row("waiter", waiter.pid())];
    assert_eq!(users(), expected);
}
