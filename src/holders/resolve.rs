//! What has been seen, put together.

use rustix::process::Pid;

use super::scan::{Scan, Waiting};
use super::{Asker, Certainty, Kind, Party, Range, Role};
use crate::holders::line::{Line, State};
use crate::lock::Mode;
use crate::lock::fair::marker::{Mark, SLOTS, TURNS};
use crate::sys::procfs::syscall::Blocked;

/// All that is known of the locks on a file.
pub(super) struct Evidence<'e> {
    /// Its lines in `/proc/locks`.
    pub table: &'e [Line],
    pub scan: &'e Scan,
    /// Who asks, and what its own number is.
    pub asker: (Asker, Pid),
    /// The parent of a process.
    pub parent: &'e dyn Fn(Pid) -> Option<Pid>,
    /// Whether there is such a process.
    pub lives: &'e dyn Fn(Pid) -> bool,
}

/// Who holds the locks and who waits for them: each process once for each of its locks.
pub(super) fn parties(evidence: &Evidence<'_>) -> Vec<Party> {
    let mut parties = Vec::new();
    evidence.turns(&mut parties);
    evidence.seen_holders(&mut parties);
    evidence.unseen_holders(&mut parties);
    evidence.waiters(&mut parties);
    parties
}

fn mark_of(line: &Line) -> Option<Mark> {
    (line.kind == Kind::Ofd && line.first == line.last).then(|| Mark::of(line.first))?
}

/// Whether it is a lock only in the kernel's eyes: a place in a queue.
fn is_turn(line: &Line) -> bool {
    line.kind == Kind::Ofd && TURNS.contains(&line.first)
}

/// As users see it: a slot is a lock of a kind of its own.
fn party(line: &Line, pid: Option<Pid>, certainty: Certainty) -> Party {
    let is_slot =
        line.kind == Kind::Ofd && SLOTS.contains(&line.first) && line.last <= *SLOTS.end();
    if let (true, Some(Mark::Slot { since, .. })) = (is_slot, mark_of(line)) {
        return Party {
            role: Role::Holder,
            kind: Kind::Slot,
            mode: None,
            range: None,
            pid,
            certainty,
            since: Some(since),
        };
    }
    let range = (!line.is_whole()).then_some(Range {
        first: line.first,
        last: (line.last < i64::MAX).then_some(line.last),
    });
    Party {
        role: match line.state {
            State::Granted => Role::Holder,
            State::Blocked => Role::Waiter,
        },
        kind: line.kind,
        mode: Some(line.mode),
        range,
        pid,
        certainty,
        since: None,
    }
}

/// Adds it unless it is there. Of those who are not known there may be several alike.
fn add(parties: &mut Vec<Party>, party: Party) {
    if party.pid.is_none() || !parties.contains(&party) {
        parties.push(party);
    }
}

