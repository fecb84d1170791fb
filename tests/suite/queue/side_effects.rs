//! What waiting in the queue leaves behind: nothing, neither in the state that the command inherits
//! nor in the caller.

use super::{
    FAIR, ONE_SLOT, assert_clean, assert_clean_after, assert_queue_len, last_ticket, pass_time,
    sentinels, spawn_waiter, spawn_waiter_command, spawn_waiter_script, spawn_waiting_holder,
};
use rstest::rstest;
use std::process::Command;
use test_support::TestEnv;
use test_support::locks::{slots, tickets, waiter_count};
use test_support::pre_exec::CommandPreExecExt;
use test_support::process::{ExitReason, Process};
use test_support::procfs::{cpu_time_ns, is_sentinel, voluntary_switches};

/// Reads the file `state`, without the pipes, which are new each time.
#[track_caller]
fn read_state(env: &TestEnv) -> Vec<String> {
    let state = env.read_file("state");
    let known = state.lines().filter(|line| !line.contains(" pipe:"));
    known.map(str::to_owned).collect()
}

/// Starts `flock`, which has to wait in the queue or not, and returns how it exits.
#[track_caller]
fn exit_reason(env: &TestEnv, flock: Command, waits: bool) -> ExitReason {
    if !waits {
        return env.start(flock).wait();
    }
    let holder = env.hold(&[], "l");
    let mut waiter = spawn_waiter_command(env, flock);
    holder.release();
    waiter.wait()
}

/// Returns the state that a command inherits from `flock` with these options, which has to wait or
/// not.
#[track_caller]
fn inherited_state(
    env: &TestEnv,
    options: &[&str],
    waits: bool,
    closed: &'static [i32],
) -> Vec<String> {
    let helper = ["l", "test-helper", "inherited-state", "state"];
    let mut flock = env.flock(options.iter().chain(&helper));
    flock.close_fds(closed);
    let exit = exit_reason(env, flock, waits);
    assert_eq!(exit, ExitReason::Exited(0), "{options:?}");
    read_state(env)
}

#[rstest]
fn command_inherits_the_same_as_without_a_queue(
    #[values(FAIR, ONE_SLOT)] queue: &str,
    #[values(&[], &[0], &[0, 1, 2])] closed: &'static [i32],
) {
    let env = &TestEnv::new();
    let shared = (queue == FAIR).then_some("-s");
    for option in ["-x", "-F", "-o", "-w1000"].into_iter().chain(shared) {
        let plain = inherited_state(env, &[option], false, closed);
        for waits in [false, true] {
            let queued = inherited_state(env, &[queue, option], waits, closed);
            assert_eq!(queued, plain, "{option} {waits}");
        }
    }
}

#[test]
fn descriptors_of_the_caller_keep_their_numbers() {
    let env = &TestEnv::new();
    let state_with = |option: &str| {
        env.sh(format!(
            "exec 4<bin 6<bin 8<>l; flock {option} -w1000 8
            flock {option} --fd 8 test-helper inherited-state state"
        ))
        .assert_all(0, "", "");
        read_state(env)
    };
    assert_eq!(state_with("--fair"), state_with(""));
}

/// Prints `alone:` and the command's own children, if the command is the only child of its parent.
const CHILDREN: &str = r#"read c </proc/$PPID/task/$PPID/children; read o </proc/$$/task/$$/children
    [ "$c" = "$$ " ] || [ "$c" = $$ ] && echo alone: $o || echo "$c, I am $$""#;

#[rstest]
fn sentinel_is_no_child_of_flock_or_its_command(
    #[values(FAIR, ONE_SLOT)] queue: &str,
    #[values("-x", "-o", "-w1000", "-F")] option: &str,
) {
    let env = &TestEnv::new();
    let holder = env.hold(&[queue], "l");
    let script = match option {
        "-F" => "read o </proc/$$/task/$$/children; echo $$: $o",
        _ => CHILDREN,
    };
    let mut waiter = spawn_waiter(env, [queue, option, "l", "sh", "-c", script]);
    let sentinel = last_ticket(env).sentinel;
    holder.release();
    let in_place = format!("{}:", waiter.pid());
    waiter.expect_line(if option == "-F" { &in_place } else { "alone:" });
    waiter.release();
    assert_clean(env, &[sentinel]);
}

#[test]
fn script_has_no_child_after_a_wait() {
    let env = &TestEnv::new();
    let holder = env.hold(&[], "l");
    let script = "exec 8<>l; flock --fair 8; read o </proc/$$/task/$$/children; echo $?: $o
        wait; echo waited";
    let mut shell = spawn_waiter_script(env, script);
    let sentinel = last_ticket(env).sentinel;
    holder.release();
    // The list is empty, so `read` fails.
    shell.expect_line("1:");
    assert!(!is_sentinel(sentinel));
    shell.expect_line("waited");
    shell.release();
    assert_clean(env, &[sentinel]);
}

