use super::*;

const REQUEST: &str = "flock 1\nurl etcd://h/n\nmode shared\nslots 3\nwait 1500\nttl 30000\n\
                       pid 7\nhost db1\nuser ann\ncommand sync a\nnew thing\n\n";

#[test]
fn a_request_is_parsed() {
    let request = Request::parse(REQUEST.as_bytes()).expect("it is valid");
    assert_eq!(request.url, b"etcd://h/n");
    assert_eq!((request.mode, request.slots), (Mode::Shared, Some(3)));
    assert_eq!(request.wait, Some(Duration::from_millis(1500)));
    assert_eq!(request.ttl, Duration::from_secs(30));
    let holder = request.holder;
    assert_eq!((&*holder.pid, &*holder.command), ("7", "sync a"));
}

#[test]
fn several_urls_are_parsed() {
    let text = REQUEST.replace("flock 1", "flock 2");
    let text = text.replace("mode", "also etcd://h/m\nalso etcd://h/l\nmode");
    let request = Request::parse(text.as_bytes()).expect("it is valid");
    assert_eq!(request.url, b"etcd://h/n");
    assert_eq!(request.also, [b"etcd://h/m", b"etcd://h/l"]);
}

/// A sixth may have passed when the last of several locks is granted.
#[test]
fn several_locks_are_renewed_in_time() {
    let ttl = Duration::from_secs(30);
    let mut request = Request::parse(REQUEST.as_bytes()).expect("it is valid");
    assert_eq!(request.renewal_interval(ttl), ttl / 3);
    request.also.push(b"etcd://h/m".to_vec());
    assert!(request.renewal_interval(ttl) < ttl / 7);
}

#[test]
fn tokens_are_in_one_line() {
    let (tokens, until) = (&[7, 5][..], Duration::from_nanos(9));
    let line = Answer::GrantedAll { tokens, until }.encode();
    assert_eq!(line, "granted 7,5 9\n");
}

#[test]
fn an_unlimited_wait_is_parsed() {
    let text = REQUEST.replace("1500", "forever");
    let request = Request::parse(text.as_bytes()).expect("it is valid");
    assert_eq!(request.wait, None);
}

#[test]
fn other_requests_are_refused() {
    for (from, to) in [
        ("flock 1", "flock 3"),
        ("flock 1", "hello"),
        ("url etcd://h/n", "url"),
        ("ttl 30000", "ttl x"),
        ("ttl 30000", "x y"),
        ("mode shared", "mode other"),
        ("wait 1500", "wait -1"),
    ] {
        let text = REQUEST.replace(from, to);
        assert!(Request::parse(text.as_bytes()).is_err(), "{to}");
    }
}

#[test]
fn texts_cannot_add_lines() {
    let text = Answer::Warning("a\nrefused").encode();
    assert_eq!(text, "warning a refused\n");
    assert!(Answer::Lost(&"ä".repeat(5000)).encode().len() < 4096);
}

/// As while a connection is opened.
#[test]
fn a_stop_that_another_wait_has_read_is_reported() {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("sockets");
    let front = Front::over(ours.into()).expect("a descriptor");
    let soon = || Some(clock::now() + Duration::from_millis(1));
    send(&theirs, b"stopped\n", SendFlags::empty()).expect("there is room");
    assert_eq!(front.wait(&[], soon()), Ok(false));
    assert_eq!(front.wait_or_notice(&[], None), Ok(Wakeup::Notice));
    assert!(front.is_stopped());
    assert_eq!(front.wait_or_notice(&[], soon()), Ok(Wakeup::TimedOut));
    send(&theirs, b"continued\n", SendFlags::empty()).expect("there is room");
    assert!(!front.is_stopped());
    drop(theirs);
    assert_eq!(front.wait_or_notice(&[], None), Err(Released));
}

/// The locks that are held already neither take the line, nor wake for it.
#[test]
fn a_stop_is_for_the_lock_that_is_waited_for() {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("sockets");
    let front = Front::over(ours.into()).expect("a descriptor");
    let part = || {
        let release = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC);
        let release = release.expect("a descriptor");
        let answers = Box::new(|_: &Answer<'_>| ());
        front.part(Part { release, answers }).expect("a descriptor")
    };
    let soon = || Some(clock::now() + Duration::from_millis(1));
    let (first, second) = (part(), part());
    let (token, until) = (7, clock::now());
    first.send(&Answer::Granted { token, until });
    send(&theirs, b"stopped\n", SendFlags::empty()).expect("there is room");
    assert_eq!(first.wait_or_notice(&[], soon()), Ok(Wakeup::TimedOut));
    assert_eq!(second.wait_or_notice(&[], None), Ok(Wakeup::Notice));
    assert_eq!(first.wait_or_notice(&[], soon()), Ok(Wakeup::TimedOut));
    second.send(&Answer::Granted { token, until });
    assert!(part().is_stopped());
    theirs
        .shutdown(std::net::Shutdown::Write)
        .expect("a socket");
    for held in [&first, &second] {
        assert_eq!(held.wait_or_notice(&[], None), Err(Released));
    }
}
