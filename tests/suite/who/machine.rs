//! All locks of the machine. Other programs have locks, too, so each test looks only at the files in
//! its own directory.

use std::os::unix::fs::MetadataExt;

use rustix::process::{Pid, geteuid};
use serde_json::{Value, json};

use super::{assert_fields, start_holding_script, start_script};
use test_support::locks::waiter_count;
use test_support::process::Process;
use test_support::{Outcome, TestEnv, can_unshare, is_installed, os_string, wait_until};

/// Returns the rows of files in the directory of the environment.
fn rows_in(env: &TestEnv, outcome: &Outcome) -> Vec<Value> {
    let dir = format!("{}/", env.path().display());
    let is_in = |row: &Value| {
        row["file"]
            .as_str()
            .is_some_and(|file| file.starts_with(&dir))
    };
    parse_all(outcome).into_iter().filter(is_in).collect()
}

/// Other tests may hold very many locks, so the array is not parsed as a whole.
fn parse_all(outcome: &Outcome) -> Vec<Value> {
    let text = outcome.stdout_text();
    let objects = text.lines().filter(|line| line.starts_with('{'));
    let parse = |line: &str| {
        let object = serde_json::from_str(line.trim_end_matches(','));
        object.unwrap_or_else(|error| panic!("{error}: {line}"))
    };
    objects.map(parse).collect()
}

#[track_caller]
pub(super) fn listed(env: &TestEnv) -> Vec<Value> {
    rows_in(env, &env.run(["--who", "--json"]))
}

/// Returns the name of the file, the role and the kind of each row, such as `f holder FLOCK`, and
/// the PID.
fn users_in(env: &TestEnv, rows: &[Value]) -> Vec<(String, i64)> {
    let user = |row: &Value| {
        let text = |name: &str| row[name].as_str().unwrap_or("-").to_owned();
        let dir = format!("{}/", env.path().display());
        let file = text("file").replacen(&dir, "", 1);
        let what = format!("{file} {} {}", text("role"), text("kind"));
        (what, row["pid"].as_i64().unwrap_or(0))
    };
    rows.iter().map(user).collect()
}

/// Asserts that these are the rows. On a busy machine, the table of the kernel may not be read in
/// one piece, and a lock that is released by another test may hide one of ours.
#[track_caller]
fn assert_listed(env: &TestEnv, expected: &[(&str, i32)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(what, pid)| ((*what).to_owned(), i64::from(*pid)))
        .collect();
    let mut users = Vec::new();
    wait_until(&format!("{expected:?} are listed"), || {
        users = users_in(env, &listed(env));
        users == expected
    });
}

#[test]
fn locks_of_every_kind_are_listed_by_path() {
    let env = TestEnv::new();
    env.sh(": >posix");
    let flock = env.hold(&["-F"], "flock");
    let ofd = env.hold(&["-F", "--start=5", "--length=10"], "ofd");
    let mut posix = env.start_lock_holder("posix", 0, 0, "posix");
    posix.expect_line("held");
    let slot = env.hold(&["-F", "--slots=2"], "slot");
    assert_listed(
        &env,
        &[
            ("flock holder FLOCK", flock.pid()),
            ("ofd holder OFDLCK", ofd.pid()),
            ("posix holder POSIX", posix.pid()),
            ("slot holder SLOT", slot.pid()),
        ],
    );
}

#[test]
fn rows_have_the_fields_of_a_file() {
    let env = TestEnv::new();
    let holder = env.hold(&["-F"], "f");
    let mut of_machine = listed(&env);
    let path = env.file("f");
    let path = path.to_str().expect("text");
    let of_file = &mut super::who_rows(&env, &[path]);
    assert_fields(
        &of_machine[0],
        &json!({
            "pid": holder.pid(),
            "mode": "exclusive",
            "verified": true,
            "deleted": false,
            "inode": std::fs::metadata(path).expect("a file").ino(),
        }),
    );
    // The time passes.
    for row in of_machine.iter_mut().chain(&mut *of_file) {
        row["seconds"].take();
        row["since"].take();
    }
    assert_eq!(of_machine, *of_file);
}

/// lslocks(8) shows the program that has acquired the lock and exited.
#[test]
fn live_holder_is_listed_instead_of_a_dead_one() {
    let env = TestEnv::new();
    let script = start_holding_script(&env);
    assert_listed(&env, &[("f holder FLOCK", script.pid())]);
}

