//! JSON output.

use std::ffi::OsStr;
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use super::row::{Row, Time};
use super::target::raw_pid;
use crate::flock::Target;
use crate::holders::{Confidence, Role};
use crate::lock::Mode;

/// Returns an array of objects, one per line. Bytes that are not UTF-8 become U+FFFD.
///
/// # References
///
/// RFC 8259.
pub(super) fn format(rows: &[Row]) -> Vec<u8> {
    let objects: Vec<String> = rows.iter().map(object).collect();
    let array = match objects.is_empty() {
        true => "[]\n".to_owned(),
        false => format!("[\n{}\n]\n", objects.join(",\n")),
    };
    array.into_bytes()
}

fn object(row: &Row) -> String {
    let lock = &row.lock;
    let (file, descriptor) = match &row.target {
        Target::Path(path) => (string(path), None),
        Target::Descriptor(number) => (NULL.to_owned(), Some(number)),
    };
    let role = match lock.role {
        Role::Holder => "holder",
        Role::Waiter => "waiter",
    };
    let mode = lock.mode.map(|mode| match mode {
        Mode::Shared => "\"shared\"",
        _ => "\"exclusive\"",
    });
    let elapsed = row.time.map(Time::elapsed);
    let since = elapsed.and_then(|elapsed| {
        let moment = SystemTime::now().checked_sub(elapsed)?;
        Some(moment.duration_since(UNIX_EPOCH).ok()?.as_secs())
    });
    let of = row.time.map(|time| match time {
        Time::Process(_) => "\"process\"",
        Time::Lock(_) => "\"lock\"",
    });
    let args: Vec<String> = row.args.iter().map(|arg| string(arg)).collect();
    let fields = [
        ("file", file),
        ("descriptor", number(descriptor)),
        ("role", format!("\"{role}\"")),
        ("kind", format!("\"{}\"", row.kind())),
        ("mode", number(mode)),
        (
            "first",
            lock.range.map_or(0, |range| range.first).to_string(),
        ),
        ("last", number(lock.range.and_then(|range| range.last))),
        ("pid", number(row.pid.map(raw_pid))),
        (
            "verified",
            (lock.confidence == Confidence::Verified).to_string(),
        ),
        ("uid", number(row.uid)),
        (
            "user",
            row.user
                .as_ref()
                .map_or_else(|| NULL.to_owned(), |user| string(user)),
        ),
        ("since", number(since)),
        ("seconds", number(elapsed.map(|elapsed| elapsed.as_secs()))),
        ("since_of", number(of)),
        ("name", string(&row.name)),
        ("command", format!("[{}]", args.join(","))),
    ];
    let fields = fields.map(|(name, value)| format!("\"{name}\":{value}"));
    format!("{{{}}}", fields.join(","))
}

const NULL: &str = "null";

fn number<N: ToString>(number: Option<N>) -> String {
    number.map_or_else(|| NULL.to_owned(), |number| number.to_string())
}

fn string(text: &OsStr) -> String {
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
        let quoted = |bytes: &[u8]| string(OsStr::from_bytes(bytes));
        assert_eq!(
            quoted(b"a \"b\" \\c\n\x1b\x7f"),
            r#""a \"b\" \\c\u000a\u001b\u007f""#
        );
        assert_eq!(
            quoted("grün \u{1f512}\u{85}".as_bytes()),
            "\"grün \u{1f512}\\u0085\""
        );
        assert_eq!(quoted(b"\xff"), "\"\u{fffd}\"");
    }

    #[test]
    fn no_rows_are_an_empty_array() {
        assert_eq!(format(&[]), b"[]\n");
    }
}
