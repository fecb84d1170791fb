//! Perl's LockFile::Simple, which `runlock` replaces.

use super::{MAX, Owner, PidFile, Place, State};
use crate::graph::{Places, Step};
use crate::kernel::{call, chance};

impl PidFile {
    /// The original reads a PID and removes the file by its path, and creates a file that it has
    /// found missing, without regard to what happens in between.
    pub(super) fn add_steps_of_original(
        &self,
        state: &State,
        process: u8,
        steps: &mut Vec<(Step, State)>,
    ) {
        let index = usize::from(process);
        let mut push = |step, place, change: &dyn Fn(&mut State)| {
            steps.push((step, state.after(process, place, change)));
        };
        let done = |name, result| call(process, name, result);
        let name = usize::from(state.name);
        match state.places[index] {
            Place::Idle => push(chance(process, ""), Place::Look, &|_| {}),
            Place::Look if name == 0 => push(done("stat", "ENOENT"), Place::Create, &|_| {}),
            Place::Look => push(done("stat", "ok"), Place::Read, &|_| {}),
            Place::Read if state.owners[name] == Owner::Dead => {
                push(done("read", "dead"), Place::UnlinkMoved, &|_| {});
            }
            Place::Read => push(done("read", "alive"), Place::Exit, &|_| {}),
            Place::UnlinkMoved => push(done("unlink", ""), Place::Look, &|next| next.name = 0),
            Place::Create => push(done("open(O_CREAT|O_TRUNC)", ""), Place::Confirm, &|next| {
                if next.name == 0 {
                    next.create(process);
                    next.name = next.files.0[MAX + index].inode;
                }
                next.owners[usize::from(next.name)] = Owner::Process(process);
                next.close(MAX + index, process);
            }),
            Place::Confirm if state.owners[name] == Owner::Process(process) => {
                push(done("read", "own"), Place::Hold, &|_| {});
            }
            Place::Confirm => push(done("read", "other"), Place::Exit, &|_| {}),
            Place::Hold => push(done("unlink", ""), Place::Exit, &|next| next.name = 0),
            _ => push(done("exit", ""), Place::Idle, &|next| next.exit(process)),
        }
    }
}
