//! When there is no lock: one line that says why, and status 1.

use super::UlockEnv;
use test_support::{TestEnv, is_installed};

#[track_caller]
fn refused(env: &TestEnv, words: &[&str], message: &str) {
    let mut command = env.command("ulock");
    command.args(words);
    env.run_command(command)
        .assert_stderr(&format!("ulock: {message}\n"))
        .assert_stdout("")
        .assert_status(1);
}

#[test]
fn where_there_can_be_no_lock_or_counter_it_says_why() {
    let env = TestEnv::new();
    std::fs::create_dir(env.file("d")).expect("a folder");
    std::os::unix::fs::symlink("nowhere", env.file("dangling")).expect("a symbolic link");
    let run = ["echo", "never"];
    for (words, message) in [
        (
            &["no/lock"][..],
            "cannot create lock file no/lock: No such file or directory",
        ),
        (&["d"], "cannot open lock file d: Is a directory"),
        (
            &["-w", "lock", "d"],
            "cannot open lock file d: Is a directory",
        ),
        (
            &["-w", "lock", "no/counter"],
            "cannot create lock file no/counter: No such file or directory",
        ),
        (
            &["-w", "lock", "dangling"],
            "cannot open lock file dangling: No such file or directory",
        ),
        (
            &["-r", "lock", "d"],
            "cannot open lock file d: Is a directory",
        ),
        (
            &["-w", "lock", "./lock"],
            "COUNTER and LOCK are the same file: ./lock",
        ),
        (
            &["-r", "lock", "./lock"],
            "COUNTER and LOCK are the same file: ./lock",
        ),
        (
            &["-r", "lock", "/proc/self/status"],
            "cannot link to /proc/self/status: No such file or directory",
        ),
    ] {
        let run = if words[0] == "-r" { &run[..] } else { &[] };
        refused(&env, &[words, run].concat(), message);
        env.assert_files(&["d", "dangling"]);
    }
}

#[test]
fn a_folder_that_is_nobodys_to_write_to_is_named() {
    let env = TestEnv::new();
    let script = "mkdir d; chmod 555 d; ulock d/lock; echo $?; ulock -w lock d/counter; echo $?";
    if let Some(command) = env.unprivileged(script) {
        env.run_command(command)
            .assert_stdout("1\n1\n")
            .assert_stderr(
                "ulock: cannot create lock file d/lock: Permission denied\n\
             ulock: cannot create lock file d/counter: Permission denied\n",
            );
        env.assert_files(&["d"]);
    }
}

#[test]
fn a_counter_of_somebody_elses_must_be_readable_and_writable() {
    let env = TestEnv::new();
    let protected = std::fs::read("/proc/sys/fs/protected_hardlinks").is_ok_and(|it| it == b"1\n");
    if !protected || !rustix::process::geteuid().is_root() || !is_installed("setpriv") {
        return;
    }
    env.sh("chmod 777 .; : >counter; chmod 644 counter")
        .assert_status(0);
    let theirs = "setpriv --reuid=12345 --clear-groups ulock -r lock counter echo reads";
    env.sh(theirs).assert_stdout("").assert_status(1).assert_stderr(
        "ulock: cannot link to counter: Operation not permitted: it belongs to another user and must be \
         readable and writable (fs.protected_hardlinks)\n",
    );
    env.assert_files(&["counter"]);
    env.sh(format!("chmod 666 counter; {theirs}"))
        .assert_stdout("reads\n")
        .assert_status(0);
}

#[test]
fn a_symbolic_link_leads_to_the_counter() {
    let env = TestEnv::new();
    env.sh("ulock -w lock counter; rm lock; ln -s counter other
            ulock -r lock other 'stat -c %h counter; ulock -w --timeout=0 lock counter; echo $?'")
        .assert_stdout("2\n1\n");
    env.assert_files(&["counter", "other"]);
}

#[test]
fn wrong_words_show_the_forms() {
    let env = TestEnv::new();
    for words in [&[][..], &["-r", "l"], &["-w", "-r", "l", "c", "x"]] {
        let mut command = env.command("ulock");
        command.args(words);
        let outcome = env.run_command(command).assert_status(1);
        let said = outcome.stderr_text();
        assert!(
            said.starts_with("ulock: ") && said.lines().count() == 4,
            "{said}"
        );
    }
    env.assert_files(&[]);
}

#[test]
fn a_waiter_gets_by_with_few_descriptors() {
    let env = TestEnv::new();
    env.sh("ulock lock").assert_status(0);
    // One for the file that is to become LOCK, and one to look at LOCK with.
    for limit in 5..=10 {
        env.sh(format!("ulimit -n {limit}; exec ulock --timeout=0.05 lock"))
            .assert_stderr("")
            .assert_status(1);
    }
}
