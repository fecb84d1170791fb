//! What opening a path makes, follows, leaves alone and refuses, and what the command inherits of it.

use std::os::unix::fs::{PermissionsExt, symlink};

use test_support::{TestEnv, differs_from_util_linux, is_installed};

/// What a command prints that looks for the file `l` among its descriptors: the numbers at which it is open.
const LOOK: &str = "for f in /proc/$$/fd/*; do [ $f -ef l ] && echo ${f##*/}; done";

/// The same for the flags of those descriptors.
const FLAGS: &str =
    "for f in /proc/$$/fd/*; do [ $f -ef l ] && grep flags: /proc/$$/fdinfo/${f##*/}; done";

/// What `FLAGS` has printed, as a number.
#[track_caller]
fn flags(printed: &str) -> u32 {
    let octal = printed.trim_start_matches("flags:").trim();
    u32::from_str_radix(octal, 8).unwrap_or_else(|_| panic!("flags of one descriptor: {printed}"))
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
        let env = TestEnv::new();
        env.sh(format!(
            "umask {umask}; flock l echo ran && stat -c '%F %a' l"
        ))
        .assert_stdout(&format!("ran\nregular empty file {mode}\n"))
        .assert_stderr("");
    }
}

#[test]
fn an_existing_file_keeps_its_content_its_mode_and_its_times() {
    let env = TestEnv::new();
    env.sh("echo kept >l; chmod 640 l; touch -d 2001-02-03 l; stat -c %Y.%a l; flock l flock -n l true; echo $?; cat l; stat -c %Y.%a l")
        .assert_stdout("981158400.640\n1\nkept\n981158400.640\n");
}

#[test]
fn a_symbolic_link_is_followed_and_a_dangling_one_is_filled() {
    let env = TestEnv::new();
    symlink("there", env.file("l")).expect("a link");
    env.run(["l", "flock", "-n", "there", "true"])
        .assert_status(1)
        .assert_stderr("");
    assert_eq!(env.file_names(), ["l", "there"]);
    env.run(["there", "flock", "-n", "l", "true"])
        .assert_status(1)
        .assert_stderr("");
}

#[test]
fn a_directory_can_be_locked() {
    let env = TestEnv::new();
    for directory in [".", "bin", "bin/", "/"] {
        // Shared: others on this machine may lock the root directory.
        env.run(["-s", directory, "flock", "-n", "-E9", directory, "true"])
            .assert_status(9)
            .assert_stderr("");
    }
}

#[test]
fn a_file_that_may_only_be_read_can_be_locked() {
    let env = TestEnv::new();
    let Some(command) =
        env.unprivileged("chmod 444 l; { echo x >l; } 2>&-; flock l flock -n -E 9 l true; echo $?")
    else {
        return;
    };
    std::fs::write(env.file("l"), "kept").expect("l");
    env.run_command(command)
        .assert_stdout("9\n")
        .assert_stderr("");
    assert_eq!(std::fs::read(env.file("l")).expect("l"), b"kept");
}

#[test]
fn the_command_inherits_the_lock_at_the_lowest_free_number_above_2() {
    let env = TestEnv::new();
    for (setup, number) in [
        ("exec 3>&- 4>&-", 3),
        ("exec 3<bin 4>&-", 4),
        ("exec 3<bin 4<bin 5>&-", 5),
        ("exec 3>&- 4<bin", 3),
        ("exec 3<bin 4>&- 5<bin", 4),
    ] {
        env.sh(format!("{setup}; flock l sh -c '{LOOK}'"))
            .assert_stdout(&format!("{number}\n"))
            .assert_stderr("");
    }
}

#[test]
fn the_inherited_descriptor_only_reads_blocks_and_stays_open() {
    let env = TestEnv::new();
    let printed = env
        .run(["l", "sh", "-c", FLAGS])
        .assert_stderr("")
        .stdout_text();
    let (access, nonblock, close_on_exec) = (0o3, 0o4000, 0o200_0000);
    assert_eq!(
        flags(&printed) & (access | nonblock | close_on_exec),
        0,
        "{printed}"
    );
}

#[test]
fn a_closed_standard_descriptor_is_not_filled_by_the_lock_file() {
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        differs_from_util_linux(
            "the lowest free number may be that of the standard input",
            |env| {
                env.sh(format!(
                    "exec 7>out 3>&-; flock l sh -c '{{ {LOOK}; }} >&7' {closed}; cat out"
                ))
                .assert_stdout("3\n")
                .assert_stderr("");
            },
        );
    }
}

#[test]
fn what_the_command_leaves_behind_keeps_the_lock_unless_it_was_closed() {
    let env = TestEnv::new();
    let script = "mkfifo go
        flock FORM l sh -c 'read word <go &'; flock -n l true; echo $?
        echo >go; flock l true; echo $?";
    env.sh(script.replace("FORM", ""))
        .assert_stdout("1\n0\n")
        .assert_stderr("");
    env.sh(format!("rm go; {}", script.replace("FORM", "-o")))
        .assert_stdout("0\n0\n")
        .assert_stderr("");
}

#[test]
fn a_command_that_does_not_inherit_the_lock_still_runs_under_it() {
    let env = TestEnv::new();
    env.sh(format!(
        "flock -o l sh -c '{LOOK}; flock -n l true; echo held $?'"
    ))
    .assert_stdout("held 1\n")
    .assert_stderr("");
}

#[test]
fn a_terminal_that_is_locked_does_not_become_the_controlling_one() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let env = TestEnv::new();
    if !is_installed("setsid") {
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
    let script = format!(
        "exec setsid -w flock {name} sh -c 'flock -n {name} true; echo $?; exec 9</dev/tty'"
    );
    let outcome = env.sh(script).assert_stdout("1\n");
    assert_ne!(outcome.code(), 0, "it has a terminal");
}

#[test]
fn another_users_file_in_a_sticky_directory_is_opened() {
    let guard = std::fs::read_to_string("/proc/sys/fs/protected_regular").unwrap_or_default();
    if !rustix::process::geteuid().is_root() || guard.trim() == "0" {
        // It takes a second user to own the file, and a kernel that minds.
        return;
    }
    differs_from_util_linux("the reference tries with O_CREAT only", |env| {
        std::fs::write(env.file("l"), "").expect("l");
        std::os::unix::fs::chown(env.file("l"), Some(65534), Some(65534))
            .expect("the file is nobody's");
        let sticky = std::fs::Permissions::from_mode(0o1777);
        std::fs::set_permissions(env.path(), sticky).expect("the directory is sticky");
        env.run(["l", "echo", "ran"])
            .assert_status(0)
            .assert_stdout("ran\n")
            .assert_stderr("");
    });
}

#[test]
fn where_an_exclusive_lock_needs_a_writable_descriptor_the_file_is_reopened_for_writing() {
    let env = TestEnv::new();
    // NFS, where the kernel makes an fcntl(2) lock of it.
    for error in ["EBADF", "EIO"] {
        let inject = format!("inject=flock:error={error}:when=1");
        let look = format!("echo x >>l; flock -n l true; echo $?; {FLAGS}");
        let Some(command) = env.with_fault_injection("l", &inject, &["l", "sh", "-c", &look])
        else {
            return;
        };
        let said = env.run_command(command).assert_stderr("").stdout_text();
        let (held, printed) = said.split_once('\n').expect("two lines");
        assert_eq!(held, "1", "{error}");
        assert_eq!(
            flags(printed) & 0o3,
            0o2,
            "{error}: not read-write: {printed}"
        );
    }
}
