//! Why a call fails, from etcd's answer.

use serde_json::Value;

/// The text for an answer that etcd would not give.
pub const NOT_UNDERSTOOD: &str = "its answer is not one of etcd's";

/// Why a call has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// `flock` has closed its connection.
    Released,
    /// There is no answer. The call may have been carried out.
    NoAnswer(String),
    /// The lease or the key does not exist.
    NotFound,
    /// The lease exists already.
    Exists,
    /// No attempt will succeed: the exit status, and the reason.
    Final(u8, String),
}

/// What an answer that is an error means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It does not depend on the server that was asked.
    Final(Error),
    /// It may pass: another server, or this one later, may answer.
    NoAnswer(String),
    /// The server cannot be used.
    BadServer(String),
}

/// Interprets an answer that is an error, from its HTTP status and its body.
pub(super) fn of_answer(status: u16, value: &Value, has_user: bool) -> Refusal {
    // That of a stream is an object.
    let error = match &value["error"] {
        error if error.is_object() => error,
        _ => value,
    };
    let code = error["grpc_code"].as_u64().or(error["code"].as_u64());
    let message = error["message"].as_str().or(error["error"].as_str());
    let (Some(code), Some(message)) = (code, message) else {
        let no_gateway = "it has no JSON gateway at /v3, which etcd 3.4 and newer have";
        return match status {
            404 => Refusal::BadServer(no_gateway.to_owned()),
            500.. => Refusal::NoAnswer(format!("HTTP {status}")),
            _ => Refusal::BadServer(NOT_UNDERSTOOD.to_owned()),
        };
    };
    let message = message.strip_prefix("etcdserver: ").unwrap_or(message);
    let denied = |text: &str| Refusal::Final(Error::Final(77, text.to_owned()));
    match message {
        "requested lease not found" => Refusal::Final(Error::NotFound),
        "lease already exists" | "authentication is not enabled" => Refusal::Final(Error::Exists),
        "user name is empty" if !has_user => denied("it requires a user: set ETCDCTL_USER"),
        "user name is empty" | "revision of auth store is old" => denied(message),
        _ => match code {
            // Cancelled, unknown, deadline exceeded, aborted, internal, unavailable: for instance,
            // there is no leader.
            1 | 2 | 4 | 10 | 13 | 14 => Refusal::NoAnswer(message.to_owned()),
            8 if message.contains("too many requests") => Refusal::NoAnswer(message.to_owned()),
            3 if message.starts_with("authentication failed") => denied(message),
            7 | 16 => denied(message),
            _ => Refusal::Final(Error::Final(65, format!("etcd refuses this: {message}"))),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn errors_are_interpreted() {
        let last = |status, text: &str| Refusal::Final(Error::Final(status, text.to_owned()));
        for (code, message, expected) in [
            (
                5,
                "requested lease not found",
                Refusal::Final(Error::NotFound),
            ),
            (9, "lease already exists", Refusal::Final(Error::Exists)),
            (14, "no leader", Refusal::NoAnswer("no leader".to_owned())),
            (7, "permission denied", last(77, "permission denied")),
            (16, "invalid auth token", last(77, "invalid auth token")),
            (
                8,
                "mvcc: database space exceeded",
                last(65, "etcd refuses this: mvcc: database space exceeded"),
            ),
        ] {
            let message = format!("etcdserver: {message}");
            let value = json!({"error": message, "message": message, "code": code});
            assert_eq!(of_answer(400, &value, true), expected);
            // As a stream has it.
            let value = json!({"error": {"grpc_code": code, "message": message}});
            assert_eq!(of_answer(400, &value, true), expected);
        }
    }

    #[test]
    fn other_answers_are_no_errors_of_etcd() {
        let of = |status| of_answer(status, &Value::Null, false);
        assert!(matches!(of(404), Refusal::BadServer(text) if text.contains("gateway")));
        assert!(matches!(of(503), Refusal::NoAnswer(_)));
        assert!(matches!(of(200), Refusal::BadServer(_)));
    }
}
