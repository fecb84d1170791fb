//! What the helpers answer, without `flock`: the times of a lease.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::time::Duration;

use rstest::rstest;
use test_support::installed_helper;

use super::proxy::{Mode, Proxy};
use super::{Engine, EngineTest};

/// A helper that a test talks to.
pub struct Helper {
    child: Child,
    lines: BufReader<UnixStream>,
}

impl Helper {
    pub fn start(name: &str, url: &str, ttl: u64) -> Self {
        let (socket, other) = UnixStream::pair().expect("sockets");
        let program = installed_helper(name).expect("the test is not skipped");
        let mut command = Command::new(program);
        command.stdin(OwnedFd::from(other.try_clone().expect("a descriptor")));
        command.stdout(OwnedFd::from(other)).env_clear();
        let child = command.spawn().expect("the helper starts");
        let request = format!("flock 1\nurl {url}\nmode exclusive\nwait forever\nttl {ttl}\n\n");
        (&socket).write_all(request.as_bytes()).expect("it reads");
        let timeout = Some(Duration::from_secs(60));
        socket.set_read_timeout(timeout).expect("a socket");
        let lines = BufReader::new(socket);
        Self { child, lines }
    }

    pub fn read_line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("an answer");
        line.trim_end().to_owned()
    }

    /// Releases the lock and waits until the helper has done so.
    pub fn release(mut self) {
        let socket = self.lines.get_ref();
        socket
            .shutdown(std::net::Shutdown::Write)
            .expect("a socket");
        assert!(self.child.wait().expect("our child").success());
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the reading of the clock of leases.
fn now() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Returns the last word of a line, a time.
fn time_of(line: &str) -> Duration {
    let nanos = line.rsplit(' ').next().and_then(|word| word.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_else(|| panic!("no time: {line}")))
}

/// A lease counts from the moment at which an answered request was *sent*: the server has counted
/// from then on while the answer was on its way.
#[rstest]
fn lease_counts_from_the_request(#[values(Engine::Etcd, Engine::Postgres)] engine: Engine) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    // The first lock of PostgreSQL creates a table.
    test.env.run([&test.url(), "true"]).assert_all(0, "", "");
    let proxy = Proxy::start(
        test.system.hosts(),
        Mode::HoldReplyTo(test.system.request()),
    );
    let ttl = Duration::from_secs(3600);
    // Longer than the test waits, and the helper before it asks again.
    let mut helper = Helper::start(test.system.helper(), &test.url_by(&proxy.host()), 3_600_000);
    proxy.wait_for_held_reply();
    let answered = now();
    proxy.set(Mode::Forward);
    let line = helper.read_line();
    assert!(line.starts_with("granted "), "{line}");
    assert!(time_of(&line) < answered + ttl, "{line}");
    helper.release();
}

#[rstest]
fn renewals_prolong_the_lease(#[values(Engine::Etcd, Engine::Postgres)] engine: Engine) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let ttl = Duration::from_secs(5);
    let mut helper = Helper::start(test.system.helper(), &test.url(), 5000);
    let mut last = time_of(&helper.read_line());
    for _ in 0..2 {
        let line = helper.read_line();
        let until = time_of(&line);
        assert!(line.starts_with("until "), "{line}");
        assert!(last < until && until <= now() + ttl, "{line}");
        last = until;
    }
    helper.release();
}

#[rstest]
fn deleted_entry_leaves_no_time(#[values(Engine::Etcd, Engine::Postgres)] engine: Engine) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let mut helper = Helper::start(test.system.helper(), &test.url(), 5000);
    assert!(helper.read_line().starts_with("granted "));
    test.system.delete(&test.wait_for_keys(1)[0]);
    assert_eq!(helper.read_line(), "until 0");
    let expected = format!("lost {}", test.system.deletion());
    assert_eq!(helper.read_line(), expected);
    helper.release();
}
