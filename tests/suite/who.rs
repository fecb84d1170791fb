//! `--who`: the holders and the waiters of a lock.

mod builtin;
mod deadlock;
mod deleted;
mod forms;
mod hidden;
mod holders;
mod machine;
mod odd;
mod restricted;
mod storm;
mod verbose;
mod waiters;
mod watch;

use serde_json::Value;

use test_support::TestEnv;
use test_support::process::Process;

/// Returns the rows of `flock --who --json ARGS`, whatever its status.
#[track_caller]
fn who_rows(env: &TestEnv, args: &[&str]) -> Vec<Value> {
    let outcome = env.run(["--who", "--json"].iter().chain(args));
    parse_rows(&outcome.stdout)
}

#[track_caller]
pub fn parse_rows(json: &[u8]) -> Vec<Value> {
    serde_json::from_slice(json).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(json));
    })
}

/// Asserts that a row has these fields, among others. A field that is null may be missing.
#[track_caller]
fn assert_fields(row: &Value, expected: &Value) {
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(row[name], *value, "{name} of {row}");
    }
}

/// Returns [`lock_users_in`] the rows of `flock --who --json ARGS`.
#[track_caller]
fn lock_users(env: &TestEnv, args: &[&str]) -> Vec<(String, i64)> {
    lock_users_in(&who_rows(env, args))
}

/// Returns the role, the kind of lock and the mode of each row, such as `holder FLOCK exclusive`,
/// and the pid; sorted.
pub fn lock_users_in(rows: &[Value]) -> Vec<(String, i64)> {
    let user = |row: &Value| {
        let text = |name: &str| row[name].as_str().unwrap_or("-").to_owned();
        let what = format!("{} {} {}", text("role"), text("kind"), text("mode"));
        (what, row["pid"].as_i64().unwrap_or(0))
    };
    let mut users: Vec<_> = rows.iter().map(user).collect();
    users.sort();
    users
}

/// Asserts what [`lock_users`] returns for a file.
#[track_caller]
pub fn assert_lock_users(env: &TestEnv, file: &str, expected: &[(&str, i32)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(what, pid)| ((*what).to_owned(), i64::from(*pid)))
        .collect();
    assert_eq!(lock_users(env, &[file]), expected);
}

/// Returns the output of `flock --who --pids ARGS`.
#[track_caller]
fn holder_pids(env: &TestEnv, args: &[&str]) -> Vec<i32> {
    let outcome = env.run(["--who", "--pids"].iter().chain(args));
    let pid = |line: &str| line.parse().expect("a pid");
    outcome.stdout_text().lines().map(pid).collect()
}

/// Starts a script that holds a lock on `f` with its descriptor 8, which a program has acquired,
/// until its stdin is closed.
#[track_caller]
fn start_holding_script(env: &TestEnv) -> Process {
    let script = "exec 8>>f; bin/flock 8; echo held; read x; exit 0";
    start_script(env, script, "held")
}

/// Starts a script, and returns when it has printed this line.
#[track_caller]
fn start_script(env: &TestEnv, script: &str, line: &str) -> Process {
    let mut shell = env.command("/bin/sh");
    shell.args(["-c", script]);
    let mut shell = env.start(shell);
    shell.expect_line(line);
    shell
}
