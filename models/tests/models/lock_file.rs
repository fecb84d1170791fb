//! A lock file that is opened, locked, compared and removed.

use std::collections::HashSet;

use crate::{assert_found, explore, is_true, processes};
use models::graph::{Graph, Timers};
use models::lock_file::{Detail, FileSystem, LockFile, Mutant, Others, State};

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

#[test]
fn holders_of_a_replaced_file_exclude_each_other() {
    let model = LockFile {
        detail: Detail::Coarse,
        ..LockFile::new(processes() as u8, FileSystem::Local, Others::Move)
    };
    let graph = explore(&model, &LockFile::ALWAYS);
    assert!(is_served(&graph, 1));
}

/// Four machines would take too much memory, so `make soak` has more programs that ignore the lock.
#[test]
fn holders_exclude_each_other_over_nfs() {
    let others = match processes() {
        3 => Others::Replace,
        _ => Others::Move,
    };
    let model = LockFile {
        detail: Detail::Exchangeable,
        ..LockFile::new(3, FileSystem::Nfs4, others)
    };
    explore(&model, &LockFile::ALWAYS);
}

#[test]
fn the_coarse_models_cover_the_fine_ones() {
    for (processes, file_system, others) in [
        (3, FileSystem::Local, Others::Nothing),
        (2, FileSystem::Local, Others::Move),
        (2, FileSystem::Nfs4, Others::Move),
    ] {
        let fine = LockFile::new(processes, file_system, others);
        let graph = explore(&fine, &LockFile::ALWAYS);
        assert!(is_served(&graph, processes));
        let mut over = graph.states().iter().filter(|state| state.is_over());
        assert!(over.all(State::is_clean), "all files are closed");
        for detail in [Detail::Coarse, Detail::Exchangeable] {
            let coarse = LockFile { detail, ..fine };
            let coarse_graph = explore(&coarse, &LockFile::ALWAYS);
            let reached: HashSet<_> = coarse_graph.states().iter().collect();
            let lost = graph.path_to(|state| !reached.contains(&coarse.fold(state)));
            assert!(lost.is_none(), "{coarse:?} {lost:#?}");
        }
    }
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
fn the_command_of_a_killed_process_keeps_the_lock() {
    let model = LockFile::new(2, FileSystem::Local, Others::Replace);
    let graph = explore(&model, &LockFile::KEPT);
    let is_left = |state: &State| state.is_left_to_command(0);
    assert!(graph.path_to(is_left).is_some());
    for mutant in [Mutant::NotInherited, Mutant::UnlinkWithoutLock] {
        let others = Others::Nothing;
        let model = LockFile {
            mutant,
            others,
            ..model
        };
        assert_found(&model, &LockFile::KEPT);
    }
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
        for detail in [Detail::Fine, Detail::Coarse] {
            let model = LockFile {
                mutant,
                detail,
                ..LockFile::new(2, file_system, others)
            };
            assert_found(&model, &LockFile::ALWAYS);
        }
    }
}
