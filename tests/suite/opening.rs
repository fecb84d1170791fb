//! Opening the lock file: what is created, what can be locked, what is an error and with which
//! status, and which descriptor the command inherits.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use rstest::rstest;
use test_support::{Outcome, TestEnv, can_unshare, differs_from_util_linux, is_installed};

/// A script that prints the descriptors at which the file `l` is open.
const FDS: &str = "for f in /proc/$$/fd/*; do [ $f -ef l ] && echo ${f##*/}; done";

/// A script that prints the flags of these descriptors.
const FLAGS: &str =
    "for f in /proc/$$/fd/*; do [ $f -ef l ] && grep flags: /proc/$$/fdinfo/${f##*/}; done";

/// Parses the output of `FLAGS` for a single descriptor.
#[track_caller]
fn parse_flags(output: &str) -> u32 {
    let octal = output.trim_start_matches("flags:").trim();
    u32::from_str_radix(octal, 8).unwrap_or_else(|_| panic!("not the flags of one: {output}"))
}

#[track_caller]
fn assert_cannot_open(outcome: Outcome, status: i32, path: &str, reason: &str) {
    outcome
        .assert_status(status)
        .assert_stdout("")
        .assert_stderr(&format!("flock: cannot open lock file {path}: {reason}\n"));
}

#[rstest]
#[case("0", "666")]
#[case("022", "644")]
#[case("077", "600")]
#[case("0777", "0")]
#[case("0137", "640")]
fn a_missing_file_is_created_with_mode_0666_and_umask(#[case] umask: &str, #[case] mode: &str) {
    let env = TestEnv::new();
    env.sh(format!(
        "umask {umask}; flock l echo ran && stat -c '%F %a' l"
    ))
    .assert_all(0, &format!("ran\nregular empty file {mode}\n"), "");
}

#[test]
fn an_existing_file_is_not_changed() {
    let env = TestEnv::new();
    env.sh(
        "echo kept >l; chmod 640 l; touch -d 2001-02-03 l; stat -c %Y.%a l
         flock l flock -n l true; echo $?; cat l; stat -c %Y.%a l",
    )
    .assert_stdout("981158400.640\n1\nkept\n981158400.640\n");
}

#[test]
fn a_symbolic_link_is_followed_and_its_target_created() {
    let env = TestEnv::new();
    symlink("target", env.file("l")).expect("a link");
    for [held, requested] in [["l", "target"], ["target", "l"]] {
        env.run([held, "flock", "-n", requested, "true"])
            .assert_all(1, "", "");
        assert_eq!(env.file_names(), ["l", "target"]);
    }
}

#[test]
fn a_directory_can_be_locked() {
    let env = TestEnv::new();
    for directory in [".", "bin", "bin/", "/"] {
        // Shared, because other processes on this machine may lock the root directory.
        env.run(["-s", directory, "flock", "-n", "-E9", directory, "true"])
            .assert_all(9, "", "");
    }
}

#[test]
fn a_read_only_file_can_be_locked() {
    let env = TestEnv::new();
    let script = "echo kept >l; chmod 444 l; { echo x >l; } 2>&-
        flock l flock -n -E 9 l true; echo $?; cat l";
    if let Some(command) = env.unprivileged(script) {
        env.run_command(command).assert_all(0, "9\nkept\n", "");
    }
}

#[test]
fn a_foreign_file_in_a_sticky_directory_can_be_locked() {
    // This needs a second user, and a kernel that protects such files.
    let protected = fs::read_to_string("/proc/sys/fs/protected_regular").unwrap_or_default();
    if !rustix::process::geteuid().is_root() || protected.trim() == "0" {
        return;
    }
    differs_from_util_linux("it always opens with O_CREAT", |env| {
        fs::write(env.file("l"), "").expect("l");
        std::os::unix::fs::chown(env.file("l"), Some(65534), Some(65534)).expect("another owner");
        fs::set_permissions(env.path(), fs::Permissions::from_mode(0o1777)).expect("sticky");
        env.run(["l", "echo", "ran"]).assert_all(0, "ran\n", "");
    });
}

