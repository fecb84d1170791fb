//! Holders and waiters that cannot be seen are reported as such.

use rustix::process::geteuid;
use serde_json::json;

use super::{assert_fields, parse_rows, start_holding_script};
use test_support::locks::waiter_count;
use test_support::{Outcome, TestEnv, can_unshare, wait_until};

/// Runs a script as a user who must not inspect our processes. `None` if there is no such user.
#[track_caller]
fn run_unprivileged(env: &TestEnv, script: &str) -> Option<Outcome> {
    let command = env.unprivileged(script).filter(|_| geteuid().is_root())?;
    Some(env.run_command(command))
}

#[test]
fn uninspectable_locker_is_unverified_and_not_in_pids() {
    let env = TestEnv::new();
    let holder = env.hold(&["-F"], "f");
    let pid = holder.pid();
    let note = format!(
        "flock: f: PID {pid} acquired the lock; the capability CAP_SYS_PTRACE is needed to check that it still holds it (docker run --cap-add SYS_PTRACE, or run flock --who as its user)\n"
    );
    let who = |form: &str| run_unprivileged(&env, &format!("flock --who {form} f"));
    let Some(outcome) = who("") else { return };
    let table = outcome.assert_stderr(&note).assert_status(0).stdout_text();
    assert!(table.contains("holder, unverified  FLOCK"), "{table}");
    assert!(table.contains(&format!(" {pid} ")), "{table}");
    let pids = who("--pids").expect("as before");
    pids.assert_all(0, "", &note);
    let rows = parse_rows(&who("--json").expect("as before").stdout);
    assert_fields(&rows[0], &json!({"pid": pid, "verified": false}));
}

#[test]
fn holder_is_unknown_if_the_locker_has_exited() {
    let env = TestEnv::new();
    let _script = start_holding_script(&env);
    let who = |args: &str| run_unprivileged(&env, &format!("flock --who {args}"));
    let Some(outcome) = who("f") else { return };
    let note = "flock: f: held by a process of another user, invisible without the capability CAP_SYS_PTRACE (docker run --cap-add SYS_PTRACE, or run flock --who as that user)\n";
    let table = outcome.assert_stderr(note).assert_status(0).stdout_text();
    let row = table.lines().nth(1).expect("a row");
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells, ["holder", "FLOCK", "exclusive", "-", "-", "-", "-"]);
    let pids = who("--pids f").expect("as before");
    pids.assert_all(0, "", note);
    // A free lock has no holder for any user.
    env.sh(": >g");
    let free = who("g").expect("as before");
    free.assert_all(1, "", "");
}

/// The kernel names waiters for flock(2) locks to every user, but not those for open file
/// description locks.
#[test]
fn waiters_are_listed_for_every_user() {
    let env = TestEnv::new();
    let _holders = [env.hold(&[], "f"), env.hold(&["--fcntl"], "f")];
    let one = env.start_flock(["f", "true"]);
    let _two = env.start_flock(["--fcntl", "f", "true"]);
    wait_until("they wait", || waiter_count(env.file("f")) == 2);
    let Some(outcome) = run_unprivileged(&env, "flock --who --json f") else {
        return;
    };
    let rows = parse_rows(&outcome.stdout);
    let waiters: Vec<_> = rows.iter().filter(|row| row["role"] == "waiter").collect();
    assert_eq!(waiters.len(), 2, "{rows:?}");
    assert_fields(waiters[0], &json!({"pid": one.pid(), "kind": "FLOCK"}));
    assert_fields(waiters[1], &json!({"pid": null, "kind": "OFDLCK"}));
}

