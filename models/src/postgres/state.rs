//! A state, and what changes it.

use super::message::{Before, Listing, MAX, Message, Request};

/// By how many ticks in the time to live the clock of another machine may be faster.
pub(super) const MARGIN: i8 = 1;

/// The number of a row that does not exist any more.
pub(super) const GONE: u8 = MAX as u8;

/// How far a process is: what it asks the server, or waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// It has not started, or has exited.
    #[default]
    Idle,
    /// Inserts its row, or finds it, and reads all.
    Enter,
    /// Does what is to be done about a row whose session has ended.
    Clean,
    /// Reads the rows again.
    List,
    /// Asks to be notified of the end of the row that is in the way.
    Listen,
    /// Waits for that.
    Wait,
    /// Moves stopped processes behind itself.
    Overtake,
    /// Writes to its row that it is stopped.
    Mark,
    /// Waits until it is continued.
    Stopped,
    /// Writes to its row that it is not stopped any more.
    Unmark,
    /// Stores that the lock is granted.
    Grant,
    /// Renews the lease, so that enough of it is left.
    Confirm,
    /// Stores the marker of the present session, so that enough of the lease is left.
    ConfirmMarker,
    /// Holds the lock.
    Hold,
    /// Renews the lease meanwhile.
    Renew,
    /// Stores the marker of the present session meanwhile.
    Resume,
    /// Has reported that the lock is lost.
    Lost,
    /// Deletes its row.
    Release,
    /// Exits.
    Exit,
}

/// A session of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Session {
    pub(super) exists: bool,
    /// It holds the lock that is its marker.
    pub(super) has_marker: bool,
    pub(super) message: Message,
}

/// Whose marker is in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Marker {
    /// A session that has ended.
    #[default]
    Free,
    /// This session of the process.
    Of(u8),
}

/// A row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Row {
    /// The order in which the rows were inserted; zero if this one was not.
    pub(super) token: u8,
    /// The order in the queue, which is the same unless rows were moved.
    pub(super) number: u8,
    /// It was moved behind rows that its process does not know, and does not read.
    pub(super) is_moved: bool,
    pub(super) is_committed: bool,
    pub(super) marker: Marker,
    pub(super) is_granted: bool,
    /// It says that its process is stopped.
    pub(super) is_stopped: bool,
    /// How long ago its marker was first seen to be free.
    pub(super) free_for: Option<i8>,
}

/// A process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Process {
    pub(super) place: Place,
    /// What is left of the lease.
    pub(super) left: i8,
    /// It has a connection, to the first of its sessions, as far as it knows.
    pub(super) is_connected: bool,
    /// The row whose end it is notified of.
    pub(super) channel: Option<u8>,
    pub(super) is_notified: bool,
    /// `flock` is stopped.
    pub(super) is_stopped: bool,
    /// Its row was deleted since it has read it.
    pub(super) has_lost_row: bool,
    /// The second one is that of a connection that was given up.
    pub(super) sessions: [Session; 2],
    pub(super) row: Row,
}

/// A state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    pub(super) processes: [Process; MAX],
    pub(super) faults: u8,
    pub(super) stops: u8,
}

impl State {
    /// Returns how far a process is.
    pub fn place(&self, process: usize) -> Place {
        self.processes[process].place
    }

    /// Whether the lock was granted to a process, which may be too late for a command.
    pub fn is_holder(&self, process: usize) -> bool {
        matches!(
            self.place(process),
            Place::Hold | Place::Renew | Place::Resume
        )
    }

    /// Whether the command of a process may run.
    pub fn is_inside(&self, process: usize) -> bool {
        self.is_holder(process) && self.processes[process].left > MARGIN
    }

    /// Whether a process that is not stopped waits for the lock.
    pub fn is_waiter(&self, process: usize) -> bool {
        use Place::{Exit, Hold, Idle, Lost, Release, Renew, Resume};
        let is_waiter = !matches!(
            self.place(process),
            Idle | Hold | Renew | Resume | Lost | Release | Exit
        );
        is_waiter && !self.processes[process].is_stopped
    }

    /// Whether no other row has a lower token, even one that is not seen yet.
    pub(super) fn is_first(&self, process: usize) -> bool {
        let own = self.processes[process].row.number;
        let mut numbers = self.processes.iter().map(|process| process.row.number);
        !numbers.any(|number| number != 0 && number < own)
    }

    /// Whether the row of a process is that of its present session.
    pub(super) fn has_row(&self, process: usize) -> bool {
        let row = self.processes[process].row;
        row.is_committed && row.marker == Marker::Of(0)
    }

    /// Where a process goes that is stopped, or was.
    pub(super) fn aside(&self, process: usize) -> Place {
        let own = &self.processes[process];
        match (own.row.is_stopped, own.is_stopped) {
            (false, _) => Place::Mark,
            (true, true) => Place::Stopped,
            (true, false) => Place::Unmark,
        }
    }

    /// Whether a process exits although its row exists.
    pub(super) fn has_left_row(&self, process: usize) -> bool {
        self.place(process) == Place::Exit && self.processes[process].row.token != 0
    }

    /// Whether no process runs.
    pub fn is_over(&self) -> bool {
        (0..MAX).all(|process| self.place(process) == Place::Idle)
    }

    /// Whether there is no row and no session.
    pub fn is_clean(&self) -> bool {
        (0..MAX).all(|process| self.may_start(process))
    }

    /// Whether nothing is left of the last use of a number.
    pub(super) fn may_start(&self, process: usize) -> bool {
        let own = &self.processes[process];
        own.place == Place::Idle
            && own.row.token == 0
            && own.sessions.iter().all(|session| !session.exists)
    }