#[rstest]
fn timeout_and_conflict_leave_nothing(#[values(FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    let holder = env.hold(&[queue], "l");
    for waits_behind in [false, true] {
        let first = waits_behind.then(|| spawn_waiting_holder(env, &[queue]));
        let before = tickets(env.file("l"));
        let held_slots = slots(env.file("l"));
        for option in ["-n", "-w0.0001", "-w0.01", "-ow0.01", "-Fw0.01"] {
            env.run([queue, option, "-E42", "l", "true"])
                .assert_all(42, "", "");
            assert_eq!(tickets(env.file("l")), before, "{option}");
        }
        if queue == FAIR {
            let script = "flock --fair -sn l true; echo $?; flock --fair -sw0.01 l true; echo $?
                exec 8<>l; flock --fair -w0.01 8; echo $?
                read o </proc/$$/task/$$/children; echo $?: $o";
            env.sh(script).assert_all(0, "1\n1\n1\n1:\n", "");
            assert_eq!(tickets(env.file("l")), before);
        }
        assert_eq!(slots(env.file("l")), held_slots);
        drop(first);
        assert_queue_len(env, 0);
    }
    assert_clean_after(env, holder);
}

#[rstest]
#[case::fair(FAIR, 1)]
#[case::three_slots("--slots=3", 3)]
fn waiters_use_no_cpu_time(#[case] queue: &str, #[case] holders: usize) {
    let env = &TestEnv::new();
    let holders: Vec<Process> = (0..holders).map(|_| env.hold(&[queue], "l")).collect();
    let options = ["-x", "-w1000"].repeat(4).into_iter();
    let waiters = options.map(|option| spawn_waiting_holder(env, &[queue, option]));
    let waiters = Vec::from_iter(waiters);
    let sentinels = sentinels(env);
    let pids = waiters.iter().map(Process::pid);
    let pids: Vec<i32> = pids.chain(sentinels.iter().copied()).collect();
    let usage = |pid: &i32| (cpu_time_ns(*pid), voluntary_switches(*pid));
    let usage = || Vec::from_iter(pids.iter().map(usage));
    pass_time(env, queue, "0.5");
    let before = usage();
    pass_time(env, queue, "1");
    // A busy process would use half a second or more, and one that polls a hundred times per second
    // would sleep a hundred times.
    for ((cpu_time, switches), (cpu_time_before, switches_before)) in usage().iter().zip(&before) {
        assert!(cpu_time - cpu_time_before < 100_000_000, "it is busy");
        assert!(switches - switches_before < 20, "it polls");
    }
    drop(waiters);
    holders.into_iter().for_each(Process::release);
    assert_clean(env, &sentinels);
}

#[rstest]
fn verbose_output_is_the_same_with_and_without_queue(#[values("-x", FAIR, ONE_SLOT)] queue: &str) {
    let env = &TestEnv::new();
    let assert_log = |flock: &mut Process| {
        let time = flock.read_line();
        assert!(time.starts_with("flock: getting lock took "), "{time}");
        flock.expect_line("flock: executing echo");
        flock.expect_line("ran");
        assert_eq!(flock.wait(), ExitReason::Exited(0));
        let rest = flock.read_until("\0").expect_err("no NUL in the output");
        assert_eq!(rest, "expected \"\\0\"; output: \"\"");
    };
    for option in ["-x", "-F", "-o", "-w1000"] {
        let args = [queue, "--verbose", option, "l", "echo", "ran"];
        assert_log(&mut env.start_flock(args));
    }
    let holder = env.hold(&[], "l");
    let mut waiter = env.start_flock([queue, "--verbose", "l", "echo", "ran"]);
    let ticket_count = usize::from(queue != "-x");
    waiter.wait_alive_until("it waits in the kernel", || {
        tickets(env.file("l")).len() == ticket_count && waiter_count(env.file("l")) == 1
    });
    holder.release();
    let line = waiter.read_line();
    assert!(line.starts_with("flock: waiting for l: held by "), "{line}");
    assert_log(&mut waiter);

    let _holder = env.hold(&[queue], "l");
    for (option, message) in [
        ("-n", "flock: failed to get lock\n"),
        ("-w0.01", "flock: timeout while waiting to get lock\n"),
    ] {
        let outcome = env.run([queue, "--verbose", option, "l", "true"]);
        let stderr = outcome.assert_status(1).assert_stdout("").stderr_text();
        assert!(stderr.contains(message), "{stderr}");
        env.run([queue, option, "l", "true"]).assert_all(1, "", "");
    }
}

#[rstest]
fn status_of_the_command_is_returned(
    #[values(FAIR, ONE_SLOT)] queue: &str,
    #[values(false, true)] waits: bool,
) {
    let env = &TestEnv::new();
    for (script, option, expected) in [
        ("exit 0", "-x", ExitReason::Exited(0)),
        ("exit 7", "-o", ExitReason::Exited(7)),
        ("exit 255", "-F", ExitReason::Exited(255)),
        ("kill -9 $$", "-x", ExitReason::Exited(137)),
        ("kill -9 $$", "-F", ExitReason::Signaled(9)),
        ("kill -15 $$", "-o", ExitReason::Exited(143)),
    ] {
        let flock = env.flock([queue, option, "l", "sh", "-c", script]);
        let exit = exit_reason(env, flock, waits);
        assert_eq!(exit, expected, "{option} {script}");
    }
    assert_clean(env, &[]);
}
