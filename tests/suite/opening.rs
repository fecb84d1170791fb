//! What opening a path makes, follows, leaves alone and refuses, and what the command inherits of it.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use crate::lab::{Lab, Outcome, departure};

/// What a command prints that looks for the file `l` among its descriptors: the numbers at which it is open.
const LOOK: &str = "for f in /proc/$$/fd/*; do [ $f -ef l ] && echo ${f##*/}; done";

/// Injects into the opening of `l`.
const OPENING: &str = "inject=?open,openat:error=";

#[track_caller]
fn expect_cannot_open(outcome: Outcome, path: &str, reason: &str) {
    outcome
        .expect_code(66)
        .expect_out("")
        .expect_err(&format!("flock: cannot open lock file {path}: {reason}\n"));
}

#[test]
fn a_missing_file_is_made_with_mode_0666_less_the_umask() {
    for (umask, mode) in [
        ("0", "666"),
        ("022", "644"),
        ("077", "600"),
        ("0777", "0"),
        ("0137", "640"),
    ] {
        let lab = Lab::new();
        lab.sh(format!(
            "umask {umask}; flock l echo ran && stat -c '%F %a' l"
        ))
        .expect_out(&format!("ran\nregular empty file {mode}\n"))
        .expect_err("");
    }
}

#[test]
fn an_existing_file_keeps_its_content_its_mode_and_its_times() {
    let lab = Lab::new();
    lab.sh("echo kept >l; chmod 640 l; touch -d 2001-02-03 l; stat -c %Y.%a l; flock l true; cat l; stat -c %Y.%a l")
        .expect_out("981158400.640\nkept\n981158400.640\n");
}

#[test]
fn a_symbolic_link_is_followed_and_a_dangling_one_is_filled() {
    let lab = Lab::new();
    symlink("there", lab.file("l")).expect("a link");
    lab.run(["l", "flock", "-n", "there", "true"])
        .expect_code(1)
        .expect_err("");
    assert_eq!(lab.names(), ["l", "there"]);
    lab.run(["there", "flock", "-n", "l", "true"])
        .expect_code(1)
        .expect_err("");
}

#[test]
fn a_directory_can_be_locked() {
    let lab = Lab::new();
    for directory in [".", "bin", "bin/", "/"] {
        // Shared: others on this machine may lock the root directory.
        lab.run(["-s", directory, "flock", "-n", "-E9", directory, "true"])
            .expect_code(9)
            .expect_err("");
    }
}

#[test]
fn a_file_that_may_only_be_read_can_be_locked() {
    let lab = Lab::new();
    let Some(command) =
        lab.powerless("chmod 444 l; { echo x >l; } 2>&-; flock l flock -n l true; echo $?")
    else {
        return;
    };
    std::fs::write(lab.file("l"), "kept").expect("l");
    lab.finish(command).expect_out("1\n").expect_err("");
    assert_eq!(std::fs::read(lab.file("l")).expect("l"), b"kept");
}

#[test]
fn a_file_that_may_not_be_read_cannot_be_opened() {
    let lab = Lab::new();
    for mode in ["222", "000"] {
        let script = format!("rm -f l; : >l; chmod {mode} l; exec flock l echo ran");
        let Some(command) = lab.powerless(&script) else {
            return;
        };
        expect_cannot_open(lab.finish(command), "l", "Permission denied");
    }
}

#[test]
fn a_path_that_leads_nowhere_cannot_be_opened() {
    let lab = Lab::new();
    symlink("loop", lab.file("loop")).expect("a link");
    std::fs::write(lab.file("l"), "").expect("l");
    let long = "x".repeat(256);
    for (path, reason) in [
        ("no/l", "No such file or directory"),
        ("l/l", "Not a directory"),
        ("l/", "Not a directory"),
        ("loop", "Too many levels of symbolic links"),
        (&long, "File name too long"),
    ] {
        expect_cannot_open(lab.run([path, "echo", "ran"]), path, reason);
    }
    assert_eq!(lab.names(), ["l", "loop"]);
}

