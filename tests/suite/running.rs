//! Section 4: the command gets what the caller gave, and the caller gets the command's end.

use test_support::locks::waiters;
use test_support::pre_exec::{Inherit, signal_set};
use test_support::process::End;
use test_support::{Lab, departure, wait_until};

/// The ways to run a command that must not differ in what the command sees.
const WAYS: [&[&str]; 5] = [&["-x"], &["-F"], &["-o"], &["-w1000"], &["-F", "-w1000"]];

/// Asserts that the command under `flock` sees the world that the caller made, lock apart.
#[track_caller]
fn same_world(lab: &Lab, make: impl Fn(&mut std::process::Command)) -> String {
    let mut direct = lab.command("probe");
    make(direct.args(["world", "world"]));
    let (direct, _) = lab.world_of(direct);
    assert!(!direct.is_empty());
    for way in WAYS {
        let mut under = lab.flock(way.iter().chain(&["l", "probe", "world", "world"]));
        make(&mut under);
        let (under, outcome) = lab.world_of(under);
        outcome.expect_code(0).expect_err("");
        let lock = format!("fd 3 {}", lab.file("l").display());
        let (lock, rest): (Vec<&str>, Vec<&str>) = under.lines().partition(|line| *line == lock);
        assert_eq!(lock.len(), usize::from(way != ["-o"]), "{way:?}: {under}");
        // The pipes are new each time.
        let known = |line: &&str| !line.contains(" pipe:");
        let rest: Vec<&str> = rest.into_iter().filter(known).collect();
        let direct: Vec<&str> = direct.lines().filter(known).collect();
        assert_eq!(rest, direct, "{way:?}");
    }
    direct
}

#[test]
fn the_command_gets_the_callers_world() {
    let lab = Lab::new();
    let world = same_world(&lab, |command| {
        command.before_exec(|| {
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o137));
            rustix::process::nice(3)?;
            Ok(())
        });
    });
    assert!(
        world.contains("Umask 0137\n") && world.contains("nice 3\n"),
        "{world}"
    );
}

#[test]
fn the_command_gets_the_callers_working_directory() {
    let lab = Lab::new();
    std::fs::create_dir(lab.file("deep")).expect("a folder");
    lab.sh("cd deep && flock ../l pwd -P").expect_out(&format!(
        "{}\n",
        lab.file("deep").canonicalize().expect("deep").display()
    ));
}

#[test]
fn the_command_gets_the_callers_blocked_signals() {
    // A bash unblocks SIGCHLD for itself and for all that it starts.
    let lab = Lab::direct();
    for set in [
        signal_set([libc::SIGINT, libc::SIGTERM, libc::SIGCHLD]),
        signal_set([libc::SIGCHLD, 32, 33, 34, 64]),
        signal_set([libc::SIGCONT, libc::SIGTSTP]),
        u64::MAX,
        0,
    ] {
        // The reference's timeout cannot do with a blocked alarm, but is not called to fire here.
        let world = same_world(&lab, |command| {
            command.blocking(set);
        });
        let seen = set & !signal_set([libc::SIGKILL, libc::SIGSTOP]);
        assert!(world.contains(&format!("SigBlk {seen:016x}\n")), "{world}");
    }
}

#[test]
fn the_command_gets_the_callers_ignored_signals() {
    let lab = Lab::new();
    for set in [
        vec![libc::SIGPIPE],
        vec![libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGTERM],
        (libc::SIGRTMIN()..=64)
            .chain([libc::SIGTSTP, libc::SIGCONT])
            .collect(),
        vec![],
    ] {
        let seen = signal_set(set.iter().copied());
        let world = same_world(&lab, |command| {
            command.ignoring(set.clone());
        });
        assert!(world.contains(&format!("SigIgn {seen:016x}\n")), "{world}");
    }
}

