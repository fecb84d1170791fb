//! What cannot be seen is said.

use rustix::process::geteuid;

use super::{WHY, parse_rows, start_holding_script};
use test_support::locks::waiter_count;
use test_support::{TestEnv, can_unshare, differs_from_util_linux, wait_until};

/// A script of somebody who may not look into our processes. `None` where there is nobody like that.
#[track_caller]
fn stranger(env: &TestEnv, script: &str) -> Option<test_support::Outcome> {
    let command = env.unprivileged(script).filter(|_| geteuid().is_root())?;
    Some(env.run_command(command))
}

#[test]
fn a_taker_who_may_not_be_looked_into_is_unverified_and_not_for_kill() {
    if stranger(&TestEnv::new(), "").is_none() {
        return;
    }
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&["-F"], "f");
        let pid = holder.pid();
        let note = format!(
            "flock: f: PID {pid} acquired the lock; root privileges are needed to check that it still holds it\n"
        );
        let ask = |form: &str| stranger(env, &format!("flock --who {form} f")).expect("one");
        let table = ask("").assert_stderr(&note).assert_status(0).stdout_text();
        assert!(table.contains("holder, unverified  FLOCK"), "{table}");
        assert!(table.contains(&format!(" {pid} ")), "{table}");
        ask("--pids")
            .assert_stdout("")
            .assert_stderr(&note)
            .assert_status(0);
        let row = &parse_rows(&ask("--json").stdout)[0];
        assert_eq!(
            (&row["pid"], &row["verified"]),
            (&pid.into(), &false.into())
        );
    });
}

#[test]
fn when_the_taker_is_gone_and_nobody_may_be_looked_into_that_is_said() {
    if stranger(&TestEnv::new(), "").is_none() {
        return;
    }
    differs_from_util_linux(WHY, |env| {
        let _script = start_holding_script(env);
        let outcome = stranger(env, "flock --who f").expect("one");
        let note = "flock: f: held by a process that only root can see\n";
        let table = outcome.assert_stderr(note).assert_status(0).stdout_text();
        let cells: Vec<&str> = table
            .lines()
            .nth(1)
            .expect("a line")
            .split_whitespace()
            .collect();
        assert_eq!(cells, ["holder", "FLOCK", "exclusive", "-", "-", "-", "-"]);
        stranger(env, "flock --who --pids f")
            .expect("one")
            .assert_stdout("")
            .assert_stderr(note)
            .assert_status(0);
        // What is not locked is not held, for whoever asks.
        stranger(env, ": >g; flock --who g")
            .expect("one")
            .assert_stderr("")
            .assert_status(1);
    });
}

#[test]
fn who_waits_is_named_by_the_kernel_to_everybody_or_counted() {
    if stranger(&TestEnv::new(), "").is_none() {
        return;
    }
    differs_from_util_linux(WHY, |env| {
        let _holders = [env.hold(&[], "f"), env.hold(&["--fcntl"], "f")];
        let one = env.start_flock(["f", "true"]);
        let _two = env.start_flock(["--fcntl", "f", "true"]);
        wait_until("they wait", || waiter_count(env.file("f")) == 2);
        let outcome = stranger(env, "flock --who --json f").expect("one");
        let rows = parse_rows(&outcome.stdout);
        let waiting: Vec<_> = rows.iter().filter(|row| row["role"] == "waiter").collect();
        assert_eq!(waiting.len(), 2, "{rows:?}");
        assert_eq!(
            (&waiting[0]["pid"], &waiting[0]["kind"]),
            (&one.pid().into(), &"FLOCK".into())
        );
        assert_eq!(
            (&waiting[1]["pid"], &waiting[1]["kind"]),
            (&().into(), &"OFDLCK".into())
        );
    });
}

#[test]
fn from_a_pid_namespace_only_its_own_processes_are_seen_and_that_is_said() {
    if !can_unshare(&TestEnv::new(), "-rpf --mount-proc") {
        return;
    }
    differs_from_util_linux(WHY, |env| {
        let _outside = start_holding_script(env);
        let note = "no holder found; processes outside this PID namespace are not visible\n";
        env.sh("unshare -rpf --mount-proc flock --who f")
            .assert_stdout("")
            .assert_stderr(&format!("flock: f: {note}"))
            .assert_status(1);
        // A lock of an open file description has no number, and is shown to all.
        let _other = env.hold(&["--fcntl"], "g");
        env.sh("unshare -rpf --mount-proc flock --who --pids g")
            .assert_stdout("")
            .assert_status(0);
    });
}

