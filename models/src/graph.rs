//! The graph of all states that a model can reach, and what is true of it.

use std::fmt;
use std::hash::Hash;

use crate::states::States;

/// A transition system.
pub trait Model {
    /// Everything that the future depends on. Equal states are visited once.
    type State: Copy + Eq + Hash + fmt::Debug;

    /// Returns the state in which no process has started.
    fn initial(&self) -> Self::State;

    /// Adds every step that is possible in a state, and the state that it leads to.
    fn steps(&self, state: &Self::State, steps: &mut Vec<(Step, Self::State)>);
}

/// What one process, or the world around it, does: a system call and its result.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The process.
    pub process: u8,
    /// The system call, or an event such as a signal. Empty if strace(1) does not show it.
    pub call: &'static str,
    /// The result that the process distinguishes. Empty if there is only one.
    pub result: &'static str,
    /// Who is to thank for it.
    pub kind: Kind,
}

/// What a step depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The process goes on by itself.
    Progress,
    /// A timer makes the process look again.
    Timer,
    /// Nothing may rely on it: a process arrives, is killed, stopped or continued, gives up after a
    /// timeout, or a program that ignores the lock does something.
    Chance,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.process, self.call)?;
        match self.result {
            "" => Ok(()),
            result => write!(f, " = {result}"),
        }
    }
}

/// A state in which each process is at a place of its program.
pub(crate) trait Places: Copy {
    /// How far a process is.
    type Place;

    /// Moves a process.
    fn set_place(&mut self, process: u8, place: Self::Place);

    /// Forgets what does not matter any more, so that equal situations are equal states.
    fn forget_unused(&mut self) {}

    /// Returns the state after a step: the new place of the process that makes it, and what else it
    /// changes.
    fn after(&self, process: u8, place: Self::Place, change: &dyn Fn(&mut Self)) -> Self {
        let mut next = *self;
        next.set_place(process, place);
        change(&mut next);
        next.forget_unused();
        next
    }
}

/// Steps that lead to a state that must not exist, from the initial state on.
pub struct Counterexample<S> {
    /// The property that is violated.
    pub property: String,
    /// The steps.
    pub steps: Vec<Step>,
    /// The last state.
    pub state: S,
}

impl<S: fmt::Debug> fmt::Debug for Counterexample<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "not true: {}", self.property)?;
        for step in &self.steps {
            writeln!(f, "    {step:?}")?;
        }
        write!(f, "{:?}", self.state)
    }
}

/// A property of every reachable state.
pub type Always<S> = (&'static str, fn(&S) -> bool);

/// All reachable states, and the steps between them.
pub struct Graph<'m, M: Model> {
    model: &'m M,
    states: States<M::State>,
    /// The state from which each state was first reached.
    parents: Vec<u32>,
    /// The steps that do not depend on chance, with the process that makes them.
    edges: Vec<(Kind, u8, u32, u32)>,
    /// The number of steps to the state that is the farthest from the initial one.
    depth: usize,
}

/// The number of states and the depth, as they are reported.
impl<M: Model> fmt::Display for Graph<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} states, depth {}", self.len(), self.depth)
    }
}

impl<'m, M: Model> Graph<'m, M> {
    /// Visits all states, those that are reached in the fewest steps first.
    ///
    /// # Errors
    ///
    /// A state in which a property is not true, reached in as few steps as possible.
    pub fn explore(
        model: &'m M,
        always: &[Always<M::State>],
    ) -> Result<Self, Counterexample<M::State>> {
        let mut graph = Self {
            model,
            states: States::default(),
            parents: vec![0],
            edges: Vec::new(),
            depth: 0,
        };
        graph.states.insert(model.initial());
        let (mut steps, mut index, mut end_of_level) = (Vec::new(), 0, 1);
        while index < graph.len() {
            if index == end_of_level {
                end_of_level = graph.len();
                graph.depth += 1;
            }
            let state = graph.states.list[index];
            if let Some((name, _)) = always.iter().find(|(_, holds)| !holds(&state)) {
                return Err(graph.counterexample((*name).to_owned(), index));
            }
            model.steps(&state, &mut steps);
            for (step, next) in steps.drain(..) {
                let (next, is_new) = graph.states.insert(next);
                if is_new {
                    graph.parents.push(index as u32);
                }
                if step.kind != Kind::Chance && next != index as u32 {
                    graph
                        .edges
                        .push((step.kind, step.process, index as u32, next));
                }
            }
            index += 1;
        }
        Ok(graph)
    }

    /// Returns the number of states.
    #[allow(clippy::len_without_is_empty)] // There is always the initial state.
    pub fn len(&self) -> usize {
        self.states.list.len()
    }

    /// Returns the states.
    pub fn states(&self) -> &[M::State] {
        &self.states.list
    }

    /// Visits all steps between the states.
    pub(crate) fn visit_steps(&self, mut visit: impl FnMut(&M::State, Step, &M::State)) {
        let mut steps = Vec::new();
        for state in &self.states.list {
            self.model.steps(state, &mut steps);
            steps
                .drain(..)
                .for_each(|(step, next)| visit(state, step, &next));
        }
    }

    /// Returns the steps that lead to the first state with a property, if there is one.
    pub fn path_to(&self, is_found: impl Fn(&M::State) -> bool) -> Option<Vec<Step>> {
        let index = self.states.list.iter().position(is_found)?;
        Some(self.counterexample(String::new(), index).steps)
    }