#[test]
fn the_command_gets_every_ignored_signal_that_there_is() {
    departure("the reference resets SIGCHLD, and SIGALRM with -w", |lab| {
        let all = (1..=31).chain(libc::SIGRTMIN()..=64);
        let all = all.filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal));
        same_world(lab, |command| {
            command.ignoring(all.clone());
        });
    });
}

#[test]
fn a_wait_leaves_no_trace_in_the_commands_world() {
    for way in [&["-w1000"][..], &["-F", "-w1000"], &["-x"]] {
        let lab = Lab::new();
        let make = |command: &mut std::process::Command| {
            command.ignoring([40, 64]);
            command.blocking(signal_set([libc::SIGALRM, libc::SIGUSR1, 63, 64]));
        };
        let mut direct = lab.command("probe");
        make(direct.args(["world", "world"]));
        let (direct, _) = lab.world_of(direct);
        let direct = direct.lines().filter(|line| line.starts_with("S"));

        let holder = lab.hold(&[], "l");
        let mut under = lab.flock(way.iter().chain(&["l", "probe", "world", "after"]));
        make(&mut under);
        let mut under = lab.start(under);
        wait_until("it waits", || waiters(lab.file("l")) == 1);
        holder.let_go();
        assert_eq!(under.end(), End::Exited(0));
        let after = std::fs::read_to_string(lab.file("after")).expect("a report");
        let after = after.lines().filter(|line| line.starts_with("S"));
        assert!(direct.eq(after.clone()), "{way:?}: {after:?}");
    }
}

#[test]
fn an_ignored_sigchld_loses_no_status() {
    let lab = Lab::new();
    let mut flock = lab.flock(["l", "sh", "-c", "exit 7"]);
    flock.ignoring([libc::SIGCHLD]);
    lab.finish(flock).expect_code(7).expect_err("");
}

#[test]
fn an_ignored_sigchld_stays_ignored_for_the_command() {
    departure("the reference resets it for the command too", |lab| {
        let mut flock = lab.flock(["l", "grep", "^SigIgn", "/proc/self/status"]);
        flock.ignoring([libc::SIGCHLD]);
        lab.finish(flock)
            .expect_code(0)
            .expect_out("SigIgn:\t0000000000010000\n");
    });
}

#[test]
fn a_blocked_or_pending_signal_loses_no_status() {
    let lab = Lab::new();
    for pending in [
        libc::SIGTERM,
        libc::SIGCHLD,
        libc::SIGALRM,
        libc::SIGHUP,
        40,
    ] {
        let mut flock = lab.flock(["l", "sh", "-c", "exit 7"]);
        flock.blocking(u64::MAX).raising(pending);
        lab.finish(flock).expect_code(7);
    }
}

#[test]
fn a_pending_signal_is_handed_on_in_place() {
    let lab = Lab::new();
    let mut flock = lab.flock(["-F", "l", "probe", "hear", "1"]);
    flock
        .blocking(signal_set([libc::SIGTERM]))
        .raising(libc::SIGTERM);
    let mut flock = lab.start(flock);
    flock.comes_to("ready");
    flock.comes_to("heard 15 ");
}

#[test]
fn the_environment_arrives_byte_for_byte() {
    let lab = Lab::new();
    let path = format!("PATH={}:/usr/bin:/bin", lab.file("bin").display());
    let entries: [&[u8]; 11] = [
        path.as_bytes(),
        b"PLAIN=value",
        b"EMPTY=",
        b"TWICE=1",
        b"TWICE=2",
        b"no equals sign",
        b"=no name",
        b"",
        b"BASH_FUNC_greet%%=() {  echo \"hello\n\"\n}",
        b"BYTES=\xff\xfe\x80",
        b"LINES=one\ntwo\n",
    ];
    let wanted = entries.map(|entry| [entry, b"\0"].concat()).concat();
    let flock = lab.file("bin/flock").display().to_string();
    for way in WAYS {
        let words = ["flock"].iter().chain(way);
        let words: Vec<&str> = words
            .chain(&["l", "cat", "/proc/self/environ"])
            .copied()
            .collect();
        let mut command = lab.command("true");
        command.straight_to(&flock, &words, &entries);
        let outcome = lab.finish(command).expect_code(0);
        assert_eq!(
            outcome.stdout.escape_ascii().to_string(),
            wanted.escape_ascii().to_string(),
            "{way:?}"
        );
    }
}