#[test]
fn processes_outside_the_pid_namespace_are_hidden() {
    let env = TestEnv::new();
    if !can_unshare(&env, "-rpf --mount-proc") {
        return;
    }
    let _outside = start_holding_script(&env);
    env.sh("unshare -rpf --mount-proc flock --who f")
        .assert_status(1)
        .assert_stdout("")
        .assert_stderr(
            "flock: f: no holder is visible; processes outside this PID namespace are not visible\n",
        );
    // The kernel knows no pid for an open file description lock, and shows it in every namespace.
    let _other = env.hold(&["--fcntl"], "g");
    let note = "flock: g: held by a process outside this PID namespace\n";
    env.sh("unshare -rpf --mount-proc flock --who --pids g")
        .assert_all(0, "", note);
}

/// Although the kernel's table does not contain them there.
#[test]
fn holders_and_waiters_in_the_pid_namespace_are_found() {
    let env = TestEnv::new();
    if !can_unshare(&env, "-rpf --mount-proc") {
        return;
    }
    let script = "exec 8>>f; flock 8; echo $$ >shell; flock f true 8>&- & waiter=$!
        until flock --who f | grep ^waiter >out; do :; done
        flock --who --pids f; echo $?; grep -c \" $waiter \" out; kill $waiter; exit 0";
    env.install_script("script", script);
    let outcome = env.sh("exec unshare -rpf --mount-proc sh ./script");
    let shell = std::fs::read_to_string(env.file("shell")).expect("a pid");
    outcome.assert_stdout(&format!("{shell}0\n1\n"));
}

#[test]
fn pids_of_another_namespace_are_not_shown() {
    let env = TestEnv::new();
    if !can_unshare(&env, "-pf") {
        return;
    }
    let _holder = start_holding_script(&env);
    let note = "flock: f: PIDs are not shown, because /proc belongs to another PID namespace\n";
    env.sh("unshare -pf flock --who --pids f")
        .assert_all(0, "", note);
    let outcome = env.sh("unshare -pf flock --who --json f");
    let row = &parse_rows(&outcome.stdout)[0];
    assert_fields(row, &json!({"pid": null}));
    assert_eq!(row["command"][1], "-c");
}

/// If the layers are different file systems, stat(2) reports another device than the kernel's
/// table.
#[test]
fn overlay_file_is_found_by_the_kernels_device() {
    let env = TestEnv::new();
    let overlay = "mkdir up/up up/work all && mount -t overlay none -o xino=off,lowerdir=low,upperdir=up/up,workdir=up/work all";
    let mount =
        format!("mkdir low up && mount -t tmpfs none low && mount -t tmpfs none up && {overlay}");
    let works = |mount| TestEnv::new().sh(mount).code() == 0;
    if !can_unshare(&env, "-rm") || !works(format!("unshare -rm sh -c '{mount}'")) {
        return;
    }
    let script = format!(
        "set -e; {mount}; : >low/old; cd all
         for f in old new; do
             exec 8>>$f; flock 8; [ \"$(flock --who --pids $f)\" = $$ ] && echo found $f
             exec 8>&-; flock --who $f || echo free $f
         done"
    );
    env.install_script("script", &script);
    env.sh("exec unshare -rm sh ./script")
        .assert_status(0)
        .assert_stdout("found old\nfree old\nfound new\nfree new\n")
        .assert_stderr("");
}

/// The kernel's table does not show the lock within the namespace, but the file does, as it does
/// for locks of other clients of a file server.
#[test]
fn lock_that_only_the_file_reveals_is_held() {
    let env = TestEnv::without_builtin();
    let strace = "strace --quiet=all -o /dev/null -e inject=fstatfs,?fstatfs64:error=EIO";
    env.sh(": >f");
    if !can_unshare(&env, "-rpf --mount-proc") || env.sh(format!("{strace} true")).code() != 0 {
        return;
    }
    let mut holder = env.start_lock_holder("posix", 0, 0, "f");
    holder.expect_line("held");
    env.sh(format!(
        "unshare -rpf --mount-proc {strace} flock --who --pids f"
    ))
    .assert_status(0)
    .assert_stdout("")
    .assert_stderr("flock: f: held by a process that is not visible, perhaps on another machine\n");
}
