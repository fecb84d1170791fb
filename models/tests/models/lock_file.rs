//! A lock file that is opened, locked, compared and removed.

use crate::{assert_found, explore, is_true};
use models::graph::{Graph, Timers};
use models::lock_file::{FileSystem, LockFile, Mutant, Others, State};

/// Whether every waiter gets the lock without the help of others than holders.
fn is_served(graph: &Graph<'_, LockFile>, waiters: u8) -> bool {
    (0..waiters).all(|waiter| {
        is_true(graph.leads_to(
            "a waiter gets the lock",
            Timers::Idle,
            |state, process| state.depends_on(waiter, process),
            |state| state.is_waiter(waiter.into()),
            |state| state.is_holder(waiter.into()),
        ))
    })
}

fn check(processes: u8, file_system: FileSystem, others: Others) {
    let model = LockFile::new(processes, file_system, others);
    let graph = explore(&model, &LockFile::ALWAYS);
    assert!(is_served(&graph, processes));
    let mut over = graph.states().iter().filter(|state| state.is_over());
    assert!(over.all(State::is_clean), "all files are closed");
}

#[test]
fn holders_exclude_each_other() {
    check(3, FileSystem::Local, Others::Nothing);
}

#[test]
fn holders_of_a_replaced_file_exclude_each_other() {
    check(2, FileSystem::Local, Others::Move);
}

#[test]
fn holders_exclude_each_other_over_nfs() {
    check(2, FileSystem::Nfs4, Others::Move);
}

#[test]
fn the_last_process_removes_the_file() {
    let model = LockFile {
        is_tidy: true,
        ..LockFile::new(3, FileSystem::Local, Others::Nothing)
    };
    let graph = explore(&model, &LockFile::ALWAYS);
    let left_behind = graph.path_to(|state| state.is_over() && state.name != 0);
    assert!(left_behind.is_none(), "{left_behind:#?}");
}

#[test]
fn a_file_deleted_while_locked_has_two_holders() {
    let model = LockFile::new(2, FileSystem::Local, Others::Replace);
    let graph = explore(&model, &LockFile::ALWAYS);
    assert!(graph.path_to(|state| !state.is_excluded()).is_some());
}

#[test]
fn a_file_moved_within_a_tick_has_two_holders() {
    let model = LockFile::new(2, FileSystem::Nfs3, Others::Move);
    assert_found(&model, &LockFile::ALWAYS);
}

#[test]
fn mutants_are_found() {
    use FileSystem::{Local, Nfs3, Nfs4};
    for (mutant, file_system, others) in [
        (Mutant::NoComparison, Local, Others::Nothing),
        (Mutant::CompareBeforeLocking, Local, Others::Nothing),
        (Mutant::UnlinkWithoutLock, Local, Others::Nothing),
        (Mutant::UnlinkWithoutComparison, Local, Others::Nothing),
        (Mutant::NoRefresh, Nfs4, Others::Move),
        (Mutant::NoNamelessCheck, Nfs3, Others::Replace),
    ] {
        let model = LockFile {
            mutant,
            ..LockFile::new(2, file_system, others)
        };
        assert_found(&model, &LockFile::ALWAYS);
    }
}
