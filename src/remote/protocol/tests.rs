use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn holder(command: &str) -> Holder {
    Holder {
        host: "db1".into(),
        pid: 7,
        user: "ann".into(),
        command: command.into(),
    }
}

fn encode(wait: Option<Duration>, slots: Option<u32>, command: &str) -> String {
    encode_with(&[], wait, slots, command)
}

fn encode_with(also: &[Url], wait: Option<Duration>, slots: Option<u32>, command: &str) -> String {
    let url = Url::parse("etcd://h/n".as_ref()).expect("a URL");
    let request = Request {
        url: &url,
        also,
        mode: "exclusive",
        slots,
        wait,
        terms: Terms::new(None, None),
        holder: &holder(command),
    };
    String::from_utf8(request.encode()).expect("text")
}

#[test]
fn a_request_ends_with_an_empty_line() {
    let expected = "flock 1\nurl etcd://h/n\nmode exclusive\nslots 3\nwait 1500\nttl 30000\npid 7\n\
                    host db1\nuser ann\ncommand sync a b\n\n";
    let wait = Some(Duration::from_millis(1500));
    assert_eq!(encode(wait, Some(3), "sync a b"), expected);
    assert!(encode(None, None, "").contains("\nwait forever\nttl"));
}

#[test]
fn several_locks_are_another_version() {
    let url = |name: &str| Url::parse(format!("etcd://h/{name}").as_ref()).expect("a URL");
    let text = encode_with(&[url("m"), url("l")], None, None, "");
    let expected = "flock 2\nurl etcd://h/n\nalso etcd://h/m\nalso etcd://h/l\nmode exclusive\n";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn several_tokens_are_in_lines() {
    let Some(Message::Granted { token, until }) = Message::parse(b"granted 7,5,7 1") else {
        panic!("it is valid");
    };
    assert_eq!(
        (token.to_string().as_str(), until.as_nanos()),
        ("7\n5\n7", 1)
    );
}

#[test]
fn a_command_cannot_add_lines_to_a_request() {
    let text = encode(None, None, "a\nb\u{7f}");
    assert!(text.ends_with("command a?b?\n\n"), "{text}");
    let text = encode(None, None, &"x".repeat(1000));
    assert!(text.ends_with(&format!("command {}\n\n", "x".repeat(200))));
}

#[test]
fn messages_are_parsed() {
    let parse = |line: &str| Message::parse(line.as_bytes());
    let (token, until) = (Tokens(vec![12]), 34 * SECOND);
    for (line, expected) in [
        ("waits db1 42", Message::Waits("db1 42".into())),
        ("warning retrying", Message::Warning("retrying".into())),
        ("granted 12 34000000000", Message::Granted { token, until }),
        ("until 34000000000", Message::Until(until)),
        ("lost it is gone", Message::Lost("it is gone".into())),
        ("lost a\tb", Message::Lost("a?b".into())),
        ("refused", Message::Refused),
        (
            "error 66 no route",
            Message::Error {
                status: 66,
                text: "no route".into(),
            },
        ),
    ] {
        assert_eq!(parse(line), Some(expected), "{line}");
    }
}

#[test]
fn entries_are_parsed() {
    let parse = |line: &str| Message::parse(line.as_bytes());
    let Some(Message::Entry(entry)) = parse("entry holder slot 5 7 42 db1 ann sync a") else {
        panic!("it is valid");
    };
    assert!(entry.is_holder && entry.mode == "slot" && entry.token == Some(5));
    assert_eq!((entry.since, entry.pid.as_deref()), (Some(7), Some("42")));
    assert_eq!(entry.command.as_deref(), Some("sync a"));
    let Some(Message::Entry(entry)) = parse("entry waiter shared 5 - - - - -") else {
        panic!("it is valid");
    };
    assert_eq!((entry.since, entry.host, entry.command), (None, None, None));
    assert_eq!(parse("end"), Some(Message::End));
}

#[test]
fn other_lines_violate_the_protocol() {
    for line in [
        "",
        "hello",
        "granted",
        "granted 1",
        "granted 1 2 3",
        "granted x 2",
        "granted 1, 2",
        "granted ,1 2",
        "granted +1 2",
        "granted -1 2",
        "until",
        "until 1.5",
        "until 99999999999999999999",
        "lost",
        "refused now",
        "end of it",
        "entry",
        "entry other shared 5 7 42 db1 ann sync",
        "entry holder other 5 7 42 db1 ann sync",
        "entry holder shared x 7 42 db1 ann sync",
        "entry holder shared 5 x 42 db1 ann sync",
        "entry holder shared 5 7 42 db1 ann",
        "error",
        "error 66",
        "error 0 fine",
        "error 1 x",
        "error 300 x",
        "GRANTED 1 2",
    ] {
        assert_eq!(Message::parse(line.as_bytes()), None, "{line}");
    }
}

#[test]
fn lines_may_arrive_in_pieces() {
    let (helper, socket) = UnixStream::pair().expect("sockets");
    let mut lines = LineReader::default();
    assert_eq!(lines.read(&socket), Progress::Nothing);
    let send = |text: &[u8]| rustix::io::write(&helper, text).expect("it can be written");
    send(b"un");
    assert_eq!(lines.read(&socket), Progress::Read);
    assert_eq!(lines.next_line(), None);
    send(b"til 1\nlost x\n");
    assert_eq!(lines.read(&socket), Progress::Read);
    assert_eq!(lines.next_line().as_deref(), Some(&b"until 1"[..]));
    assert_eq!(lines.next_line().as_deref(), Some(&b"lost x"[..]));
    assert_eq!(lines.next_line(), None);
    drop(OwnedFd::from(helper));
    assert_eq!(lines.read(&socket), Progress::End);
}

#[test]
fn a_line_without_end_ends_the_conversation() {
    let (helper, socket) = UnixStream::pair().expect("sockets");
    rustix::io::write(&helper, &[b'x'; 2 * MAX_LINE]).expect("it can be written");
    let mut lines = LineReader::default();
    let reads = (0..).take_while(|_| lines.read(&socket) == Progress::Read);
    assert!(reads.count() < 10);
}
