//! Table output.

use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use super::row::{Process, Row};
use super::target::raw_pid;
use super::text::{self, PIECE_SIZE};
use crate::holders::{Confidence, Role};
use crate::lock::Mode;

/// Shown for unknown values.
const UNKNOWN: &str = "-";

/// All columns but the last one, COMMAND.
type Cells = [String; 7];

const HEAD: [&str; 7] = ["FILE", "ROLE", "LOCK", "MODE", "PID", "USER", "TIME"];

/// Prints a line per row, below a line of headings, or nothing if there are no rows. The FILE
/// column is omitted if there is only one target.
///
/// The cells are created twice, rather than kept: there may be many rows.
pub(super) fn print(rows: &[Row<'_>], targets: usize, print: &mut dyn FnMut(&[u8])) {
    if rows.is_empty() {
        return;
    }
    let skipped = if targets == 1 { 1 } else { 0 };
    let head = HEAD.map(str::to_owned);
    let mut widths = HEAD.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(cells(row)) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    let mut add = |cells: &Cells, command: &str| {
        for (cell, width) in cells.iter().zip(widths).skip(skipped) {
            text += cell;
            text.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        text += command;
        text.push('\n');
        if text.len() > PIECE_SIZE {
            print(text.as_bytes());
            text.clear();
        }
    };
    add(&head, "COMMAND");
    // The rows of a process are next to each other.
    let mut last: Option<(&Rc<Process>, String)> = None;
    for row in rows {
        let command = match last.take() {
            Some((process, command)) if Rc::ptr_eq(process, &row.process) => command,
            _ => row.process.command().unwrap_or_else(|| UNKNOWN.to_owned()),
        };
        add(&cells(row), &command);
        last = Some((&row.process, command));
    }
    print(text.as_bytes());
}

fn cells(row: &Row<'_>) -> Cells {
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
    let user = match (&row.process.user, row.process.uid) {
        (Some(user), _) => text::escape(user.as_bytes()),
        (None, Some(uid)) => uid.to_string(),
        (None, None) => unknown(),
    };
    [
        text::escape(row.subject.label().as_bytes()),
        format!("{role}{deleted}"),
        kind,
        mode.to_owned(),
        row.pid.map_or_else(unknown, |pid| raw_pid(pid).to_string()),
        user,
        row.time
            .map_or_else(unknown, |time| text::elapsed(time.elapsed())),
    ]
}