#[test]
fn a_file_that_may_not_be_made_cannot_be_opened() {
    let lab = Lab::new();
    let Some(command) = lab.powerless("mkdir d; chmod 555 d; exec flock d/l echo ran") else {
        return;
    };
    expect_cannot_open(lab.finish(command), "d/l", "Permission denied");
}

#[test]
fn a_fifo_or_a_socket_is_refused_at_once_and_called_what_it_is() {
    let refused = |outcome: Outcome, path: &str, kinds: &[&str]| {
        let outcome = outcome.expect_code(66).expect_out("");
        let said = outcome.err();
        assert!(
            said.starts_with(&format!("flock: cannot open lock file {path}: ")),
            "{said}"
        );
        let said = said.to_lowercase();
        assert!(kinds.iter().any(|kind| said.contains(kind)), "{said}");
    };
    departure(
        "the reference waits for a writer, or locks what vanishes with its readers",
        |lab| {
            // First with both ends open already, where nobody would have to wait.
            refused(
                lab.sh("mkfifo l; exec 8<>l; exec flock l echo ran"),
                "l",
                &["fifo", "named pipe"],
            );
            refused(lab.run(["l", "echo", "ran"]), "l", &["fifo", "named pipe"]);
        },
    );
    departure("`No such device or address` is no help", |lab| {
        let _socket = UnixListener::bind(lab.file("l")).expect("a socket");
        refused(lab.run(["l", "echo", "ran"]), "l", &["socket"]);
    });
}

#[test]
fn the_command_inherits_the_lock_at_the_lowest_free_number_above_2() {
    let lab = Lab::new();
    for (setup, number) in [
        ("exec 3>&- 4>&-", 3),
        ("exec 3<bin 4>&-", 4),
        ("exec 3<bin 4<bin 5>&-", 5),
        ("exec 3>&- 4<bin", 3),
        ("exec 3<bin 4>&- 5<bin", 4),
    ] {
        lab.sh(format!("{setup}; flock l sh -c '{LOOK}'"))
            .expect_out(&format!("{number}\n"))
            .expect_err("");
    }
}

#[test]
fn what_the_command_leaves_behind_keeps_the_lock_unless_it_was_closed() {
    let lab = Lab::new();
    let script = "mkfifo go
        flock FORM l sh -c 'read word <go &'; flock -n l true; echo $?
        echo >go; flock l true; echo $?";
    lab.sh(script.replace("FORM", ""))
        .expect_out("1\n0\n")
        .expect_err("");
    lab.sh(format!("rm go; {}", script.replace("FORM", "-o")))
        .expect_out("0\n0\n")
        .expect_err("");
}

#[test]
fn a_command_that_does_not_inherit_the_lock_still_runs_under_it() {
    let lab = Lab::new();
    lab.sh(format!(
        "flock -o l sh -c '{LOOK}; flock -n l true; echo held $?'"
    ))
    .expect_out("held 1\n")
    .expect_err("");
}

#[test]
fn a_terminal_that_is_locked_does_not_become_the_controlling_one() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let lab = Lab::new();
    if !crate::lab::installed("setsid") {
        return;
    }
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pty");
    grantpt(&master)
        .and_then(|()| unlockpt(&master))
        .expect("its other end");
    let name = ptsname(&master, Vec::new())
        .expect("its name")
        .into_string()
        .expect("a name");
    // A leader of a session without a terminal gets the first one that it opens without O_NOCTTY.
    let script = format!("exec setsid -w flock {name} sh -c 'echo ran; exec 9</dev/tty'");
    let outcome = lab.sh(script).expect_out("ran\n");
    assert_ne!(outcome.code(), 0, "it has a terminal");
}

