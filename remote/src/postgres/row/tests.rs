use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

const TTL: Duration = Duration::from_secs(5);

fn columns(values: &[&str]) -> connection::Row {
    let column = |value: &&str| Some((*value).to_owned()).filter(|value| value != "NULL");
    values.iter().map(column).collect()
}

fn row(is_granted: bool, has_session: bool, sighted: Option<Duration>) -> Row {
    Row {
        record: Record::new(b"1".to_vec(), 1, b""),
        id: 1,
        token: 1,
        value: String::new(),
        marker: 2,
        is_granted,
        has_session,
        ttl: TTL,
        sighted,
    }
}

#[test]
fn a_row_is_decoded() {
    let values = [
        "7",
        "8",
        "9",
        "t",
        "5000",
        r#"{"mode":"shared"}"#,
        "f",
        "12",
    ];
    let row = Row::decode(&columns(&values)).expect("it is valid");
    assert_eq!((row.id, row.marker, row.token), (7, 9, 8));
    assert_eq!((row.is_granted, row.has_session), (true, false));
    assert_eq!(
        (row.ttl, row.sighted),
        (TTL, Some(Duration::from_millis(12)))
    );
    let values = ["7", "8", "9", "t", "5000", "", "f", "NULL"];
    let row = Row::decode(&columns(&values)).expect("it is valid");
    assert_eq!(row.sighted, None);
    assert!(Row::decode(&columns(&["7", "8"])).is_none());
}

#[test]
fn only_rows_without_a_session_are_touched() {
    for is_granted in [true, false] {
        assert_eq!(row(is_granted, true, Some(SECOND)).duty(99 * SECOND), None);
    }
    assert_eq!(row(false, false, None).duty(SECOND), Some(Duty::Delete));
    assert_eq!(row(true, false, None).duty(SECOND), Some(Duty::Note));
    let sighted = row(true, false, Some(SECOND));
    let end = SECOND + TTL;
    assert_eq!(sighted.duty(2 * SECOND), Some(Duty::WaitUntil(end)));
    assert_eq!(sighted.duty(end), Some(Duty::Delete));
}

/// An event around the row of one holder, which other processes look at.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Time passes, in tenths of a second.
    Wait(u32),
    /// The holder renews, if its session exists.
    Renew,
    /// The session ends.
    End,
    /// The holder connects again, and stores its new marker.
    Reconnect,
    /// Another process reads the row.
    Read,
    /// It does what it has to, although the row may have changed since then.
    Act,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        3 => (1_u32..30).prop_map(Event::Wait),
        2 => Just(Event::Renew),
        1 => Just(Event::End),
        1 => Just(Event::Reconnect),
        3 => Just(Event::Read),
        3 => Just(Event::Act),
    ];
    prop::collection::vec(event, 0..80)
}

/// The row in the server, and what the processes know of it.
struct Model {
    now: Duration,
    /// `None` after it was deleted.
    row: Option<Row>,
    /// Until when the holder has the lock, as far as it knows.
    until: Duration,
    read: Option<Row>,
}

impl Model {
    fn new() -> Self {
        Self {
            now: Duration::ZERO,
            row: Some(row(true, true, None)),
            until: TTL,
            read: None,
        }
    }

    /// Returns whether the row is deleted too early.
    fn apply(&mut self, event: Event) -> bool {
        match (event, &mut self.row) {
            (Event::Wait(tenths), _) => self.now += tenths * (SECOND / 10),
            (Event::Renew, Some(row)) if row.has_session => self.until = self.now + TTL,
            (Event::End, Some(row)) => row.has_session = false,
            (Event::Reconnect, Some(row)) => {
                (row.marker, row.has_session, row.sighted) = (row.marker + 1, true, None);
                self.until = self.now + TTL;
            }
            (Event::Read, row) => self.read = row.clone(),
            (Event::Act, Some(row)) => {
                let read = self.read.take();
                // The conditions of the statements.
                let duty = read.filter(|read| read.marker == row.marker);
                match duty.and_then(|read| read.duty(self.now)) {
                    Some(Duty::Note) => row.sighted = row.sighted.or(Some(self.now)),
                    Some(Duty::Delete) => {
                        self.row = None;
                        return self.now < self.until;
                    }
                    Some(Duty::WaitUntil(_)) | None => {}
                }
            }
            _ => {}
        }
        false
    }
}

proptest! {
    #[test]
    fn no_row_is_deleted_before_its_lease_ends(events in events()) {
        let mut model = Model::new();
        for event in events {
            prop_assert!(!model.apply(event));
        }
    }

    #[test]
    fn row_of_a_vanished_holder_is_deleted(events in events()) {
        let mut model = Model::new();
        for event in events {
            model.apply(event);
        }
        let whole = TTL.as_secs() as u32 * 10;
        for event in [Event::End, Event::Read, Event::Act, Event::Wait(whole), Event::Read, Event::Act] {
            model.apply(event);
        }
        prop_assert!(model.row.is_none());
    }
}
