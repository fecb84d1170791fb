//! Errors of the lock call: only a lock that another process holds is a conflict.

use std::fs;

use test_support::builtin::for_each_bash;
use test_support::sandbox::can_refuse_calls;
use test_support::{TestEnv, differs_from_util_linux};

/// Ways to lock the file `l`, each of which fails if flock(2) is not permitted.
const FLOCK_FORMS: [&str; 11] = [
    "-n l echo ran",
    "-w 1 l echo ran",
    "l echo ran",
    "-s l echo ran",
    "-n 8",
    "--fd 8 echo ran",
    "-n --fair l echo ran",
    "--fair l echo ran",
    "-n --slots=1 l echo ran",
    "--slots=1 l echo ran",
    "-n --also l l echo ran",
];

#[test]
fn a_refused_lock_is_never_a_conflict() {
    let env = TestEnv::new();
    if !can_refuse_calls() {
        return;
    }
    let refusal = "a security module or sandbox does not permit the lock";
    for (error, reason) in [
        ("EPERM", "Operation not permitted"),
        ("EACCES", "Permission denied"),
    ] {
        for form in FLOCK_FORMS {
            let target = if form.contains('8') { "8" } else { "l" };
            env.sh(format!(
                "exec 8>l; exec test-helper deny flock {error} flock {form}"
            ))
            .assert_all(65, "", &format!("flock: {target}: {reason}: {refusal}\n"));
        }
        for form in ["-n", "-w 1", "-x", "-s"] {
            env.sh(format!(
                ": >l; exec test-helper deny fcntl-locks {error} flock --fcntl {form} l echo ran"
            ))
            .assert_all(65, "", &format!("flock: l: {reason}: {refusal}\n"));
        }
    }
}

#[test]
fn a_refused_lock_prevents_a_shell_function() {
    // The helper refuses a number, which is another call of a bash for another kind of processor.
    if cfg!(not(target_pointer_width = "64")) {
        println!("skipped: bash may have other system calls than these tests");
        return;
    }
    for_each_bash(|env| {
        if can_refuse_calls() {
            let script = "f() { echo ran; }; flock -n l f; echo $?";
            env.run_with_builtin(format!("test-helper deny flock EPERM bash -c '{script}'"))
                .assert_stdout("65\n");
        }
    });
}

#[test]
fn an_interrupted_attempt_is_repeated() {
    let env = TestEnv::new();
    fs::write(env.file("l"), "").expect("l");
    for call in ["flock", "fcntl,?fcntl64", "?open,openat"] {
        for form in [
            "-n",
            "-w9",
            "-n --fcntl",
            "--fair",
            "-n --fair",
            "--slots=1",
        ] {
            let args: Vec<&str> = form.split(' ').chain(["l", "echo", "ran"]).collect();
            let inject = format!("inject={call}:error=EINTR:when=1..3");
            if let Some(command) = env.with_fault_injection("l", &inject, &args) {
                env.run_command(command).assert_all(0, "ran\n", "");
            }
        }
    }
}

#[test]
fn endless_interruptions_are_an_error() {
    let env = TestEnv::new();
    if can_refuse_calls() {
        env.sh("test-helper deny flock EINTR flock -n l echo ran")
            .assert_all(65, "", "flock: l: Interrupted system call\n");
    }
}

#[test]
fn the_status_depends_on_why_the_lock_call_fails() {
    let env = TestEnv::new();
    fs::write(env.file("l"), "").expect("l");
    for (option, inject, status, reason) in [
        ("-x", "error=EBADF", 65, "Bad file descriptor"),
        ("-s", "error=EBADF:when=1", 65, "Bad file descriptor"),
        ("-n", "error=ESTALE", 65, "Stale file handle"),
        ("-n", "error=ENOMEM", 71, "Cannot allocate memory"),
    ] {
        let inject = format!("inject=flock:{inject}");
        let args = [option, "l", "echo", "ran"];
        if let Some(command) = env.with_fault_injection("l", &inject, &args) {
            env.run_command(command)
                .assert_all(status, "", &format!("flock: l: {reason}\n"));
        }
    }
}

#[test]
fn missing_support_is_explained_with_the_file_system() {
    differs_from_util_linux("it reports only the error", |env| {
        assert!(can_refuse_calls() || !env.is_reference());
        if !can_refuse_calls() {
            return;
        }
        let use_local = "; use a lock file on a local file system\n";
        for (error, file, status, explanation) in [
            (
                "ENOSYS",
                "l",
                65,
                "the kernel or a sandbox does not provide",
            ),
            (
                "ENOLCK",
                "l",
                71,
                "the kernel has no memory for more locks on this",
            ),
            // Not a local file system.
            ("ENOSYS", "/proc/self", 65, use_local),
            ("EOPNOTSUPP", "/proc/self", 65, use_local),
            ("ENOLCK", "/proc/self", 71, use_local),
        ] {
            let script = format!("test-helper deny flock {error} flock -n {file} echo ran");
            let outcome = env.sh(script).assert_status(status).assert_stdout("");
            let stderr = outcome.stderr_text();
            assert!(stderr.contains(explanation), "{error}: {stderr}");
            let file_system = if file == "l" {
                " file system"
            } else {
                "proc file system"
            };
            assert!(stderr.contains(file_system), "{error}: {stderr}");
        }
    });
}
