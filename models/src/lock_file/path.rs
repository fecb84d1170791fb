//! What the name leads to: what a process finds, and what programs that ignore the lock change.

use super::{FileSystem, LockFile, MAX, Mutant, Others, Place, State};
use crate::graph::Step;
use crate::kernel::{call, chance};

impl LockFile {
    /// Changes what the name leads to, as one machine, or the server, does it.
    pub(super) fn rename(
        &self,
        state: &State,
        by: Option<u8>,
        name: u8,
        add: &mut dyn FnMut(State),
    ) {
        let mut next = *state;
        next.name = name;
        if self.is_remote() {
            let all = (1 << self.processes) - 1;
            let others = by.map_or(all, |process| all & !(1 << process));
            if let Some(process) = by {
                next.cached[usize::from(process)] = name;
            }
            if self.file_system == FileSystem::Nfs3 {
                let mut unnoticed = next;
                unnoticed.normalize();
                add(unnoticed);
            }
            next.noticeable |= others;
        }
        next.normalize();
        add(next);
    }

    pub(super) fn add_others(&self, state: &State, steps: &mut Vec<(Step, State)>) {
        if self.others == Others::Nothing {
            return;
        }
        let mut change = |call: &'static str, name, elsewhere| {
            let mut next = *state;
            // A file that only gets another name is not nameless.
            let is_moved = call.starts_with("mv lock") && self.is_remote();
            next.is_broken |= is_moved && state.is_compared()
                || state.is_being_removed()
                || state.holders().next().is_some();
            next.elsewhere = elsewhere;
            self.rename(&next, None, name, &mut |next| {
                steps.push((chance(u8::MAX, call), next));
            });
        };
        if state.name != 0 {
            change("rm", 0, state.elsewhere);
            if self.others == Others::Move && state.elsewhere == 0 {
                change("mv lock other", 0, state.name);
            }
        }
        change("mv new lock", state.new_inode(), state.elsewhere);
    }

    pub(super) fn add_opened(
        &self,
        state: &State,
        process: u8,
        file: usize,
        then: Place,
        mut add: impl FnMut(&'static str, State),
    ) {
        let index = usize::from(process);
        let mut open = |inode: u8| {
            let mut next = *state;
            if inode != 0 {
                next.files.open(file, inode, process);
                next.places[index] = then;
                if self.is_remote() {
                    next.cached[index] = inode;
                }
            } else {
                next.places[index] = if file < MAX {
                    Place::Create
                } else {
                    Place::Exit
                };
            }
            next.normalize();
            add(if inode == 0 { "ENOENT" } else { "ok" }, next);
        };
        open(state.name);
        let cached = state.cached[index];
        if self.is_remote() && cached != 0 && cached != state.name && state.is_known(cached) {
            open(cached);
        }
    }

    /// The comparison of a file with the path, in up to three steps.
    pub(super) fn add_comparison(
        &self,
        state: &State,
        process: u8,
        file: usize,
        places: [Place; 4],
        steps: &mut Vec<(Step, State)>,
    ) {
        let [_, compare, same, replaced] = places;
        let check_name = if file < MAX {
            Place::CheckName
        } else {
            Place::CheckNameAgain
        };
        let index = usize::from(process);
        let inode = state.files.0[file].inode;
        let mut go = |name, result, place, change: &dyn Fn(&mut State)| {
            let mut next = *state;
            next.places[index] = place;
            change(&mut next);
            if place == Place::Exit {
                next.files.close(file, process);
            }
            next.normalize();
            steps.push((call(process, name, result), next));
        };
        let place = state.places[index];
        if place == compare {
            let cached = state.cached[index];
            let is_cached = self.is_remote() && cached != 0;
            let found = if is_cached { cached } else { state.name };
            let learn = |next: &mut State| {
                if self.is_remote() {
                    next.cached[index] = found;
                }
            };
            // A server may give the number of a removed file to the next one.
            let may_look_same =
                self.is_remote() && !is_cached && found != 0 && inode != state.elsewhere;
            let checks_name = self.is_remote() && self.mutant != Mutant::NoNamelessCheck;
            let same = if checks_name { check_name } else { same };
            if found == inode || may_look_same {
                go("stat", "same", same, &learn);
            }
            if found != inode {
                let result = if found == 0 { "ENOENT" } else { "other" };
                go("stat", result, replaced, &learn);
            }
        } else if place == check_name {
            if inode == state.name || inode == state.elsewhere {
                go("statx(fd)", "named", same, &|_| {});
            } else {
                go("statx(fd)", "nameless", replaced, &|_| {});
            }
        } else {
            go("statx(dir)", "", compare, &|next| {
                if next.noticeable & 1 << process != 0 && self.mutant != Mutant::NoRefresh {
                    next.noticeable &= !(1 << process);
                    next.cached[index] = 0;
                }
            });
        }
    }

    /// A server that has forgotten a file says so.
    pub(super) fn add_forgotten(&self, state: &State, process: u8, steps: &mut Vec<(Step, State)>) {
        let index = usize::from(process);
        let inode = state.files.0[index].inode;
        if self.is_remote() && inode != state.name && inode != state.elsewhere {
            let mut next = *state;
            next.places[index] = Place::Reopen;
            steps.push((call(process, "flock", "ESTALE"), next));
        }
    }
}
