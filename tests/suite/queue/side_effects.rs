//! What a wait for one's turn leaves behind: nothing, neither in the state that the command inherits nor in the file nor in the
//! script's.

use std::os::unix::fs::MetadataExt;

use super::{WHY, assert_clean, assert_queue_len, last_ticket, spawn_waiter, spawn_waiter_command};
use test_support::locks::{tickets, waiter_count};
use test_support::pre_exec::CommandPreExecExt;
use test_support::process::ExitReason;
use test_support::procfs::{cpu_time_ns, is_sentinel, voluntary_switches};
use test_support::{TestEnv, differs_from_util_linux, wait_until};

/// What a command under `flock` was given, that had to wait for the lock.
#[track_caller]
fn state_after_waiting(env: &TestEnv, words: &[&str], closed: &'static [i32]) -> Vec<String> {
    let _ = std::fs::remove_file(env.file("state"));
    let holder = env.hold(&[], "l");
    let mut under = env.flock(
        words
            .iter()
            .chain(&["test-helper", "inherited-state", "state"]),
    );
    under.close_fds(closed);
    let mut under = env.start(under);
    let fair = words.contains(&"--fair");
    under.wait_alive_until("it waits", || match fair {
        true => tickets(env.file("l")).len() == 1,
        false => waiter_count(env.file("l")) == 1,
    });
    holder.release();
    assert_eq!(under.wait(), ExitReason::Exited(0), "{words:?}");
    let state = std::fs::read_to_string(env.file("state")).expect("a report");
    // The pipes are new each time.
    let known = state.lines().filter(|line| !line.contains(" pipe:"));
    known.map(str::to_owned).collect()
}

#[test]
fn the_command_gets_what_it_gets_without_a_turn() {
    differs_from_util_linux(WHY, |env| {
        for way in ["-x", "-s", "-F", "-o", "-w1000"] {
            for closed in [&[][..], &[0], &[0, 1, 2]] {
                assert_eq!(
                    state_after_waiting(env, &["--fair", way, "l"], closed),
                    state_after_waiting(env, &[way, "l"], closed),
                    "{way} {closed:?}"
                );
            }
        }
    });
}

#[test]
fn descriptors_of_the_callers_are_where_they_were() {
    differs_from_util_linux(WHY, |env| {
        let inherited_state = |fair: &str| {
            env.sh(format!(
                "rm -f state; exec 4<bin 6<bin 8<>l; flock {fair} -w1000 8; flock {fair} --fd 8 test-helper inherited-state state"
            ))
            .assert_stderr("")
            .assert_status(0);
            let state = std::fs::read_to_string(env.file("state")).expect("a report");
            let lines = state.lines().filter(|line| !line.contains(" pipe:"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(inherited_state("--fair"), inherited_state(""));
    });
}

/// For a command: what else its parent has for children, and what it has itself.
const CHILDREN: &str = r#"read c </proc/$PPID/task/$PPID/children; read o </proc/$$/task/$$/children
    [ "$c" = "$$ " ] || [ "$c" = $$ ] && echo alone: $o || echo "$c, I am $$""#;

#[test]
fn while_the_command_runs_it_is_the_only_child_and_nobody_is_left_to_be_waited_for() {
    differs_from_util_linux(WHY, |env| {
        for way in ["-x", "-s", "-o", "-w1000"] {
            let holder = env.hold(&[], "l");
            let mut waiter = spawn_waiter(env, ["--fair", way, "l", "sh", "-c", CHILDREN]);
            let sentinel = last_ticket(env).sentinel;
            holder.release();
            waiter.expect_line("alone:");
            assert_eq!(waiter.wait(), ExitReason::Exited(0));
            assert_clean(env, &[sentinel]);
        }
    });
}

#[test]
fn in_place_the_command_has_no_child_that_it_does_not_know() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&[], "l");
        let script = "read o </proc/$$/task/$$/children; echo $$: $o";
        let mut waiter = spawn_waiter(env, ["--fair", "-F", "l", "sh", "-c", script]);
        let sentinel = last_ticket(env).sentinel;
        let itself = format!("{}:", waiter.pid());
        holder.release();
        waiter.expect_line(&itself);
        assert_eq!(waiter.wait(), ExitReason::Exited(0));
        assert_clean(env, &[sentinel]);
    });
}