#[test]
fn a_locked_terminal_does_not_become_the_controlling_one() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    if !is_installed("setsid") {
        return;
    }
    let env = TestEnv::new();
    let pty = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
    grantpt(&pty).expect("grantpt");
    unlockpt(&pty).expect("unlockpt");
    let name = ptsname(&pty, Vec::new()).expect("ptsname");
    let name = name.into_string().expect("UTF-8");
    // A session leader's first terminal becomes its controlling one unless opened with O_NOCTTY.
    let outcome = env
        .sh(format!(
            "exec setsid -w flock {name} sh -c 'flock -n {name} true; echo $?; exec 9</dev/tty'"
        ))
        .assert_stdout("1\n");
    assert_ne!(outcome.code(), 0, "it has a controlling terminal");
}

#[rstest]
#[case("exec 3>&- 4>&-", 3)]
#[case("exec 3<bin 4>&-", 4)]
#[case("exec 3<bin 4<bin 5>&-", 5)]
#[case("exec 3>&- 4<bin", 3)]
#[case("exec 3<bin 4>&- 5<bin", 4)]
fn the_lock_gets_the_lowest_free_fd_above_2(#[case] setup: &str, #[case] descriptor: i32) {
    let env = TestEnv::new();
    env.sh(format!("{setup}; flock l sh -c '{FDS}; :'"))
        .assert_all(0, &format!("{descriptor}\n"), "");
}

#[rstest]
fn the_lock_file_is_never_a_standard_descriptor(
    #[values("<&-", ">&-", "2>&-", "<&- >&- 2>&-")] closed: &str,
) {
    differs_from_util_linux("it uses the lowest free descriptor", |env| {
        let command = format!("sh -c '{{ {FDS}; }} >&7'");
        env.sh(format!(
            "exec 7>out 3>&-; flock l {command} {closed}; cat out"
        ))
        .assert_all(0, "3\n", "");
    });
}

#[test]
fn the_inherited_descriptor_is_read_only_and_blocking() {
    let env = TestEnv::new();
    let outcome = env.run(["l", "sh", "-c", FLAGS]).assert_stderr("");
    let printed = outcome.stdout_text();
    let (access, nonblock, close_on_exec) = (0o3, 0o4000, 0o200_0000);
    let flags = parse_flags(&printed) & (access | nonblock | close_on_exec);
    assert_eq!(flags, 0, "{printed}");
}

#[test]
fn a_file_whose_lock_requires_write_access_is_reopened() {
    let env = TestEnv::new();
    // As on NFS, where the kernel turns an flock(2) lock into an fcntl(2) lock.
    for error in ["EBADF", "EIO"] {
        let inject = format!("inject=flock:error={error}:when=1");
        let script = format!("echo x >>l; flock -n l true; echo $?; {FLAGS}");
        let args = ["l", "sh", "-c", &script];
        let Some(command) = env.with_fault_injection("l", &inject, &args) else {
            return;
        };
        let stdout = env.run_command(command).assert_stderr("").stdout_text();
        let (status, flags) = stdout.split_once('\n').expect("two lines");
        assert_eq!(status, "1", "{error}");
        let access = parse_flags(flags) & 0o3;
        assert_eq!(access, 0o2, "{error}: not read-write: {flags}");
    }
}

#[test]
fn a_path_to_no_file_cannot_be_opened() {
    let env = TestEnv::new();
    symlink("loop", env.file("loop")).expect("a link");
    fs::write(env.file("l"), "").expect("l");
    let long = "x".repeat(256);
    for (path, reason) in [
        ("l/l", "Not a directory"),
        ("l/", "Not a directory"),
        ("loop", "Too many levels of symbolic links"),
        (&long, "File name too long"),
    ] {
        assert_cannot_open(env.run([path, "echo", "ran"]), 66, path, reason);
    }
    assert_eq!(env.file_names(), ["l", "loop"]);
}

#[rstest]
#[case::of_the_file("no/l", "the directory no does not exist")]
#[case::above_the_file("no/d/l", "the directory no/d does not exist")]
#[case::with_a_slash("no/", "the directory no/ does not exist")]
#[case::of_a_link_s_target(
    "d/link",
    "it is a symbolic link, and the directory d/no does not exist"
)]
fn a_missing_directory_is_named(#[case] path: &str, #[case] hint: &str) {
    differs_from_util_linux("it only reports the system's reason", |env| {
        env.sh("mkdir d; ln -s no/l d/link").assert_status(0);
        let reason = format!("No such file or directory: {hint}");
        assert_cannot_open(env.run([path, "echo", "ran"]), 66, path, &reason);
    });
}

