//! The answer as a table, for people.

use std::os::unix::ffi::OsStrExt;

use super::row::Row;
use super::{label, raw, text};
use crate::holders::{Certainty, Role};
use crate::lock::Mode;

/// What is not known.
const UNKNOWN: &str = "-";

const HEAD: [&str; 8] = [
    "FILE", "ROLE", "LOCK", "MODE", "PID", "USER", "TIME", "COMMAND",
];

/// A line for each, below a line of headings; nothing if there is nobody. If only one file was asked about, nobody needs to
/// be told which.
pub(super) fn text(rows: &[Row], targets: usize) -> Vec<u8> {
    if rows.is_empty() {
        return Vec::new();
    }
    let from = if targets == 1 { 1 } else { 0 };
    let head = HEAD.map(str::to_owned);
    let lines: Vec<[String; 8]> = [head].into_iter().chain(rows.iter().map(cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let mut table = String::new();
    for line in &lines {
        for (column, cell) in line.iter().enumerate().skip(from) {
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
    let party = &row.party;
    let role = match (party.role, party.certainty, party.pid) {
        (Role::Holder, Certainty::Unverified, Some(_)) => "holder, unverified",
        (Role::Holder, ..) => "holder",
        (Role::Waiter, ..) => "waiter",
    };
    let mode = match party.mode {
        Some(Mode::Shared) => "shared",
        Some(_) => "exclusive",
        None => UNKNOWN,
    };
    let kind = match party.range {
        None => row.kind().to_owned(),
        Some(range) => {
            let last = range.last.map_or_else(String::new, |last| last.to_string());
            format!("{} {}-{last}", row.kind(), range.first)
        }
    };
    let user = match (&row.user, row.uid) {
        (Some(user), _) => text::shown(user.as_bytes()),
        (None, Some(uid)) => uid.to_string(),
        (None, None) => unknown(),
    };
    let words: Vec<String> = row
        .words
        .iter()
        .map(|word| text::shown(word.as_bytes()))
        .collect();
    let command = match (words.is_empty(), row.name.is_empty()) {
        (false, _) => words.join(" "),
        (true, false) => format!("[{}]", text::shown(row.name.as_bytes())),
        (true, true) => unknown(),
    };
    [
        text::shown(label(&row.target).as_bytes()),
        role.to_owned(),
        kind,
        mode.to_owned(),
        row.number.map_or_else(unknown, |pid| raw(pid).to_string()),
        user,
        row.time
            .map_or_else(unknown, |time| text::elapsed(time.elapsed())),
        command,
    ]
}
