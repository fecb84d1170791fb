//! The builtin at a terminal: Ctrl-C and Ctrl-Z, in an interactive shell and in a script.

use test_support::builtin::{LIBRARY, in_every_bash};
use test_support::locks::{locks_on, stopped, waiters};
use test_support::process::{End, Live};
use test_support::{Lab, wait_until};

const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";

fn waits(lab: &Lab) {
    wait_until("it waits", || waiters(lab.file("l")) == 1);
}

/// An interactive bash that waits for a lock in this command.
#[track_caller]
fn interactive(lab: &Lab, command: &str) -> Live {
    let mut bash = lab.builtin_at_terminal();
    bash.say("exec 8>l; f() { echo got; }");
    bash.say(command);
    waits(lab);
    bash
}

/// Asserts that the shell is alive, and shows this as the last status.
#[track_caller]
fn shows(bash: &mut Live, status: i32) {
    bash.say("echo status $?");
    bash.comes_to(&format!("status {status}\n"));
}

#[test]
fn an_interrupt_ends_the_wait_and_not_the_shell() {
    in_every_bash(|lab| {
        let holder = lab.hold(&[], "l");
        for command in [
            "flock 8",
            "flock -w 1000 8",
            "flock l f",
            "flock -w 1000 l f",
            "flock l echo got",
        ] {
            let mut bash = interactive(lab, command);
            for _ in 0..3 {
                bash.types(CTRL_C);
                shows(&mut bash, 130);
                wait_until("nobody waits", || waiters(lab.file("l")) == 0);
                bash.say(command);
                waits(lab);
            }
            bash.types(CTRL_C);
            bash.say("exit 3");
            assert_eq!(bash.end(), End::Exited(3), "{command}");
        }
        holder.let_go();
    });
}

#[test]
fn a_wait_that_was_stopped_goes_on_in_the_foreground_or_behind() {
    in_every_bash(|lab| {
        for command in ["flock 8", "flock -w 1000 8"] {
            for how in ["fg", "bg; wait"] {
                let holder = lab.hold(&[], "l");
                let mut bash = interactive(lab, command);
                bash.types(CTRL_Z);
                bash.comes_to("Stopped");
                bash.line();
                shows(&mut bash, 128 + libc::SIGTSTP);
                bash.say(how);
                waits(lab);
                holder.let_go();
                shows(&mut bash, 0);
                // The lock is the shell's.
                bash.say("bin/flock -n l true; echo held $?; flock -u 8; bin/flock -n l true; echo free $?; exit 4");
                bash.comes_to("held 1\n");
                bash.comes_to("free 0\n");
                assert_eq!(bash.end(), End::Exited(4), "{command} {how}");
            }
        }
    });
}

#[test]
fn a_timeout_ends_a_wait_in_an_interactive_shell() {
    in_every_bash(|lab| {
        let holder = lab.hold(&[], "l");
        let mut bash = lab.builtin_at_terminal();
        bash.say("exec 8>l; f() { echo got; }; flock -w 0.01 -E 42 8; echo status $?; flock -w 0.01 -E 43 l f; echo status $?");
        bash.hears("status 42");
        bash.hears("status 43");
        holder.let_go();
    });
}

#[test]
fn the_wait_for_a_functions_lock_is_not_stopped() {
    in_every_bash(|lab| {
        let holder = lab.hold(&[], "l");
        // Without noflsh, a key that is handled late throws away what is said meanwhile.
        let command = "stty noflsh; trap 'echo caught' INT; flock l f";
        let mut bash = interactive(lab, command);
        bash.types(CTRL_Z);
        // The keys are handled one after the other.
        bash.types(CTRL_C);
        bash.comes_to("caught\n");
        waits(lab);
        holder.let_go();
        bash.comes_to("got\n");
        shows(&mut bash, 0);
    });
}

#[test]
fn what_is_stopped_in_a_function_keeps_the_lock() {
    in_every_bash(|lab| {
        let mut bash = lab.builtin_at_terminal();
        bash.say("g() { sh -c 'echo in; read x; echo $x'; }; flock l g");
        bash.comes_to("in\n");
        bash.types(CTRL_Z);
        bash.comes_to("Stopped");
        bash.line();
        bash.say("bin/flock -n l true; echo held $?");
        bash.comes_to("held 1\n");
        bash.say("fg");
        bash.comes_to("read x; echo");
        bash.line();
        bash.say("on");
        bash.comes_to("on\n");
        bash.say("bin/flock -n l true; echo free $?");
        bash.comes_to("free 0\n");
    });
}

