//! What a wait for one's turn leaves behind: nothing, neither in the command's world nor in the file nor in the
//! script's.

use std::os::unix::fs::MetadataExt;

use super::{WHY, last_turn, nothing_is_left, queue_is, queuing, queuing_by};
use test_support::locks::{busy, is_token, naps, turns, waiters};
use test_support::pre_exec::Inherit;
use test_support::process::End;
use test_support::{Lab, departure, wait_until};

/// What a command under `flock` was given, that had to wait for the lock.
#[track_caller]
fn world_after_a_wait(lab: &Lab, words: &[&str], closed: &'static [i32]) -> Vec<String> {
    let _ = std::fs::remove_file(lab.file("world"));
    let holder = lab.hold(&[], "l");
    let mut under = lab.flock(words.iter().chain(&["probe", "world", "world"]));
    under.closing(closed);
    let mut under = lab.start(under);
    let fair = words.contains(&"--fair");
    under.lives_until("it waits", || match fair {
        true => turns(lab.file("l")).len() == 1,
        false => waiters(lab.file("l")) == 1,
    });
    holder.let_go();
    assert_eq!(under.end(), End::Exited(0), "{words:?}");
    let world = std::fs::read_to_string(lab.file("world")).expect("a report");
    // The pipes are new each time.
    let known = world.lines().filter(|line| !line.contains(" pipe:"));
    known.map(str::to_owned).collect()
}

#[test]
fn the_command_gets_what_it_gets_without_a_turn() {
    departure(WHY, |lab| {
        for way in ["-x", "-s", "-F", "-o", "-w1000"] {
            for closed in [&[][..], &[0], &[0, 1, 2]] {
                assert_eq!(
                    world_after_a_wait(lab, &["--fair", way, "l"], closed),
                    world_after_a_wait(lab, &[way, "l"], closed),
                    "{way} {closed:?}"
                );
            }
        }
    });
}

