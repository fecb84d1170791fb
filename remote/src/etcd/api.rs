//! The calls of etcd's API that a lock needs, as JSON. In that, bytes are base64, 64-bit numbers are
//! texts, and what is zero is left out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::key::{self, is_entry_of};
use crate::queue::SPACING;
use crate::record::Record;

/// The paths of requests for a watch and a transaction.
const WATCH: &str = "/v3/watch";
const TRANSACTION: &str = "/v3/kv/txn";

/// A request: its path, and its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The path.
    pub path: &'static str,
    /// The body, in JSON.
    pub body: String,
}

impl Call {
    fn new(path: &'static str, body: &Value) -> Self {
        let body = body.to_string();
        Self { path, body }
    }
}

/// All keys of a lock at one revision.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The revision.
    pub revision: u64,
    /// The keys.
    pub records: Vec<Record>,
}

impl Listing {
    /// Returns the record of a key.
    pub fn find(&self, key: &[u8]) -> Option<&Record> {
        self.records.iter().find(|record| record.entry.key == key)
    }
}

fn encode(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

fn decode(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Null => Some(Vec::new()),
        value => BASE64.decode(value.as_str()?).ok(),
    }
}

/// Reads a 64-bit number.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Null => Some(0),
        Value::String(text) => text.parse().ok(),
        value => value.as_u64(),
    }
}

/// Obtains a token for a user.
pub fn authenticate(name: &str, password: &str) -> Call {
    let body = json!({"name": name, "password": password});
    Call::new("/v3/auth/authenticate", &body)
}

/// Returns the token.
pub fn token(answer: &Value) -> Option<String> {
    answer["token"].as_str().map(str::to_owned)
}

/// Creates a lease with an ID of our choice, in seconds.
pub fn grant(lease: u64, ttl: u64) -> Call {
    let body = json!({"ID": lease.to_string(), "TTL": ttl.to_string()});
    Call::new("/v3/lease/grant", &body)
}

/// Renews a lease.
pub fn renew(lease: u64) -> Call {
    let body = json!({"ID": lease.to_string()});
    Call::new("/v3/lease/keepalive", &body)
}

/// Returns for how many seconds a lease was granted or renewed; zero if it does not exist.
pub fn seconds(answer: &Value) -> Option<u64> {
    let result = match &answer["result"] {
        Value::Null => answer,
        result => result,
    };
    number(&result["TTL"]).filter(|_| result.is_object())
}

/// Ends a lease, which deletes its keys.
pub fn revoke(lease: u64) -> Call {
    let body = json!({"ID": lease.to_string()});
    Call::new("/v3/lease/revoke", &body)
}

/// Lists the keys of a lock, or those that were created up to a revision.
pub fn list(name: &[u8], up_to: Option<u64>) -> Call {
    let mut body = list_body(name);
    if let Some(revision) = up_to {
        body["max_create_revision"] = revision.to_string().into();
    }
    Call::new("/v3/kv/range", &body)
}

/// Lists one key.
pub fn list_key(key: &[u8]) -> Call {
    Call::new("/v3/kv/range", &json!({"key": encode(key)}))
}

fn list_body(name: &[u8]) -> Value {
    let (start, end) = key::range(name);
    json!({"key": encode(&start), "range_end": encode(&end)})
}

/// Returns the keys of a lock from the answer to [`list`].
pub fn listing(answer: &Value, name: &[u8]) -> Option<Listing> {
    let revision = number(&answer["header"]["revision"])?;
    let empty = Vec::new();
    let keys = match &answer["kvs"] {
        Value::Null => &empty,
        keys => keys.as_array()?,
    };
    let mut records = Vec::new();
    for key in keys {
        let created = number(&key["create_revision"])?;
        let (key_bytes, value) = (decode(&key["key"])?, decode(&key["value"])?);
        if is_entry_of(name, &key_bytes) {
            let mut record = Record::new(key_bytes, created.checked_mul(SPACING)?, &value);
            record.version = number(&key["mod_revision"])?;
            records.push(record);
        }
    }
    (revision != 0).then_some(Listing { revision, records })
}

