//! JSON output.

use std::ffi::OsStr;
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use super::row::{Row, Subject, Time};
use super::target::raw_pid;
use super::text::PIECE_SIZE;
use crate::flock::Target;
use crate::holders::{Confidence, Role};
use crate::lock::Mode;

/// Prints an array of objects, one per line: the rows, and those of locks elsewhere. Bytes that are
/// not UTF-8 become U+FFFD.
///
/// # References
///
/// RFC 8259.
pub(super) fn print(
    rows: &[Row<'_>],
    elsewhere: impl Iterator<Item = String>,
    print: &mut dyn FnMut(&[u8]),
) {
    print_objects(rows.iter().map(object).chain(elsewhere), print);
}

/// Prints an array of objects, one per line.
pub(super) fn print_objects(objects: impl Iterator<Item = String>, print: &mut dyn FnMut(&[u8])) {
    let mut text = String::new();
    let mut is_empty = true;
    for object in objects {
        text += if is_empty { "[\n" } else { ",\n" };
        text += &object;
        is_empty = false;
        if text.len() > PIECE_SIZE {
            print(text.as_bytes());
            text.clear();
        }
    }
    text += if is_empty { "[]\n" } else { "\n]\n" };
    print(text.as_bytes());
}

fn object(row: &Row<'_>) -> String {
    let process = &row.process;
    let lock = &row.lock;
    let (file, descriptor) = match &row.subject {
        Subject::Target(Target::Path(path)) => (Some(string(path)), None),
        Subject::Target(Target::Descriptor(number)) => (None, Some(number)),
        Subject::Found(file) => (file.path.as_deref().map(string), None),
    };
    let (major, minor) = row.key.device;
    let role = match lock.role {
        Role::Holder => "holder",
        Role::Waiter => "waiter",
    };
    let mode = lock.mode.map(|mode| match mode {
        Mode::Shared => "\"shared\"",
        _ => "\"exclusive\"",
    });
    let first = lock.range.map_or(0, |range| range.first);
    let is_verified = lock.confidence == Confidence::Verified;
    let user = process.user.as_ref().map(|user| string(user));
    let elapsed = row.time.map(Time::elapsed);
    let since = elapsed.and_then(|elapsed| {
        let moment = SystemTime::now().checked_sub(elapsed)?;
        Some(moment.duration_since(UNIX_EPOCH).ok()?.as_secs())
    });
    let of = row.time.map(|time| match time {
        Time::Process(_) => "\"process\"",
        Time::Lock(_) => "\"lock\"",
    });
    let args = process.args.as_ref().map(|args| {
        let args: Vec<String> = args.iter().map(|arg| string(arg)).collect();
        format!("[{}]", args.join(","))
    });
    let fields = [
        ("file", or_null(file)),
        ("descriptor", or_null(descriptor)),
        ("device", format!("\"{major}:{minor}\"")),
        ("inode", row.key.inode.to_string()),
        ("role", format!("\"{role}\"")),
        ("kind", format!("\"{}\"", row.kind())),
        ("mode", or_null(mode)),
        ("first", first.to_string()),
        ("last", or_null(lock.range.and_then(|range| range.last))),
        ("pid", or_null(row.pid.map(raw_pid))),
        ("verified", is_verified.to_string()),
        ("uid", or_null(process.uid)),
        ("user", or_null(user)),
        ("since", or_null(since)),
        ("seconds", or_null(elapsed.map(|elapsed| elapsed.as_secs()))),
        ("since_of", or_null(of)),
        (
            "name",
            or_null(process.name.as_ref().map(|name| string(name))),
        ),
        ("command", or_null(args)),
        ("deadlock", row.is_deadlocked.to_string()),
        ("deleted", row.is_deleted.to_string()),
    ];
    let fields = fields.map(|(name, value)| format!("\"{name}\":{value}"));
    format!("{{{}}}", fields.join(","))
}

pub(super) fn or_null<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "null".to_owned(), |value| value.to_string())
}

pub(super) fn string(text: &OsStr) -> String {
    let mut quoted = String::from('"');
    for letter in text.to_string_lossy().chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            // Escaped for the sake of terminals, although RFC 8259 does not require all of them.
            _ if letter.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", letter as u32);
            }
            _ => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn strings_are_what_json_has() {
        for (bytes, expected) in [
            (
                &b"a \"b\" \\c\n\x1b\x7f"[..],
                r#""a \"b\" \\c\u000a\u001b\u007f""#,
            ),
            (
                "grün \u{1f512}\u{85}".as_bytes(),
                "\"grün \u{1f512}\\u0085\"",
            ),
            (b"\xff", "\"\u{fffd}\""),
        ] {
            assert_eq!(string(OsStr::from_bytes(bytes)), expected);
        }
    }
}
