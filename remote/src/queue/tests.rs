use proptest::prelude::*;

use super::*;

/// An event. Entries are given by their position, modulo how many there are.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A process asks for the lock.
    Arrival(Claim),
    /// An entry vanishes, for whatever reason.
    End(usize),
    /// A waiter is stopped.
    Stop(usize),
    /// A stopped one is continued.
    Continue(usize),
    /// A waiter overtakes a stopped one, if it may.
    Overtake(usize),
}

fn claim() -> impl Strategy<Value = Claim> {
    prop_oneof![
        Just(Claim::Exclusive),
        Just(Claim::Shared),
        (1_u32..4).prop_map(Claim::Slot),
    ]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        3 => claim().prop_map(Event::Arrival),
        2 => any::<usize>().prop_map(Event::End),
        1 => any::<usize>().prop_map(Event::Stop),
        1 => any::<usize>().prop_map(Event::Continue),
        2 => any::<usize>().prop_map(Event::Overtake),
    ];
    prop::collection::vec(event, 0..60)
}

/// The entries of a lock, and the events that have happened to them.
#[derive(Clone, Default)]
struct Model {
    entries: Vec<Entry>,
    revision: u64,
}

impl Model {
    fn apply(&mut self, event: Event) -> Option<Entry> {
        self.revision += 1;
        match event {
            Event::Arrival(claim) => {
                let key = format!("n/{:x}", self.revision * 7919 % 1000).into_bytes();
                let number = self.revision * SPACING;
                // They may be listed in any order.
                let index = self.revision as usize * 31 % (self.entries.len() + 1);
                let entry = Entry {
                    key,
                    number,
                    claim,
                    is_stopped: false,
                };
                self.entries.insert(index, entry);
                None
            }
            _ if self.entries.is_empty() => None,
            Event::End(index) => Some(self.entries.remove(index % self.entries.len())),
            Event::Stop(index) => {
                let entry = self.entry(index);
                let is_held = matches!(self.place(&entry), Place::Holds { .. });
                self.entry_mut(&entry).is_stopped |= !is_held;
                None
            }
            Event::Continue(index) => {
                let entry = self.entry(index);
                self.entry_mut(&entry).is_stopped = false;
                None
            }
            Event::Overtake(index) => {
                let entry = self.entry(index);
                self.overtake(&entry);
                None
            }
        }
    }

    fn entry(&self, index: usize) -> Entry {
        self.entries[index % self.entries.len()].clone()
    }

    fn entry_mut(&mut self, entry: &Entry) -> &mut Entry {
        let mut entries = self.entries.iter_mut();
        entries
            .find(|other| other.key == entry.key)
            .expect("it exists")
    }

    /// Returns whether the process has overtaken another one.
    fn overtake(&mut self, own: &Entry) -> bool {
        let moved = overtaken(&self.entries, &own.key);
        let moved = Vec::from_iter(
            moved
                .into_iter()
                .map(|(entry, number)| (entry.clone(), number)),
        );
        for (entry, number) in &moved {
            self.entry_mut(entry).number = *number;
        }
        !moved.is_empty()
    }

    /// All processes do what they can without another event.
    fn settle(&mut self) {
        while self
            .entries
            .clone()
            .iter()
            .any(|entry| self.overtake(entry))
        {}
    }

    fn holders(&self) -> Vec<&Entry> {
        let holds = |entry: &&Entry| matches!(self.place(entry), Place::Holds { .. });
        self.entries.iter().filter(holds).collect()
    }

    fn place(&self, entry: &Entry) -> Place<'_> {
        place(&self.entries, &entry.key)
    }
}

fn exclude_each_other(one: Claim, other: Claim) -> bool {
    !matches!(
        (one, other),
        (Claim::Shared, Claim::Shared) | (Claim::Slot(_), Claim::Slot(_))
    )
}