    /// Checks that from every state with the property `from`, some steps that do not depend on
    /// chance lead to one with the property `to`: with fair scheduling, it is reached. Only steps of
    /// processes that `may_step` counts on are used: all others may be stopped.
    ///
    /// # Errors
    ///
    /// A state from which it cannot be reached.
    pub fn leads_to(
        &self,
        property: &str,
        timers: Timers,
        may_step: impl Fn(&M::State, u8) -> bool,
        from: impl Fn(&M::State) -> bool,
        to: impl Fn(&M::State) -> bool,
    ) -> Result<(), Counterexample<M::State>> {
        let is_used =
            |kind: Kind| kind == Kind::Progress || timers == Timers::Fire && kind == Kind::Timer;
        let edges = || {
            self.edges.iter().filter(|(kind, process, from, _)| {
                is_used(*kind) && may_step(&self.states.list[*from as usize], *process)
            })
        };
        // The steps by the state that they lead to.
        let mut starts = vec![0_u32; self.len() + 1];
        for (.., to) in edges() {
            starts[*to as usize + 1] += 1;
        }
        for index in 0..self.len() {
            starts[index + 1] += starts[index];
        }
        let mut sources = vec![0_u32; starts[self.len()] as usize];
        let mut filled = starts.clone();
        for (.., from, to) in edges() {
            sources[filled[*to as usize] as usize] = *from;
            filled[*to as usize] += 1;
        }
        let mut leads: Vec<bool> = self.states.list.iter().map(to).collect();
        let mut reached: Vec<u32> = (0..self.len() as u32)
            .filter(|index| leads[*index as usize])
            .collect();
        while let Some(index) = reached.pop() {
            let range = starts[index as usize] as usize..starts[index as usize + 1] as usize;
            for source in &sources[range] {
                if !std::mem::replace(&mut leads[*source as usize], true) {
                    reached.push(*source);
                }
            }
        }
        let states = self.states.list.iter().zip(&leads);
        let stuck = states
            .enumerate()
            .find(|(_, (state, leads))| !**leads && from(state));
        match stuck {
            Some((index, _)) => Err(self.counterexample(property.to_owned(), index)),
            None => Ok(()),
        }
    }

    /// Finds the steps to a state again, which are not stored.
    fn counterexample(&self, property: String, index: usize) -> Counterexample<M::State> {
        let (mut steps, mut last, mut successors) = (Vec::new(), index, Vec::new());
        while last != 0 {
            let parent = self.parents[last] as usize;
            self.model.steps(&self.states.list[parent], &mut successors);
            let state = self.states.list[last];
            let step = successors.drain(..).find(|(_, next)| *next == state);
            steps.extend(step.map(|(step, _)| step));
            last = parent;
        }
        steps.reverse();
        Counterexample {
            property,
            steps,
            state: self.states.list[index],
        }
    }
}

/// Whether a promise may depend on timers that make processes look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timers {
    /// It is kept also without them, so without delay.
    Idle,
    /// It is kept when they fire.
    Fire,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two processes that take a lock by looking and then setting it, in one step or in two.
    struct TestAndSet {
        is_atomic: bool,
    }

    impl Model for TestAndSet {
        type State = (bool, [u8; 2]);

        fn initial(&self) -> Self::State {
            (false, [0; 2])
        }

        fn steps(&self, state: &Self::State, steps: &mut Vec<(Step, Self::State)>) {
            for process in 0..2_u8 {
                let (is_set, mut places) = *state;
                let place = &mut places[usize::from(process)];
                let (call, is_set) = match (*place, is_set) {
                    (0, true) => continue,
                    (0, false) => ("test", self.is_atomic),
                    (1, _) => ("set", true),
                    _ => ("clear", false),
                };
                *place = match (*place, self.is_atomic) {
                    (0, true) => 2,
                    (place, _) => (place + 1) % 3,
                };
                let step = Step {
                    process,
                    call,
                    result: "",
                    kind: Kind::Progress,
                };
                steps.push((step, (is_set, places)));
            }
        }
    }

    const EXCLUSION: Always<(bool, [u8; 2])> = ("exclusion", |(_, places)| *places != [2, 2]);

    #[test]
    fn a_race_is_found_in_the_fewest_steps() {
        let model = TestAndSet { is_atomic: false };
        let Err(found) = Graph::explore(&model, &[EXCLUSION]) else {
            panic!("two processes are inside");
        };
        let calls: Vec<_> = found.steps.iter().map(|step| step.call).collect();
        assert_eq!(calls, ["test", "test", "set", "set"]);
    }

    #[test]
    fn what_is_never_reached_is_reported() {
        let model = TestAndSet { is_atomic: true };
        let graph = Graph::explore(&model, &[EXCLUSION]).expect("no race");
        assert_eq!(graph.to_string(), "3 states, depth 1");
        let is_inside = |state: &(bool, [u8; 2])| state.1[0] == 2;
        let leads_to = |to: fn(&(bool, [u8; 2])) -> bool| {
            graph.leads_to("it gets in", Timers::Idle, |_, _| true, |_| true, to)
        };
        assert!(leads_to(|state| state.1[0] == 2).is_ok());
        let found = leads_to(|state| state.1 == [2, 2]).expect_err("never");
        assert!(found.steps.is_empty());
        assert_eq!(graph.path_to(is_inside).map(|path| path.len()), Some(1));
    }
}
