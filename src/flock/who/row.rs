//! One who has to do with a lock, with all that is told about him.

use std::ffi::OsString;
use std::time::Duration;

use rustix::process::Pid;

use crate::flock::Target;
use crate::holders::process::{Profile, words};
use crate::holders::{Kind, Look, Namespace, Party};
use crate::sys;
use crate::sys::procfs::liveness::{Process, look as look_for};

/// A row of the table.
#[derive(Debug)]
pub(super) struct Row {
    pub target: Target,
    pub party: Party,
    /// The process's number, if it means that process here too.
    pub number: Option<Pid>,
    pub uid: Option<u32>,
    pub user: Option<OsString>,
    pub time: Option<Time>,
    pub name: OsString,
    pub words: Vec<OsString>,
}

/// How long, and since what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Time {
    /// The process was started: the kernel does not tell when it got the lock.
    Process(Duration),
    /// The lock was taken, or the wait began, as a mark on the file tells.
    Lock(Duration),
}

impl Time {
    pub fn elapsed(self) -> Duration {
        match self {
            Self::Process(time) | Self::Lock(time) => time,
        }
    }
}

impl Row {
    /// A row for each, but for those who have ended in the meantime.
    pub fn of_all(target: &Target, look: &Look) -> Vec<Self> {
        let row = |party: &Party| Self::of(target, *party, look.horizon.namespace);
        look.parties.iter().filter_map(row).collect()
    }

    fn of(target: &Target, party: Party, namespace: Namespace) -> Option<Self> {
        let number = party.pid.filter(|_| namespace != Namespace::Foreign);
        let profile = party.pid.and_then(Profile::of);
        let is_gone = |pid| namespace == Namespace::Foreign || look_for(pid) == Process::Gone;
        if profile.is_none() && party.pid.is_some_and(is_gone) {
            return None;
        }
        let age = profile.as_ref().and_then(Profile::age);
        let uid = profile.as_ref().and_then(|profile| profile.uid);
        Some(Self {
            target: target.clone(),
            party,
            number,
            uid,
            user: uid.and_then(sys::user::name_of),
            time: match party.since {
                Some(since) => Some(Time::Lock(since.elapsed())),
                None => age.map(Time::Process),
            },
            name: profile.map(|profile| profile.name).unwrap_or_default(),
            words: party.pid.map(words).unwrap_or_default(),
        })
    }

    /// As lslocks(8) calls it.
    pub fn kind(&self) -> &'static str {
        match self.party.kind {
            Kind::Flock => "FLOCK",
            Kind::Ofd => "OFDLCK",
            Kind::Posix => "POSIX",
            Kind::Slot => "SLOT",
        }
    }
}