#[test]
fn waiters_are_in_the_order_of_their_queue() {
    for fair in [&[][..], &["--fair"]] {
        let env = TestEnv::new();
        let holder = env.hold(&["-F"], "f");
        let wait = |waiters| {
            let waiter = env.start(env.flock(fair.iter().chain(&["f", "true"])));
            if fair.is_empty() {
                wait_until("it waits", || waiter_count(env.file("f")) == waiters);
            } else {
                let tickets = || test_support::locks::tickets(env.file("f")).len();
                wait_until("it has a ticket", || tickets() == waiters);
            }
            waiter
        };
        let waiters: Vec<Process> = (1..=3).map(wait).collect();
        let mut expected = vec![("f holder FLOCK", holder.pid())];
        expected.extend(
            waiters
                .iter()
                .map(|waiter| ("f waiter FLOCK", waiter.pid())),
        );
        assert_listed(&env, &expected);
    }
}

#[test]
fn deleted_file_has_its_former_path() {
    let env = TestEnv::new();
    let holder = env.hold(&["-F"], "f");
    let other = env.hold(&["-F"], "f (deleted)");
    env.sh("rm f");
    assert_listed(
        &env,
        &[
            ("f holder FLOCK", holder.pid()),
            ("f (deleted) holder FLOCK", other.pid()),
        ],
    );
    let deleted: Vec<_> = listed(&env)
        .iter()
        .map(|row| row["deleted"].clone())
        .collect();
    assert_eq!(deleted, [true, false]);
    let table = env.run(["--who"]).stdout_text();
    let path = env.file("f ");
    let mut lines = table.lines();
    let line = lines.find(|line| line.starts_with(path.to_str().expect("text")));
    assert!(
        line.is_some_and(|line| line.contains(" holder (deleted)  FLOCK ")),
        "{table}"
    );
}

#[test]
fn processes_that_wait_for_each_other_are_marked() {
    let env = TestEnv::new();
    let start = |held: &str, requested: &str| {
        let script = format!("echo held; read x; exec flock {requested} true");
        let mut process = env.start_flock(["-F", held, "sh", "-c", &script]);
        process.expect_line("held");
        process
    };
    let mut processes = [start("f", "g"), start("g", "f")];
    for process in &mut processes {
        process.send_line("");
    }
    let [one, two] = processes.each_ref().map(Process::pid);
    let (low, high) = (one.min(two), one.max(two));
    let note = format!("deadlock: PID {low} waits for PID {high}, which waits for PID {low}");
    wait_until("the deadlock is found", || {
        let outcome = env.run(["--who", "--json"]);
        let rows = rows_in(&env, &outcome);
        let marked = rows.iter().filter(|row| row["deadlock"] == true);
        let marked: Vec<_> = marked.map(|row| row["role"].clone()).collect();
        marked == ["waiter", "waiter"] && outcome.stderr_text().contains(&note)
    });
}

#[test]
fn odd_name_takes_one_line() {
    let env = TestEnv::new();
    let mut command = env.command("flock");
    command.arg("-F").arg(os_string(b"a\n\x1b\xff"));
    command.args(["sh", "-c", "echo held; read x"]);
    let mut holder = env.start(command);
    holder.expect_line("held");
    let table = env.run(["--who"]).stdout_text();
    let line = format!("{}/a\\n\\x1b\\xff  ", env.path().display());
    assert!(table.lines().any(|row| row.starts_with(&line)), "{table}");
    let file = format!("{}/a\n\u{1b}\u{fffd}", env.path().display());
    assert_fields(&listed(&env)[0], &json!({"file": file}));
}

/// A marker that names a process does not make it a waiter.
#[test]
fn forged_markers_are_no_waiters() {
    let env = TestEnv::new();
    let holder = env.hold(&["-F"], "f");
    let _stranger = env.start_stranger("markers", i64::from(holder.pid()), "f");
    assert_listed(&env, &[("f holder FLOCK", holder.pid())]);
}

#[test]
fn thousands_of_locks_are_listed() {
    let env = TestEnv::new();
    env.sh(": >f");
    let holder = env.hold(&["-F"], "g");
    let stranger = env.start_stranger("byte-locks", 2000, "f");
    wait_until("all locks are listed", || {
        let rows = listed(&env);
        let of = |pid: i32| rows.iter().filter(|row| row["pid"] == pid).count();
        of(stranger.pid()) == 2000 && of(holder.pid()) == 1
    });
}