    /// A process with a new number starts.
    pub(super) fn start(&mut self, process: usize) {
        self.rename(|row| if row == process as u8 { GONE } else { row });
        self.processes[process].has_lost_row = false;
    }

    /// Changes what all processes call a row.
    fn rename(&mut self, name: impl Fn(u8) -> u8) {
        let change = |row: &mut u8| *row = name(*row);
        for process in &mut self.processes {
            process.channel.iter_mut().for_each(change);
            for session in &mut process.sessions {
                let message = &mut session.message;
                message
                    .sightings()
                    .for_each(|sighting| change(&mut sighting.row));
                if let Some(rows) = message.stopped_rows() {
                    let all = (0..MAX as u8).filter(|row| *rows & 1 << row != 0);
                    *rows = all.fold(0, |rows, row| rows | 1 << name(row));
                }
                if let Some(Listing {
                    before: Before::Running(row),
                    ..
                }) = message.listing()
                {
                    change(row);
                }
                if let Message::Request(Request::Listen(row), _) = message {
                    change(row);
                }
            }
        }
    }

    /// A session ends, and what it has not committed is undone. What it has answered may be read.
    pub(super) fn end_session(&mut self, process: usize, session: usize) {
        let own = &mut self.processes[process];
        let message = own.sessions[session].message;
        own.sessions[session] = Session::default();
        if message.is_answer() && session == 0 && own.is_connected {
            own.sessions[session].message = message;
        }
        if own.row.marker == Marker::Of(session as u8) {
            // It is still the same number, which no session has any more.
            own.row.marker = Marker::Free;
        }
        if message.is_entering() && !own.row.is_committed && own.row.token != 0 {
            self.delete_row(process);
        }
    }

    /// A process gives up its connection, or has exited. The session may go on.
    pub(super) fn disconnect(&mut self, process: usize) {
        let own = &mut self.processes[process];
        own.is_connected = false;
        own.channel = None;
        own.is_notified = false;
        for session in &mut own.sessions {
            if session.message.is_answer() {
                session.message = Message::None;
            }
        }
        if !own.sessions[1].exists {
            own.sessions.swap(0, 1);
            own.row.marker = match own.row.marker {
                Marker::Of(_) => Marker::Of(1),
                Marker::Free => Marker::Free,
            };
        }
    }

    /// The process exits, or was killed.
    pub(super) fn end(&mut self, process: usize) {
        self.disconnect(process);
        self.processes[process].place = Place::Idle;
    }

    /// Returns the state in which the first two processes have exchanged their numbers.
    pub(super) fn exchange(&self) -> Self {
        let mut other = *self;
        other.processes.swap(0, 1);
        other.rename(|row| if row < 2 { row ^ 1 } else { row });
        for process in &mut other.processes {
            for session in &mut process.sessions {
                if let Message::Reading { others, .. } = &mut session.message {
                    others.sort_unstable();
                }
            }
        }
        other
    }

    /// A tick of all clocks. Times that are long enough for a row to be deleted are one.
    pub(super) fn tick(&mut self, long_enough: i8) {
        let tick = |left: &mut i8| *left = (*left - 1).max(0);
        let age = |time: &mut i8| *time = (*time + 1).min(long_enough);
        for process in &mut self.processes {
            tick(&mut process.left);
            process.row.free_for.iter_mut().for_each(age);
            for session in &mut process.sessions {
                let message = &mut session.message;
                message.left().into_iter().for_each(tick);
                message.sightings().for_each(|sighting| {
                    sighting.free_for.iter_mut().for_each(age);
                });
                if let Message::Request(Request::Note(_, time), _) = message {
                    age(time);
                }
            }
        }
    }

    /// Forgets what no process will look at any more.
    pub(super) fn normalize(&mut self) {
        for process in &mut self.processes {
            use Place::{
                Confirm, ConfirmMarker, Exit, Grant, Hold, Idle, Lost, Mark, Release, Renew,
                Resume, Stopped, Unmark,
            };
            if !matches!(process.place, Hold | Renew | Resume) {
                process.left = 0;
            }
            if matches!(
                process.place,
                Idle | Hold | Renew | Resume | Lost | Release | Exit
            ) {
                (process.channel, process.is_notified) = (None, false);
            }
            // Nothing more happens to that row; another one that does not exist is not the same.
            if process.channel == Some(GONE) && !process.is_notified {
                process.channel = None;
            }
            // It reads the rows when it is continued, and not before.
            process.is_notified &= !matches!(process.place, Mark | Stopped | Unmark);
            if matches!(
                process.place,
                Idle | Grant
                    | Confirm
                    | ConfirmMarker
                    | Hold
                    | Renew
                    | Resume
                    | Lost
                    | Release
                    | Exit
            ) {
                process.is_stopped = false;
            }
            for (index, session) in process.sessions.iter_mut().enumerate() {
                let is_timed = index == 0
                    && process.is_connected
                    && !matches!(
                        session.message,
                        Message::Changed(false, _)
                            | Message::Request(
                                Request::Listen(_)
                                    | Request::Delete(_)
                                    | Request::Note(..)
                                    | Request::Mark { .. }
                                    | Request::Move(_)
                                    | Request::Release,
                                _
                            )
                    );
                if !is_timed {
                    session
                        .message
                        .left()
                        .into_iter()
                        .for_each(|left| *left = 0);
                }
                if let Message::Request(Request::Delete(sighting) | Request::Note(sighting, _), _) =
                    &mut session.message
                {
                    sighting.free_for = None;
                }
            }
        }
    }
}