#[test]
fn a_script_that_waited_has_no_child_afterwards_and_waits_for_nobody() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&[], "l");
        let mut shell = env.command("sh");
        let script = "exec 8<>l; flock --fair 8; read o </proc/$$/task/$$/children; echo $?: $o; wait; echo waited";
        shell.args(["-c", script]);
        let mut shell = spawn_waiter_command(env, shell);
        let sentinel = last_ticket(env).sentinel;
        holder.release();
        // There is nothing to be read, not even a line.
        shell.expect_line("1:");
        assert!(!is_sentinel(sentinel));
        shell.expect_line("waited");
        assert_eq!(shell.wait(), ExitReason::Exited(0));
        assert_clean(env, &[sentinel]);
    });
}

#[test]
fn who_gives_up_leaves_no_turn_no_lock_and_no_token() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&[], "l");
        let mut first = spawn_waiter(env, ["--fair", "l", "true"]);
        let kept = tickets(env.file("l"));
        // Behind somebody.
        for how in ["-w0.01", "-n", "-sw0.01", "-sn", "-ow0.01", "-Fw0.01"] {
            env.run(["--fair", how, "l", "true"]).assert_status(1);
            assert_eq!(tickets(env.file("l")), kept, "{how}");
        }
        first.signal(libc::SIGKILL);
        first.wait();
        assert_queue_len(env, 0);
        // Nobody before it, by path and by descriptor.
        env.run(["--fair", "-w0.01", "l", "true"]).assert_status(1);
        let script = "exec 8<>l; flock --fair -w0.01 8; echo $?; read o </proc/$$/task/$$/children; echo $?: $o";
        env.sh(script).assert_stderr("").assert_stdout("1\n1:\n");
        assert_eq!(tickets(env.file("l")), []);
        holder.release();
        assert_clean(env, &[]);
    });
}

#[test]
fn the_file_is_as_it_was() {
    differs_from_util_linux(WHY, |env| {
        std::fs::write(env.file("l"), "contents\n").expect("a file");
        let state = || {
            let file = std::fs::metadata(env.file("l")).expect("it is there");
            let times = [
                (file.mtime(), file.mtime_nsec()),
                (file.ctime(), file.ctime_nsec()),
            ];
            let contents = std::fs::read_to_string(env.file("l")).expect("it is there");
            (file.len(), file.blocks(), file.mode(), times, contents)
        };
        let before = state();
        for opened in ["8<l", "8>>l", "8<>l"] {
            let holder = env.hold(&[], "l");
            let mut shell = env.command("sh");
            let script = format!("exec {opened}; flock --fair -w1000 8; echo got");
            shell.args(["-c", &script]);
            let mut by_descriptor = spawn_waiter_command(env, shell);
            let mut by_path = spawn_waiter(env, ["--fair", "l", "echo", "done"]);
            env.run(["--fair", "-w0.01", "l", "true"]).assert_status(1);
            holder.release();
            by_descriptor.expect_line("got");
            by_path.expect_line("done");
            assert_eq!(by_path.wait(), ExitReason::Exited(0));
            assert_eq!(state(), before, "{opened}");
        }
        assert_eq!(env.file_names(), ["l"]);
    });
}

