use super::*;

const ALIVE: Liveness = Liveness::Alive { start: Some(500) };
const HIDDEN: Liveness = Liveness::Alive { start: None };

fn pid(pid: i32) -> Pid {
    Pid::from_raw(pid).expect("not zero")
}

fn own_identity() -> ProcessIdentity {
    ProcessIdentity {
        pid: pid(100),
        host: b"web1".to_vec(),
        instance: Some(ProcessInstance {
            boot: b"b-1".to_vec(),
            namespace: 7,
            start: 900,
        }),
    }
}

/// Returns the file of a process 42 that was started at 500, with some fields changed.
fn contents(changes: &str) -> Vec<u8> {
    let mut fields = vec!["start=500", "pidns=7", "boot=b-1", "host=web1"];
    for change in changes.split_ascii_whitespace() {
        let name = change.split('=').next().expect("a name");
        fields.retain(|field| !field.starts_with(name));
        fields.push(change);
    }
    format!("42\n{}\n", fields.join(" ")).into_bytes()
}

fn state(contents: impl AsRef<[u8]>, locality: Locality, liveness: Liveness) -> OwnerState {
    own_identity().owner_state(contents.as_ref(), locality, |checked| {
        assert_eq!(checked, pid(42));
        liveness
    })
}

/// Does the same, but no process may be checked.
fn state_unchecked(contents: impl AsRef<[u8]>, locality: Locality) -> OwnerState {
    own_identity().owner_state(contents.as_ref(), locality, |pid| panic!("checked {pid:?}"))
}

fn remote(host: &str) -> OwnerState {
    OwnerState::Remote {
        pid: pid(42),
        host: host.into(),
    }
}

fn alive() -> OwnerState {
    OwnerState::Alive(pid(42))
}

fn dead() -> OwnerState {
    OwnerState::Dead(pid(42))
}

const BOTH: [Locality; 2] = [Locality::Local, Locality::Remote];

#[test]
fn the_first_line_is_the_pid_and_the_second_is_parsed() {
    let text = own_identity().file_contents();
    assert!(text.starts_with(b"100\n"));
    let instance = own_identity().instance.expect("known");
    let host = b"web1".to_vec();
    let origin = Origin::Runlock { host, instance };
    assert_eq!(parse(&text), Some((pid(100), origin)));
}

#[test]
fn without_proc_there_is_only_the_pid() {
    let identity = ProcessIdentity {
        instance: None,
        ..own_identity()
    };
    assert_eq!(identity.file_contents(), b"100\n");
    let state =
        |contents: &[u8]| identity.owner_state(contents, Locality::Local, |_| Liveness::Dead);
    assert_eq!(state(&contents("")), dead());
    assert_eq!(state(&contents("host=web2")), remote("web2"));
}

#[test]
fn a_process_with_the_recorded_start_time_is_alive() {
    for locality in BOTH {
        assert_eq!(state(contents(""), locality, ALIVE), alive());
        // The host may have been renamed.
        let renamed = state(contents("host=web2"), locality, ALIVE);
        assert_eq!(renamed, alive());
        assert_eq!(state(contents(""), locality, Liveness::Dead), dead());
    }
}

#[test]
fn a_process_with_a_reused_pid_is_not_the_owner() {
    for start in [0, 499, 501, u64::MAX] {
        let reused = Liveness::Alive { start: Some(start) };
        assert_eq!(state(contents(""), Locality::Local, reused), dead());
    }
}

#[test]
fn flock_decides_about_a_process_that_is_not_visible() {
    let check_flock = OwnerState::CheckFlock(pid(42));
    assert_eq!(state(contents(""), Locality::Local, HIDDEN), check_flock);
    for locality in BOTH {
        assert_eq!(state_unchecked(contents("pidns=8"), locality), check_flock);
    }
}

#[test]
fn a_process_from_before_the_boot_is_dead() {
    let found = |changes: &str, locality| state_unchecked(contents(changes), locality);
    assert_eq!(found("boot=b-0", Locality::Local), dead());
    assert_eq!(found("boot=b-0 pidns=8", Locality::Local), dead());
    // The host may have been renamed since.
    assert_eq!(found("boot=b-0 host=web2", Locality::Local), dead());
    assert_eq!(found("boot=b-0", Locality::Remote), dead());
}

#[test]
fn a_process_of_another_machine_is_remote() {
    let found = state_unchecked(contents("boot=b-0 host=web2"), Locality::Remote);
    assert_eq!(found, remote("web2"));
    for locality in BOTH {
        assert_eq!(state_unchecked("42:web2\n", locality), remote("web2"));
        assert_eq!(state("42:web1\n", locality, ALIVE), alive());
        assert_eq!(state("42:web1\n", locality, Liveness::Dead), dead());
    }
}

#[test]
fn only_the_pid_counts_in_a_file_of_the_original() {
    for text in [
        "42\n",
        "42",
        "042\n",
        "42\nsomething\n",
        "42\nstart=1 boot=b-0\n",
        "42\nstart=x pidns=7 boot=b-1 host=web1\n",
    ] {
        assert_eq!(state(text, Locality::Local, ALIVE), alive());
        assert_eq!(state(text, Locality::Remote, HIDDEN), alive());
        assert_eq!(state(text, Locality::Local, Liveness::Dead), dead());
    }
}

#[test]
fn our_own_pid_belonged_to_a_dead_process() {
    let found = state_unchecked("100\n", Locality::Local);
    assert_eq!(found, OwnerState::Dead(pid(100)));
}

#[test]
fn without_a_valid_pid_the_owner_is_unknown() {
    let short = [
        "", "\n42", "0", "-1", "-42", "+42", " 42", "42 ", "42\r", "0:web1", ":web1", "4x",
        "\u{661}",
    ];
    let second_line = "start=500 pidns=7 boot=b-1 host=web1";
    let long = ["2147483648", "99999999999999999999999", second_line];
    for locality in BOTH {
        for text in short.into_iter().chain(long) {
            let found = state_unchecked(format!("{text}\n"), locality);
            assert_eq!(found, OwnerState::Unknown, "{text:?}");
        }
        for bytes in [&b""[..], b"\xff\xfe\n"] {
            assert_eq!(state_unchecked(bytes, locality), OwnerState::Unknown);
        }
    }
}

#[test]
fn control_characters_of_a_host_are_replaced() {
    let found = state_unchecked(b"42:\x1b[2Jweb 2\n", Locality::Local);
    assert_eq!(found, remote("?[2Jweb?2"));
}
