use proptest::prelude::*;

use super::*;

/// An event: a process asks for the lock, or the entry of one vanishes, for whatever reason.
#[derive(Clone, Copy, Debug)]
enum Event {
    Arrival(Claim),
    /// The position among the entries, modulo their number.
    End(usize),
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
                let created = self.revision;
                // They may be listed in any order.
                let index = self.revision as usize * 31 % (self.entries.len() + 1);
                let entry = Entry {
                    key,
                    created,
                    claim,
                };
                self.entries.insert(index, entry);
                None
            }
            Event::End(_) if self.entries.is_empty() => None,
            Event::End(index) => Some(self.entries.remove(index % self.entries.len())),
        }
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
                let earlier = holders.iter().filter(|other| other.created < holder.created);
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
                let token = holder.created;
                prop_assert_eq!(model.place(holder), Place::Holds { token });
            }
            if let Some(first) = model.entries.iter().min_by_key(|entry| entry.created) {
                prop_assert!(model.holders().contains(&first));
            }
        }
    }

    #[test]
    fn no_process_overtakes_one_that_it_excludes(events in events()) {
        let mut model = Model::default();
        for event in events {
            model.apply(event);
            for holder in model.holders() {
                let earlier = model.entries.iter().filter(|entry| entry.created < holder.created);
                for other in earlier {
                    prop_assert!(!exclude_each_other(holder.claim, other.claim));
                }
            }
        }
    }

    /// Whatever else vanishes, a waiter is not granted the lock before what it waits for.
    #[test]
    fn waiter_waits_for_the_right_entry(events in events(), later in events()) {
        let mut model = Model::default();
        for event in events {
            model.apply(event);
        }
        for waiter in &model.entries {
            let mut future = model.clone();
            for event in &later {
                let ended = future.apply(*event);
                match model.place(waiter) {
                    Place::Waits { obstacle, .. } if future.entries.contains(obstacle) => {
                        prop_assert!(!future.holders().contains(&waiter));
                    }
                    Place::WaitsForSlot if ended.is_none_or(|ended| ended.created > waiter.created) => {
                        prop_assert!(!future.holders().contains(&waiter));
                    }
                    _ => break,
                }
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
            let Place::Waits { obstacle, next: None } = model.place(waiter) else { continue };
            let mut future = model.clone();
            for event in &later {
                future.apply(*event);
            }
            future.entries.retain(|entry| entry != obstacle);
            if future.entries.contains(waiter) {
                prop_assert!(future.holders().contains(&waiter));
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
    let tokens: Vec<u64> = model
        .holders()
        .iter()
        .map(|holder| holder.created)
        .collect();
    assert_eq!(tokens.len(), 2);
    assert!(tokens.iter().all(|token| *token <= 2));
}

#[test]
fn each_deletion_wakes_one_exclusive_waiter() {
    let mut model = Model::default();
    for _ in 0..3 {
        model.apply(Event::Arrival(Claim::Exclusive));
    }
    let entry = |created| {
        let mut entries = model.entries.iter();
        entries
            .find(|entry| entry.created == created)
            .expect("it exists")
    };
    let place = |obstacle, next| Place::Waits { obstacle, next };
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
        .max_by_key(|entry| entry.created)
        .expect("it exists");
    assert_eq!(model.place(last), Place::WaitsForSlot);
}
