//! The statements in SQL. Each function returns one transaction.
//!
//! *Why the rows have one order:* a row gets its token while its session holds an advisory lock of the
//! name of the lock, until the end of the transaction (`models/src/postgres.rs` shows what happens
//! otherwise). That lock is the only one that a statement waits for, and the transactions that hold
//! it wait for no client.

use std::fmt::Write;
use std::time::Duration;

use super::row::Row;
use crate::queue::Entry;

/// What is needed of a row. `flock.entry` is `e`, and the lock that its marker is, if a session
/// holds it, is `l`.
///
/// *Why a row is never seen without its session by mistake:* the statement reads the rows as of its
/// beginning, and the locks later. The session of a row that it has read had its marker before the
/// row was committed, and either still has it or has ended, or the row has got another marker since
/// then.
const SELECT: &str = "select e.id, e.token, e.marker, e.granted, e.ttl, e.value, l.pid is not null, \
    e.sightings ->> '$clock' from flock.entry e left join pg_locks l \
    on l.locktype = 'advisory' and l.granted and l.objsubid = 1 \
    and l.database = (select oid from pg_database where datname = current_database()) \
    and l.classid = (e.marker >> 32)::oid and l.objid = (e.marker & 4294967295)::oid";

/// The lock that is held while the table is created. The number is random.
const CREATION_LOCK: u64 = 7_390_518_264_310_927_745;

/// What the statements say about our own row.
#[derive(Clone, Debug)]
pub(super) struct OwnRow {
    pub(super) id: u64,
    pub(super) name: Vec<u8>,
    pub(super) ttl: Duration,
    /// Others can read it.
    pub(super) value: String,
    /// What identifies the clock of this machine.
    pub(super) clock: String,
    /// The highest token that a row before it may have, if that is more than its own: it was moved.
    pub(super) bound: u64,
}

impl OwnRow {
    fn name(&self) -> String {
        format!("'\\x{}'::bytea", hex(&self.name))
    }

    /// Returns the number of the lock that is held while a row is inserted. Another name with the
    /// same number would only share that lock.
    fn number_of_name(&self) -> u64 {
        fnv(&self.name) >> 1
    }

    /// Returns the channel that is notified of the end of an entry, and the one for all of this
    /// name.
    pub(super) fn channel(&self, entry: Option<&Entry>) -> String {
        match entry {
            Some(entry) => format!("flock_{}", String::from_utf8_lossy(&entry.key)),
            None => format!("flock_name_{}", self.number_of_name()),
        }
    }

    /// Deletes a row under a condition, and wakes the waiters that it was in the way of, if it is
    /// deleted.
    fn delete_if(&self, condition: &str) -> String {
        let all = self.channel(None);
        format!(
            "with deleted as (delete from flock.entry where {condition} returning id) \
             select pg_notify('flock_' || id, ''), pg_notify('{all}', '') from deleted"
        )
    }

    /// Reads the rows of the lock: up to our own one, which later ones are not in the way of, or all
    /// if we have none.
    pub(super) fn list(&self) -> String {
        let select = SELECT.replace("$clock", &self.clock);
        let (id, name, bound) = (self.id, self.name(), self.bound);
        format!(
            "{select} where e.name = {name} and e.token <= \
             greatest({bound}, coalesce((select token from flock.entry where id = {id}), {}))",
            i64::MAX
        )
    }

    /// Replaces the value of a row, if neither that nor the marker has changed, and the same holds for
    /// our own row, and wakes the waiters that it is in the way of.
    pub(super) fn replace(&self, row: &Row, value: &str, own: &Row) -> String {
        let all = self.channel(None);
        let new = literal(value);
        let is_same = |row: &Row| {
            let (id, marker, value) = (row.id, row.marker, literal(&row.value));
            format!("id = {id} and marker = {marker} and value = {value}")
        };
        let (row, own) = (is_same(row), is_same(own));
        format!(
            "with replaced as (update flock.entry set value = {new} where {row} \
             and exists (select from flock.entry where {own}) returning id) \
             select pg_notify('flock_' || id, ''), pg_notify('{all}', '') from replaced"
        )
    }

    /// Reads the rows of other locks whose sessions have ended.
    pub(super) fn list_abandoned(&self) -> String {
        let select = SELECT.replace("$clock", &self.clock);
        let name = self.name();
        format!("{select} where l.pid is null and e.name <> {name} limit 100")
    }

