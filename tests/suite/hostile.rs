//! Other users' processes that can read a lock file do their worst to it, and hide no holder.
//!
//! If the tests run as root, these processes belong to another user.

use std::fs;

use fastrand::Rng;
use rstest::rstest;
use test_support::hostile::MANY_WAITERS;
use test_support::locks::{tickets, waiter_count};
use test_support::process::Process;
use test_support::stress::StressSettings;
use test_support::{TestEnv, wait_until};

/// A process that holds the lock, and its PID as `--pids` prints it.
fn hold(env: &TestEnv) -> (Process, String) {
    let holder = env.hold(&["-F"], "f");
    let pid = format!("{}\n", holder.pid());
    (holder, pid)
}

/// Asserts that this process, and no other one, is the holder, for `--who` and for `--verbose`.
#[track_caller]
fn assert_holder(env: &TestEnv, pid: &str) {
    let who = env.run(["--who", "--pids", "f"]);
    who.assert_status(0).assert_stdout(pid);
    let verbose = env.run(["--verbose", "-n", "f", "true"]).assert_status(1);
    let held = format!("f: held by {}", pid.trim());
    assert!(
        verbose.stderr_text().contains(&held),
        "{}",
        verbose.stderr_text()
    );
}

#[rstest]
fn marker_that_names_the_holder_does_not_hide_it(
    #[values("markers", "named-markers")] scenario: &str,
) {
    let env = TestEnv::new();
    let (holder, pid) = hold(&env);
    let _stranger = env.start_stranger(scenario, holder.pid().into(), "f");
    assert_holder(&env, &pid);
}

#[test]
fn holder_cannot_hide_behind_its_own_marker() {
    let env = TestEnv::new();
    env.sh(": >f");
    let holder = env.start_stranger("marked-holder", 0, "f");
    assert_holder(&env, &format!("{}\n", holder.pid()));
}

/// Markers that name the holder, the stranger itself, process 1, or a process that does not exist.
#[rstest]
fn markers_of_no_queue_are_not_listed(#[values(-1, 0, 1, 4_194_303)] named: i64) {
    let env = TestEnv::new();
    let (holder, _) = hold(&env);
    let named = if named == -1 {
        holder.pid().into()
    } else {
        named
    };
    let _stranger = env.start_stranger("named-markers", named, "f");
    let table = env.run(["--who", "f"]).assert_status(0).stdout_text();
    assert_eq!(
        table.lines().count(),
        2,
        "a heading and the holder: {table}"
    );
}

#[test]
fn waiter_is_listed_among_markers_of_no_queue() {
    let env = TestEnv::new();
    let (_holder, pid) = hold(&env);
    let waiter = env.start_flock(["--fair", "f", "true"]);
    wait_until("it has a ticket", || tickets(env.file("f")).len() == 1);
    let sentinel = i64::from(tickets(env.file("f"))[0].sentinel);
    let _stranger = env.start_stranger("markers", sentinel, "f");
    let table = env.run(["--who", "f"]).assert_status(0).stdout_text();
    let rows: Vec<&str> = table.lines().skip(1).collect();
    assert_eq!(rows.len(), 2, "{table}");
    assert!(
        rows[0].starts_with("holder") && rows[0].contains(pid.trim()),
        "{table}"
    );
    let waiter = format!(" {} ", waiter.pid());
    assert!(
        rows[1].starts_with("waiter") && rows[1].contains(&waiter),
        "{table}"
    );
}

#[test]
fn thread_with_descriptors_of_its_own_is_found() {
    let env = TestEnv::new();
    env.sh(": >f");
    let holder = env.start_stranger("own-table", 0, "f");
    assert_holder(&env, &format!("{}\n", holder.pid()));
}

/// Starts a holder whose lock and waiters take more than a page of the kernel's table.
#[track_caller]
fn hold_with_many_waiters(env: &TestEnv, scenario: &str, argument: i64) -> (Process, String) {
    env.sh(": >f");
    let holder = env.start_stranger(scenario, argument, "f");
    wait_until("they wait", || waiter_count(env.file("f")) == MANY_WAITERS);
    let pid = format!("{}\n", holder.pid());
    (holder, pid)
}

#[rstest]
fn holder_after_equal_lines_of_a_long_table_is_found(#[values(90, 110)] count: i64) {
    let env = TestEnv::new();
    let (_holder, pid) = hold_with_many_waiters(&env, "torn-table", count);
    env.run(["--who", "--pids", "f"])
        .assert_status(0)
        .assert_stdout(&pid);
}

