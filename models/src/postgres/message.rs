//! What is on its way between a process and the server.

/// The greatest number of processes.
pub const MAX: usize = 3;

/// A transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Request {
    Enter,
    List,
    Listen(u8),
    /// For a row, as it was read.
    Delete(Sighting),
    /// For a row, as it was read, and how long ago.
    Note(Sighting, i8),
    Grant,
    Renew,
    Resume,
    /// Writes to its own row whether the process is stopped, if that has the value that was read.
    Mark {
        is_stopped: bool,
        is_same: bool,
    },
    /// Moves these rows, one bit each, behind its own: those that are as they were read.
    Move(u8),
    Release,
}

/// A row that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Sighting {
    pub(super) row: u8,
    pub(super) is_granted: bool,
    /// It still has the marker that was read.
    pub(super) is_same: bool,
    /// How long ago its marker was first seen to be free.
    pub(super) free_for: Option<i8>,
}

/// The row of the process that has read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct OwnRow {
    /// It has not been deleted since then.
    pub(super) exists: bool,
    pub(super) is_granted: bool,
    pub(super) is_stopped: bool,
    /// It is behind rows that were not read.
    pub(super) is_moved: bool,
}

/// What is before the row of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Before {
    None,
    /// The last row of those whose processes are not stopped.
    Running(u8),
    /// Only rows of stopped processes. Those that have not changed since they were read, one bit
    /// each.
    Stopped(u8),
}

/// What has changed of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Its marker.
    Marker,
    /// Its value, or it was deleted.
    Value,
}

/// What a process finds out from all rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Listing {
    /// Its own row, with the marker of its session.
    pub(super) own: Option<OwnRow>,
    pub(super) before: Before,
}

/// What is on its way between a session and its process, or what the session does. The number is what
/// will be left of the lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Message {
    #[default]
    None,
    Request(Request, i8),
    /// It has inserted its row, or changed the marker, and others do not see that yet.
    Entering(i8),
    /// It has read the rows, and not yet the locks.
    Reading {
        listing: Listing,
        others: [Option<Sighting>; MAX - 1],
        is_entering: bool,
        left: i8,
    },
    /// The rows, and one whose session has ended.
    Listed(Listing, Option<Sighting>, i8),
    /// Whether a row was changed.
    Changed(bool, i8),
}

impl Message {
    /// The time that is left of the lease when this is answered.
    pub(super) fn left(&mut self) -> Option<&mut i8> {
        match self {
            Self::None => None,
            Self::Request(_, left)
            | Self::Entering(left)
            | Self::Reading { left, .. }
            | Self::Listed(_, _, left)
            | Self::Changed(_, left) => Some(left),
        }
    }

    /// Whether the session has nothing left to do for this.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self, Self::Listed(..) | Self::Changed(..))
    }

    /// Whether the transaction has inserted a row that others do not see.
    pub(super) fn is_entering(&self) -> bool {
        let is_reading = matches!(self, Self::Reading { is_entering, .. } if *is_entering);
        is_reading || matches!(self, Self::Entering(_))
    }

    pub(super) fn own_row(&mut self) -> Option<&mut OwnRow> {
        self.listing()?.own.as_mut()
    }

    /// A row has changed that may have been read for this.
    pub(super) fn outdate(&mut self, row: u8, change: Change) {
        if change == Change::Marker {
            let sightings = self.sightings();
            let of_row = sightings.filter(|sighting| sighting.row == row);
            of_row.for_each(|sighting| sighting.is_same = false);
        }
        if let Some(rows) = self.stopped_rows() {
            *rows &= !(1 << row);
        }
    }

    /// The value of the row of the process that has sent this has changed.
    pub(super) fn outdate_own(&mut self) {
        if let Self::Request(Request::Mark { is_same, .. }, _) = self {
            *is_same = false;
        }
    }

    /// The rows that are to be moved, or will be.
    pub(super) fn stopped_rows(&mut self) -> Option<&mut u8> {
        match self {
            Self::Request(Request::Move(rows), _) => Some(rows),
            _ => match &mut self.listing()?.before {
                Before::Stopped(rows) => Some(rows),
                _ => None,
            },
        }
    }

    pub(super) fn listing(&mut self) -> Option<&mut Listing> {
        match self {
            Self::Reading { listing, .. } | Self::Listed(listing, ..) => Some(listing),
            _ => None,
        }
    }

    pub(super) fn sightings(&mut self) -> impl Iterator<Item = &mut Sighting> {
        let (one, some): (Option<&mut Sighting>, &mut [Option<Sighting>]) = match self {
            Self::Request(Request::Delete(sighting) | Request::Note(sighting, _), _) => {
                (Some(sighting), &mut [])
            }
            Self::Listed(_, Some(sighting), _) => (Some(sighting), &mut []),
            Self::Reading { others, .. } => (None, others),
            _ => (None, &mut []),
        };
        one.into_iter().chain(some.iter_mut().flatten())
    }
}