#[test]
fn an_empty_name_of_a_lock_file_is_explained() {
    differs_from_util_linux("it only reports the system's reason", |env| {
        let reason = "No such file or directory: the name is empty; is a variable unset?";
        assert_cannot_open(env.run(["", "echo", "ran"]), 66, "''", reason);
    });
}

#[rstest]
#[case::write_only("l", ": >l; chmod 222 l")]
#[case::inaccessible("l", ": >l; chmod 000 l")]
#[case::in_read_only_directory("d/l", "mkdir d; chmod 555 d")]
fn permission_to_open_or_create_may_be_denied(#[case] path: &str, #[case] setup: &str) {
    let env = TestEnv::new();
    if let Some(command) = env.unprivileged(&format!("{setup}; exec flock {path} echo ran")) {
        assert_cannot_open(env.run_command(command), 66, path, "Permission denied");
    }
}

#[test]
fn a_fifo_or_a_socket_is_rejected_at_once() {
    let assert_rejected = |outcome: Outcome, kinds: &[&str]| {
        let stderr = outcome.assert_status(66).assert_stdout("").stderr_text();
        let message = "flock: cannot open lock file l: ";
        assert!(stderr.starts_with(message), "{stderr}");
        let stderr = stderr.to_lowercase();
        assert!(kinds.iter().any(|kind| stderr.contains(kind)), "{stderr}");
    };
    differs_from_util_linux("it locks a FIFO that has readers and writers", |env| {
        let has_both = env.sh("mkfifo l; exec 8<>l; exec flock l echo ran");
        assert_rejected(has_both, &["fifo", "named pipe"]);
        assert_rejected(env.run(["l", "echo", "ran"]), &["fifo", "named pipe"]);
    });
    differs_from_util_linux("it only reports `No such device or address`", |env| {
        let _socket = UnixListener::bind(env.file("l")).expect("a socket");
        assert_rejected(env.run(["l", "echo", "ran"]), &["socket"]);
    });
}

#[test]
fn the_status_depends_on_why_the_file_cannot_be_opened() {
    let env = TestEnv::new();
    for (error, status, reason) in [
        ("EMFILE", 71, "Too many open files"),
        ("ENFILE", 71, "Too many open files in system"),
        ("ENOMEM", 71, "Cannot allocate memory"),
        ("ENOSPC", 73, "No space left on device"),
        ("EROFS", 73, "Read-only file system"),
        ("EPERM", 66, "Operation not permitted"),
        ("ENXIO", 66, "No such device or address"),
    ] {
        let inject = format!("inject=?open,openat:error={error}");
        let Some(command) = env.with_fault_injection("l", &inject, &["l", "echo", "ran"]) else {
            return;
        };
        assert_cannot_open(env.run_command(command), status, "l", reason);
    }
}

#[rstest]
#[case("ro", "Read-only file system")]
#[case("nr_inodes=1", "No space left on device")]
fn a_read_only_or_full_file_system_is_an_error(#[case] options: &str, #[case] reason: &str) {
    let env = TestEnv::new();
    let mount = format!("mkdir -p m; mount -t tmpfs -o {options} none m 2>&-");
    if can_unshare(&env, "-rm") {
        let outcome = env.sh(format!(
            "unshare -rm sh -c '{mount} || exit 99; exec flock m/l echo ran'"
        ));
        // Some systems do not let users mount file systems in their own namespace.
        if outcome.code() != 99 {
            assert_cannot_open(outcome, 73, "m/l", reason);
        }
    }
}

#[test]
fn without_a_free_descriptor_no_file_can_be_opened() {
    let outcome = TestEnv::new().sh("ulimit -n 3; exec flock l echo ran");
    // A dynamically linked program does not start, because its loader needs a descriptor.
    if outcome.code() != 127 {
        assert_cannot_open(outcome, 71, "l", "Too many open files");
    }
}

#[test]
fn a_failed_check_of_the_path_is_an_error() {
    differs_from_util_linux("it does not check the path", |env| {
        fs::write(env.file("l"), "").expect("l");
        let inject = "inject=?stat,?stat64,?newfstatat,?fstatat64,?statx:error=EACCES";
        let command = env.with_fault_injection("l", inject, &["-n", "l", "echo", "ran"]);
        assert!(command.is_some() || !env.is_reference());
        if let Some(command) = command {
            assert_cannot_open(env.run_command(command), 66, "l", "Permission denied");
        }
    });
}