#[test]
fn changes_of_the_kernels_table_hide_no_holder() {
    let env = TestEnv::new();
    let (_holder, pid) = hold_with_many_waiters(&env, "changing-table", 0);
    for _ in 0..30 {
        env.run(["--who", "--pids", "f"])
            .assert_status(0)
            .assert_stdout(&pid);
    }
}

/// No process has a descriptor of the file, and nevertheless it is locked.
#[test]
fn lock_of_a_mapped_file_is_held_by_an_unknown_process() {
    let env = TestEnv::new();
    env.sh("echo >f");
    let _holder = env.start_stranger("mapped", 0, "f");
    let outcome = env.run(["--who", "f"]).assert_status(0);
    assert!(
        outcome.stdout_text().contains("holder  FLOCK"),
        "{}",
        outcome.stdout_text()
    );
    assert!(
        outcome.stderr_text().contains("held"),
        "{}",
        outcome.stderr_text()
    );
    env.run(["--who", "--pids", "f"])
        .assert_status(0)
        .assert_stdout("");
}

/// Runs flock, and returns its standard output and its memory in kB.
#[track_caller]
fn measured(env: &TestEnv, args: &[&str], status: i32) -> (String, u64) {
    let mut command = env.command("test-helper");
    command.args(["measure", "flock"]).args(args);
    let outcome = env.run_command(command).assert_status(status);
    let errors = outcome.stderr_text();
    let used = errors
        .lines()
        .last()
        .and_then(|line| line.strip_prefix("used "));
    let memory = used.expect("the usage").parse().expect("a number");
    (outcome.stdout_text(), memory)
}

/// More than any list needs, and less than what the strangers would make it take.
const MAX_MEMORY: u64 = 64 * 1024;

#[test]
fn huge_command_line_is_not_read() {
    let env = TestEnv::new();
    env.sh(": >f");
    let holder = env.start_stranger("command-line", 1 << 30, "f");
    for form in ["--json", "--pids"] {
        let (listed, memory) = measured(&env, &["--who", form, "f"], 0);
        assert!(listed.contains(&holder.pid().to_string()), "{listed}");
        assert!(memory < MAX_MEMORY, "{memory} kB");
    }
}

#[test]
fn long_list_is_complete_and_takes_little_memory() {
    let env = TestEnv::new();
    let (_holder, pid) = hold(&env);
    let _stranger = env.start_stranger("byte-locks", 8000, "f");
    let (table, memory) = measured(&env, &["--who", "f"], 0);
    assert_eq!(table.lines().count(), 8002, "a heading and the holder");
    assert!(
        table.contains(pid.trim()) && memory < MAX_MEMORY,
        "{memory} kB"
    );
}

#[test]
fn lock_is_granted_and_refused_as_without_strangers() {
    let env = TestEnv::new();
    env.sh(": >f");
    let _strangers = [
        env.start_stranger("byte-locks", 1000, "f"),
        env.start_stranger("named-markers", 1, "f"),
    ];
    env.run(["-n", "f", "true"]).assert_status(0);
    env.run(["-n", "f", "flock", "-n", "f", "true"])
        .assert_status(1);
}

/// While strangers set and remove markers without pause, every caller gets its lock in the end, no
/// two of them at once, and the holder of another file is always seen.
#[test]
fn storm_of_markers_breaks_no_promise() {
    let env = &TestEnv::new();
    let StressSettings { size, seed } = StressSettings::from_env();
    fs::write(env.file("journal"), "").expect("a journal");
    env.sh(": >l; : >witness; chmod 600 journal witness");
    let (holder, pid) = hold(env);
    let strangers = ["l", "f"].map(|file| env.start_stranger("storm", holder.pid().into(), file));
    let step = "exec 9>>witness; flock -n 9 || echo two at once >&2
         n=$(wc -l <journal); echo $((n + 1)) >>journal";
    // A place that a stranger takes holds up those behind it for some seconds.
    let calls = 3 * size;
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let mut rng = Rng::with_seed(seed ^ (thread << 50));
            scope.spawn(move || {
                for _ in 0..calls {
                    let queue = *rng.choice([&["--fair"][..], &[]].iter()).expect("two");
                    let args = [&["-w1000"], queue, &["l", "sh", "-c", step]].concat();
                    env.run(args).assert_all(0, "", "");
                }
            });
        }
        for _ in 0..calls {
            // The strangers hold slots.
            let pids = env.run(["--who", "--pids", "f"]).stdout_text();
            assert!(pids.lines().any(|line| line == pid.trim()), "{pids}");
            env.run(["-n", "--fair", "f", "true"]).assert_status(1);
        }
    });
    let journal = fs::read_to_string(env.file("journal")).expect("a journal");
    let expected: String = (1..=4 * calls).map(|step| format!("{step}\n")).collect();
    assert_eq!(journal, expected);
    drop(strangers);
}
