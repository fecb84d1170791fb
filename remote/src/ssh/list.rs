//! The list of all holders and waiters of a lock, which the other machine's `flock --who` knows.

use super::connection::Event;
use super::message::Message;
use super::session::connect_once;
use super::target::Target;
use crate::front::{Answer as Line, Front, Request};

/// Passes on what the other machine lists.
pub fn run(front: &Front, target: &Target, request: &Request, text: &[u8]) {
    let fail = |status, text: &str| front.send(&Line::Error { status, text });
    let mut connection = match connect_once(front, target, request.ttl) {
        Ok(connection) => connection,
        Err(None) => return,
        Err(Some((status, text))) => return fail(status, &text),
    };
    connection.send(text);
    loop {
        let answer = match connection.wait(front, None) {
            Err(_) => return,
            Ok(Event::Message(Message::Entry(fields))) => front.send_all(&Line::Entry(&fields)),
            Ok(Event::Message(Message::End)) => {
                let _ = front.send_all(&Line::End);
                return;
            }
            Ok(Event::Message(Message::Error(status, text))) => return fail(status, &text),
            Ok(Event::Message(Message::Gone) | Event::Ended | Event::TimedOut) => {
                return fail(66, "the connection has ended");
            }
            Ok(Event::Message(_) | Event::Notice) => Ok(()),
        };
        if answer.is_err() {
            return;
        }
    }
}