#[test]
fn a_missing_command_is_a_failed_execution() {
    let lab = Lab::new();
    std::fs::write(lab.file("l"), "").expect("l");
    lab.run(["l", "nosuch"])
        .expect_code(69)
        .expect_err("flock: failed to execute nosuch: No such file or directory\n");
}

#[test]
fn for_a_command_that_is_missing_no_file_is_made() {
    for command in ["nosuch", "./nosuch", "/no/such", "-n"] {
        departure("a typing error leaves no file", |lab| {
            lab.run(["new", command])
                .expect_code(69)
                .expect_err(&format!(
                    "flock: failed to execute {command}: No such file or directory\n"
                ));
            assert!(lab.names().is_empty(), "{:?}", lab.names());
        });
    }
}

#[test]
fn an_exclusive_fcntl_lock_needs_a_file_that_may_be_written() {
    let lab = Lab::new();
    if !lab.offers("--fcntl") {
        return;
    }
    let script = "rm -f l; : >l; chmod 444 l; exec flock --fcntl FORM l echo ran";
    let Some(exclusive) = lab.powerless(&script.replace("FORM", "-x")) else {
        return;
    };
    expect_cannot_open(lab.finish(exclusive), "l", "Permission denied");
    let shared = lab
        .powerless(&script.replace("FORM", "-s"))
        .expect("as before");
    lab.finish(shared)
        .expect_code(0)
        .expect_out("ran\n")
        .expect_err("");
}

#[test]
fn an_exclusive_fcntl_lock_on_a_directory_is_refused_as_such() {
    let lab = Lab::new();
    if !lab.offers("--fcntl") {
        return;
    }
    let outcome = lab
        .run(["--fcntl", "bin", "echo", "ran"])
        .expect_code(66)
        .expect_out("");
    assert!(
        outcome
            .err()
            .starts_with("flock: cannot open lock file bin: "),
        "{outcome:?}"
    );
    assert!(outcome.err().contains("directory"), "{outcome:?}");
    lab.run(["--fcntl", "-s", "bin", "echo", "ran"])
        .expect_code(0)
        .expect_out("ran\n")
        .expect_err("");
}

#[test]
fn an_fcntl_lock_makes_a_missing_file_and_leaves_an_existing_one_alone() {
    let lab = Lab::new();
    if !lab.offers("--fcntl") {
        return;
    }
    for mode in ["-x", "-s"] {
        lab.sh(format!("rm -f l; umask 027; flock --fcntl {mode} l true; stat -c %a l; echo kept >l; flock --fcntl {mode} l cat l"))
            .expect_out("640\nkept\n")
            .expect_err("");
    }
}

#[test]
fn a_file_that_may_be_opened_but_not_be_made_is_opened() {
    // What fs.protected_regular does to another user's file in a sticky directory: EACCES, with O_CREAT only.
    departure("the reference tries with O_CREAT only", |lab| {
        std::fs::write(lab.file("l"), "").expect("l");
        let inject = format!("{OPENING}EACCES:when=1");
        if let Some(command) = lab.injected("l", &inject, &["l", "flock", "-n", "l", "true"]) {
            lab.finish(command)
                .expect_code(1)
                .expect_out("")
                .expect_err("");
        } else {
            assert!(!lab.is_reference(), "no departure can be shown");
        }
    });
}

#[test]
fn another_users_file_in_a_sticky_directory_is_opened() {
    let guard = std::fs::read_to_string("/proc/sys/fs/protected_regular").unwrap_or_default();
    if !rustix::process::geteuid().is_root() || guard.trim() == "0" {
        // It takes a second user to own the file, and a kernel that minds.
        return;
    }
    departure("the reference tries with O_CREAT only", |lab| {
        std::fs::write(lab.file("l"), "").expect("l");
        std::os::unix::fs::chown(lab.file("l"), Some(65534), Some(65534))
            .expect("the file is nobody's");
        let sticky = std::fs::Permissions::from_mode(0o1777);
        std::fs::set_permissions(lab.path(), sticky).expect("the directory is sticky");
        lab.run(["l", "echo", "ran"])
            .expect_code(0)
            .expect_out("ran\n")
            .expect_err("");
    });
}

