//! Errors other than a taken lock: one line with the reason, and status 1.

use rstest::rstest;
use test_support::{TestEnv, is_installed};

use super::assert_files;
use crate::{CommandLineEnv, env};

const MISSING: &str = "No such file or directory";

#[rstest]
#[case("no/lock", "cannot create lock file no/lock", MISSING)]
#[case("d", "cannot open lock file d", "Is a directory")]
#[case("-w lock d", "cannot open lock file d", "Is a directory")]
#[case("-w lock no/counter", "cannot create lock file no/counter", MISSING)]
#[case("-w lock dangling", "cannot open lock file dangling", MISSING)]
#[case("-r lock d echo", "cannot open lock file d", "Is a directory")]
#[case("-w lock ./lock", "COUNTER and LOCK are the same file", "./lock")]
#[case("-r lock ./lock echo", "COUNTER and LOCK are the same file", "./lock")]
#[case("-r lock /proc/version echo", "cannot link to /proc/version", MISSING)]
fn error_names_file_and_reason(
    env: TestEnv,
    #[case] args: &str,
    #[case] action: &str,
    #[case] reason: &str,
) {
    env.sh("mkdir d; ln -s nowhere dangling").assert_status(0);
    env.run_line(&format!("ulock {args}")).assert_all(
        1,
        "",
        &format!("ulock: {action}: {reason}\n"),
    );
    assert_files(&env, &["d", "dangling"]);
}

#[rstest]
fn directory_without_write_permission_is_error(env: TestEnv) {
    let script = "mkdir d; chmod 555 d; ulock d/lock; echo $?; ulock -w lock d/counter; echo $?";
    if let Some(command) = env.unprivileged(script) {
        let message = "ulock: cannot create lock file d/lock: Permission denied\n\
            ulock: cannot create lock file d/counter: Permission denied\n";
        env.run_command(command).assert_all(0, "1\n1\n", message);
        assert_files(&env, &["d"]);
    }
}

#[rstest]
fn counter_of_other_user_must_be_readable_and_writable(env: TestEnv) {
    let setting = std::fs::read("/proc/sys/fs/protected_hardlinks");
    let is_protected = setting.is_ok_and(|setting| setting == b"1\n");
    if !is_protected || !rustix::process::geteuid().is_root() || !is_installed("setpriv") {
        return;
    }
    env.sh("chmod 777 .; : >counter; chmod 644 counter")
        .assert_status(0);
    let line = "setpriv --reuid=12345 --clear-groups ulock -r lock counter echo reads";
    env.run_line(line).assert_all(
        1,
        "",
        "ulock: cannot link to counter: Operation not permitted: it belongs to another user and \
         must be readable and writable (fs.protected_hardlinks)\n",
    );
    assert_files(&env, &["counter"]);
    env.sh("chmod 666 counter").assert_status(0);
    env.run_line(line).assert_all(0, "reads\n", "");
}

#[rstest]
fn counter_may_be_symbolic_link(env: TestEnv) {
    env.sh("ulock -w lock counter; rm lock; ln -s counter other
            ulock -r lock other 'stat -c %h counter; ulock -w --timeout=0 lock counter; echo $?'")
        .assert_stdout("2\n1\n");
    assert_files(&env, &["counter", "other"]);
}

#[rstest]
fn usage_error_shows_three_forms(env: TestEnv) {
    for args in ["", "-r l", "-w -r l c x"] {
        let outcome = env.run_line(&format!("ulock {args}")).assert_status(1);
        let message = outcome.stderr_text();
        assert!(message.starts_with("ulock: "), "{message}");
        assert_eq!(message.lines().count(), 4, "{message}");
    }
    assert_files(&env, &[]);
}

#[rstest]
fn waiter_needs_few_descriptors(env: TestEnv) {
    env.sh("ulock lock").assert_status(0);
    // One for the file that is to become LOCK, and one to inspect LOCK with.
    for limit in 5..=10 {
        env.sh(format!("ulimit -n {limit}; exec ulock --timeout=0.05 lock"))
            .assert_all(1, "", "");
    }
}