proptest! {
    #[test]
    fn holders_exclude_each_other(events in events()) {
        let mut model = Model::default();
        for event in events {
            model.apply(event);
            let holders = model.holders();
            for (index, one) in holders.iter().enumerate() {
                for other in &holders[index + 1..] {
                    prop_assert!(!exclude_each_other(one.claim, other.claim));
                }
            }
            for holder in &holders {
                let earlier = holders.iter().filter(|other| other.number < holder.number);
                if let Claim::Slot(limit) = holder.claim {
                    prop_assert!(earlier.count() < limit as usize);
                }
            }
        }
    }

    #[test]
    fn holders_keep_the_lock_and_the_first_one_has_it(events in events()) {
        let mut model = Model::default();
        for event in events {
            let before: Vec<Entry> = model.holders().into_iter().cloned().collect();
            let ended = model.apply(event);
            for holder in before.iter().filter(|holder| Some(*holder) != ended.as_ref()) {
                let token = holder.number;
                prop_assert_eq!(model.place(holder), Place::Holds { token });
            }
            let first = model.entries.iter().min_by_key(|entry| entry.number);
            if let Some(first) = first.filter(|first| !first.is_stopped) {
                prop_assert!(model.holders().contains(&first));
            }
        }
    }

    #[test]
    fn stopped_processes_hold_up_no_other(events in events()) {
        let mut model = Model::default();
        for event in events {
            model.apply(event);
            model.settle();
            let running = || model.entries.iter().filter(|entry| !entry.is_stopped);
            if let Some(first) = running().min_by_key(|entry| entry.number) {
                prop_assert!(model.holders().contains(&first));
            }
            for entry in running() {
                if let Place::Waits { obstacle, .. } = model.place(entry) {
                    prop_assert!(!obstacle.is_stopped);
                }
            }
        }
    }

    /// Only processes that hold the lock come to be before it, unless their numbers of slots differ.
    #[test]
    fn stopped_process_keeps_its_place(events in events()) {
        let mut model = Model::default();
        for event in events {
            model.settle();
            let before = model.clone();
            model.apply(event);
            model.settle();
            let holders = model.holders();
            for entry in &model.entries {
                let Some(old) = before.entries.iter().find(|old| old.key == entry.key) else {
                    continue;
                };
                let old_others = before.entries.iter().filter(|other| other.number > old.number);
                for old_other in old_others {
                    let others = model.entries.iter().filter(|other| other.key == old_other.key);
                    for other in others.filter(|other| other.number < entry.number) {
                        let has_slot = matches!(other.claim, Claim::Slot(_));
                        prop_assert!(entry.is_stopped && (has_slot || holders.contains(&other)));
                    }
                }
            }
        }
    }

    #[test]
    fn numbers_are_different(events in events()) {
        let mut model = Model::default();
        for event in events {
            model.apply(event);
            let mut numbers = Vec::from_iter(model.entries.iter().map(|entry| entry.number));
            numbers.sort_unstable();
            numbers.dedup();
            prop_assert_eq!(numbers.len(), model.entries.len());
        }
    }

    /// Of those that exclude each other.
    #[test]
    fn tokens_rise_with_every_grant(events in events()) {
        let mut model = Model::default();
        let mut granted: Vec<Entry> = Vec::new();
        for event in events {
            model.apply(event);
            for holder in model.holders() {
                if granted.iter().any(|earlier| earlier.key == holder.key) {
                    continue;
                }
                for earlier in &granted {
                    if exclude_each_other(holder.claim, earlier.claim) {
                        prop_assert!(earlier.number < holder.number);
                    }
                }
                granted.push(holder.clone());
            }
        }
    }

    #[test]
    fn no_process_overtakes_one_that_it_excludes(events in events()) {
        let mut model = Model::default();
        for event in events {
            model.apply(event);
            for holder in model.holders() {
                let earlier = model.entries.iter().filter(|entry| entry.number < holder.number);
                for other in earlier {
                    prop_assert!(!exclude_each_other(holder.claim, other.claim));
                }
            }
        }
    }

    /// Whatever else happens, a waiter is not granted the lock before what it waits for changes.
    #[test]
    fn waiter_waits_for_the_right_entry(events in events(), later in events()) {
        let mut model = Model::default();
        for event in events {
            model.apply(event);
        }
        for waiter in &model.entries {
            let mut future = model.clone();
            for event in &later {
                future.apply(*event);
                let is_unchanged = |entry| future.entries.contains(entry);
                let waits = match model.place(waiter) {
                    Place::Waits { obstacle, .. } => is_unchanged(obstacle),
                    Place::WaitsForSlot => {
                        let mut entries = model.entries.iter();
                        entries.all(|entry| entry.number > waiter.number || is_unchanged(entry))
                    }
                    _ => false,
                };
                if !waits {
                    break;
                }
                let is_held = matches!(future.place(waiter), Place::Holds { .. });
                prop_assert!(!is_held);
            }
        }
    }

    /// Whatever else has happened until then.
    #[test]
    fn the_end_of_the_only_obstacle_is_enough(events in events(), later in events()) {
        let mut model = Model::default();
        for event in events {
            model.apply(event);
        }
        for waiter in model.entries.iter().filter(|waiter| !matches!(waiter.claim, Claim::Slot(_))) {
            let Place::Waits { obstacle, is_last: true, .. } = model.place(waiter) else { continue };
            let mut future = model.clone();
            for event in &later {
                // It knows whether it has been stopped itself.
                let is_own = |index: usize| {
                    !future.entries.is_empty() && future.entry(index).key == waiter.key
                };
                if !matches!(event, Event::Stop(index) if is_own(*index)) {
                    future.apply(*event);
                }
            }
            future.entries.retain(|entry| entry.key != obstacle.key);
            if future.entries.iter().any(|entry| entry.key == waiter.key) {
                let token = future.entry_mut(waiter).number;
                prop_assert_eq!(future.place(waiter), Place::Holds { token });
            }
        }
    }

    #[test]
    fn process_without_an_entry_has_lost_its_place(events in events()) {
        let mut model = Model::default();
        for event in events {
            if let Some(ended) = model.apply(event) {
                prop_assert_eq!(model.place(&ended), Place::Lost);
            }
        }
    }
}