#[test]
fn where_an_exclusive_lock_needs_a_writable_descriptor_the_file_is_reopened_for_writing() {
    let lab = Lab::new();
    // NFS, where the kernel makes an fcntl(2) lock of it.
    for error in ["EBADF", "EIO"] {
        let inject = format!("inject=flock:error={error}:when=1");
        let args = [
            "l",
            "sh",
            "-c",
            "echo x >>l; flock -n l true; echo $?; grep flags /proc/$$/fdinfo/3",
        ];
        let Some(command) = lab.injected("l", &inject, &args) else {
            return;
        };
        let said = lab.finish(command).expect_err("").out();
        let (held, flags) = said.split_once('\n').expect("two lines");
        assert_eq!(held, "1", "{error}");
        assert!(
            flags.trim_end().ends_with('2'),
            "{error}: not read-write: {flags}"
        );
    }
}

#[test]
fn a_lock_call_that_fails_for_good_is_a_status_of_its_own() {
    let lab = Lab::new();
    for (options, inject, status, reason) in [
        ("-x", "flock:error=EBADF", 65, "Bad file descriptor"),
        ("-s", "flock:error=EBADF:when=1", 65, "Bad file descriptor"),
        (
            "-x",
            "flock:error=EOPNOTSUPP",
            65,
            "Operation not supported",
        ),
        ("-x", "flock:error=ENOLCK", 71, "No locks available"),
        ("-x", "flock:error=ENOMEM", 71, "Cannot allocate memory"),
    ] {
        let Some(command) = lab.injected(
            "l",
            &format!("inject={inject}"),
            &[options, "l", "echo", "ran"],
        ) else {
            return;
        };
        lab.finish(command)
            .expect_code(status)
            .expect_out("")
            .expect_err(&format!("flock: l: {reason}\n"));
    }
}

#[test]
fn a_failed_opening_has_a_status_by_its_reason() {
    let lab = Lab::new();
    for (error, status, reason) in [
        ("EMFILE", 71, "Too many open files"),
        ("ENFILE", 71, "Too many open files in system"),
        ("ENOMEM", 71, "Cannot allocate memory"),
        ("ENOSPC", 73, "No space left on device"),
        ("EROFS", 73, "Read-only file system"),
        ("EPERM", 66, "Operation not permitted"),
        ("ENXIO", 66, "No such device or address"),
    ] {
        let Some(command) = lab.injected("l", &format!("{OPENING}{error}"), &["l", "echo", "ran"])
        else {
            return;
        };
        lab.finish(command)
            .expect_code(status)
            .expect_out("")
            .expect_err(&format!("flock: cannot open lock file l: {reason}\n"));
    }
}

#[test]
fn a_read_only_or_full_file_system_is_a_file_that_cannot_be_created() {
    let lab = Lab::new();
    for (options, reason) in [
        ("ro", "Read-only file system"),
        ("nr_inodes=1", "No space left on device"),
    ] {
        let mount = format!(
            "mkdir -p m; mount -t tmpfs -o {options} none m 2>&- || exit 99; exec flock m/l echo ran"
        );
        let mut command = lab.command("unshare");
        command.args(["-rm", "sh", "-c", &mount]);
        if !crate::lab::installed("unshare") {
            return;
        }
        let outcome = lab.finish(command);
        if outcome.code() == 99 || outcome.err().starts_with("unshare: ") {
            // Mounting takes a user namespace, which some systems keep from users.
            return;
        }
        outcome
            .expect_code(73)
            .expect_out("")
            .expect_err(&format!("flock: cannot open lock file m/l: {reason}\n"));
    }
}
