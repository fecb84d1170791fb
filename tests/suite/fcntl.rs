//! Section 1, `--fcntl`: locks of open file descriptions.

use test_support::TestEnv;
use test_support::locks::locks_on;

/// A test environment, if the program under test has them: an older reference does not.
pub fn test_env() -> Option<TestEnv> {
    let env = TestEnv::new();
    env.supports_option("--fcntl").then_some(env)
}

#[test]
fn an_fcntl_lock_on_a_descriptor_outlives_flock_and_every_other_descriptor_of_the_file() {
    let Some(env) = test_env() else { return };
    // One that belonged to the process would be gone with flock, or when anybody closes the file.
    env.sh("exec 8<>l; flock --fcntl 8; : <l; flock -n --fcntl l true; echo $?; flock --fcntl -u 8; flock -n --fcntl l true; echo $?")
        .assert_stdout("1\n0\n")
        .assert_stderr("");
}

#[test]
fn an_fcntl_lock_conflicts_times_out_and_is_shared_like_any_other() {
    let Some(env) = test_env() else { return };
    for (held, wanted, status) in [
        ("-x", "-n", 1),
        ("-x", "-n -E 9", 9),
        ("-x", "-w .01", 1),
        ("-x", "-s -w .01 -E 9", 9),
        ("-s", "-n", 1),
        ("-s", "-s -n", 0),
        ("-s", "-s", 0),
    ] {
        env.sh(format!(
            "flock --fcntl {held} l flock --fcntl {wanted} l true; echo $?"
        ))
        .assert_stdout(&format!("{status}\n"))
        .assert_stderr("");
    }
}

#[test]
fn an_fcntl_lock_needs_a_descriptor_that_is_open_for_it() {
    let Some(env) = test_env() else { return };
    for (open, mode) in [("8<l", "-x"), ("8>l", "-s")] {
        let outcome = env
            .sh(format!(": >l; exec {open}; flock --fcntl {mode} 8"))
            .assert_status(65)
            .assert_stdout("");
        assert!(
            outcome
                .stderr_text()
                .starts_with("flock: 8: Bad file descriptor"),
            "{outcome:?}"
        );
    }
    for (open, mode) in [("8<l", "-s"), ("8>l", "-x"), ("8<l", "-u"), ("8>l", "-u")] {
        env.sh(format!(": >l; exec {open}; flock --fcntl {mode} 8"))
            .assert_status(0)
            .assert_stderr("");
    }
}

#[test]
fn an_exclusive_fcntl_lock_needs_a_file_that_may_be_written() {
    let env = TestEnv::new();
    if !env.supports_option("--fcntl") {
        return;
    }
    let script = "rm -f l; : >l; chmod 444 l; exec flock --fcntl FORM l echo ran";
    let Some(exclusive) = env.unprivileged(&script.replace("FORM", "-x")) else {
        return;
    };
    let outcome = env
        .run_command(exclusive)
        .assert_status(66)
        .assert_stdout("");
    let said = outcome.stderr_text();
    assert!(
        said.starts_with("flock: cannot open lock file l: Permission denied"),
        "{said}"
    );
    assert!(
        said.contains("--fcntl"),
        "the reason is the kind of lock: {said}"
    );
    let shared = env
        .unprivileged(&script.replace("FORM", "-s"))
        .expect("as before");
    env.run_command(shared)
        .assert_status(0)
        .assert_stdout("ran\n")
        .assert_stderr("");
}

#[test]
fn an_exclusive_fcntl_lock_on_a_directory_is_refused_as_such() {
    let env = TestEnv::new();
    if !env.supports_option("--fcntl") {
        return;
    }
    let outcome = env
        .run(["--fcntl", "bin", "echo", "ran"])
        .assert_status(66)
        .assert_stdout("");
    assert!(
        outcome
            .stderr_text()
            .starts_with("flock: cannot open lock file bin: "),
        "{outcome:?}"
    );
    assert!(outcome.stderr_text().contains("directory"), "{outcome:?}");
    env.run(["--fcntl", "-s", "bin", "echo", "ran"])
        .assert_status(0)
        .assert_stdout("ran\n")
        .assert_stderr("");
}

#[test]
fn an_fcntl_lock_makes_a_missing_file_and_leaves_an_existing_one_alone() {
    let env = TestEnv::new();
    if !env.supports_option("--fcntl") {
        return;
    }
    for mode in ["-x", "-s"] {
        env.sh(format!("rm -f l; umask 027; flock --fcntl {mode} l true; stat -c %a l; echo kept >l; flock --fcntl {mode} l cat l"))
            .assert_stdout("640\nkept\n")
            .assert_stderr("");
    }
}

#[test]
fn shared_and_exclusive_mean_the_same_for_fcntl_locks() {
    let Some(env) = test_env() else { return };
    for (held, asked, status) in [
        ("-s", "-s", 0),
        ("-s", "-x", 1),
        ("-x", "-s", 1),
        ("-x", "-x", 1),
    ] {
        env.run([
            "--fcntl", held, "l", "flock", "--fcntl", "-n", asked, "l", "true",
        ])
        .assert_status(status);
        env.sh(format!(
            "exec 8<>l 9<>l; flock --fcntl {held} 8 || exit 9; flock --fcntl -n {asked} 9"
        ))
        .assert_status(status);
    }
}

#[test]
fn flock_and_fcntl_locks_do_not_see_each_other() {
    let Some(env) = test_env() else { return };
    env.run(["l", "flock", "--fcntl", "-n", "l", "true"])
        .assert_status(0);
    env.run(["--fcntl", "l", "flock", "-n", "l", "true"])
        .assert_status(0);
}

#[test]
fn an_fcntl_lock_is_one_of_the_open_file_description() {
    let Some(env) = test_env() else { return };
    let holder = env.hold(&["--fcntl"], "l");
    let held = locks_on(env.file("l"));
    let [lock] = &held[..] else {
        panic!("one lock: {held:?}")
    };
    assert_eq!((&lock.kind[..], &lock.mode[..]), ("OFDLCK", "WRITE"));
    assert_eq!((&lock.range.0[..], &lock.range.1[..]), ("0", "EOF"));
    holder.release();

    // A process's own lock would go with any descriptor of the file, and would not reach a child.
    env.sh(
        "exec 8<>l 9<>l; flock --fcntl 8; exec 9>&-; flock --fcntl -n l true; echo $?
            (flock --fcntl -u 8); flock --fcntl -n l true; echo $?",
    )
    .assert_stdout("1\n0\n");
}

#[test]
fn a_background_child_keeps_an_fcntl_lock() {
    let Some(env) = test_env() else { return };
    env.sh("mkfifo end; exec 8>l; flock --fcntl 8
            read x <end & exec 8>&-
            flock --fcntl -n l true; echo $?
            echo >end; wait; flock --fcntl -n l true; echo $?")
        .assert_stdout("1\n0\n");
}

#[test]
fn the_command_keeps_an_fcntl_lock_when_flock_is_killed() {
    let Some(env) = test_env() else { return };
    let mut flock = env.hold(&["--fcntl"], "l");
    flock.kill();
    env.run(["--fcntl", "-n", "l", "true"]).assert_status(1);
    flock.close_stdin();
    env.run(["--fcntl", "l", "true"]).assert_status(0);
}