#[test]
fn readers_share_but_do_not_starve_a_writer() {
    let mut model = Model::default();
    for claim in [
        Claim::Shared,
        Claim::Shared,
        Claim::Exclusive,
        Claim::Shared,
    ] {
        model.apply(Event::Arrival(claim));
    }
    let tokens: Vec<u64> = model.holders().iter().map(|holder| holder.number).collect();
    assert_eq!(tokens.len(), 2);
    assert!(tokens.iter().all(|token| *token <= 2 * SPACING));
}

#[test]
fn each_deletion_wakes_one_exclusive_waiter() {
    let mut model = Model::default();
    for _ in 0..3 {
        model.apply(Event::Arrival(Claim::Exclusive));
    }
    let entry = |number| {
        let mut entries = model.entries.iter();
        entries
            .find(|entry| entry.number == number * SPACING)
            .expect("it exists")
    };
    let place = |obstacle, next| Place::Waits {
        obstacle,
        next,
        is_last: next.is_none(),
    };
    assert_eq!(model.place(entry(3)), place(entry(2), Some(entry(1))));
    assert_eq!(model.place(entry(2)), place(entry(1), None));
}

#[test]
fn waiter_for_a_slot_is_woken_by_any_deletion() {
    let mut model = Model::default();
    for _ in 0..3 {
        model.apply(Event::Arrival(Claim::Slot(2)));
    }
    let last = model
        .entries
        .iter()
        .max_by_key(|entry| entry.number)
        .expect("it exists");
    assert_eq!(model.place(last), Place::WaitsForSlot);
}