/// Enters the queue: creates our key, unless it exists already, and lists all keys. With `unchanged`,
/// it is only created if no key of the lock was created after that revision.
pub fn enter(name: &[u8], lease: u64, value: &str, unchanged: Option<u64>) -> Call {
    let key = encode(&key::key(name, lease));
    let mut compare = vec![json!({
        "target": "CREATE", "result": "EQUAL", "key": key, "create_revision": "0",
    })];
    if let Some(revision) = unchanged {
        let (start, end) = key::range(name);
        let next = (revision + 1).to_string();
        compare.push(json!({
            "target": "CREATE", "result": "LESS", "key": encode(&start),
            "range_end": encode(&end), "create_revision": next,
        }));
    }
    let list = json!({"request_range": list_body(name)});
    let put = json!({
        "request_put": {"key": key, "value": encode(value.as_bytes()), "lease": lease.to_string()},
    });
    let body = json!({"compare": compare, "success": [put, list], "failure": [list]});
    Call::new(TRANSACTION, &body)
}

/// A key with a new value, and the revision of the one that it replaces.
pub struct Replacement<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The revision.
    pub version: u64,
    /// The new value.
    pub value: String,
}

/// Replaces the values of some keys, and keeps their leases, unless one of them has changed since it
/// was read, or the key `unchanged` has since this revision.
pub fn replace(replacements: &[Replacement<'_>], unchanged: Option<(&[u8], u64)>) -> Call {
    let replaced = replacements
        .iter()
        .map(|Replacement { key, version, .. }| (*key, *version));
    let compare = replaced.chain(unchanged).map(|(key, version)| {
        let version = version.to_string();
        json!({"target": "MOD", "result": "EQUAL", "key": encode(key), "mod_revision": version})
    });
    let put = replacements.iter().map(|Replacement { key, value, .. }| {
        let value = encode(value.as_bytes());
        json!({"request_put": {"key": encode(key), "value": value, "ignore_lease": true}})
    });
    let (compare, put) = (Vec::from_iter(compare), Vec::from_iter(put));
    Call::new(TRANSACTION, &json!({"compare": compare, "success": put}))
}

/// Returns whether the values were replaced.
pub fn is_replaced(answer: &Value) -> bool {
    answer["succeeded"] == true
}

/// Returns the keys of a lock from the answer to [`enter`].
pub fn entered(answer: &Value, name: &[u8]) -> Option<Listing> {
    let listed = answer["responses"].as_array()?.last()?;
    let listed = listed.get("response_range")?;
    let listing = listing(listed, name);
    // Some versions give the revision only once.
    let revision = number(&answer["header"]["revision"])?;
    listing.or_else(|| {
        let mut listed = listed.clone();
        listed["header"] = json!({"revision": revision.to_string()});
        self::listing(&listed, name)
    })
}

/// Watches for changes of some keys.
pub fn watch(keys: &[Vec<u8>], from: u64) -> Call {
    // One request after the other, in the same stream.
    let requests = keys.iter().map(|key| watch_request(key, from).to_string());
    Call {
        path: WATCH,
        body: requests.collect(),
    }
}

/// Watches for changes of any key of a lock.
pub fn watch_all(name: &[u8], from: u64) -> Call {
    let (start, end) = key::range(name);
    let mut body = watch_request(&start, from);
    body["create_request"]["range_end"] = encode(&end).into();
    Call::new(WATCH, &body)
}

fn watch_request(key: &[u8], from: u64) -> Value {
    json!({"create_request": {"key": encode(key), "start_revision": from.to_string()}})
}

/// What a watch reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The keys that were deleted; empty if a key was only written again.
    Changed(Vec<Vec<u8>>),
    /// The watch has ended: its revision was compacted, or its member has lost the leader.
    Ended,
    /// Nothing of interest.
    Other,
}

