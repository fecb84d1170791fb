//! What a model says about one process: its state diagram, and whether it can make the system calls
//! that were recorded of a real one.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{Graph, Kind, Model};
use crate::states::States;

/// Steps that strace(1) does not show, or not everywhere: the vDSO tells the time.
const INVISIBLE: [&str; 2] = ["", "clock_gettime"];

/// Checks that process 0 of a model can make these system calls with these results, while the
/// others do what they want.
///
/// # Errors
///
/// The number of calls that it can make.
pub(crate) fn explain<M: Model>(model: &M, calls: &[(&str, &str)]) -> Result<(), usize> {
    explain_of(model, 0, calls)
}

/// Checks the same of another process.
pub(crate) fn explain_of<M: Model>(
    model: &M,
    process: u8,
    calls: &[(&str, &str)],
) -> Result<(), usize> {
    explain_visible(model, |_| process, calls, is_visible)
}

/// Whether strace(1) shows a call.
pub(crate) fn is_visible(call: &str) -> bool {
    !INVISIBLE.contains(&call)
}

/// Checks the same, if not all steps of the process are recorded, or the process of a call depends
/// on its index.
pub(crate) fn explain_visible<M: Model>(
    model: &M,
    process_at: impl Fn(usize) -> u8,
    calls: &[(&str, &str)],
    is_visible: impl Fn(&str) -> bool,
) -> Result<(), usize> {
    let (mut states, mut steps) = (States::default(), Vec::new());
    states.insert(model.initial());
    for (index, expected) in calls.iter().enumerate() {
        let (mut next, mut visited) = (States::default(), 0);
        while let Some(state) = states.list.get(visited) {
            model.steps(state, &mut steps);
            visited += 1;
            for (step, after) in steps.drain(..) {
                let is_own = step.process == process_at(index);
                if is_own && (step.call, step.result) == *expected {
                    next.insert(after);
                } else if !is_own || !is_visible(step.call) {
                    states.insert(after);
                }
            }
        }
        if next.list.is_empty() {
            return Err(index);
        }
        states = next;
    }
    Ok(())
}

/// Returns the state diagram of process 0 in the language of Mermaid: the places of the program,
/// and the system calls that lead from one to the next. Signals are left out.
pub(crate) fn diagram<M: Model>(
    graph: &Graph<'_, M>,
    place: impl Fn(&M::State) -> String,
) -> String {
    diagram_of(graph, 0, place)
}

/// Returns the state diagram of another process.
pub(crate) fn diagram_of<M: Model>(
    graph: &Graph<'_, M>,
    process: u8,
    place: impl Fn(&M::State) -> String,
) -> String {
    let mut arrows: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    graph.visit_steps(|state, step, next| {
        let is_signal = step.call.starts_with("SIG") && step.kind == Kind::Chance;
        if step.process != process || is_signal {
            return;
        }
        let mut label = step.call.to_owned();
        if !step.result.is_empty() {
            label += " → ";
            label += step.result;
        }
        if step.kind == Kind::Timer {
            label += " (timer)";
        }
        arrows
            .entry((place(state), place(next)))
            .or_default()
            .insert(label);
    });
    let mut text = String::from("stateDiagram-v2\n");
    for ((from, to), labels) in arrows {
        let name = |place: &str| if place == "Idle" { "[*]" } else { place }.to_owned();
        let labels = Vec::from_iter(labels).join("; ");
        let label = if labels.is_empty() {
            String::new()
        } else {
            format!(" : {labels}")
        };
        text += &format!("    {} --> {}{label}\n", name(&from), name(&to));
    }
    text
}
