//! Unusual names, arguments, users and callers.

use std::ffi::{OsStr, OsString};

use serde_json::json;

use super::{assert_fields, parse_rows, who_rows};
use test_support::pre_exec::CommandPreExecExt;
use test_support::process::Process;
use test_support::{TestEnv, os_string};

/// Starts a process that holds the file and has this last argument.
#[track_caller]
fn hold_with_argument(env: &TestEnv, file: &OsStr, argument: &[u8]) -> Process {
    let mut command = env.command("flock");
    command.arg("-F").arg(file);
    command.args(["sh", "-c", "echo held; read x; exit 0", "sh"]);
    command.arg(os_string(argument));
    let mut holder = env.start(command);
    holder.expect_line("held");
    holder
}

#[test]
fn table_escapes_control_characters_and_non_utf8() {
    let env = TestEnv::new();
    let file = os_string(b"a\n\xff");
    let _holder = hold_with_argument(&env, &file, b"x\x1b[2J\ny\xfe");
    let table = env.run(["--who".into(), file, "missing".into()]).stdout;
    let table = String::from_utf8(table).expect("text");
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(!table.contains('\x1b'), "{table:?}");
    assert!(table.contains(r"a\n\xff  holder"), "{table}");
    assert!(table.ends_with(" sh x\\x1b[2J\\ny\\xfe\n"), "{table}");
}

#[test]
fn json_is_valid_for_any_bytes() {
    let env = TestEnv::new();
    let file = os_string(b"a\n\xff\"");
    let _holder = hold_with_argument(&env, &file, b"\x01\\\xfe");
    let args: [OsString; 3] = ["--who".into(), "--json".into(), file];
    let rows = parse_rows(&env.run(args).stdout);
    assert_eq!(rows[0]["file"], "a\n\u{fffd}\"");
    assert_eq!(rows[0]["command"][4], "\u{1}\\\u{fffd}");
}

#[test]
fn user_without_a_name_is_shown_as_number() {
    if !rustix::process::geteuid().is_root() || !test_support::is_installed("setpriv") {
        return;
    }
    let env = TestEnv::new();
    env.sh("chmod 755 .");
    let mut holder = env.flock(["-F", "f", "setpriv", "--reuid=54321", "--clear-groups"]);
    holder.args(["sh", "-c", "echo held; read x"]);
    let mut holder = env.start(holder);
    holder.expect_line("held");
    let row = &who_rows(&env, &["f"])[0];
    assert_fields(row, &json!({"uid": 54321, "user": null}));
    let table = env.run(["--who", "f"]).stdout_text();
    assert!(table.contains(" 54321 "), "{table}");
}

#[test]
fn status_suffices_for_a_caller_with_closed_streams() {
    let env = TestEnv::new();
    let _holder = env.hold(&[], "f");
    let mut command = env.flock(["--who", "f"]);
    command.close_fds(&[0, 2]);
    env.run_command(command).assert_status(0);
    let mut command = env.flock(["--who", "f"]);
    command.close_fds(&[0, 1]);
    env.run_command(command)
        .assert_all(1, "", "flock: write error: Bad file descriptor\n");
}
