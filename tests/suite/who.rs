//! `--who`: who holds a lock and who waits for it.

mod builtin;
mod forms;
mod hidden;
mod holders;
mod odd;
mod verbose;
mod waiters;

use serde_json::Value;

use test_support::TestEnv;
use test_support::process::Process;

/// Why all of these are departures.
const WHY: &str = "the reference does not tell who holds a lock";

/// What `flock --who --json` says, whatever its status is.
#[track_caller]
fn who_rows(env: &TestEnv, words: &[&str]) -> Vec<Value> {
    let outcome = env.run(["--who", "--json"].iter().chain(words));
    parse_rows(&outcome.stdout)
}

#[track_caller]
fn parse_rows(json: &[u8]) -> Vec<Value> {
    serde_json::from_slice(json).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(json));
    })
}

/// Who holds or waits for which kind of lock in which mode: `holder FLOCK exclusive`, and by which number. Those of one role
/// in the order of their numbers.
#[track_caller]
fn lock_users(env: &TestEnv, words: &[&str]) -> Vec<(String, i64)> {
    let party = |row: &Value| {
        let text = |name: &str| row[name].as_str().unwrap_or("-").to_owned();
        let what = format!("{} {} {}", text("role"), text("kind"), text("mode"));
        (what, row["pid"].as_i64().unwrap_or(0))
    };
    let mut parties: Vec<_> = who_rows(env, words).iter().map(party).collect();
    parties.sort();
    parties
}

/// The numbers that `--pids` says.
#[track_caller]
fn holder_pids(env: &TestEnv, words: &[&str]) -> Vec<i32> {
    let outcome = env.run(["--who", "--pids"].iter().chain(words));
    let number = |line: &str| line.parse().expect("a number");
    outcome.stdout_text().lines().map(number).collect()
}

/// A script that holds a lock on `f` by its descriptor 8, which a program has taken, until its stdin ends.
#[track_caller]
fn start_holding_script(env: &TestEnv) -> Process {
    start_script(
        env,
        "exec 8>>f; bin/flock 8; echo held; read x; exit 0",
        "held",
    )
}

/// A script that has said this.
#[track_caller]
fn start_script(env: &TestEnv, script: &str, word: &str) -> Process {
    let mut shell = env.command("/bin/sh");
    shell.args(["-c", script]);
    let mut shell = env.start(shell);
    shell.expect_line(word);
    shell
}