/// Returns what a line of a watch reports.
pub fn event(line: &[u8]) -> Event {
    let Ok(line) = serde_json::from_slice::<Value>(line) else {
        return Event::Ended;
    };
    let result = &line["result"];
    if !result.is_object() || result["canceled"] == true {
        return Event::Ended;
    }
    let Some(events) = result["events"].as_array() else {
        return Event::Other;
    };
    // A new key comes last, so it is in the way of no other.
    let is_creation = |event: &&Value| event["kv"]["version"] == "1";
    if events.iter().all(|event| is_creation(&event)) {
        return Event::Other;
    }
    let deletions = events.iter().filter(|event| event["type"] == "DELETE");
    let keys = deletions.map(|event| decode(&event["kv"]["key"]));
    keys.collect::<Option<_>>()
        .map_or(Event::Ended, Event::Changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_of_the_lock_are_listed() {
        let key = |name: &str| json!({"key": encode(name.as_bytes()), "create_revision": "7", "mod_revision": "8"});
        let keys = [key("n/1f"), key("n/x/1"), key("n/")];
        let answer = json!({"header": {"revision": "9"}, "kvs": keys});
        let listing = listing(&answer, b"n").expect("it is valid");
        assert_eq!(listing.revision, 9);
        let entries = listing.records.iter().map(|record| &record.entry);
        let found: Vec<_> = entries
            .map(|entry| (&entry.key[..], entry.number))
            .collect();
        assert_eq!(found, [(&b"n/1f"[..], 7 * SPACING)]);
    }

    #[test]
    fn an_answer_that_is_not_understood_is_no_listing() {
        let kvs = |kvs: Value| json!({"header": {"revision": "9"}, "kvs": kvs});
        for answer in [
            json!({}),
            kvs(json!({})),
            kvs(json!([{"key": "!"}])),
            kvs(json!([{"key": encode(b"n/1"), "create_revision": "x"}])),
        ] {
            assert!(listing(&answer, b"n").is_none(), "{answer}");
        }
    }

    #[test]
    fn the_time_of_a_lease_is_read() {
        assert_eq!(seconds(&json!({"ID": "1", "TTL": "5"})), Some(5));
        assert_eq!(
            seconds(&json!({"result": {"ID": "1", "TTL": "5"}})),
            Some(5)
        );
        // It does not exist.
        assert_eq!(seconds(&json!({"result": {"ID": "1"}})), Some(0));
        assert_eq!(seconds(&json!(3)), None);
    }

    #[test]
    fn events_are_read() {
        for (line, expected) in [
            (r#"{"result":{"created":true}}"#, Event::Other),
            (
                r#"{"result":{"events":[{"kv":{}},{"type":"DELETE","kv":{"key":"YQ=="}}]}}"#,
                Event::Changed(vec![b"a".to_vec()]),
            ),
            (
                r#"{"result":{"events":[{"type":"DELETE","kv":{"key":"!"}}]}}"#,
                Event::Ended,
            ),
            (
                r#"{"result":{"events":[{"kv":{}}]}}"#,
                Event::Changed(Vec::new()),
            ),
            (
                r#"{"result":{"events":[{"kv":{"version":"1"}}]}}"#,
                Event::Other,
            ),
            (
                r#"{"result":{"events":[{"kv":{"version":"1"}},{"kv":{"version":"2"}}]}}"#,
                Event::Changed(Vec::new()),
            ),
            (
                r#"{"result":{"canceled":true,"compact_revision":"5"}}"#,
                Event::Ended,
            ),
            (r#"{"error":{"message":"no leader"}}"#, Event::Ended),
            ("x", Event::Ended),
        ] {
            assert_eq!(event(line.as_bytes()), expected, "{line}");
        }
    }
}
