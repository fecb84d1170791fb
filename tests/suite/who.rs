//! `--who`: who holds a lock and who waits for it.

mod builtin;
mod forms;
mod hidden;
mod holders;
mod odd;
mod verbose;
mod waiters;

use serde_json::Value;

use test_support::Lab;
use test_support::process::Live;

/// Why all of these are departures.
const WHY: &str = "the reference does not tell who holds a lock";

/// What `flock --who --json` says, whatever its status is.
#[track_caller]
fn asked(lab: &Lab, words: &[&str]) -> Vec<Value> {
    let outcome = lab.run(["--who", "--json"].iter().chain(words));
    read(&outcome.stdout)
}

#[track_caller]
fn read(json: &[u8]) -> Vec<Value> {
    serde_json::from_slice(json).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(json));
    })
}

/// Who holds or waits for which kind of lock in which mode: `holder FLOCK exclusive`, and by which number. Those of one role
/// in the order of their numbers.
#[track_caller]
fn parties(lab: &Lab, words: &[&str]) -> Vec<(String, i64)> {
    let party = |row: &Value| {
        let text = |name: &str| row[name].as_str().unwrap_or("-").to_owned();
        let what = format!("{} {} {}", text("role"), text("kind"), text("mode"));
        (what, row["pid"].as_i64().unwrap_or(0))
    };
    let mut parties: Vec<_> = asked(lab, words).iter().map(party).collect();
    parties.sort();
    parties
}

/// The numbers that `--pids` says.
#[track_caller]
fn pids(lab: &Lab, words: &[&str]) -> Vec<i32> {
    let outcome = lab.run(["--who", "--pids"].iter().chain(words));
    let number = |line: &str| line.parse().expect("a number");
    outcome.out().lines().map(number).collect()
}

/// A script that holds a lock on `f` by its descriptor 8, which a program has taken, until its stdin ends.
#[track_caller]
fn script_that_holds(lab: &Lab) -> Live {
    talking(
        lab,
        "exec 8>>f; bin/flock 8; echo held; read x; exit 0",
        "held",
    )
}

/// A script that has said this.
#[track_caller]
fn talking(lab: &Lab, script: &str, word: &str) -> Live {
    let mut shell = lab.command("/bin/sh");
    shell.args(["-c", script]);
    let mut shell = lab.start(shell);
    shell.hears(word);
    shell
}
