//! Who has a lock, by whatever way he came to it.

use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::fs::{FlockOperation, flock};

use super::{WHY, holder_pids, lock_users, start_holding_script, start_script, who_rows};
use test_support::locks::locks_on;
use test_support::procfs::is_running;
use test_support::{TestEnv, differs_from_util_linux};

const EXCLUSIVE: &str = "holder FLOCK exclusive";

#[test]
fn a_script_that_holds_by_descriptor_is_named_though_its_flock_is_gone() {
    differs_from_util_linux(WHY, |env| {
        let script = start_holding_script(env);
        let taker = locks_on(env.file("f"))[0].pid;
        assert!(!is_running(taker as i32), "it is the one that took it");
        assert_eq!(holder_pids(env, &["f"]), [script.pid()]);
        let wanted = (EXCLUSIVE.to_owned(), script.pid().into());
        assert_eq!(lock_users(env, &["f"]), [wanted]);
    });
}

#[test]
fn a_command_and_the_flock_that_waits_for_it_hold_together() {
    differs_from_util_linux(WHY, |env| {
        let mut holder = env.start_flock(["f", "sh", "-c", "echo $$; read x"]);
        let command: i32 = holder.read_line().parse().expect("its number");
        let mut wanted = [holder.pid(), command];
        wanted.sort_unstable();
        assert_eq!(holder_pids(env, &["f"]), wanted);
        let alone = env.start_flock(["-F", "g", "sh", "-c", "echo held; read x"]);
        let mut alone = alone;
        alone.expect_line("held");
        assert_eq!(holder_pids(env, &["g"]), [alone.pid()]);
    });
}

#[test]
fn with_o_it_is_flock_alone() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["-o"], "f");
        assert_eq!(holder_pids(env, &["f"]), [holder.pid()]);
    });
}

#[test]
fn all_who_have_inherited_the_descriptor_hold_it_and_go_on_when_one_has_ended() {
    differs_from_util_linux(WHY, |env| {
        let script = "mkfifo end; exec 8>>f; flock 8
             sh -c 'echo $$ >child; read x <end' </dev/null &
             until [ -s child ]; do :; done; echo held; read x";
        let mut script = start_script(env, script, "held");
        let child = std::fs::read_to_string(env.file("child")).expect("a number");
        let child: i32 = child.trim().parse().expect("a number");
        assert_eq!(holder_pids(env, &["f"]), [script.pid(), child]);
        script.kill();
        assert_eq!(holder_pids(env, &["f"]), [child]);
        env.run(["-n", "f", "true"]).assert_status(1);
    });
}

#[test]
fn who_has_several_descriptors_of_it_is_named_once() {
    differs_from_util_linux(WHY, |env| {
        let script = "exec 8>>f 7>&8 9>&8; flock 9; echo held; read x";
        let script = start_script(env, script, "held");
        assert_eq!(lock_users(env, &["f"]).len(), 1);
        assert_eq!(holder_pids(env, &["f"]), [script.pid()]);
    });
}

#[test]
fn the_one_who_asks_has_inherited_it_and_is_not_listed() {
    differs_from_util_linux(WHY, |env| {
        let outcome = env.sh(
            "exec 8>>f; flock 8; echo $$ >shell; flock --who --pids --fd 8; echo $?; flock --who --pids f; echo $?",
        );
        let shell = std::fs::read_to_string(env.file("shell")).expect("a number");
        outcome.assert_stdout(&format!("{shell}0\n{shell}0\n"));
    });
}

#[test]
fn by_a_descriptor_it_is_the_file_that_is_asked_about() {
    differs_from_util_linux(WHY, |env| {
        let script = start_holding_script(env);
        env.sh("exec 9<f; flock --who --pids --fd 9; echo $?")
            .assert_stdout(&format!("{}\n0\n", script.pid()));
        let rows = env.sh("exec 9<f; flock --who --json --fd 9; exit").stdout;
        let row = &super::parse_rows(&rows)[0];
        assert_eq!((&row["descriptor"], &row["file"]), (&9.into(), &().into()));
    });
}

#[test]
fn readers_are_all_named() {
    differs_from_util_linux(WHY, |env| {
        let (one, two) = (env.hold(&["-s", "-F"], "f"), env.hold(&["-s", "-F"], "f"));
        let wanted = [one.pid(), two.pid()];
        let rows = lock_users(env, &["f"]);
        assert_eq!(rows.len(), 2);
        for ((what, number), wanted) in rows.iter().zip(wanted) {
            assert_eq!((&what[..], *number), ("holder FLOCK shared", wanted.into()));
        }
    });
}

#[test]
fn a_lock_of_an_open_file_description_has_a_holder_and_bytes() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["-F", "--start", "5", "--length", "10"], "f");
        let row = &who_rows(env, &["f"])[0];
        assert_eq!(row["pid"], holder.pid());
        assert_eq!(
            (&row["kind"], &row["mode"]),
            (&"OFDLCK".into(), &"exclusive".into())
        );
        assert_eq!((&row["first"], &row["last"]), (&5.into(), &14.into()));
        let table = env.run(["--who", "f"]).stdout_text();
        assert!(table.contains("OFDLCK 5-14"), "{table}");
    });
}

