//! The rows of a lock: their order, what is read of them, and what becomes of that.

use super::message::{Before, Change, Listing, Message, OwnRow, Sighting};
use super::state::{Marker, Row};
use super::{MAX, State};

impl State {
    /// Whether a transaction is inserting a row, and holds the lock of the name.
    pub(super) fn is_name_locked(&self) -> bool {
        (0..MAX).any(|process| self.is_row_locked(process))
    }

    /// Whether a transaction is inserting this row, or storing a marker in it.
    pub(super) fn is_row_locked(&self, row: usize) -> bool {
        let mut sessions = self.processes[row].sessions.iter();
        sessions.any(|session| session.message.is_entering())
    }

    /// Reads the rows as of now, for a session that sees its own changes.
    ///
    /// These are the rows up to its own, as far as its process knows where that is.
    pub(super) fn read(&self, process: usize, session: usize, is_entering: bool) -> Message {
        let own = &self.processes[process].row;
        let sees_own = own.is_committed || is_entering && own.token != 0;
        let is_before = |row: &Row| row.number < own.number && !own.is_moved;
        let is_read = |other: &usize| {
            let row = &self.processes[*other].row;
            let is_earlier = row.token < own.token || is_before(row);
            *other != process && row.is_committed && (is_earlier || !sees_own)
        };
        let mut others = [None; MAX - 1];
        for (place, row) in others.iter_mut().zip((0..MAX).filter(is_read)) {
            let Row {
                is_granted,
                free_for,
                ..
            } = self.processes[row].row;
            *place = Some(Sighting {
                row: row as u8,
                is_granted,
                is_same: true,
                free_for,
            });
        }
        others.sort_unstable();
        let before = || {
            (0..MAX)
                .filter(is_read)
                .filter(|row| is_before(&self.processes[*row].row))
        };
        let running = before().filter(|row| !self.processes[*row].row.is_stopped);
        let obstacle = running.max_by_key(|row| self.processes[*row].row.number);
        let stopped = before().fold(0, |rows, row| rows | 1 << row);
        let has_marker = is_entering || own.marker == Marker::Of(session as u8);
        let own = OwnRow {
            exists: true,
            is_granted: own.is_granted,
            is_stopped: own.is_stopped,
            is_moved: own.is_moved,
        };
        Message::Reading {
            listing: Listing {
                own: (sees_own && has_marker).then_some(own),
                before: match obstacle {
                    Some(row) => Before::Running(row as u8),
                    None if stopped != 0 => Before::Stopped(stopped),
                    None => Before::None,
                },
            },
            others,
            is_entering,
            left: 0,
        }
    }

    pub(super) fn has_session(&self, row: u8) -> bool {
        let process = &self.processes[usize::from(row)];
        match process.row.marker {
            Marker::Of(session) => process.sessions[usize::from(session)].has_marker,
            Marker::Free => false,
        }
    }

    /// Inserts a row, as the last one.
    pub(super) fn insert_row(&mut self, process: usize, session: usize) {
        let is_free = !self.processes.iter().any(|other| other.row.is_committed);
        let last = |number: fn(&Row) -> u8| {
            let numbers = self.processes.iter().map(|process| number(&process.row));
            numbers.max().unwrap_or(0)
        };
        self.processes[process].row = Row {
            token: last(|row| row.token) + 1,
            number: last(|row| row.number) + 1,
            is_granted: is_free,
            marker: Marker::Of(session as u8),
            ..Row::default()
        };
    }

    /// Changes the marker of a row: what others have read is out of date.
    pub(super) fn mark(&mut self, process: usize, marker: Marker) {
        if self.processes[process].row.marker != marker {
            self.processes[process].row.marker = marker;
            self.outdate(process, Change::Marker);
        }
    }

    /// Writes to a row whether its process is stopped.
    pub(super) fn write(&mut self, row: usize, is_stopped: bool) {
        self.processes[row].row.is_stopped = is_stopped;
        self.outdate(row, Change::Value);
        self.notify(row);
    }

    /// Returns the rows before that of a process.
    pub(super) fn rows_before(&self, process: usize) -> u8 {
        let own = self.processes[process].row.number;
        let rows = (0..MAX).filter(|row| {
            let row = &self.processes[*row].row;
            row.is_committed && row.number < own
        });
        rows.fold(0, |rows, row| rows | 1 << row)
    }

    /// Moves some rows behind that of a process, in the same order.
    pub(super) fn move_behind(&mut self, process: usize, rows: u8) {
        let is_moved = |row: &usize| rows & 1 << row != 0;
        let mut order = Vec::from_iter((0..MAX).filter(|row| self.processes[*row].row.number != 0));
        order.sort_by_key(|row| self.processes[*row].row.number);
        let moved = Vec::from_iter(order.iter().copied().filter(is_moved));
        order.retain(|row| !is_moved(row));
        let own = order.iter().position(|row| *row == process).unwrap_or(0);
        order.splice(own + 1..own + 1, moved.iter().copied());
        for (index, row) in order.into_iter().enumerate() {
            self.processes[row].row.number = index as u8 + 1;
        }
        for row in moved {
            self.processes[row].row.is_moved = true;
            for session in &mut self.processes[row].sessions {
                if let Some(own) = session.message.own_row() {
                    // That is not where it is now.
                    own.is_moved = false;
                }
            }
            self.outdate(row, Change::Value);
            self.notify(row);
        }
    }

    fn notify(&mut self, row: usize) {
        for process in &mut self.processes {
            process.is_notified |= process.channel == Some(row as u8);
        }
    }

    fn outdate(&mut self, row: usize, change: Change) {
        for process in &mut self.processes {
            for session in &mut process.sessions {
                session.message.outdate(row as u8, change);
            }
        }
        if change == Change::Value {
            for session in &mut self.processes[row].sessions {
                session.message.outdate_own();
            }
        }
    }

    /// Deletes a row.
    pub(super) fn delete_row(&mut self, process: usize) {
        let Row { token, number, .. } = std::mem::take(&mut self.processes[process].row);
        self.outdate(process, Change::Marker);
        self.outdate(process, Change::Value);
        let own = &mut self.processes[process];
        own.has_lost_row = true;
        for session in &mut own.sessions {
            if let Some(own) = session.message.own_row() {
                own.exists = false;
            }
        }
        for other in &mut self.processes {
            other.row.token -= u8::from(other.row.token > token);
            other.row.number -= u8::from(other.row.number > number);
        }
        self.notify(process);
    }
}
