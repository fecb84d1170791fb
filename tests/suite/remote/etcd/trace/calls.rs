//! What the helper says and hears, as the model names it.

use serde_json::Value;
use test_support::system_calls::{Call, SystemCall};

use super::messages::{Message, messages};
use crate::remote::etcd::server::from_base64;

/// The requests, as the model names them.
const REQUESTS: [(&str, &str); 5] = [
    ("/v3/lease/grant", "grant"),
    ("/v3/lease/keepalive", "keepalive"),
    ("/v3/lease/revoke", "revoke"),
    ("/v3/kv/txn", "txn"),
    ("/v3/kv/range", "range"),
];

/// Returns whether a key, or the request to write it, says that its process is stopped.
pub fn is_stopped(key: &Value) -> bool {
    let value = key["value"].as_str().unwrap_or_default();
    from_base64(value).contains("\"stopped\":true")
}

/// Returns the place of a key in the queue.
fn number(key: &Value) -> u64 {
    let value = from_base64(key["value"].as_str().unwrap_or_default());
    let value: Value = serde_json::from_str(&value).expect("a value of ours");
    let created = key["create_revision"].as_str().expect("a revision");
    let created: u64 = created.parse().expect("a number");
    value["number"].as_u64().unwrap_or(created << 20)
}

/// What a process knows of the keys.
#[derive(Default)]
struct Keys {
    own: Value,
    /// The last key before its own, for whose deletion it waits.
    obstacle: Option<Value>,
}

impl Keys {
    /// Names the answer to a listing of keys.
    fn list(&mut self, listing: &Value) -> &'static str {
        let mut keys = listing["kvs"].as_array().cloned().unwrap_or_default();
        keys.sort_by_key(number);
        let index = keys.iter().position(|key| key["key"] == self.own);
        let before = index.and_then(|index| index.checked_sub(1));
        self.obstacle = before.map(|before| keys[before]["key"].clone());
        match index {
            None => "absent",
            Some(0) => "first",
            Some(index) if keys[..index].iter().all(is_stopped) => "behind stopped",
            Some(_) => "behind",
        }
    }

    /// Names the deletion of a key, if that is of interest.
    fn delete(&mut self, key: &Value) -> Option<Call> {
        let is_own = *key == self.own;
        match &self.obstacle {
            Some(obstacle) if obstacle == key => {
                self.obstacle = None;
                Some(("watch", "deleted"))
            }
            // It looks again.
            Some(_) => Some(("watch", "")),
            None => is_own.then_some(("watch", "deleted")),
        }
    }

    /// Names an answer. Returns `None` if the server was not ready, and the helper asks again.
    fn answer(&mut self, path: &str, status: u16, value: &Value) -> Option<&'static str> {
        let is_unknown = status == 404;
        let error = value["message"].as_str().unwrap_or_default();
        Some(match path {
            "/v3/lease/grant" if error.contains("lease already exists") => "exists",
            "/v3/lease/revoke" if is_unknown => "revoked",
            "/v3/kv/txn" if is_unknown => "unknown",
            _ if status != 200 => return None,
            "/v3/lease/grant" => "ok",
            "/v3/lease/revoke" => "revoked",
            "/v3/lease/keepalive" if value["result"].get("TTL").is_some() => "ok",
            "/v3/lease/keepalive" => "unknown",
            "/v3/kv/txn"
                if value["responses"][0].get("response_range").is_none()
                    && value["responses"][1].is_null() =>
            {
                "written"
            }
            "/v3/kv/txn" => {
                let responses = value["responses"].as_array().expect("responses");
                self.list(&responses[responses.len() - 1]["response_range"])
            }
            _ => self.list(value),
        })
    }
}

/// Names what the helper says and hears.
pub fn calls_of(recorded: &[SystemCall]) -> Vec<Call> {
    let (mut calls, mut keys) = (Vec::new(), Keys::default());
    let mut is_hidden = false;
    for message in messages(recorded) {
        match message {
            Message::Request(path, body) => {
                let known = REQUESTS.iter().find(|(known, _)| *known == path);
                let (_, name) = known.unwrap_or_else(|| panic!("{path} is not in the model"));
                let compare = &body["compare"][0];
                let name = match compare["target"].as_str() {
                    None => *name,
                    Some("CREATE") => {
                        keys.own = compare["key"].clone();
                        *name
                    }
                    Some(target) => {
                        assert_eq!(target, "MOD", "it writes a key that has not changed");
                        let put = &body["success"][0]["request_put"];
                        match (put["key"] == keys.own, is_stopped(put)) {
                            (true, true) => "txn: stopped",
                            (true, false) => "txn: continued",
                            (false, _) => "txn: move",
                        }
                    }
                };
                // Before it writes to its key, it reads it: one step in the model.
                is_hidden = body["key"] == keys.own && !keys.own.is_null();
                if !is_hidden {
                    calls.push((name, ""));
                }
            }
            Message::Answer(..) if is_hidden => {}
            Message::Answer(path, status, value) => {
                let answer = keys.answer(&path, status, &value);
                calls.extend(answer.map(|answer| ("answer", answer)));
            }
            Message::Event(value) => {
                let events = value["result"]["events"].as_array();
                let events = events.map_or(&[][..], Vec::as_slice);
                let deleted = events.iter().filter(|event| event["type"] == "DELETE");
                calls.extend(deleted.filter_map(|event| keys.delete(&event["kv"]["key"])));
            }
        }
    }
    calls
}
