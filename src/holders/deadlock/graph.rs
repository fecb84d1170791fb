//! Finds cycles among processes that wait for each other.

use rustix::process::Pid;

/// The waiters in the order of their PIDs, each with the processes that it waits for.
#[derive(Debug, Default)]
pub(in crate::holders) struct Waits(Vec<(Pid, Vec<Pid>)>);

impl Waits {
    fn find(&self, waiter: Pid) -> Result<usize, usize> {
        let raw = |pid: Pid| pid.as_raw_nonzero();
        self.0
            .binary_search_by_key(&raw(waiter), |(pid, _)| raw(*pid))
    }

    /// Adds that a process waits for another one, or for itself.
    pub(in crate::holders) fn add(&mut self, waiter: Pid, holder: Pid) {
        let index = self.find(waiter).unwrap_or_else(|index| {
            self.0.insert(index, (waiter, Vec::new()));
            index
        });
        self.0[index].1.push(holder);
    }

    /// Returns whether a process waits for another one.
    pub(in crate::holders) fn contains(&self, waiter: Pid, holder: Pid) -> bool {
        let index = self.find(waiter);
        index.is_ok_and(|index| self.0[index].1.contains(&holder))
    }

    /// Returns the shortest cycle through each waiter, without those whose waiters are all in the
    /// earlier ones. Ends early when the time is over: there may be very many waiters.
    pub(in crate::holders) fn cycles(&self, is_over: &dyn Fn() -> bool) -> Vec<Vec<Pid>> {
        let mut cycles: Vec<Vec<Pid>> = Vec::new();
        for (index, (waiter, _)) in self.0.iter().enumerate() {
            if !cycles.iter().any(|cycle| cycle.contains(waiter)) {
                cycles.extend(self.cycle_through(index, is_over));
            }
        }
        cycles
    }

    /// Searches in breadth: all paths of one length before the longer ones.
    fn cycle_through(&self, start: usize, is_over: &dyn Fn() -> bool) -> Option<Vec<Pid>> {
        let mut reached_from = vec![None; self.0.len()];
        let mut reached = vec![start];
        let mut next = 0;
        while let Some(from) = reached.get(next).copied() {
            next += 1;
            if is_over() {
                return None;
            }
            for holder in &self.0[from].1 {
                // A process that does not wait ends the path.
                let Ok(index) = self.find(*holder) else {
                    continue;
                };
                if index == start {
                    let back = |index: &usize| reached_from[*index].filter(|_| *index != start);
                    let path = std::iter::successors(Some(from), back);
                    let mut cycle: Vec<Pid> = path.map(|index| self.0[index].0).collect();
                    cycle.reverse();
                    return Some(cycle);
                }
                if reached_from[index].is_none() {
                    reached_from[index] = Some(from);
                    reached.push(index);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid(id: i32) -> Pid {
        Pid::from_raw(id).expect("not zero")
    }

    fn found(waits: &[(i32, i32)]) -> Vec<Vec<i32>> {
        let mut graph = Waits::default();
        for (waiter, holder) in waits {
            graph.add(pid(*waiter), pid(*holder));
        }
        let id = |pid: &Pid| pid.as_raw_nonzero().get();
        let cycles = graph.cycles(&|| false);
        cycles
            .iter()
            .map(|cycle| cycle.iter().map(id).collect())
            .collect()
    }

    #[test]
    fn processes_that_wait_in_a_cycle_are_found() {
        assert_eq!(found(&[(1, 1)]), [[1]]);
        assert_eq!(found(&[(1, 2), (2, 1)]), [[1, 2]]);
        assert_eq!(found(&[(1, 2), (2, 3), (3, 1)]), [[1, 2, 3]]);
        assert_eq!(found(&[(1, 2), (2, 1), (3, 4), (4, 3)]), [[1, 2], [3, 4]]);
    }

    #[test]
    fn the_search_ends_when_the_time_is_over() {
        let mut graph = Waits::default();
        graph.add(pid(1), pid(2));
        graph.add(pid(2), pid(1));
        assert_eq!(graph.cycles(&|| false).len(), 1);
        assert!(graph.cycles(&|| true).is_empty());
    }

    #[test]
    fn the_shortest_cycle_is_found() {
        assert_eq!(found(&[(1, 2), (2, 3), (3, 1), (2, 1)])[0], [1, 2]);
    }

    #[test]
    fn a_process_that_waits_for_a_cycle_is_not_in_it() {
        assert_eq!(found(&[(9, 1), (1, 2), (2, 1)]), [[1, 2]]);
    }

    #[test]
    fn a_chain_is_not_a_cycle() {
        let none: [[i32; 0]; 0] = [];
        assert_eq!(found(&[(1, 2), (2, 3), (1, 3)]), none);
        assert_eq!(found(&[]), none);
    }
}
