//! The holders of a lock, however they have obtained it.

use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rstest::rstest;
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use super::{
    assert_fields, assert_lock_users, holder_pids, parse_rows, start_holding_script, start_script,
    who_rows,
};
use test_support::locks::assert_lock_count;
use test_support::procfs::is_running;
use test_support::{TestEnv, wait_until};

#[test]
fn script_is_listed_although_its_flock_has_exited() {
    let env = TestEnv::new();
    let script = start_holding_script(&env);
    let acquired_by = assert_lock_count(env.file("f"), 1)[0].pid;
    assert!(!is_running(acquired_by as i32));
    assert_eq!(holder_pids(&env, &["f"]), [script.pid()]);
    assert_lock_users(&env, "f", &[("holder FLOCK exclusive", script.pid())]);
}

#[rstest]
#[case::fork(None, true, true)]
#[case::no_fork(Some("-F"), true, false)]
#[case::close(Some("-o"), false, true)]
fn command_and_flock_are_listed_if_they_hold_the_lock(
    #[case] option: Option<&str>,
    #[case] command_holds: bool,
    #[case] flock_holds: bool,
) {
    let env = TestEnv::new();
    let args = ["f", "sh", "-c", "echo $$; read x"];
    let mut flock = env.start(env.flock(option.iter().chain(&args)));
    let command: i32 = flock.read_line().parse().expect("a pid");
    let holders = [
        command_holds.then_some(command),
        flock_holds.then_some(flock.pid()),
    ];
    let mut expected = Vec::from_iter(holders.into_iter().flatten());
    expected.sort_unstable();
    assert_eq!(holder_pids(&env, &["f"]), expected);
}

#[test]
fn processes_that_inherited_the_lock_are_listed() {
    let env = TestEnv::new();
    let script = "mkfifo end; exec 8>>f; flock 8
         sh -c 'echo $$ >child; read x <end' </dev/null &
         until [ -s child ]; do :; done; echo held; read x";
    let mut script = start_script(&env, script, "held");
    let child = std::fs::read_to_string(env.file("child")).expect("a file");
    let child: i32 = child.trim().parse().expect("a pid");
    let mut both = [script.pid(), child];
    both.sort_unstable();
    assert_eq!(holder_pids(&env, &["f"]), both);
    script.kill();
    assert_eq!(holder_pids(&env, &["f"]), [child]);
    env.run(["-n", "f", "true"]).assert_status(1);
}

#[test]
fn process_with_several_descriptors_is_listed_once() {
    let env = TestEnv::new();
    let script = "exec 8>>f 7>&8 9>&8; flock 9; echo held; read x";
    let script = start_script(&env, script, "held");
    assert_lock_users(&env, "f", &[("holder FLOCK exclusive", script.pid())]);
}

#[test]
fn asking_process_is_not_listed_although_it_inherits() {
    let env = TestEnv::new();
    let outcome = env.sh(
        "exec 8>>f; flock 8; echo $$ >shell; flock --who --pids --fd 8; echo $?; flock --who --pids f; echo $?",
    );
    let shell = std::fs::read_to_string(env.file("shell")).expect("a pid");
    outcome.assert_stdout(&format!("{shell}0\n{shell}0\n"));
}

#[test]
fn descriptor_stands_for_its_file() {
    let env = TestEnv::new();
    let script = start_holding_script(&env);
    env.sh("exec 9<f; flock --who --pids --fd 9; echo $?")
        .assert_stdout(&format!("{}\n0\n", script.pid()));
    let rows = env.sh("exec 9<f; flock --who --json --fd 9; exit").stdout;
    let row = &parse_rows(&rows)[0];
    assert_fields(row, &json!({"descriptor": 9, "file": null}));
}

#[test]
fn all_readers_are_listed() {
    let env = TestEnv::new();
    let readers = [env.hold(&["-s", "-F"], "f"), env.hold(&["-s", "-F"], "f")];
    let mut pids = readers.each_ref().map(|reader| reader.pid());
    pids.sort_unstable();
    let expected = pids.map(|pid| ("holder FLOCK shared", pid));
    assert_lock_users(&env, "f", &expected);
}

