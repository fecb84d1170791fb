//! Table output.

use std::os::unix::ffi::OsStrExt;

use super::row::Row;
use super::target::{label, raw_pid};
use super::text;
use crate::holders::{Confidence, Role};
use crate::lock::Mode;

/// Shown for unknown values.
const UNKNOWN: &str = "-";

const HEAD: [&str; 8] = [
    "FILE", "ROLE", "LOCK", "MODE", "PID", "USER", "TIME", "COMMAND",
];

/// Returns a line per row, below a line of headings, or nothing if there are no rows. The FILE
/// column is omitted if there is only one target.
pub(super) fn format(rows: &[Row], targets: usize) -> Vec<u8> {
    if rows.is_empty() {
        return Vec::new();
    }
    let skipped = if targets == 1 { 1 } else { 0 };
    let head = HEAD.map(str::to_owned);
    let lines: Vec<[String; 8]> = [head].into_iter().chain(rows.iter().map(cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let mut table = String::new();
    for line in &lines {
        for (column, cell) in line.iter().enumerate().skip(skipped) {
            table += cell;
            if column + 1 < line.len() {
                let blanks = width(column).unwrap_or(0) - cell.chars().count() + 2;
                table.extend(std::iter::repeat_n(' ', blanks));
            }
        }
        table.push('\n');
    }
    table.into_bytes()
}

fn cells(row: &Row) -> [String; 8] {
    let unknown = || UNKNOWN.to_owned();
    let lock = &row.lock;
    let role = match (lock.role, lock.confidence, lock.pid) {
        (Role::Holder, Confidence::Unverified, Some(_)) => "holder, unverified",
        (Role::Holder, ..) => "holder",
        (Role::Waiter, ..) if row.is_deadlocked => "waiter, deadlock",
        (Role::Waiter, ..) => "waiter",
    };
    let deleted = if row.is_deleted { " (deleted)" } else { "" };
    let mode = match lock.mode {
        Some(Mode::Shared) => "shared",
        Some(_) => "exclusive",
        None => UNKNOWN,
    };
    let kind = match lock.range {
        None => row.kind().to_owned(),
        Some(range) => {
            let last = range.last.map_or_else(String::new, |last| last.to_string());
            format!("{} {}-{last}", row.kind(), range.first)
        }
    };
    let user = match (&row.user, row.uid) {
        (Some(user), _) => text::escape(user.as_bytes()),
        (None, Some(uid)) => uid.to_string(),
        (None, None) => unknown(),
    };
    let command = match (&row.args, &row.name) {
        (Some(args), _) => {
            let args: Vec<String> = args
                .iter()
                .map(|arg| text::escape(arg.as_bytes()))
                .collect();
            args.join(" ")
        }
        (None, Some(name)) => format!("[{}]", text::escape(name.as_bytes())),
        (None, None) => unknown(),
    };
    [
        text::escape(label(&row.target).as_bytes()),
        format!("{role}{deleted}"),
        kind,
        mode.to_owned(),
        row.pid.map_or_else(unknown, |pid| raw_pid(pid).to_string()),
        user,
        row.time
            .map_or_else(unknown, |time| text::elapsed(time.elapsed())),
        command,
    ]
}
