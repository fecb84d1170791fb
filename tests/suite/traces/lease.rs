//! A lock elsewhere: `flock`, the supervisor, the timekeeper and the command.

use models::lease::{FLOCK, Lease, SUPERVISOR, TIMEKEEPER};
use rstest::rstest;
use test_support::TestEnv;
use test_support::system_calls::{Call, SystemCall, assert_explained};

/// The PIDs of the processes, as strings.
struct Pids {
    flock: String,
    supervisor: String,
    timekeeper: String,
}

/// Names the calls of a process that concern the lease. Orders are stored in memory that the processes
/// share; the signal that follows each is seen. They are repeated while the command stops.
fn calls_of(process: u8, recorded: &[SystemCall], pids: &Pids) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    for call in recorded {
        let has = |text: &str| call.args.contains(text);
        let is_for = |pid: &str| call.args.starts_with(&format!("{pid},"));
        let last = calls.last().map(|(name, _)| *name);
        let named = match (process, &*call.name) {
            (FLOCK, "recvfrom" | "recv") if has("granted ") => ("read", "granted"),
            (FLOCK, "clone" | "fork") if call.result == pids.timekeeper => ("fork", "timekeeper"),
            (FLOCK, "clone" | "fork") if call.result == pids.supervisor => ("fork", "supervisor"),
            (FLOCK, "waitid") if has(&format!("P_PID, {},", pids.supervisor)) => ("waitid", ""),
            // Again before it is reaped.
            (FLOCK, "kill") if calls.last() == Some(&("kill", "timekeeper")) => continue,
            (FLOCK, "kill") if is_for(&pids.timekeeper) && has("SIGKILL") => ("kill", "timekeeper"),
            (SUPERVISOR, "getpid") if calls.is_empty() => ("getpid", ""),
            (SUPERVISOR, "getppid") if last == Some("getpid") => (
                "getppid",
                if call.result == pids.flock {
                    "same"
                } else {
                    "other"
                },
            ),
            (SUPERVISOR, "clone" | "fork" | "vfork") => ("clone", ""),
            (SUPERVISOR, "rt_sigtimedwait" | "rt_sigtimedwait_time64")
                if has("SIGCONT") && last == Some("clone") =>
            {
                ("rt_sigtimedwait", "")
            }
            (SUPERVISOR, "waitid")
                if !has("WNOWAIT") && matches!(last, Some("clone" | "rt_sigtimedwait")) =>
            {
                ("waitid", "")
            }
            // It has no children any more.
            (SUPERVISOR, "wait4") if call.result == "ECHILD" && last == Some("waitid") => {
                ("wait4", "")
            }
            (SUPERVISOR, "shutdown") => ("shutdown", ""),
            (TIMEKEEPER, "recvfrom" | "recv") if has("until ") => ("read", "until"),
            (TIMEKEEPER, "kill") if is_for(&pids.supervisor) && last != Some("poll") => {
                ("poll", "stop")
            }
            // A list of the children stands for killing those in it.
            (FLOCK, "open" | "openat")
                if (has("/children\"") || has("\"/proc\"")) && last == Some("waitid") =>
            {
                ("kill", "rest")
            }
            (FLOCK | SUPERVISOR, "exit_group") => ("exit", ""),
            _ => continue,
        };
        calls.push(named);
    }
    calls
}

const END_OF_FLOCK: [Call; 3] = [("waitid", ""), ("kill", "timekeeper"), ("exit", "")];
const KILL_BY_FLOCK: [Call; 4] = [
    ("waitid", ""),
    ("kill", "rest"),
    ("kill", "timekeeper"),
    ("exit", ""),
];
const END_OF_SUPERVISOR: [Call; 4] = [
    ("waitid", ""),
    ("wait4", ""),
    ("shutdown", ""),
    ("exit", ""),
];
const STOP_BY_SUPERVISOR: [Call; 4] = [
    ("rt_sigtimedwait", ""),
    ("waitid", ""),
    ("wait4", ""),
    ("exit", ""),
];
const KILL_BY_SUPERVISOR: [Call; 3] = [("rt_sigtimedwait", ""), ("shutdown", ""), ("exit", "")];