#[test]
fn an_empty_environment_stays_empty() {
    let lab = Lab::new();
    let flock = lab.file("bin/flock").display().to_string();
    let mut command = lab.command("true");
    command.straight_to(&flock, &["flock", "l", "cat", "/proc/self/environ"], &[]);
    lab.finish(command).expect_code(0).expect_out("");
}

#[test]
fn an_exported_bash_function_runs_under_the_lock() {
    let lab = Lab::new();
    lab.bash("greet() { echo \"hello $1\"; }; export -f greet; flock l bash -c 'greet you'")
        .expect_out("hello you\n");
}

#[test]
fn the_callers_descriptors_arrive_and_the_lock_takes_the_lowest_free_one() {
    let lab = Lab::new();
    for way in ["-x", "-F", "-w1000"] {
        lab.sh(format!(
            "exec 3<bin 5<bin 9<bin; flock {way} l probe world world"
        ))
        .expect_code(0);
        let world = std::fs::read_to_string(lab.file("world")).expect("a report");
        let (lock, bin) = (lab.file("l"), lab.file("bin"));
        for (number, target) in [(3, &bin), (4, &lock), (5, &bin), (9, &bin)] {
            let line = format!("fd {number} {}\n", target.display());
            assert!(world.contains(&line), "{way}: {line}{world}");
        }
        assert_eq!(world.matches("fd ").count(), 7, "{way}: {world}");
    }
}

#[test]
fn a_closed_standard_descriptor_stays_closed_for_the_command() {
    departure(
        "the reference's lock takes its place, as the lowest free one",
        |lab| {
            for closed in [&[0][..], &[1], &[2], &[0, 1, 2]] {
                let world = same_world(lab, |command| {
                    command.closing(closed);
                });
                assert_eq!(world.matches("fd ").count(), 3 - closed.len(), "{world}");
            }
        },
    );
}

#[test]
fn nothing_takes_the_place_of_a_closed_descriptor_when_the_lock_is_closed_too() {
    let lab = Lab::new();
    for closed in [&[0][..], &[1], &[2], &[0, 1, 2]] {
        for way in [&["-o"][..], &["-o", "-w1000"], &["-o", "-s"]] {
            let mut flock = lab.flock(way.iter().chain(&["l", "probe", "world", "world"]));
            flock.closing(closed);
            let (world, _) = lab.world_of(flock);
            for descriptor in 0..=2 {
                let open = world.contains(&format!("fd {descriptor} "));
                assert_eq!(open, !closed.contains(&descriptor), "{way:?}: {world}");
            }
        }
    }
}

#[test]
fn the_command_stays_in_the_process_group() {
    let lab = Lab::new();
    let mut flock = lab.start_flock(["l", "sh", "-c", "echo $$; read x"]);
    let command: i32 = flock.line().parse().expect("a pid");
    let command = rustix::process::Pid::from_raw(command);
    assert_ne!(
        command.map(|pid| pid.as_raw_nonzero().get()),
        Some(flock.pid())
    );
    let group = rustix::process::getpgid(command).expect("it lives");
    assert_eq!(group.as_raw_nonzero().get(), flock.pid());
}

#[test]
fn in_place_it_is_the_same_process() {
    let lab = Lab::new();
    for words in [["-F", "l"], ["--no-fork", "l"]] {
        let mut flock = lab.start(lab.flock(words.iter().chain(&["sh", "-c", "echo $$"])));
        flock.hears(&flock.pid().to_string());
        assert_eq!(flock.end(), End::Exited(0));
    }
}