    /// Enters the queue and reads the rows. Where the row exists already, because an answer was
    /// lost or the connection has ended, it gets the new marker. With `after`, nothing is inserted
    /// if there is a row with a higher token.
    ///
    /// The first process of a queue holds the lock, which saves a second write.
    pub(super) fn enter(&self, marker: u64, after: Option<u64>) -> String {
        let (id, name, ttl) = (self.id, self.name(), self.ttl.as_millis());
        let value = literal(&self.value);
        let condition = after.map_or_else(String::new, |token| {
            format!(
                "where not exists (select from flock.entry where name = {name} and token > {token} \
                 and id <> {id})"
            )
        });
        format!(
            "select pg_advisory_lock({marker}); select pg_advisory_xact_lock({}); \
             insert into flock.entry (id, name, marker, granted, ttl, value) \
             select {id}, {name}, {marker}, \
             not exists (select from flock.entry where name = {name}), {ttl}, {value} {condition} \
             on conflict (id) do update set marker = excluded.marker, sightings = '{{}}'; {}",
            self.number_of_name(),
            self.list()
        )
    }

    /// Stores that the lock is granted, before a command is started.
    pub(super) fn grant(&self, marker: u64) -> String {
        let id = self.id;
        format!(
            "update flock.entry set granted = true where id = {id} and marker = {marker} returning id"
        )
    }

    /// Proves that the lock is still ours.
    ///
    /// It is a write, so a server that was replaced by another one does not answer it if it has to
    /// wait for the replicas (`synchronous_standby_names`).
    pub(super) fn renew(&self, marker: u64, token: u64) -> String {
        let id = self.id;
        format!(
            "update flock.entry set marker = marker where id = {id} and token = {token} \
             and marker = {marker} returning id"
        )
    }

    /// Stores the marker of a new session.
    pub(super) fn resume(&self, marker: u64, token: u64) -> String {
        let id = self.id;
        format!(
            "select pg_advisory_lock({marker}); update flock.entry set marker = {marker}, \
             sightings = '{{}}' where id = {id} and token = {token} returning id"
        )
    }

    /// Deletes our row, and wakes the waiters that it was in the way of.
    pub(super) fn release(&self) -> String {
        self.delete_if(&format!("id = {}", self.id))
    }

    /// Deletes the row of a process that has disappeared, if it has not changed.
    pub(super) fn delete(&self, row: &Row) -> String {
        let Row {
            id,
            marker,
            is_granted,
            ..
        } = row;
        self.delete_if(&format!(
            "id = {id} and marker = {marker} and granted = {is_granted}"
        ))
    }

    /// Notes when a session was seen to have ended.
    pub(super) fn note(&self, row: &Row, now: Duration) -> String {
        let (clock, id, marker) = (&self.clock, row.id, row.marker);
        // Not earlier than now.
        let now = now.as_millis() + 1;
        format!(
            "update flock.entry set sightings = sightings || '{{\"{clock}\": {now}}}' \
             where id = {id} and marker = {marker} and not sightings ? '{clock}'"
        )
    }
}

/// Receives notifications on this channel only.
pub(super) fn listen(channel: &str) -> String {
    format!("unlisten *; listen {channel}")
}

/// Creates the table, unless another process has done so.
pub(super) fn create() -> String {
    format!(
        "select pg_advisory_xact_lock({CREATION_LOCK}); \
         do $$ begin if to_regnamespace('flock') is null then create schema flock; end if; end $$; \
         create table if not exists flock.entry (id bigint primary key, name bytea not null, \
         token bigint not null generated always as identity, marker bigint not null, \
         granted boolean not null, ttl bigint not null, value text not null, \
         sightings jsonb not null default '{{}}'); \
         create index if not exists entry_name on flock.entry (name)"
    )
}

/// Returns a text as a literal of ASCII characters. It is JSON, which can escape all others, so the
/// encoding of the database does not matter.
fn literal(json: &str) -> String {
    let mut literal = String::from("'");
    for c in json.chars() {
        match c {
            '\'' => literal.push_str("''"),
            c if c.is_ascii() => literal.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a text does not fail.
                    let _ = write!(literal, "\\u{unit:04x}");
                }
            }
        }
    }
    literal + "'"
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the hash of some bytes by FNV-1a, which is the same in all releases.
pub(super) fn fnv(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_end_a_literal() {
        assert_eq!(
            literal(r#"{"a":"it's \"ä𝄞"}"#),
            r#"'{"a":"it''s \"\u00e4\ud834\udd1e"}'"#
        );
    }

    /// Releases that differ would not exclude each other.
    #[test]
    fn hash_is_stable() {
        assert_eq!(fnv(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