#[rstest]
#[case::renewed("exit 3", &END_OF_FLOCK, &END_OF_SUPERVISOR)]
#[case::supervisor_killed("kill -9 $PPID; sleep 60", &KILL_BY_FLOCK, &[])]
#[case::flock_killed(
    "read -r p c s flock r </proc/$PPID/stat; kill -9 $flock; sleep 60",
    &[],
    &KILL_BY_SUPERVISOR
)]
fn a_lease_is_a_path_of_the_model(
    #[case] script: &str,
    #[case] end_of_flock: &[Call],
    #[case] end_of_supervisor: &[Call],
) {
    let env = TestEnv::without_builtin();
    let helper = "echo granted 7 $(in_ms 100000)\necho until $(in_ms 101000)\nwait_for_release";
    let Some(traces) = record(&env, helper, script) else {
        return;
    };
    let [flock, supervisor, timekeeper] = traces.expect("all processes start");
    let model = Lease::new(u8::from(script != "exit 3"));
    let granted = [
        ("read", "granted"),
        ("fork", "timekeeper"),
        ("fork", "supervisor"),
    ];
    let started = [("getpid", ""), ("getppid", "same"), ("clone", "")];
    for (process, calls, expected) in [
        (FLOCK, &flock, [&granted, end_of_flock].concat()),
        (
            SUPERVISOR,
            &supervisor,
            [&started, end_of_supervisor].concat(),
        ),
    ] {
        assert_eq!(*calls, expected);
        assert_explained(calls, |calls| model.explain(process, calls));
    }
    // `flock` may have read the renewal with the grant.
    if !timekeeper.is_empty() {
        assert_eq!(timekeeper, [("read", "until")]);
        assert_explained(&timekeeper, |calls| model.explain(TIMEKEEPER, calls));
    }
}

/// The command is asked to stop after 4 s. On a slow machine, it may not have started by then.
#[test]
fn the_end_of_a_lease_is_a_path_of_the_model() {
    let env = TestEnv::without_builtin();
    let helper = "echo granted 7 $(in_ms 34000)\nwait_for_release";
    let Some(Some([flock, supervisor, timekeeper])) = record(&env, helper, "exec sleep 60") else {
        return;
    };
    if !supervisor.ends_with(&STOP_BY_SUPERVISOR) {
        return;
    }
    assert!(flock.ends_with(&END_OF_FLOCK), "{flock:?}");
    assert_eq!(timekeeper, [("poll", "stop")]);
    let model = Lease::new(0);
    for (process, calls) in [(FLOCK, flock), (TIMEKEEPER, timekeeper)] {
        assert_explained(&calls, |calls| model.explain(process, calls));
    }
    // The command might also have exited before the order.
    assert_eq!(
        model.explain(SUPERVISOR, &supervisor),
        Ok(()),
        "{supervisor:?}"
    );
}

/// Runs `flock` with a helper and a command, and returns the calls of `flock`, the supervisor and the
/// timekeeper, if they start, or `None` without strace.
fn record(env: &TestEnv, helper: &str, script: &str) -> Option<Option<[Vec<Call>; 3]>> {
    env.install_lock_helper(helper);
    let args = ["--ttl=100s", "--grace=28s", "test://n", "sh", "-c", script];
    let command = env.with_recording_of_all("flock", args)?;
    env.run_command(command);
    let recorded = env.recorded_processes();
    let find = |name: &str, arg: &str| {
        let has_call = |calls: &&Vec<SystemCall>| {
            let mut calls = calls.iter();
            calls.any(|call| call.name == name && call.args.contains(arg))
        };
        recorded.iter().find(|(_, calls)| has_call(calls))
    };
    let (flock, calls_of_flock) = find("execve", "\"test://n\"").expect("it was executed");
    let processes = (
        find("prctl", "\"lock-keeper"),
        find("prctl", "\"lock-timekeeper"),
    );
    let (Some((supervisor, calls_of_supervisor)), Some((timekeeper, calls_of_timekeeper))) =
        processes
    else {
        return Some(None);
    };
    let pids = Pids {
        flock: flock.to_string(),
        supervisor: supervisor.to_string(),
        timekeeper: timekeeper.to_string(),
    };
    Some(Some([
        calls_of(FLOCK, calls_of_flock, &pids),
        calls_of(SUPERVISOR, calls_of_supervisor, &pids),
        calls_of(TIMEKEEPER, calls_of_timekeeper, &pids),
    ]))
}
