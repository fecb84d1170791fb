//! Lock files that were deleted while locked.

use serde_json::json;

use super::{assert_fields, parse_rows, start_holding_script, start_script, who_rows};
use test_support::locks::waiter_count;
use test_support::{TestEnv, wait_until};

#[test]
fn holders_of_a_deleted_file_are_listed() {
    let env = TestEnv::new();
    let script = start_holding_script(&env);
    let waiter = env.start_flock(["f", "true"]);
    wait_until("it waits", || waiter_count(env.file("f")) == 1);
    env.sh("ln -s f link; rm f");
    for name in ["f", "./f", "link"] {
        let outcome = env.run(["--who", "--json", name]).assert_status(0);
        let note = outcome.stderr_text();
        let begin = format!("flock: {name}: was deleted while locked; ");
        assert!(note.starts_with(&begin), "{note}");
        let rows = parse_rows(&outcome.stdout);
        assert_eq!(rows.len(), 2, "{rows:?}");
        let deleted = |role, pid| json!({"role": role, "pid": pid, "deleted": true, "file": name});
        assert_fields(&rows[0], &deleted("holder", script.pid()));
        assert_fields(&rows[1], &deleted("waiter", waiter.pid()));
    }
    let table = env.run(["--who", "f"]).stdout_text();
    assert!(table.contains("holder (deleted)  FLOCK"), "{table}");
}

#[test]
fn deleted_file_is_found_at_the_process_that_locked_it() {
    let env = TestEnv::new();
    let holder = env.hold(&["-F"], "f");
    env.sh("rm f");
    let rows = parse_rows(&env.run(["--who", "--json", "f"]).assert_status(0).stdout);
    assert_fields(&rows[0], &json!({"pid": holder.pid(), "deleted": true}));
}

#[test]
fn file_in_a_deleted_directory_is_found() {
    let env = TestEnv::without_builtin();
    env.sh("mkdir -p d/e; ln -s d link").assert_status(0);
    let holder = env.hold(&["-F"], "d/e/f");
    let working_dir = "cd d/e; rm -rf ../../d; flock --who --pids f || exit; cd ../..";
    env.sh(format!("PATH=$PWD/bin:$PATH; {working_dir}"))
        .assert_status(0)
        .assert_stdout(&format!("{}\n", holder.pid()));
    for path in ["d/e/f", "link/e/f", "./d/./e/f"] {
        let rows = parse_rows(&env.run(["--who", "--json", path]).assert_status(0).stdout);
        assert_fields(&rows[0], &json!({"pid": holder.pid(), "deleted": true}));
    }
}

#[test]
fn new_and_deleted_file_are_told_apart() {
    let env = TestEnv::new();
    let old = start_holding_script(&env);
    env.sh("rm f");
    let new = start_holding_script(&env);
    let outcome = env.run(["--who", "--json", "f"]).assert_status(0);
    let rows = parse_rows(&outcome.stdout);
    assert_fields(&rows[0], &json!({"pid": new.pid(), "deleted": false}));
    assert_fields(&rows[1], &json!({"pid": old.pid(), "deleted": true}));
    let note = outcome.stderr_text();
    let expected = format!(
        "flock: f: was deleted while locked, and created again; the lock of the deleted file (PID {}) ",
        old.pid()
    );
    assert!(note.starts_with(&expected), "{note}");
}

#[test]
fn missing_file_without_holders_is_an_error() {
    let env = TestEnv::new();
    // Locks on other files of the directory, of which one has been deleted too.
    let _others = [env.hold(&[], "g"), env.hold(&[], "h")];
    env.sh("rm g");
    let message = "flock: cannot open lock file f: No such file or directory\n";
    env.run(["--who", "f"]).assert_all(66, "", message);
}

#[test]
fn name_that_ends_like_a_deleted_file_is_not_one() {
    let env = TestEnv::new();
    let script = "exec 8>>'f (deleted)'; flock 8; echo held; read x";
    let script = start_script(&env, script, "held");
    env.run(["--who", "f"]).assert_status(66).assert_stdout("");
    let row = &who_rows(&env, &["f (deleted)"])[0];
    assert_fields(row, &json!({"pid": script.pid(), "deleted": false}));
}

#[test]
fn deleted_file_of_a_descriptor_is_marked() {
    let env = TestEnv::without_builtin();
    let script = "exec 8>>f; flock 8; rm f; flock --who --json --fd 8; exit";
    let outcome = env.sh(script).assert_status(0);
    assert_fields(&parse_rows(&outcome.stdout)[0], &json!({"deleted": true}));
    let note = outcome.stderr_text();
    let begin = "flock: descriptor 8: its file was deleted while locked; ";
    assert!(note.starts_with(begin), "{note}");
}