#[test]
fn a_lock_of_a_process_is_told_from_one_of_an_open_file() {
    differs_from_util_linux(WHY, |env| {
        std::fs::write(env.file("f"), "").expect("a file");
        let mut holder = env.start_lock_holder("posix", 7, 0, "f");
        holder.expect_line("held");
        let row = &who_rows(env, &["f"])[0];
        assert_eq!(
            (&row["kind"], &row["pid"]),
            (&"POSIX".into(), &holder.pid().into())
        );
        assert_eq!((&row["first"], &row["last"]), (&7.into(), &().into()));
        let table = env.run(["--who", "f"]).stdout_text();
        assert!(table.contains("POSIX 7- "), "{table}");
    });
}

#[test]
fn a_slot_is_held_by_whoever_has_it_since_he_took_it() {
    differs_from_util_linux(WHY, |env| {
        std::fs::write(env.file("f"), "").expect("a file");
        let mut holder = env.start_lock_holder("slot", 0, 0, "f");
        holder.expect_line("held");
        let rows = who_rows(env, &["f"]);
        assert_eq!(rows.len(), 1);
        let row = &rows[0];
        assert_eq!(
            (&row["kind"], &row["pid"]),
            (&"SLOT".into(), &holder.pid().into())
        );
        assert_eq!((&row["role"], &row["mode"]), (&"holder".into(), &().into()));
        assert_eq!(row["since_of"], "lock");
    });
}

#[test]
fn nobody_holds_a_lock_that_is_free_again() {
    differs_from_util_linux(WHY, |env| {
        start_holding_script(env).release();
        env.run(["--who", "f"])
            .assert_stdout("")
            .assert_stderr("")
            .assert_status(1);
        env.sh("exec 8>>f; flock 8; flock -u 8; flock --who f; echo $?")
            .assert_stdout("1\n");
    });
}

#[test]
fn another_file_of_the_same_name_is_another_lock() {
    differs_from_util_linux(WHY, |env| {
        let script = start_holding_script(env);
        env.sh("ln f link; ln -s f symbolic; mkdir d; : >d/f");
        for same in ["f", "link", "symbolic", "./d/../f"] {
            assert_eq!(holder_pids(env, &[same]), [script.pid()], "{same}");
        }
        env.run(["--who", "d/f"]).assert_status(1);
    });
}

/// A process that has let its first thread end: `/proc/PID/fdinfo` is empty then.
#[test]
fn a_process_without_its_first_thread_is_found() {
    differs_from_util_linux(WHY, |env| {
        std::fs::write(env.file("f"), "").expect("a file");
        let mut holder = env.start_lock_holder("leader-exited", 0, 0, "f");
        holder.expect_line("held");
        let first = format!("/proc/{}/fdinfo", holder.pid());
        test_support::wait_until("its first thread has ended", || {
            std::fs::read_dir(&first).map_or(0, Iterator::count) == 0
        });
        assert_eq!(holder_pids(env, &["f"]), [holder.pid()]);
    });
}

#[test]
fn a_lock_on_a_folder_or_on_the_script_itself_is_one_too() {
    let body = |env: &TestEnv| {
        env.install_script(
            "script",
            "#!/bin/sh\nexec 8<\"$0\" 9<.; flock 8; flock 9; echo held; read x\n",
        );
        let script = start_script(env, "exec ./script", "held");
        assert_eq!(holder_pids(env, &["script"]), [script.pid()]);
        assert_eq!(holder_pids(env, &["."]), [script.pid()]);
    };
    differs_from_util_linux(WHY, body);
}

/// A long table comes in pieces, between which lines go: the next piece begins one line too late then.
#[test]
fn no_holder_is_missed_while_other_locks_come_and_go() {
    let churn = |env: &TestEnv, over: &AtomicBool| {
        let open = |number: u32| File::create(env.file(format!("other{number}"))).expect("a file");
        let others: Vec<File> = (0..150).map(open).collect();
        while !over.load(Relaxed) {
            for operation in [FlockOperation::LockShared, FlockOperation::Unlock] {
                for other in &others {
                    flock(other, operation).expect("nobody else has it");
                }
            }
        }
    };
    differs_from_util_linux(WHY, |env| {
        let holders = ["f", "g", "h", "i"].map(|file| (file, env.hold(&["-F"], file)));
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| churn(env, &over));
            let missed = std::panic::catch_unwind(AssertUnwindSafe(|| {
                for (file, holder) in holders.iter().cycle().take(40) {
                    assert_eq!(holder_pids(env, &[file]), [holder.pid()]);
                }
            }));
            over.store(true, Relaxed);
            missed.unwrap_or_else(|missed| std::panic::resume_unwind(missed));
        });
    });
}
