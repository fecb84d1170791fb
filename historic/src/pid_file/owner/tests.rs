use super::*;

const LIVES: Process = Liveness::Alive { start: Some(500) };

fn pid(number: i32) -> Pid {
    Pid::from_raw(number).expect("a number")
}

fn here() -> Here {
    Here {
        pid: pid(100),
        host: b"web1".to_vec(),
        life: Some(Life {
            boot: b"b-1".to_vec(),
            namespace: 7,
            start: 900,
        }),
    }
}

/// The file of a process 42 that was started at 500, with something else in it.
fn other(changed: &str) -> Vec<u8> {
    let mut words = vec!["start=500", "pidns=7", "boot=b-1", "host=web1"];
    for change in changed.split_ascii_whitespace() {
        let name = change.split('=').next().expect("a name");
        words.retain(|word| !word.starts_with(name));
        words.push(change);
    }
    format!("42\n{}\n", words.join(" ")).into_bytes()
}

fn judge(text: impl AsRef<[u8]>, locality: Locality, process: Process) -> Finding {
    here().judge(text.as_ref(), locality, |asked| {
        assert_eq!(asked, pid(42));
        process
    })
}

fn nobody_is_asked(_: Pid) -> Process {
    panic!("nobody is to be asked")
}

fn elsewhere(host: &str) -> Finding {
    Finding::Elsewhere {
        pid: pid(42),
        host: host.into(),
    }
}

const DEAD: fn() -> Finding = || Finding::Dead(pid(42));
const BOTH: [Locality; 2] = [Locality::Local, Locality::Remote];

#[test]
fn the_first_line_is_the_pid_alone_and_the_rest_is_read_back() {
    let text = here().claim();
    assert!(text.starts_with(b"100\n"));
    let claim = parse(&text).expect("a claim");
    assert_eq!(claim.pid, pid(100));
    let life = here().life.expect("known");
    let host = b"web1".to_vec();
    assert_eq!(claim.origin, Origin::Ours { host, life });
}

#[test]
fn without_proc_there_is_the_pid_alone() {
    let blind = Here {
        life: None,
        ..here()
    };
    assert_eq!(blind.claim(), b"100\n");
    let judged = |text: &[u8]| blind.judge(text, Locality::Local, |_| Liveness::Dead);
    assert_eq!(judged(&other("")), DEAD());
    assert_eq!(judged(&other("host=web2")), elsewhere("web2"));
}

#[test]
fn a_process_lives_if_it_was_started_when_the_file_says() {
    for locality in BOTH {
        assert_eq!(judge(other(""), locality, LIVES), Finding::Lives(pid(42)));
        // Whatever the machine is called by now.
        let renamed = judge(other("host=web2"), locality, LIVES);
        assert_eq!(renamed, Finding::Lives(pid(42)));
        assert_eq!(judge(other(""), locality, Liveness::Dead), DEAD());
    }
}

#[test]
fn another_process_with_the_same_pid_is_not_the_one() {
    for start in [0, 499, 501, u64::MAX] {
        let start = Some(start);
        let found = judge(other(""), Locality::Local, Liveness::Alive { start });
        assert_eq!(found, DEAD());
    }
}

#[test]
fn who_cannot_be_seen_is_known_by_his_lock() {
    let ask = Finding::AskTheLock(pid(42));
    let unseen = Liveness::Alive { start: None };
    assert_eq!(judge(other(""), Locality::Local, unseen), ask);
    for locality in BOTH {
        let found = here().judge(&other("pidns=8"), locality, nobody_is_asked);
        assert_eq!(found, ask);
    }
}

#[test]
fn what_is_from_before_the_machine_was_started_is_dead() {
    let judged = |changed: &str, locality| here().judge(&other(changed), locality, nobody_is_asked);
    assert_eq!(judged("boot=b-0", Locality::Local), DEAD());
    assert_eq!(judged("boot=b-0 pidns=8", Locality::Local), DEAD());
    // The machine may have got another name since.
    assert_eq!(judged("boot=b-0 host=web2", Locality::Local), DEAD());
    assert_eq!(judged("boot=b-0", Locality::Remote), DEAD());
}

#[test]
fn what_another_machine_made_cannot_be_judged() {
    let found = here().judge(
        &other("boot=b-0 host=web2"),
        Locality::Remote,
        nobody_is_asked,
    );
    assert_eq!(found, elsewhere("web2"));
    for locality in BOTH {
        let found = here().judge(b"42:web2\n", locality, nobody_is_asked);
        assert_eq!(found, elsewhere("web2"));
        assert_eq!(judge("42:web1\n", locality, LIVES), Finding::Lives(pid(42)));
        assert_eq!(judge("42:web1\n", locality, Liveness::Dead), DEAD());
    }
}

#[test]
fn the_originals_file_is_judged_by_the_pid() {
    for text in [
        "42\n",
        "42",
        "042\n",
        "42\nsomething\n",
        "42\nstart=1 boot=b-0\n",
        "42\nstart=x pidns=7 boot=b-1 host=web1\n",
    ] {
        assert_eq!(judge(text, Locality::Local, LIVES), Finding::Lives(pid(42)));
        let unseen = Liveness::Alive { start: None };
        assert_eq!(
            judge(text, Locality::Remote, unseen),
            Finding::Lives(pid(42))
        );
        assert_eq!(judge(text, Locality::Local, Liveness::Dead), DEAD());
    }
}

#[test]
fn our_own_pid_was_somebody_elses() {
    let found = here().judge(b"100\n", Locality::Local, nobody_is_asked);
    assert_eq!(found, Finding::Dead(pid(100)));
}

#[test]
fn what_is_no_pid_is_nobodys_and_nobody_is_asked() {
    for text in [
        "",
        "\n",
        "\n42\n",
        "0\n",
        "-1\n",
        "-42\n",
        "+42\n",
        " 42\n",
        "42 \n",
        "42\r\n",
        "0:web1\n",
        ":web1\n",
        "4x\n",
        "2147483648\n",
        "99999999999999999999999\n",
        "\u{661}\n",
        "start=500 pidns=7 boot=b-1 host=web1\n",
    ] {
        for locality in BOTH {
            let found = here().judge(text.as_bytes(), locality, nobody_is_asked);
            assert_eq!(found, Finding::Nobody, "{text:?}");
        }
    }
    let bytes = here().judge(b"\xff\xfe\n", Locality::Local, nobody_is_asked);
    assert_eq!(bytes, Finding::Nobody);
}

#[test]
fn a_host_does_nothing_to_a_terminal() {
    let found = here().judge(b"42:\x1b[2Jweb 2\n", Locality::Local, nobody_is_asked);
    assert_eq!(found, elsewhere("?[2Jweb?2"));
}