#[test]
fn an_interrupt_in_a_function_releases_its_lock() {
    in_every_bash(|lab| {
        let mut bash = lab.builtin_at_terminal();
        bash.say(
            "g() { sleep 1000 & sh -c 'echo in; exec sleep 1000'; echo no; }; f() { echo got; }",
        );
        for _ in 0..3 {
            bash.say("flock l g");
            bash.comes_to("in\n");
            lab.run(["-n", "l", "true"]).expect_code(1);
            bash.types(CTRL_C);
            shows(&mut bash, 130);
            // What it has left behind has the descriptor.
            assert!(locks_on(lab.file("l")).is_empty());
        }
        bash.say("flock l f; kill $(jobs -p); exit 5");
        bash.comes_to("got\n");
        assert_eq!(bash.end(), End::Exited(5));
    });
}

#[test]
fn errors_in_a_function_release_its_lock_though_the_shell_goes_on() {
    in_every_bash(|lab| {
        let mut bash = lab.builtin_at_terminal();
        for error in [
            "echo ${nothing:?}",
            "set -u; echo $nothing",
            "readonly r=1; r=2",
            "eval 'r=3'",
            ". ./nothing",
            "return 1",
        ] {
            bash.say(&format!("g() {{ sleep 1000 & {error}; }}"));
            bash.say("flock l g");
            bash.say("set +u; bin/flock -n l true; echo free $?");
            bash.comes_to("free 0\n");
        }
        bash.say("kill $(jobs -p); exit 6");
        assert_eq!(bash.end(), End::Exited(6));
    });
}

/// A script at a terminal, alone.
#[track_caller]
fn script(lab: &Lab, script: &str) -> Live {
    let script =
        format!("enable -f {LIBRARY} flock || exit; exec 8>l; f() {{ echo got; }}; {script}");
    lab.at_terminal(lab.leader(&["bash", "-c", &script]))
}

#[test]
fn an_interrupt_ends_a_script_that_waits() {
    in_every_bash(|lab| {
        let holder = lab.hold(&[], "l");
        for wait in [
            "flock 8",
            "flock -w 1000 8",
            "flock l f",
            "flock l echo got",
        ] {
            let mut bash = script(lab, &format!("while :; do {wait}; echo no; done"));
            waits(lab);
            bash.types(CTRL_C);
            assert_eq!(bash.end(), End::Killed(libc::SIGINT), "{wait}");
        }
        holder.let_go();
    });
}

#[test]
fn an_interrupt_that_the_script_handles_does_not_end_its_wait() {
    in_every_bash(|lab| {
        for wait in ["flock 8", "flock l f"] {
            let holder = lab.hold(&[], "l");
            let mut bash = script(
                lab,
                &format!("trap 'echo caught' INT; {wait}; echo status $?"),
            );
            for _ in 0..5 {
                waits(lab);
                bash.types(CTRL_C);
                bash.hears("caught");
            }
            holder.let_go();
            bash.comes_to("status 0\n");
        }
    });
}

#[test]
fn a_script_that_waits_is_stopped_and_continued_whole() {
    in_every_bash(|lab| {
        for wait in ["flock 8", "flock -w 1000 8", "flock l f"] {
            let holder = lab.hold(&[], "l");
            std::fs::write(
                lab.file("script"),
                format!("enable -f {LIBRARY} flock || exit; echo pid $$; exec 8>l; f() {{ :; }}; {wait}; echo status $?\n"),
            )
            .expect("a script");
            let mut bash = lab.bash_at_terminal();
            bash.say("bash script");
            bash.comes_to("pid ");
            let pid = bash.line().parse().expect("a pid");
            for _ in 0..3 {
                waits(lab);
                bash.types(CTRL_Z);
                bash.comes_to("Stopped");
                bash.line();
                wait_until("it is stopped", || stopped(pid));
                bash.say("fg");
                wait_until("it goes on", || !stopped(pid));
            }
            holder.let_go();
            bash.comes_to("status 0\n");
        }
    });
}

#[test]
fn a_script_with_job_control_has_its_wait_in_a_job() {
    in_every_bash(|lab| {
        let holder = lab.hold(&[], "l");
        let mut bash = script(
            lab,
            "set -m; flock 8; echo status $?; fg; echo status $?; bin/flock -n l true; echo held $?",
        );
        waits(lab);
        bash.types(CTRL_Z);
        bash.comes_to("status 148\n");
        waits(lab);
        holder.let_go();
        bash.comes_to("status 0\n");
        bash.comes_to("held 1\n");
    });
}