impl Evidence<'_> {
    /// Whoever waits for his turn: the owner of a process that stands for him.
    fn turns(&self, parties: &mut Vec<Party>) {
        let seen = self.scan.seen.iter().map(|seen| &seen.line);
        let mut lines: Vec<&Line> = Vec::new();
        for line in seen.chain(self.table).filter(|line| is_turn(line)) {
            if !lines.iter().any(|other| other.first == line.first) {
                lines.push(line);
            }
        }
        for line in lines {
            let Some(Mark::Turn { since, mode, pid }) = mark_of(line) else {
                continue;
            };
            let (pid, certainty) = self.owner(line, pid);
            add(
                parties,
                Party {
                    role: Role::Waiter,
                    kind: Kind::Flock,
                    mode: Some(mode),
                    range: None,
                    pid,
                    certainty,
                    since: Some(since),
                },
            );
        }
    }

    /// Whom the process of this number stands for. In another pid namespace it may have another number.
    fn owner(&self, line: &Line, token: Pid) -> (Option<Pid>, Certainty) {
        let with_mark = || self.scan.seen.iter().filter(|seen| seen.line == *line);
        let is_token = |pid: Pid, inner: Option<Pid>| pid == token || inner == Some(token);
        if let Some(seen) = with_mark().find(|seen| !is_token(seen.pid, seen.inner)) {
            return (Some(seen.pid), Certainty::Verified);
        }
        if let Some(seen) = with_mark().next() {
            return ((self.parent)(seen.pid), Certainty::Verified);
        }
        match (self.parent)(token) {
            Some(owner) if (self.lives)(token) && !self.scan.open.contains(&owner) => {
                (Some(owner), Certainty::Unverified)
            }
            _ => (None, Certainty::Unverified),
        }
    }

    /// Whether a process only stands for another one.
    fn is_token(&self, pid: Pid, inner: Option<Pid>) -> bool {
        let seen = self.scan.seen.iter().map(|seen| &seen.line);
        seen.chain(self.table).filter(|line| is_turn(line)).any(|line| {
            matches!(mark_of(line), Some(Mark::Turn { pid: token, .. }) if token == pid || Some(token) == inner)
        })
    }

    /// Whoever has a descriptor of an open file that has a lock.
    fn seen_holders(&self, parties: &mut Vec<Party>) {
        for seen in &self.scan.seen {
            let line = &seen.line;
            let listed = !is_turn(line)
                && !self.is_token(seen.pid, seen.inner)
                && !self.is_asker(seen.pid, line);
            if listed {
                add(parties, party(line, Some(seen.pid), Certainty::Verified));
            }
        }
    }

    fn is_asker(&self, pid: Pid, line: &Line) -> bool {
        let (asker, own) = self.asker;
        let parent_has_it = || {
            let parent = (self.parent)(own);
            let mut seen = self.scan.seen.iter();
            seen.any(|seen| Some(seen.pid) == parent && seen.line == *line)
        };
        pid == own
            && match asker {
                Asker::Process => true,
                Asker::Shell => false,
                Asker::Subshell => parent_has_it(),
            }
    }

    /// Locks that are there and that nobody was seen to have. Of several that look alike, as many as there are more than
    /// descriptors were seen.
    fn unseen_holders(&self, parties: &mut Vec<Party>) {
        for (place, line) in self.table.iter().enumerate() {
            if line.state == State::Blocked || is_turn(line) {
                continue;
            }
            let alike = self.table[..place]
                .iter()
                .filter(|other| *other == line)
                .count();
            let seen = self
                .scan
                .seen
                .iter()
                .filter(|seen| seen.line == *line)
                .count();
            if alike < seen {
                continue;
            }
            let taker = match mark_of(line) {
                Some(Mark::Slot { pid, .. }) => Some(pid),
                _ => line.taker,
            };
            // One that we have looked into has it no more: it has handed it on.
            let taker = taker.filter(|pid| (self.lives)(*pid) && !self.scan.open.contains(pid));
            add(parties, party(line, taker, Certainty::Unverified));
        }
    }

    /// Whoever waits in the kernel. Whoever waits for his turn too is one and the same.
    fn waiters(&self, parties: &mut Vec<Party>) {
        let blocked = || {
            self.table
                .iter()
                .filter(|line| line.state == State::Blocked)
        };
        for line in blocked().filter(|line| line.kind != Kind::Ofd) {
            match line.taker {
                Some(pid) => self.add_waiter(parties, party(line, Some(pid), Certainty::Verified)),
                None => add(parties, party(line, None, Certainty::Unverified)),
            }
        }
        let ofd: Vec<&Line> = blocked().filter(|line| line.kind == Kind::Ofd).collect();
        let mut found = 0;
        for Waiting { pid, call } in &self.scan.waiting {
            match call {
                Blocked::Flock { shared, .. } => {
                    let mode = if *shared {
                        Mode::Shared
                    } else {
                        Mode::Exclusive
                    };
                    self.add_waiter(parties, waiter(Kind::Flock, Some(mode), *pid));
                }
                // The call does not tell what it waits for, but there may be only one thing.
                Blocked::Ofd { .. } => {
                    found += 1;
                    let same = ofd.iter().all(|line| same_wish(line, ofd[0]));
                    let known = ofd.first().filter(|_| same);
                    let waiter = known.map_or(waiter(Kind::Ofd, None, *pid), |line| {
                        party(line, Some(*pid), Certainty::Verified)
                    });
                    self.add_waiter(parties, waiter);
                }
                Blocked::Posix { .. } => {
                    self.add_waiter(parties, waiter(Kind::Posix, None, *pid));
                }
            }
        }
        for line in ofd.iter().skip(found) {
            add(parties, party(line, None, Certainty::Unverified));
        }
    }

    fn add_waiter(&self, parties: &mut Vec<Party>, waiter: Party) {
        let is_known = |other: &Party| {
            other.role == Role::Waiter && other.kind == waiter.kind && other.pid == waiter.pid
        };
        let is_token = waiter.pid.is_some_and(|pid| self.is_token(pid, None));
        if !is_token && !parties.iter().any(is_known) {
            parties.push(waiter);
        }
    }
}

fn waiter(kind: Kind, mode: Option<Mode>, pid: Pid) -> Party {
    Party {
        role: Role::Waiter,
        kind,
        mode,
        range: None,
        pid: Some(pid),
        certainty: Certainty::Verified,
        since: None,
    }
}

fn same_wish(one: &Line, other: &Line) -> bool {
    (one.mode, one.first, one.last) == (other.mode, other.first, other.last)
}

#[cfg(test)]
mod tests;
