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

/// What a process finds out from all rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Listing {
    /// Its own row, with the marker of its session; whether it is granted, and whether it still
    /// exists.
    pub(super) own: Option<(bool, bool)>,
    /// The last row before its own.
    pub(super) obstacle: Option<u8>,
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
