//! The steps of a process.

use super::{MAX, Mutant, Owner, PidFile, Place, State};
use crate::graph::{Places, Step};
use crate::kernel::{Lock, call, chance};

impl PidFile {
    pub(super) fn add_steps_of(&self, state: &State, process: u8, steps: &mut Vec<(Step, State)>) {
        let index = usize::from(process);
        let (place, own) = (state.places[index], MAX + index);
        let mut push = |step, place, change: &dyn Fn(&mut State)| {
            steps.push((step, state.after(process, place, change)));
        };
        let done = |name, result| call(process, name, result);
        let nothing = |_: &mut State| {};
        let inode = state.files.0[index].inode;
        let is_dead = state.owners[usize::from(inode)] == Owner::Dead;
        let liveness = if is_dead { "dead" } else { "alive" };
        let is_own = state.files.0[own].inode == state.name
            && state.owners[usize::from(state.name)] == Owner::Process(process);
        match place {
            // The descriptions of its supervisor are still open.
            Place::Idle if state.supervisors & 1 << process != 0 => {}
            Place::Idle => push(chance(process, ""), Place::Look, &nothing),
            Place::Look if state.name == 0 => {
                push(done("lstat", "ENOENT"), Place::Create, &nothing)
            }
            Place::Look => push(done("lstat", "ok"), Place::Open, &nothing),
            Place::Open if state.name == 0 => push(done("open", "ENOENT"), Place::Create, &nothing),
            Place::Open => {
                let then = match self.mutant {
                    Mutant::NoLock => Place::Read,
                    _ => Place::Try,
                };
                push(done("open", "ok"), then, &|next| {
                    next.files.open(index, state.name, process);
                });
            }
            Place::Try if state.files.may_lock(index, Lock::Exclusive) => {
                push(done("flock(LOCK_NB)", "ok"), Place::Read, &|next| {
                    next.files.0[index].lock = Lock::Exclusive;
                });
            }
            Place::Try => push(
                done("flock(LOCK_NB)", "EAGAIN"),
                Place::ReadLocked,
                &nothing,
            ),
            // The comparison comes first in either case, and only then the decision.
            Place::Read => push(done("read", liveness), Place::Compare, &nothing),
            Place::Compare => {
                let is_same = inode == state.name || self.mutant == Mutant::NoComparison;
                let (result, then) = match (is_same, is_dead) {
                    (true, true) => ("same", Place::Move),
                    (true, false) => ("same", Place::Exit),
                    (false, _) => ("other", Place::Close),
                };
                push(done("lstat", result), then, &nothing);
            }
            Place::ReadLocked => {
                let then = match (is_dead, self.mutant) {
                    (true, Mutant::IgnoreSupervisor) => Place::Move,
                    (true, _) => Place::Block,
                    (false, _) => Place::Exit,
                };
                push(done("read", liveness), then, &nothing);
            }
            Place::Block => {
                if state.files.may_lock(index, Lock::Exclusive) {
                    push(done("flock", "ok"), Place::Close, &nothing);
                }
                push(chance(process, "flock"), Place::Exit, &nothing);
            }
            Place::Move if state.name == 0 => {
                push(done("renameat2", "ENOENT"), Place::Close, &nothing);
            }
            Place::Move => push(done("renameat2", "ok"), Place::CheckMoved, &|next| {
                next.moved[index] = std::mem::take(&mut next.name);
            }),
            Place::CheckMoved => {
                let is_stale = state.moved[index] == inode || self.mutant == Mutant::NoComparison;
                let then = if is_stale {
                    Place::UnlinkMoved
                } else {
                    Place::MoveBack
                };
                push(
                    done("lstat", if is_stale { "same" } else { "other" }),
                    then,
                    &nothing,
                );
            }
            Place::MoveBack if state.name == 0 => {
                push(done("renameat2", "ok"), Place::Close, &|next| {
                    next.name = std::mem::take(&mut next.moved[index]);
                });
            }
            Place::MoveBack => push(done("renameat2", "EEXIST"), Place::UnlinkMoved, &nothing),
            Place::UnlinkMoved => {
                push(done("unlink", "ok"), Place::Close, &|next| {
                    next.moved[index] = 0
                });
            }
            Place::Close => push(done("close", ""), Place::Look, &|next| {
                next.close(index, process)
            }),
            Place::Create => push(done("open(O_TMPFILE)", ""), Place::Lock, &|next| {
                next.create(process);
            }),
            // No other process can lock a file without a name.
            Place::Lock => push(done("flock(LOCK_NB)", "ok"), Place::Link, &|next| {
                next.files.0[own].lock = Lock::Exclusive;
            }),
            Place::Link if state.name == 0 => push(done("link", "ok"), Place::Confirm, &|next| {
                next.name = next.files.0[own].inode;
            }),
            Place::Link => push(done("link", "EEXIST"), Place::Look, &|next| {
                next.close(own, process);
            }),
            Place::Confirm if is_own => push(done("lstat", "same"), Place::Hold, &nothing),
            Place::Confirm => push(done("lstat", "other"), Place::Look, &|next| {
                next.close(own, process);
            }),
            Place::Hold => push(done("waitid", ""), Place::ConfirmAgain, &nothing),
            Place::ConfirmAgain if is_own => push(done("lstat", "same"), Place::Unlink, &nothing),
            Place::ConfirmAgain => push(done("lstat", "other"), Place::Exit, &nothing),
            Place::Unlink => push(done("unlink", "ok"), Place::Exit, &|next| next.name = 0),
            Place::Exit => push(done("exit", ""), Place::Idle, &|next| next.exit(process)),
        }
    }
}
