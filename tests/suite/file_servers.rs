//! Lock files on file servers: what their clients do is simulated by system calls that fail.

use std::fs;

use rstest::rstest;
use test_support::{Outcome, TestEnv};

/// Runs `flock` with these arguments and failing system calls, if that is possible here.
#[track_caller]
fn run_injected(env: &TestEnv, inject: &str, args: &[&str]) -> Option<Outcome> {
    let command = env.with_fault_injection("", inject, args)?;
    Some(env.run_command(command))
}

fn environment() -> Option<TestEnv> {
    let env = TestEnv::new();
    (!env.is_reference()).then_some(env)
}

#[rstest]
fn a_file_forgotten_by_its_server_is_reopened(
    #[values("-n", "-s", "--fcntl", "--fair", "--also=m", "--slots=1")] option: &str,
    #[values("flock", "fcntl", "?open,?openat", "?stat,?newfstatat,?fstat")] call: &str,
) {
    let Some(env) = environment() else { return };
    fs::write(env.file("l"), "").expect("l");
    let inject = format!("inject={call}:error=ESTALE:when=1");
    if let Some(command) = env.with_fault_injection("l", &inject, &[option, "l", "echo", "ran"]) {
        env.run_command(command).assert_all(0, "ran\n", "");
    }
}

#[test]
fn a_directory_that_appears_meanwhile_is_no_error() {
    let Some(env) = environment() else { return };
    // The first attempt to open the file and the one to create it.
    let inject = "inject=?open,?openat:error=ENOENT:when=1..2";
    if let Some(command) = env.with_fault_injection("l", inject, &["l", "echo", "ran"]) {
        env.run_command(command).assert_all(0, "ran\n", "");
    }
}

#[test]
fn a_persistent_stale_handle_is_an_error() {
    let Some(env) = environment() else { return };
    fs::write(env.file("l"), "").expect("l");
    for (call, status, message) in [
        (
            "?open,?openat",
            66,
            "cannot open lock file l: Stale file handle",
        ),
        ("flock", 65, "l: Stale file handle"),
    ] {
        for option in ["-w9", "--also=m"] {
            let inject = format!("inject={call}:error=ESTALE");
            let args = [option, "l", "echo", "ran"];
            if let Some(command) = env.with_fault_injection("l", &inject, &args) {
                let message = format!("flock: {message}\n");
                env.run_command(command).assert_all(status, "", &message);
            }
        }
    }
}

#[test]
fn a_file_that_cannot_be_opened_for_writing_is_explained() {
    let Some(env) = environment() else { return };
    fs::create_dir(env.file("d")).expect("a directory");
    let message = "flock: d: Bad file descriptor: it cannot be opened for writing (Is a \
                   directory), which an exclusive lock over NFS requires\n";
    if let Some(outcome) = run_injected(&env, "inject=flock:error=EBADF", &["d", "echo", "ran"]) {
        outcome.assert_all(65, "", message);
    }
}

#[test]
fn a_script_that_its_lock_opens_for_writing_is_explained() {
    let Some(env) = environment() else { return };
    env.install_script("job", "#!/bin/sh\necho ran\n");
    let inject = "inject=flock:error=EBADF:when=1";
    let Some(outcome) = run_injected(&env, inject, &["./job", "./job"]) else {
        return;
    };
    let stderr = outcome.assert_status(69).stderr_text();
    assert!(stderr.ends_with(" flock ./job sh ./job\n"), "{stderr}");
    let sh = run_injected(&env, inject, &["./job", "sh", "./job"]);
    sh.expect("as before").assert_all(0, "ran\n", "");
}

#[rstest]
fn a_file_that_its_lock_opens_for_writing_is_unlinked(
    #[values("EBADF", "EIO")] error: &str,
    #[values("-x", "--also=m")] option: &str,
) {
    let Some(env) = environment() else { return };
    // Each lock is refused at first.
    let inject = format!("inject=flock:error={error}:when=1+2");
    let args = ["--unlink", option, "l", "true"];
    if let Some(outcome) = run_injected(&env, &inject, &args) {
        outcome.assert_all(0, "", "");
        assert!(env.file_names().is_empty(), "{:?}", env.file_names());
    }
}

#[test]
fn a_lock_that_cannot_be_had_again_keeps_the_file() {
    let Some(env) = environment() else { return };
    let args = ["--unlink", "l", "sh", "-c", "exit 4"];
    for (error, message) in [
        (
            "ENOLCK",
            "flock: cannot remove lock file l: No locks available\n",
        ),
        // The file was replaced, and is not ours any more.
        ("ESTALE", ""),
    ] {
        let inject = format!("inject=flock:error={error}:when=2");
        if let Some(outcome) = run_injected(&env, &inject, &args) {
            outcome.assert_all(4, "", message);
            assert_eq!(env.file_names(), ["l"]);
        }
    }
}

#[test]
fn slots_that_are_refused_leave_no_new_file() {
    let Some(env) = environment() else { return };
    fs::write(env.file("old"), "").expect("old");
    let inject = "inject=fstatfs,?fstatfs64:error=ENOSYS";
    for file in ["l", "old"] {
        let args = ["--slots=1", file, "echo", "ran"];
        if let Some(outcome) = run_injected(&env, inject, &args) {
            let stderr = outcome.assert_status(65).assert_stdout("").stderr_text();
            assert!(stderr.contains("--slots is not supported"), "{stderr}");
            assert_eq!(env.file_names(), ["old"], "{file}");
        }
    }
}

/// `/proc` has no block device, and is not one of the file systems that are known to be local.
#[test]
fn the_directory_of_a_file_on_a_server_is_read_again() {
    let Some(env) = environment() else { return };
    let inject = "inject=statx:signal=KILL";
    let run = |file: &str| {
        let command = env.with_fault_injection("/proc", inject, &[file, "true"]);
        command.map(|command| env.run_command(command).code())
    };
    std::os::unix::fs::symlink("/proc/uptime", env.file("link")).expect("a link");
    for file in ["/proc/uptime", "link"] {
        assert!(matches!(run(file), None | Some(137)), "{file}");
    }
    assert!(matches!(run("l"), None | Some(0)));
}

#[test]
fn a_file_on_a_device_costs_no_further_calls() {
    let Some(env) = environment() else { return };
    let id = rustix::fs::stat(env.path()).expect("a directory").st_dev;
    if rustix::fs::major(id) == 0 {
        println!("skipped: the temporary directory is not on a block device");
        return;
    }
    let inject = "inject=fstatfs,statfs,?fstatfs64,?statfs64:signal=KILL";
    for args in [
        ["-n", "l", "true"],
        ["--unlink", "l", "true"],
        ["--also=m", "l", "true"],
    ] {
        if let Some(outcome) = run_injected(&env, inject, &args) {
            outcome.assert_all(0, "", "");
        }
    }
}

/// A directory of `/proc` stands for one on a server of an unknown type, which is not warned about.
#[test]
fn directories_of_local_file_systems_cause_no_warning() {
    let Some(env) = environment() else { return };
    for directory in [".", "/proc"] {
        env.run(["-s", "--verbose", directory, "true"])
            .assert_status(0)
            .assert_stderr("");
    }
}
