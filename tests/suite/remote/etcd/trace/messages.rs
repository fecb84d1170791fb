//! What the helper sends to etcd and receives from it, from the system calls of the helper.

use std::collections::HashMap;

use serde_json::Value;
use test_support::system_calls::SystemCall;

/// A message between the helper and etcd.
#[derive(Debug)]
pub enum Message {
    /// A request: its path and its body.
    Request(String, Value),
    /// The answer to the request to this path, and its status.
    Answer(String, u16, Value),
    /// What a watch reports.
    Event(Value),
}

/// A connection, from one request to the next.
#[derive(Default)]
struct Connection {
    path: String,
    received: Vec<u8>,
}

impl Connection {
    /// Returns the complete answer, if that has been received.
    fn answer(&self) -> Option<Message> {
        let text = String::from_utf8_lossy(&self.received);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        // Without the sizes of chunks around it.
        let json = body.get(body.find('{')?..=body.rfind('}')?)?;
        let value = serde_json::from_str(json).ok()?;
        Some(Message::Answer(self.path.clone(), status, value))
    }

    /// Takes what a watch has reported.
    fn take_events(&mut self) -> Vec<Message> {
        let mut events = Vec::new();
        while let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
            let line = Vec::from_iter(self.received.drain(..=end));
            // Others are the head and the sizes of chunks.
            events.extend(serde_json::from_slice(&line).ok().filter(Value::is_object));
        }
        events.into_iter().map(Message::Event).collect()
    }
}

/// Returns the messages in the order in which the helper sends and receives them.
pub fn messages(recorded: &[SystemCall]) -> Vec<Message> {
    let mut connections: HashMap<&str, Connection> = HashMap::new();
    let mut messages = Vec::new();
    for call in recorded {
        let fd = call.args.split(',').next().unwrap_or_default();
        match &*call.name {
            "write" | "sendto" | "send" => {
                let data = String::from_utf8(data(&call.args)).unwrap_or_default();
                let Some((path, body)) = post(&data) else {
                    continue;
                };
                let connection = connections.entry(fd).or_default();
                (connection.path, connection.received) = (path.to_owned(), Vec::new());
                if path != "/v3/watch" {
                    let body = serde_json::from_str(body).expect("JSON");
                    messages.push(Message::Request(path.to_owned(), body));
                }
            }
            "read" | "recvfrom" | "recv" => {
                let Some(connection) = connections.get_mut(fd) else {
                    continue;
                };
                connection.received.extend(data(&call.args));
                if connection.path == "/v3/watch" {
                    messages.extend(connection.take_events());
                } else if let Some(answer) = connection.answer() {
                    messages.push(answer);
                    connection.received.clear();
                }
            }
            "close" => drop(connections.remove(fd)),
            _ => {}
        }
    }
    messages
}

/// Returns the path and the body of a request.
fn post(data: &str) -> Option<(&str, &str)> {
    let (head, body) = data.split_once("\r\n\r\n")?;
    Some((head.strip_prefix("POST ")?.split(' ').next()?, body))
}

/// Returns the first text among the arguments, without the escapes of strace.
fn data(args: &str) -> Vec<u8> {
    let text = args.split_once('"').map_or("", |(_, text)| text);
    let (mut data, mut bytes) = (Vec::new(), text.bytes().peekable());
    while let Some(byte) = bytes.next().filter(|byte| *byte != b'"') {
        let escaped = match byte {
            b'\\' => bytes.next(),
            _ => None,
        };
        data.push(match escaped {
            None => byte,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(digit @ b'0'..=b'7') => {
                let mut number = digit - b'0';
                while let Some(digit @ b'0'..=b'7') = bytes.peek() {
                    number = number.wrapping_mul(8) + (digit - b'0');
                    bytes.next();
                }
                number
            }
            Some(other) => other,
        });
    }
    data
}