#[test]
fn descriptors_of_the_callers_are_where_they_were() {
    departure(WHY, |lab| {
        let world = |fair: &str| {
            lab.sh(format!(
                "rm -f world; exec 4<bin 6<bin 8<>l; flock {fair} -w1000 8; flock {fair} --fd 8 probe world world"
            ))
            .expect_err("")
            .expect_code(0);
            let world = std::fs::read_to_string(lab.file("world")).expect("a report");
            let lines = world.lines().filter(|line| !line.contains(" pipe:"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(world("--fair"), world(""));
    });
}

/// For a command: what else its parent has for children, and what it has itself.
const CHILDREN: &str = r#"read c </proc/$PPID/task/$PPID/children; read o </proc/$$/task/$$/children
    [ "$c" = "$$ " ] || [ "$c" = $$ ] && echo alone: $o || echo "$c, I am $$""#;

#[test]
fn while_the_command_runs_it_is_the_only_child_and_nobody_is_left_to_be_waited_for() {
    departure(WHY, |lab| {
        for way in ["-x", "-s", "-o", "-w1000"] {
            let holder = lab.hold(&[], "l");
            let mut waiter = queuing(lab, ["--fair", way, "l", "sh", "-c", CHILDREN]);
            let token = last_turn(lab).token;
            holder.let_go();
            waiter.hears("alone:");
            assert_eq!(waiter.end(), End::Exited(0));
            nothing_is_left(lab, &[token]);
        }
    });
}

#[test]
fn in_place_the_command_has_no_child_that_it_does_not_know() {
    departure(WHY, |lab| {
        let holder = lab.hold(&[], "l");
        let script = "read o </proc/$$/task/$$/children; echo $$: $o";
        let mut waiter = queuing(lab, ["--fair", "-F", "l", "sh", "-c", script]);
        let token = last_turn(lab).token;
        let itself = format!("{}:", waiter.pid());
        holder.let_go();
        waiter.hears(&itself);
        assert_eq!(waiter.end(), End::Exited(0));
        nothing_is_left(lab, &[token]);
    });
}

#[test]
fn a_script_that_waited_has_no_child_afterwards_and_waits_for_nobody() {
    departure(WHY, |lab| {
        let holder = lab.hold(&[], "l");
        let mut shell = lab.command("sh");
        let script = "exec 8<>l; flock --fair 8; read o </proc/$$/task/$$/children; echo $?: $o; wait; echo waited";
        shell.args(["-c", script]);
        let mut shell = queuing_by(lab, shell);
        let token = last_turn(lab).token;
        holder.let_go();
        // There is nothing to be read, not even a line.
        shell.hears("1:");
        assert!(!is_token(token));
        shell.hears("waited");
        assert_eq!(shell.end(), End::Exited(0));
        nothing_is_left(lab, &[token]);
    });
}

#[test]
fn who_gives_up_leaves_no_turn_no_lock_and_no_token() {
    departure(WHY, |lab| {
        let holder = lab.hold(&[], "l");
        let mut first = queuing(lab, ["--fair", "l", "true"]);
        let kept = turns(lab.file("l"));
        // Behind somebody.
        for how in ["-w0.01", "-n", "-sw0.01", "-sn", "-ow0.01", "-Fw0.01"] {
            lab.run(["--fair", how, "l", "true"]).expect_code(1);
            assert_eq!(turns(lab.file("l")), kept, "{how}");
        }
        first.signal(libc::SIGKILL);
        first.end();
        queue_is(lab, 0);
        // Nobody before it, by path and by descriptor.
        lab.run(["--fair", "-w0.01", "l", "true"]).expect_code(1);
        let script = "exec 8<>l; flock --fair -w0.01 8; echo $?; read o </proc/$$/task/$$/children; echo $?: $o";
        lab.sh(script).expect_err("").expect_out("1\n1:\n");
        assert_eq!(turns(lab.file("l")), []);
        holder.let_go();
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn the_file_is_as_it_was() {
    departure(WHY, |lab| {
        std::fs::write(lab.file("l"), "contents\n").expect("a file");
        let state = || {
            let file = std::fs::metadata(lab.file("l")).expect("it is there");
            let times = [
                (file.mtime(), file.mtime_nsec()),
                (file.ctime(), file.ctime_nsec()),
            ];
            let contents = std::fs::read_to_string(lab.file("l")).expect("it is there");
            (file.len(), file.blocks(), file.mode(), times, contents)
        };
        let before = state();
        for opened in ["8<l", "8>>l", "8<>l"] {
            let holder = lab.hold(&[], "l");
            let mut shell = lab.command("sh");
            let script = format!("exec {opened}; flock --fair -w1000 8; echo got");
            shell.args(["-c", &script]);
            let mut by_descriptor = queuing_by(lab, shell);
            let mut by_path = queuing(lab, ["--fair", "l", "echo", "done"]);
            lab.run(["--fair", "-w0.01", "l", "true"]).expect_code(1);
            holder.let_go();
            by_descriptor.hears("got");
            by_path.hears("done");
            assert_eq!(by_path.end(), End::Exited(0));
            assert_eq!(state(), before, "{opened}");
        }
        assert_eq!(lab.names(), ["l"]);
    });
}

#[test]
fn those_who_wait_use_no_processor() {
    departure(WHY, |lab| {
        let holder = lab.hold(&[], "l");
        let queue: Vec<_> = (0..8)
            .map(|number| match number % 2 {
                0 => queuing(lab, ["--fair", "l", "true"]),
                _ => queuing(lab, ["--fair", "-w1000", "l", "true"]),
            })
            .collect();
        let pids: Vec<i32> = queue.iter().map(|waiter| waiter.pid()).collect();
        let tokens = turns(lab.file("l")).into_iter().map(|turn| turn.token);
        let all: Vec<i32> = pids.iter().copied().chain(tokens).collect();
        // Somebody else's timeout is the clock.
        let clock = || lab.run(["-w1", "l", "true"]).expect_code(1);
        clock();
        let naps = |pid: &i32| naps(*pid).parse::<u64>().expect("it lives");
        let before: Vec<(u64, u64)> = all.iter().map(|pid| (busy(*pid), naps(pid))).collect();
        clock();
        for (pid, (worked, slept)) in all.iter().zip(before) {
            // One that is busy has had half a second or more, and one that polls every hundredth has slept a hundred
            // times.
            assert!(busy(*pid) - worked < 100_000_000, "{pid} is busy");
            assert!(naps(pid) - slept < 20, "{pid} polls");
        }
        drop(queue);
        holder.let_go();
        nothing_is_left(lab, &all[8..]);
    });
}

#[test]
fn what_is_told_is_what_is_told_without_a_turn() {
    departure(WHY, |lab| {
        let told = |fair: &str| {
            let holder = lab.hold(&[], "l");
            let words = [fair, "--verbose", "l", "echo", "ran"];
            let mut waiter = lab.start_flock(words);
            waiter.lives_until("it waits", || waiters(lab.file("l")) == 1);
            holder.let_go();
            let in_the_way = waiter.line();
            assert!(
                in_the_way.starts_with("flock: waiting for l: held by "),
                "{in_the_way}"
            );
            let time = waiter.line();
            assert!(time.starts_with("flock: getting lock took "), "{time}");
            waiter.hears("flock: executing echo");
            waiter.hears("ran");
            assert_eq!(waiter.end(), End::Exited(0));
            assert_eq!(
                waiter.until("\0").expect_err("silence"),
                "never \"\\0\"; heard: \"\""
            );
        };
        told("--fair");
        told("-x");
        let _holder = lab.hold(&["--fair"], "l");
        for (patience, said) in [
            ("-n", "flock: failed to get lock\n"),
            ("-w0.01", "flock: timeout while waiting to get lock\n"),
        ] {
            let told = lab.run(["--fair", "--verbose", patience, "l", "true"]);
            let told = told.expect_code(1).expect_out("").err();
            assert!(told.contains(said), "{told}");
            lab.run(["--fair", patience, "l", "true"])
                .expect_code(1)
                .expect_out("")
                .expect_err("");
        }
    });
}

#[test]
fn every_status_is_passed_on_after_a_wait() {
    departure(WHY, |lab| {
        for (script, way, end) in [
            ("exit 0", "-x", End::Exited(0)),
            ("exit 255", "-s", End::Exited(255)),
            ("kill -9 $$", "-x", End::Exited(137)),
            ("kill -9 $$", "-F", End::Killed(9)),
            ("kill -15 $$", "-o", End::Exited(143)),
        ] {
            let holder = lab.hold(&[], "l");
            let mut waiter = queuing(lab, ["--fair", way, "l", "sh", "-c", script]);
            holder.let_go();
            assert_eq!(waiter.end(), end, "{way} {script}");
        }
        lab.run(["--fair", "l", "no-such-command"]).expect_code(69);
        lab.run(["--fair", "77"]).expect_code(65);
        lab.run(["--fair", "no/l", "true"]).expect_code(66);
        wait_until("nobody waits", || turns(lab.file("l")).is_empty());
    });
}
