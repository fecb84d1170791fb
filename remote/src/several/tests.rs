use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Condvar, Mutex};

use super::*;
use crate::front::Released;

/// The unit of times. A machine under load needs less than that for a test.
const LONG: Duration = Duration::from_secs(100);

const TTL: Duration = Duration::from_secs(600);

/// How long a test waits for what does not happen if there is a defect.
const HANG_LIMIT: Duration = Duration::from_secs(60);

/// A lock of a system that does what a test says.
struct Name(&'static str);

impl Identity for Name {
    fn name(&self) -> Vec<u8> {
        self.0.into()
    }

    fn servers(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What the code of the system does. The times are what is left, in units of [`LONG`].
enum Act {
    Grant(u64, u32),
    Until(u32),
    Lose,
    Refuse,
    Fail,
    Panic,
    /// Wakes those that wait for this lock.
    Mark,
    AwaitMark(&'static str),
    AwaitRelease,
}

use Act::*;

/// What has happened, in this order: `+a` for the start of the code for `a`, `-a` for its end, `!a`
/// for a mark, and the lines that `flock` has received.
#[derive(Default)]
struct Trace {
    text: Mutex<String>,
    has_grown: Condvar,
}

impl Trace {
    fn add(&self, text: &str) {
        self.text.lock().expect("no panic").push_str(text);
        self.has_grown.notify_all();
    }

    fn wait_for(&self, text: &str) {
        let trace = self.text.lock().expect("no panic");
        let is_missing = |trace: &mut String| !trace.contains(text);
        let wait = self
            .has_grown
            .wait_timeout_while(trace, HANG_LIMIT, is_missing);
        drop(wait.expect("no panic"));
    }
}

/// Runs the helper for locks with these names, and returns the trace. Each start of the code of the
/// system does what the next entry says. `flock` closes its connection after this number of lines.
fn run(names: &[&'static str], acts: Vec<(&'static str, Vec<Act>)>, lines: usize) -> String {
    let (flock, socket) = UnixStream::pair().expect("sockets");
    flock.set_read_timeout(Some(HANG_LIMIT)).expect("a socket");
    let text = |name| format!("flock 2\nurl x://h/{name}\nttl {}\n\n", TTL.as_millis());
    let request = |name| Request::parse(text(name).as_bytes()).expect("it is valid");
    let requests = Vec::from_iter(names.iter().map(request));
    let settings = Vec::from_iter(names.iter().copied().map(Name));
    let acts = Mutex::new(VecDeque::from(acts));
    let trace = Trace::default();
    let start = clock::now();
    let serve = |mut front: Front, name: &Name, _: &Request, _| {
        let next = acts.lock().expect("no panic").pop_front();
        let (expected, acts) = next.expect("it is not started more often");
        assert_eq!(name.0, expected);
        trace.add(&format!("+{expected}"));
        for act in acts {
            let status = 77;
            match act {
                Grant(token, left) => {
                    let until = start + LONG * left;
                    front.send(&Answer::Granted { token, until });
                }
                Until(left) => front.send(&Answer::Until(start + LONG * left)),
                Lose => front.send(&Answer::Lost("gone")),
                Refuse => front.send(&Answer::Refused),
                Fail => front.send(&Answer::Error { status, text: "no" }),
                Panic => std::panic::resume_unwind(Box::new(())),
                Mark => trace.add(&format!("!{expected}")),
                AwaitMark(name) => trace.wait_for(&format!("!{name}")),
                AwaitRelease => assert_eq!(front.wait(&[], None), Err(Released)),
            }
        }
        front.ignore();
        trace.add(&format!("-{expected}"));
    };
    let locks = Locks {
        requests: &requests,
        settings: &settings,
        serve,
        start,
        withdrawal_limit: LONG,
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut read = BufReader::new(&flock).lines();
            for number in 0.. {
                if number == lines {
                    flock.shutdown(Shutdown::Write).expect("a socket");
                }
                let Some(Ok(line)) = read.next() else {
                    // If nothing has come for long, nothing will.
                    let _ = flock.shutdown(Shutdown::Both);
                    break;
                };
                let word = |word: &str| match word.parse().map(Duration::from_nanos) {
                    Ok(time) if time > start => format!("{}s", (time - start).as_secs()),
                    _ => word.to_owned(),
                };
                let words = Vec::from_iter(line.split(' ').map(word));
                trace.add(&format!("[{}]", words.join(" ")));
            }
        });
        let front = Front::over(socket.into()).expect("a descriptor");
        // Fails if one of the threads has.
        let _ = scope.spawn(move || locks.run(&front)).join();
    });
    trace.text.into_inner().expect("no panic")
}

/// Asserts that a trace is one of these.
#[track_caller]
fn assert_trace(trace: &str, expected: &[&str]) {
    assert!(expected.contains(&trace), "{trace}");
}

#[test]
fn locks_are_granted_together() {
    let acts = vec![
        ("a", vec![Grant(7, 6), AwaitRelease]),
        ("b", vec![Grant(5, 9), AwaitRelease]),
    ];
    let trace = run(&["b", "a", "b"], acts, 1);
    let granted = "+a+b[granted 5,7,5 600s]";
    assert_trace(
        &trace,
        &[&format!("{granted}-a-b"), &format!("{granted}-b-a")],
    );
}

#[test]
fn locks_are_released_before_a_refusal() {
    let acts = vec![("a", vec![Grant(1, 6), AwaitRelease]), ("b", vec![Refuse])];
    let trace = run(&["a", "b"], acts, 1);
    assert_trace(&trace, &["+a+b-a-b[refused]", "+a+b-b-a[refused]"]);
}

#[test]
fn locks_are_released_if_one_fails() {
    let acts = vec![("a", vec![Grant(1, 6), AwaitRelease]), ("b", vec![Fail])];
    let trace = run(&["a", "b", "c"], acts, 1);
    let error = "[error 77 x://h/b: no]";
    assert_trace(
        &trace,
        &[&format!("+a+b-a-b{error}"), &format!("+a+b-b-a{error}")],
    );
}

#[test]
fn locks_are_released_if_a_thread_panics() {
    let acts = vec![("a", vec![Grant(1, 6), AwaitRelease]), ("b", vec![Panic])];
    let trace = run(&["a", "b"], acts, 1);
    assert_trace(&trace, &["+a+b-a[error 69 the helper has failed]"]);
}

#[test]
fn time_is_that_of_the_first_lease_to_end() {
    let acts = vec![
        (
            "a",
            vec![Grant(1, 6), AwaitMark("b"), Until(8), Mark, AwaitRelease],
        ),
        (
            "b",
            vec![Grant(2, 7), Mark, AwaitMark("a"), Until(9), AwaitRelease],
        ),
    ];
    let trace = run(&["a", "b"], acts, 3);
    let lines = Vec::from_iter(trace.split('[').skip(1).map(|line| {
        let end = line.find(']');
        &line[..end.expect("the end of a line")]
    }));
    assert_eq!(lines, ["granted 1,2 600s", "until 700s", "until 800s"]);
}

#[test]
fn enough_time_is_left_of_each_at_the_grant() {
    let acts = vec![
        (
            "a",
            vec![Grant(1, 4), AwaitMark("b"), Until(6), AwaitRelease],
        ),
        ("b", vec![Grant(2, 7), Mark, AwaitRelease]),
    ];
    let trace = run(&["a", "b"], acts, 1);
    assert!(trace.contains("[granted 1,2 600s]"), "{trace}");
}

#[test]
fn a_loss_is_reported_once_and_for_all() {
    let acts = vec![
        (
            "a",
            vec![
                Grant(1, 6),
                AwaitMark("b"),
                Lose,
                Until(9),
                Mark,
                AwaitRelease,
            ],
        ),
        (
            "b",
            vec![Grant(2, 6), Mark, AwaitMark("a"), Until(9), AwaitRelease],
        ),
    ];
    let trace = run(&["a", "b"], acts, 3);
    assert_eq!(trace.matches('[').count(), 3, "{trace}");
    for line in ["[granted 1,2 600s]", "[until 0]", "[lost x://h/a: gone]"] {
        assert!(trace.contains(line), "{trace}");
    }
}

#[test]
fn locks_are_acquired_again_after_an_early_loss() {
    let acts = vec![
        ("a", vec![Grant(1, 6), AwaitMark("b"), Lose, AwaitRelease]),
        ("b", vec![Mark, AwaitRelease]),
        ("a", vec![Grant(3, 6), AwaitRelease]),
        ("b", vec![Grant(2, 6), AwaitRelease]),
    ];
    let trace = run(&["a", "b"], acts, 2);
    assert!(
        trace.contains("[warning lost, trying again: x://h/a: gone]"),
        "{trace}"
    );
    assert!(trace.contains("[granted 3,2 600s]"), "{trace}");
    let again = trace.rfind("+a").expect("it has started again");
    assert!(
        trace[..again].contains("-a") && trace[..again].contains("-b"),
        "{trace}"
    );
}
