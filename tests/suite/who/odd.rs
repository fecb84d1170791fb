//! Names, words and users that are odd.

use std::ffi::OsString;

use super::{WHY, asked, read};
use test_support::pre_exec::Inherit;
use test_support::{Lab, departure, word};

/// Starts somebody who holds the file with this word behind the others.
#[track_caller]
fn held_with_word(lab: &Lab, file: &OsString, odd: &[u8]) -> test_support::process::Live {
    let mut command = lab.command("flock");
    command.arg("-F").arg(file);
    command.args(["sh", "-c", "echo held; read x; exit 0", "sh"]);
    let mut holder = lab.start({
        command.arg(word(odd));
        command
    });
    holder.hears("held");
    holder
}

#[test]
fn what_is_no_text_is_shown_so_that_a_terminal_is_safe() {
    departure(WHY, |lab| {
        let file = word(b"a\n\xff");
        let _holder = held_with_word(lab, &file, b"x\x1b[2J\ny\xfe");
        let words = ["--who".into(), file.clone(), "missing".into()];
        let table = lab.run(words).stdout;
        let table = String::from_utf8(table).expect("text");
        assert_eq!(table.lines().count(), 2, "{table}");
        assert!(!table.contains('\x1b'), "{table:?}");
        assert!(table.contains(r"a\n\xff  holder"), "{table}");
        assert!(table.ends_with(" sh x\\x1b[2J\\ny\\xfe\n"), "{table}");
    });
}

#[test]
fn json_is_text_whatever_the_bytes_are() {
    departure(WHY, |lab| {
        let file = word(b"a\n\xff\"");
        let _holder = held_with_word(lab, &file, b"\x01\\\xfe");
        let words: [OsString; 3] = ["--who".into(), "--json".into(), file.clone()];
        let rows = read(&lab.run(words).stdout);
        assert_eq!(rows[0]["file"], "a\n\u{fffd}\"");
        assert_eq!(rows[0]["command"][4], "\u{1}\\\u{fffd}");
    });
}

#[test]
fn a_user_without_a_name_is_a_number() {
    if !rustix::process::geteuid().is_root() || !test_support::installed("setpriv") {
        return;
    }
    departure(WHY, |lab| {
        lab.sh("chmod 755 .");
        let mut holder = lab.flock(["-F", "f", "setpriv", "--reuid=54321", "--clear-groups"]);
        holder.args(["sh", "-c", "echo held; read x"]);
        let mut holder = lab.start(holder);
        holder.hears("held");
        let row = &asked(lab, &["f"])[0];
        assert_eq!((&row["uid"], &row["user"]), (&54321.into(), &().into()));
        let table = lab.run(["--who", "f"]).out();
        assert!(table.contains(" 54321 "), "{table}");
    });
}

#[test]
fn a_caller_who_has_closed_everything_is_told_by_the_status() {
    departure(WHY, |lab| {
        let _holder = lab.hold(&[], "f");
        let mut command = lab.flock(["--who", "f"]);
        command.closing(&[0, 2]);
        lab.finish(command).expect_code(0);
        let mut command = lab.flock(["--who", "f"]);
        command.closing(&[0, 1]);
        lab.finish(command)
            .expect_err("flock: write error: Bad file descriptor\n")
            .expect_code(1);
    });
}