#[test]
fn lock_of_a_hidden_process_has_no_path() {
    let env = TestEnv::new();
    let _holder = env.hold(&["-F"], "f");
    let command = env.unprivileged("flock --who --json 2>notes; exit");
    let Some(command) = command.filter(|_| geteuid().is_root()) else {
        return;
    };
    let inode = std::fs::metadata(env.file("f")).expect("a file").ino();
    let rows = parse_all(&env.run_command(command));
    let row = rows
        .iter()
        .find(|row| row["inode"] == inode)
        .expect("a row");
    assert_fields(row, &json!({"file": null, "verified": false}));
    let notes = env.read_file("notes");
    assert!(
        notes.contains(" may be held by processes of another user, invisible"),
        "{notes}"
    );
}

#[test]
fn visible_waiter_shows_the_path_of_a_hidden_holder() {
    let env = TestEnv::new();
    let holder = env.hold(&["-F"], "f");
    let script = "flock f true & until grep -q \"> FLOCK .* $! \" /proc/locks; do :; done
        flock --who --json; kill $!; exit 0";
    let Some(command) = env.unprivileged(script).filter(|_| geteuid().is_root()) else {
        return;
    };
    let rows = rows_in(&env, &env.run_command(command));
    let holders: Vec<_> = rows.iter().filter(|row| row["role"] == "holder").collect();
    assert_eq!(holders.len(), 1, "{rows:?}");
    assert_fields(holders[0], &json!({"pid": holder.pid(), "verified": false}));
}

#[test]
fn other_users_processes_are_named_to_root() {
    let env = TestEnv::new();
    if !geteuid().is_root() || !is_installed("setpriv") {
        return;
    }
    env.sh("chmod 755 .");
    let mut holder = env.flock(["-F", "f", "setpriv", "--reuid=54321", "--clear-groups"]);
    holder.args(["sh", "-c", "echo held; read x"]);
    let mut holder = env.start(holder);
    holder.expect_line("held");
    assert_listed(&env, &[("f holder FLOCK", holder.pid())]);
    assert_fields(&listed(&env)[0], &json!({"uid": 54321, "verified": true}));
}

/// The table of the kernel does not contain the lock there: its process has exited.
#[test]
fn only_the_pid_namespace_is_listed() {
    let env = TestEnv::new();
    if !can_unshare(&env, "-rpf --mount-proc") {
        return;
    }
    let _outside = env.hold(&["-F"], "outside");
    let script = "exec 8>>f; flock 8; echo $$ >shell; flock --who --json; exit";
    env.install_script("script", script);
    let outcome = env.sh("exec unshare -rpf --mount-proc sh ./script");
    let shell = env.read_file("shell").trim().parse().expect("a pid");
    let users = users_in(&env, &rows_in(&env, &outcome));
    assert_eq!(users, [("f holder FLOCK".to_owned(), shell)]);
    let note = "locks of processes outside this PID namespace are not visible\n";
    assert!(outcome.stderr_text().contains(note), "{outcome:?}");
}

#[test]
fn status_tells_whether_any_lock_is_held() {
    let env = TestEnv::new();
    let _holder = env.hold(&["-F"], "f");
    env.run(["--who"]).assert_status(0);
    if can_unshare(&env, "-rm") {
        // Without a table, and without processes.
        let script = "mount -t tmpfs none /proc; exec flock --who";
        let error = "flock: cannot list lock holders: /proc/locks: No such file or directory\n";
        env.sh(format!("exec unshare -rm sh -c '{script}'"))
            .assert_all(65, "", error);
    }
}

#[test]
fn asking_process_is_not_listed() {
    let env = TestEnv::new();
    let script = "exec 8>>f; flock 8; echo ready; read x; flock --who --json; read x";
    let mut shell = start_script(&env, script, "ready");
    let pid = Pid::from_raw(shell.pid()).expect("a pid");
    shell.send_line("");
    let text = shell.expect("\n]\n");
    let dir = format!("\"file\":\"{}/f\"", env.path().display());
    let rows: Vec<&str> = text.lines().filter(|line| line.contains(&dir)).collect();
    let holder = format!("\"pid\":{},", pid.as_raw_nonzero());
    assert!(rows.len() == 1 && rows[0].contains(&holder), "{rows:?}");
    assert_eq!(waiter_count(env.file("f")), 0);
}