#[test]
fn within_a_pid_namespace_holders_and_waiters_are_found_though_the_kernels_table_lacks_them() {
    if !can_unshare(&TestEnv::new(), "-rpf --mount-proc") {
        return;
    }
    differs_from_util_linux(WHY, |env| {
        let script = "exec 8>>f; flock 8; echo $$ >shell; flock f true 8>&- & waiter=$!
            until flock --who f | grep ^waiter >out; do :; done
            flock --who --pids f; echo $?; grep -c \" $waiter \" out; kill $waiter; exit 0";
        env.install_script("script", script);
        let outcome = env.sh("exec unshare -rpf --mount-proc sh ./script");
        let shell = std::fs::read_to_string(env.file("shell")).expect("a number");
        outcome.assert_stdout(&format!("{shell}0\n1\n"));
    });
}

#[test]
fn numbers_that_mean_others_here_are_not_shown() {
    if !can_unshare(&TestEnv::new(), "-pf") {
        return;
    }
    differs_from_util_linux(WHY, |env| {
        let _holder = start_holding_script(env);
        let note = "flock: f: PIDs are not shown, because /proc belongs to another PID namespace\n";
        env.sh("unshare -pf flock --who --pids f")
            .assert_stdout("")
            .assert_stderr(note)
            .assert_status(0);
        let outcome = env.sh("unshare -pf flock --who --json f");
        let row = &parse_rows(&outcome.stdout)[0];
        assert_eq!(
            (&row["pid"], &row["command"][1]),
            (&().into(), &"-c".into())
        );
    });
}

#[test]
fn on_an_overlay_it_is_the_kernels_device_that_counts() {
    // Of two file systems: then stat(2) says something else than the kernel's table.
    let overlay = "mkdir up/up up/work all && mount -t overlay none -o xino=off,lowerdir=low,upperdir=up/up,workdir=up/work all";
    let on_tmpfs =
        format!("mkdir low up && mount -t tmpfs none low && mount -t tmpfs none up && {overlay}");
    let works = |how: &str| {
        TestEnv::new()
            .sh(format!("unshare -rm sh -c '{on_tmpfs} {how}'"))
            .code()
            == 0
    };
    if !can_unshare(&TestEnv::new(), "-rm") || !works("") {
        return;
    }
    differs_from_util_linux(WHY, |env| {
        let script = format!(
            "set -e; {on_tmpfs}; : >low/old; cd all
             for f in old new; do
                 exec 8>>$f; flock 8; [ \"$(flock --who --pids $f)\" = $$ ] && echo found $f
                 exec 8>&-; flock --who $f || echo free $f
             done"
        );
        env.install_script("script", &script);
        env.sh("exec unshare -rm sh ./script")
            .assert_stdout("found old\nfree old\nfound new\nfree new\n")
            .assert_stderr("");
    });
}

#[test]
fn on_a_file_system_that_others_may_share_nobody_here_is_not_nobody() {
    let env = TestEnv::without_builtin();
    env.sh(": >f");
    let Some(command) = env.with_fault_injection("", "inject=fstatfs:error=EIO", &["--who", "f"])
    else {
        return;
    };
    env.run_command(command)
        .assert_stdout("")
        .assert_stderr("flock: f: no holder found on this machine; holders on other machines are not visible\n")
        .assert_status(1);
}

/// The kernel's table does not show it within the namespace, but the file does: so it is with a file server.
#[test]
fn a_lock_that_only_the_file_knows_of_is_held() {
    let env = TestEnv::without_builtin();
    let strace = "strace --quiet=all -o /dev/null -e inject=fstatfs:error=EIO";
    env.sh(": >f");
    if !can_unshare(&env, "-rpf --mount-proc") || env.sh(format!("{strace} true")).code() != 0 {
        return;
    }
    let mut holder = env.start_lock_holder("posix", 0, 0, "f");
    holder.expect_line("held");
    env.sh(format!(
        "unshare -rpf --mount-proc {strace} flock --who --pids f"
    ))
    .assert_stdout("")
    .assert_stderr("flock: f: held, but the holder is not visible; it may be on another machine\n")
    .assert_status(0);
}
