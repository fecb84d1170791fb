//! Names, words and users that are odd.

use std::ffi::OsString;

use super::{WHY, parse_rows, who_rows};
use test_support::pre_exec::CommandPreExecExt;
use test_support::{TestEnv, differs_from_util_linux, os_string};

/// Starts somebody who holds the file with this word behind the others.
#[track_caller]
fn held_with_word(env: &TestEnv, file: &OsString, odd: &[u8]) -> test_support::process::Process {
    let mut command = env.command("flock");
    command.arg("-F").arg(file);
    command.args(["sh", "-c", "echo held; read x; exit 0", "sh"]);
    let mut holder = env.start({
        command.arg(os_string(odd));
        command
    });
    holder.expect_line("held");
    holder
}

#[test]
fn what_is_no_text_is_shown_so_that_a_terminal_is_safe() {
    differs_from_util_linux(WHY, |env| {
        let file = os_string(b"a\n\xff");
        let _holder = held_with_word(env, &file, b"x\x1b[2J\ny\xfe");
        let words = ["--who".into(), file.clone(), "missing".into()];
        let table = env.run(words).stdout;
        let table = String::from_utf8(table).expect("text");
        assert_eq!(table.lines().count(), 2, "{table}");
        assert!(!table.contains('\x1b'), "{table:?}");
        assert!(table.contains(r"a\n\xff  holder"), "{table}");
        assert!(table.ends_with(" sh x\\x1b[2J\\ny\\xfe\n"), "{table}");
    });
}

#[test]
fn json_is_text_whatever_the_bytes_are() {
    differs_from_util_linux(WHY, |env| {
        let file = os_string(b"a\n\xff\"");
        let _holder = held_with_word(env, &file, b"\x01\\\xfe");
        let words: [OsString; 3] = ["--who".into(), "--json".into(), file.clone()];
        let rows = parse_rows(&env.run(words).stdout);
        assert_eq!(rows[0]["file"], "a\n\u{fffd}\"");
        assert_eq!(rows[0]["command"][4], "\u{1}\\\u{fffd}");
    });
}

#[test]
fn a_user_without_a_name_is_a_number() {
    if !rustix::process::geteuid().is_root() || !test_support::is_installed("setpriv") {
        return;
    }
    differs_from_util_linux(WHY, |env| {
        env.sh("chmod 755 .");
        let mut holder = env.flock(["-F", "f", "setpriv", "--reuid=54321", "--clear-groups"]);
        holder.args(["sh", "-c", "echo held; read x"]);
        let mut holder = env.start(holder);
        holder.expect_line("held");
        let row = &who_rows(env, &["f"])[0];
        assert_eq!((&row["uid"], &row["user"]), (&54321.into(), &().into()));
        let table = env.run(["--who", "f"]).stdout_text();
        assert!(table.contains(" 54321 "), "{table}");
    });
}

#[test]
fn a_caller_who_has_closed_everything_is_told_by_the_status() {
    differs_from_util_linux(WHY, |env| {
        let _holder = env.hold(&[], "f");
        let mut command = env.flock(["--who", "f"]);
        command.close_fds(&[0, 2]);
        env.run_command(command).assert_status(0);
        let mut command = env.flock(["--who", "f"]);
        command.close_fds(&[0, 1]);
        env.run_command(command)
            .assert_stderr("flock: write error: Bad file descriptor\n")
            .assert_status(1);
    });
}