#[test]
fn range_of_an_open_file_description_lock_is_shown() {
    let env = TestEnv::new();
    let holder = env.hold(&["-F", "--start", "5", "--length", "10"], "f");
    assert_fields(
        &who_rows(&env, &["f"])[0],
        &json!({"pid": holder.pid(), "kind": "OFDLCK", "mode": "exclusive", "first": 5, "last": 14}),
    );
    let table = env.run(["--who", "f"]).stdout_text();
    assert!(table.contains("OFDLCK 5-14"), "{table}");
}

#[rstest]
#[case::process_lock("posix", json!({"kind": "POSIX", "mode": "exclusive", "first": 7, "last": null}), "POSIX 7- ")]
#[case::slot("slot", json!({"kind": "SLOT", "mode": null, "since_of": "lock"}), "SLOT ")]
fn process_locks_and_slots_are_listed(
    #[case] kind: &str,
    #[case] fields: Value,
    #[case] cell: &str,
) {
    let env = TestEnv::new();
    std::fs::write(env.file("f"), "").expect("a file");
    let mut holder = env.start_lock_holder(kind, 7, 0, "f");
    holder.expect_line("held");
    let rows = who_rows(&env, &["f"]);
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_fields(&rows[0], &fields);
    assert_fields(&rows[0], &json!({"role": "holder", "pid": holder.pid()}));
    let table = env.run(["--who", "f"]).stdout_text();
    assert!(table.contains(cell), "{table}");
}

#[test]
fn released_lock_has_no_holder() {
    let env = TestEnv::new();
    start_holding_script(&env).release();
    env.run(["--who", "f"]).assert_all(1, "", "");
    env.sh("exec 8>>f; flock 8; flock -u 8; flock --who f; echo $?")
        .assert_stdout("1\n");
}

#[test]
fn file_is_identified_by_inode_and_not_by_name() {
    let env = TestEnv::new();
    let script = start_holding_script(&env);
    env.sh("ln f link; ln -s f symbolic; mkdir d; : >d/f");
    for same in ["f", "link", "symbolic", "./d/../f"] {
        assert_eq!(holder_pids(&env, &[same]), [script.pid()], "{same}");
    }
    env.run(["--who", "d/f"]).assert_status(1);
}

/// After the exit of the first thread, `/proc/PID/fdinfo` is empty.
#[test]
fn process_without_its_first_thread_is_found() {
    let env = TestEnv::new();
    std::fs::write(env.file("f"), "").expect("a file");
    let mut holder = env.start_lock_holder("leader-exited", 0, 0, "f");
    holder.expect_line("held");
    let fdinfo = format!("/proc/{}/fdinfo", holder.pid());
    wait_until("its first thread has exited", || {
        std::fs::read_dir(&fdinfo).map_or(0, Iterator::count) == 0
    });
    assert_eq!(holder_pids(&env, &["f"]), [holder.pid()]);
}

#[test]
fn script_file_and_directory_can_be_asked_about() {
    let env = TestEnv::new();
    env.install_script(
        "script",
        "#!/bin/sh\nexec 8<\"$0\" 9<.; flock 8; flock 9; echo held; read x\n",
    );
    let script = start_script(&env, "exec ./script", "held");
    assert_eq!(holder_pids(&env, &["script"]), [script.pid()]);
    assert_eq!(holder_pids(&env, &["."]), [script.pid()]);
}

/// The kernel returns a long table in pieces. If lines disappear in between, the next piece begins
/// too late.
#[test]
fn no_holder_is_missed_while_other_locks_change() {
    let env = TestEnv::new();
    let change_locks = |done: &AtomicBool| {
        let open = |number: u32| File::create(env.file(format!("other{number}"))).expect("a file");
        let others: Vec<File> = (0..150).map(open).collect();
        while !done.load(Relaxed) {
            for operation in [FlockOperation::LockShared, FlockOperation::Unlock] {
                for other in &others {
                    flock(other, operation).expect("no other process locks it");
                }
            }
        }
    };
    let holders = ["f", "g", "h", "i"].map(|file| (file, env.hold(&["-F"], file)));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| change_locks(&done));
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| {
            for (file, holder) in holders.iter().cycle().take(40) {
                assert_eq!(holder_pids(&env, &[file]), [holder.pid()]);
            }
        }));
        done.store(true, Relaxed);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}
