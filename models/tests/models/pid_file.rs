//! The PID file of `runlock`.

use crate::{assert_found, explore, is_true};
use models::graph::{Step, Timers};
use models::pid_file::{Mutant, PidFile, State};

#[test]
fn at_most_one_process_holds_the_lock() {
    let model = PidFile::new(3);
    let graph = explore(&model, &PidFile::ALWAYS);
    for process in 0..3 {
        assert!(is_true(graph.leads_to(
            "a process that is alone gets the lock, although others were killed",
            Timers::Idle,
            |_, stepping| usize::from(stepping) == process,
            |state| state.is_alone(process),
            |state| state.is_holder(process),
        )));
    }
    let mut over = graph.states().iter().filter(|state| state.is_over());
    assert!(over.all(State::is_clean), "only the file itself is left");
    let littered = graph.path_to(|state| state.is_littered);
    let is_kill = |step: &Step| step.call == "SIGKILL";
    assert!(littered.is_some_and(|steps| steps.last().is_some_and(is_kill)));
}

#[test]
fn the_original_may_break_the_lock() {
    let model = PidFile {
        with_original: true,
        ..PidFile::new(2)
    };
    assert_found(&model, &PidFile::ALWAYS);
}

#[test]
fn mutants_are_found() {
    for mutant in [
        Mutant::NoLock,
        Mutant::NoComparison,
        Mutant::IgnoreSupervisor,
    ] {
        let model = PidFile {
            mutant,
            ..PidFile::new(3)
        };
        assert_found(&model, &PidFile::ALWAYS);
    }
}