#[test]
fn those_who_wait_use_no_processor() {
    differs_from_util_linux(WHY, |env| {
        let holder = env.hold(&[], "l");
        let queue: Vec<_> = (0..8)
            .map(|number| match number % 2 {
                0 => spawn_waiter(env, ["--fair", "l", "true"]),
                _ => spawn_waiter(env, ["--fair", "-w1000", "l", "true"]),
            })
            .collect();
        let pids: Vec<i32> = queue.iter().map(|waiter| waiter.pid()).collect();
        let sentinels = tickets(env.file("l"))
            .into_iter()
            .map(|ticket| ticket.sentinel);
        let all: Vec<i32> = pids.iter().copied().chain(sentinels).collect();
        // Somebody else's timeout is the clock.
        let clock = || env.run(["-w1", "l", "true"]).assert_status(1);
        clock();
        let before: Vec<(u64, u64)> = all
            .iter()
            .map(|pid| (cpu_time_ns(*pid), voluntary_switches(*pid)))
            .collect();
        clock();
        for (pid, (worked, slept)) in all.iter().zip(before) {
            // One that is busy has had half a second or more, and one that polls every hundredth has slept a hundred
            // times.
            assert!(cpu_time_ns(*pid) - worked < 100_000_000, "{pid} is busy");
            assert!(voluntary_switches(*pid) - slept < 20, "{pid} polls");
        }
        drop(queue);
        holder.release();
        assert_clean(env, &all[8..]);
    });
}

#[test]
fn what_is_told_is_what_is_told_without_a_turn() {
    differs_from_util_linux(WHY, |env| {
        let told = |fair: &str| {
            let holder = env.hold(&[], "l");
            let words = [fair, "--verbose", "l", "echo", "ran"];
            let mut waiter = env.start_flock(words);
            waiter.wait_alive_until("it waits", || waiter_count(env.file("l")) == 1);
            holder.release();
            let in_the_way = waiter.read_line();
            assert!(
                in_the_way.starts_with("flock: waiting for l: held by "),
                "{in_the_way}"
            );
            let time = waiter.read_line();
            assert!(time.starts_with("flock: getting lock took "), "{time}");
            waiter.expect_line("flock: executing echo");
            waiter.expect_line("ran");
            assert_eq!(waiter.wait(), ExitReason::Exited(0));
            assert_eq!(
                waiter.read_until("\0").expect_err("silence"),
                "expected \"\\0\"; output: \"\""
            );
        };
        told("--fair");
        told("-x");
        let _holder = env.hold(&["--fair"], "l");
        for (patience, said) in [
            ("-n", "flock: failed to get lock\n"),
            ("-w0.01", "flock: timeout while waiting to get lock\n"),
        ] {
            let told = env.run(["--fair", "--verbose", patience, "l", "true"]);
            let told = told.assert_status(1).assert_stdout("").stderr_text();
            assert!(told.contains(said), "{told}");
            env.run(["--fair", patience, "l", "true"])
                .assert_status(1)
                .assert_stdout("")
                .assert_stderr("");
        }
    });
}

#[test]
fn every_status_is_passed_on_after_a_wait() {
    differs_from_util_linux(WHY, |env| {
        for (script, way, end) in [
            ("exit 0", "-x", ExitReason::Exited(0)),
            ("exit 255", "-s", ExitReason::Exited(255)),
            ("kill -9 $$", "-x", ExitReason::Exited(137)),
            ("kill -9 $$", "-F", ExitReason::Signaled(9)),
            ("kill -15 $$", "-o", ExitReason::Exited(143)),
        ] {
            let holder = env.hold(&[], "l");
            let mut waiter = spawn_waiter(env, ["--fair", way, "l", "sh", "-c", script]);
            holder.release();
            assert_eq!(waiter.wait(), end, "{way} {script}");
        }
        env.run(["--fair", "l", "no-such-command"])
            .assert_status(69);
        env.run(["--fair", "77"]).assert_status(65);
        env.run(["--fair", "no/l", "true"]).assert_status(66);
        wait_until("nobody waits", || tickets(env.file("l")).is_empty());
    });
}
