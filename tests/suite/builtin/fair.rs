//! `flock --fair` as a builtin: the shell waits for its turn itself, and has a child that it knows nothing of.

mod traps;

use crate::fair::crowd::Crowd;
use crate::fair::{last_turn, nothing_is_left, queue_is};
use test_support::builtin::in_every_bash;
use test_support::locks::{children_of, is_token, parent_of, stopped, turns};
use test_support::process::{End, Live, send};
use test_support::{Lab, wait_until};

const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";

/// The ways to wait in the shell itself.
const WAITS: [&str; 4] = [
    "flock --fair 8",
    "flock --fair -w 1000 8",
    "flock --fair l got",
    "flock -w 1000 --fair l got",
];

/// Somebody who waits in `wait`, after `before`; when it is over, he says `over` and the status.
#[track_caller]
fn waiting(lab: &Lab, before: &str, wait: &str, after: &str) -> Live {
    let count = turns(lab.file("l")).len();
    let script =
        format!("got() {{ echo got; }}\nexec 8<>l\n{before}\n{wait}\necho over $?\n{after}");
    let mut waiter = lab.start_builtin(script);
    waiter.lives_until("its turn shows", || turns(lab.file("l")).len() > count);
    waiter
}

/// The same, and it notes its name in `order` while it has the lock.
#[track_caller]
fn noting(lab: &Lab, before: &str, wait: &str, name: &str) -> Live {
    let note = format!("echo {name} >>order");
    let before = format!("{before}\ngot() {{ echo got; {note}; }}");
    let after = if wait.ends_with('8') { &note } else { "" };
    waiting(lab, &before, wait, after)
}

/// Asserts in which order they had the lock.
#[track_caller]
fn order_was(lab: &Lab, names: &[&str]) {
    let order = std::fs::read_to_string(lab.file("order")).expect("the order");
    assert_eq!(order.lines().collect::<Vec<_>>(), names);
    std::fs::remove_file(lab.file("order")).expect("the order");
}

/// The end of a wait that has got the lock.
#[track_caller]
fn gets_it(waiter: &mut Live) {
    let said = waiter.comes_to("over 0\n");
    assert!(["over 0\n", "got\nover 0\n"].contains(&&said[..]), "{said}");
    assert_eq!(waiter.end(), End::Exited(0));
}

#[test]
fn shells_and_programs_are_served_in_the_order_in_which_they_came() {
    in_every_bash(|lab| {
        let holder = lab.hold(&["--fair"], "l");
        let mut crowd = Crowd::new(lab);
        for number in 0..20 {
            match number % 5 {
                0 => crowd.joins(&["--fair"]),
                1 => crowd.joins_by_builtin("exec 8<>l; flock --fair 8 || exit; NOTE"),
                2 => crowd.joins_by_builtin("f() { NOTE; }; flock --fair -w 1000 l f"),
                3 => crowd.joins_by_shell("exec 8<l; flock --fair -w1000 8 || exit; NOTE"),
                _ => crowd.joins_by_builtin("exec 8<l; (flock --fair 8 || exit; NOTE); :"),
            }
        }
        holder.let_go();
        crowd.end_well(0..20);
        assert_eq!(crowd.order(), Vec::from_iter(0..20));
        nothing_is_left(lab, &crowd.tokens());
    });
}

#[test]
fn readers_of_all_kinds_hold_together_and_a_writer_waits_for_all_of_them() {
    in_every_bash(|lab| {
        let holder = lab.hold(&["--fair"], "l");
        let mut shell = waiting(lab, "", "flock --fair -s 8", "read x");
        let mut function = waiting(lab, "f() { echo in; read x; }", "flock --fair -s l f", "");
        let mut program = crate::fair::holder_to_be(lab, &["--fair", "-s"]);
        let mut writer = waiting(lab, "", "flock --fair 8", "");
        let mut late = waiting(lab, "", "flock --fair -s 8", "");
        holder.let_go();
        shell.hears("over 0");
        function.hears("in");
        program.hears("held");
        queue_is(lab, 2);
        shell.say("");
        program.let_go();
        queue_is(lab, 2);
        function.say("");
        function.hears("over 0");
        gets_it(&mut writer);
        gets_it(&mut late);
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn the_shell_that_waits_has_a_child_that_it_never_hears_of() {
    in_every_bash(|lab| {
        for wait in WAITS {
            let holder = lab.hold(&[], "l");
            let after = "trap - CHLD; jobs; wait; echo waited $?; read c </proc/$$/task/$$/children || echo none $c";
            let mut waiter = waiting(lab, "trap 'echo child' CHLD", wait, after);
            let token = last_turn(lab).token;
            assert_eq!(parent_of(token), waiter.pid());
            wait_until("it has its name", || is_token(token));
            holder.let_go();
            let said = waiter.comes_to("over 0\n");
            assert!(!said.contains("child"), "{said}");
            waiter.hears("waited 0");
            waiter.hears("none");
            assert_eq!(waiter.end(), End::Exited(0));
            nothing_is_left(lab, &[token]);
        }
    });
}

#[test]
fn the_death_of_the_token_is_no_news_to_the_shell() {
    in_every_bash(|lab| {
        let holder = lab.hold(&["--fair"], "l");
        let mut first = waiting(lab, "trap 'echo child' CHLD", "flock --fair 8", "");
        let mut second = waiting(lab, "trap 'echo child' CHLD", "flock --fair 8", "");
        let before = turns(lab.file("l"));
        for turn in &before {
            assert!(send(turn.token, libc::SIGKILL));
        }
        wait_until("the second has another one", || {
            let now = turns(lab.file("l"));
            now.len() == 2 && now[1].token != before[1].token
        });
        assert_eq!(turns(lab.file("l"))[1].since, before[1].since);
        assert_eq!(children_of(second.pid()).len(), 1);
        holder.let_go();
        gets_it(&mut first);
        gets_it(&mut second);
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn the_shells_own_children_are_heard_of_as_ever() {
    in_every_bash(|lab| {
        let holder = lab.hold(&[], "l");
        let before = "mkfifo end; (read x <end; exit 7) & child=$!; (exit 6) & other=$!";
        let after = "wait $child; echo $?; wait $other; echo $?; wait; echo $?";
        let mut waiter = waiting(lab, before, "flock --fair 8", after);
        std::fs::write(lab.file("end"), "\n").expect("a FIFO");
        holder.let_go();
        for line in ["over 0", "7", "6", "0"] {
            waiter.hears(line);
        }
        std::fs::remove_file(lab.file("end")).expect("a FIFO");
    });
}

#[test]
fn a_deadly_signal_leaves_neither_turn_nor_token() {
    in_every_bash(|lab| {
        let holder = lab.hold(&[], "l");
        for wait in WAITS {
            for signal in [libc::SIGTERM, libc::SIGKILL, libc::SIGINT, libc::SIGHUP, 34] {
                let mut waiter = waiting(lab, "", wait, "");
                let token = last_turn(lab).token;
                waiter.signal(signal);
                assert_eq!(waiter.end(), End::Killed(signal), "{wait}");
                queue_is(lab, 0);
                wait_until("the token goes too", || !is_token(token));
            }
            let mut waiter = waiting(lab, "trap 'exit 3' TERM", wait, "");
            let token = last_turn(lab).token;
            waiter.signal(libc::SIGTERM);
            assert_eq!(waiter.end(), End::Exited(3));
            queue_is(lab, 0);
            wait_until("the token goes too", || !is_token(token));
        }
        holder.let_go();
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn a_shell_that_was_stopped_and_continued_keeps_its_place() {
    in_every_bash(|lab| {
        for wait in WAITS {
            let holder = lab.hold(&["--fair"], "l");
            let mut first = noting(lab, "", wait, "first");
            let mut second = noting(lab, "", wait, "second");
            for shell in [&first, &second] {
                shell.signal(libc::SIGSTOP);
                shell.stops();
            }
            for shell in [&second, &first] {
                shell.signal(libc::SIGCONT);
            }
            queue_is(lab, 2);
            holder.let_go();
            gets_it(&mut first);
            gets_it(&mut second);
            order_was(lab, &["first", "second"]);
            nothing_is_left(lab, &[]);
        }
    });
}

#[test]
fn a_timeout_ends_the_wait_and_leaves_nothing_in_the_shell() {
    in_every_bash(|lab| {
        let holder = lab.hold(&[], "l");
        let script =
            "exec 8<>l; f() { echo never; }; flock --fair -w 0.01 8; before=(/proc/$$/fd/*)
            for i in {1..10}; do
                for t in 0 0.000001 0.001 10ms; do
                    flock --fair -w $t 8; echo $?; flock --fair -sE 9 -w $t l f; echo $?
                done
                flock --fair -n 8; echo $?; flock --fair -nE 9 l f; echo $?
            done; after=(/proc/$$/fd/*); [ \"${before[*]}\" = \"${after[*]}\" ]; echo $?
            read c </proc/$$/task/$$/children || echo none $c";
        let wanted = "1\n9\n".repeat(50) + "0\nnone\n";
        lab.builtin(script).expect_err("").expect_out(&wanted);
        assert_eq!(turns(lab.file("l")), []);
        let first = waiting(lab, "", "flock --fair 8", "");
        lab.builtin(script).expect_err("").expect_out(&wanted);
        assert_eq!(turns(lab.file("l")).len(), 1);
        drop(first);
        holder.let_go();
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn a_free_lock_is_had_at_once_and_what_is_had_is_had_again() {
    in_every_bash(|lab| {
        lab.builtin(
            "exec 8<>l 9<>l; f() { bin/flock -n l true; echo $?; return 3; }
             flock --fair l f; echo $?; flock --fair 8; echo $?; flock --fair 8; echo $?; flock --fair -n 9; echo $?
             flock --fair -s 8; flock --fair -ns 9; echo $?; flock --fair -n 8; echo $?
             flock --fair -u 9; flock --fair -n 8; echo $?
             flock --fair -n l f; echo $?; read c </proc/$$/task/$$/children || echo none $c",
        )
        .expect_err("")
        .expect_out("1\n3\n0\n0\n1\n0\n1\n0\n1\nnone\n");
    });
}

#[test]
fn what_the_function_starts_inherits_the_lock_and_not_the_turn() {
    in_every_bash(|lab| {
        let holder = lab.hold(&[], "l");
        // By then the child is the program, which has no descriptors of the shell's own.
        let before = "mkfifo end; f() { sh -c 'read x <end' & until [ \"$(cat /proc/$!/comm)\" = sh ]; do :; done
            for fd in /proc/$!/fd/*; do [ $fd -ef l ] && echo inherited; done; }";
        let mut waiter = waiting(lab, before, "flock --fair l f", "");
        let token = last_turn(lab).token;
        holder.let_go();
        // By the descriptor of the lock, and by 8, which is the script's own.
        for line in ["inherited", "inherited", "over 0"] {
            waiter.hears(line);
        }
        assert_eq!(waiter.end(), End::Exited(0));
        nothing_is_left(lab, &[token]);
        lab.sh("echo >end; rm end").expect_code(0);
    });
}

#[test]
fn in_subshells_substitutions_and_behind_it_is_the_same() {
    in_every_bash(|lab| {
        for script in [
            "(flock --fair 8; echo got $?)",
            "x=$(flock --fair 8; echo got $?); echo $x",
            "flock --fair 8 | cat; echo got ${PIPESTATUS[0]}",
            "flock --fair 8 & wait $!; echo got $?",
            "{ flock --fair -w 1000 8; echo got $?; } & wait",
            "cat <(flock --fair 8; echo got $?)",
        ] {
            let holder = lab.hold(&[], "l");
            let mut waiter = waiting(lab, "", script, "");
            let mut behind = waiting(lab, "", "flock --fair l got", "");
            let tokens: Vec<i32> = turns(lab.file("l")).iter().map(|turn| turn.token).collect();
            holder.let_go();
            waiter.hears("got 0");
            waiter.hears("over 0");
            assert_eq!(waiter.end(), End::Exited(0), "{script}");
            gets_it(&mut behind);
            nothing_is_left(lab, &tokens);
        }
    });
}

#[test]
fn signals_and_timers_are_as_before() {
    in_every_bash(|lab| {
        let holder = lab.hold(&[], "l");
        let state = r#"state() { local line; while read -r line; do case $line in Sig[CIB]*) echo "$line";; esac; done </proc/$BASHPID/status
            if [ -e /proc/$BASHPID/timers ]; then while read -r line; do echo "$line"; done </proc/$BASHPID/timers; fi; }"#;
        let traps = "trap 'echo trapped' USR1; trap '' TERM; trap : RTMAX-1 CHLD; (:)";
        let mut waiter = waiting(
            lab,
            &format!("{state}; {traps}; state >before"),
            "flock --fair 8",
            "state >after; flock -u 8; exec 9<>l; flock 9; flock --fair -w 0.01 8; state >timeout
             for file in after timeout; do cmp before $file; echo $?; done; grep -c Sig before",
        );
        waiter.signal(libc::SIGUSR1);
        waiter.hears("trapped");
        queue_is(lab, 1);
        holder.let_go();
        for line in ["over 0", "0", "0", "3"] {
            waiter.hears(line);
        }
    });
}

#[test]
fn an_interrupt_at_the_terminal_ends_the_wait_and_not_the_shell() {
    in_every_bash(|lab| {
        let holder = lab.hold(&[], "l");
        for command in WAITS {
            let mut bash = lab.builtin_at_terminal();
            bash.say("exec 8<>l; got() { echo got; }");
            for _ in 0..3 {
                bash.say(command);
                queue_is(lab, 1);
                let token = last_turn(lab).token;
                bash.types(CTRL_C);
                bash.say("echo status $?");
                bash.comes_to("status 130\n");
                queue_is(lab, 0);
                wait_until("the token goes too", || !is_token(token));
            }
            bash.say("read c </proc/$$/task/$$/children || echo none $c; exit 3");
            bash.comes_to("none\n");
            assert_eq!(bash.end(), End::Exited(3), "{command}");
        }
        holder.let_go();
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn a_wait_that_was_stopped_at_the_terminal_goes_on_in_its_place() {
    in_every_bash(|lab| {
        for command in ["flock --fair 8", "flock --fair -w 1000 8"] {
            for how in ["fg", "bg; wait"] {
                let holder = lab.hold(&[], "l");
                let mut bash = lab.builtin_at_terminal();
                bash.say("exec 8<>l");
                bash.say(command);
                queue_is(lab, 1);
                let turn = last_turn(lab);
                bash.types(CTRL_Z);
                bash.comes_to("Stopped");
                bash.line();
                bash.say("echo status $?");
                bash.comes_to(&format!("status {}\n", 128 + libc::SIGTSTP));
                bash.say(how);
                wait_until("it goes on", || !stopped(parent_of(turn.token)));
                let mut behind = waiting(lab, "", "flock --fair 8", "");
                queue_is(lab, 2);
                assert_eq!(turns(lab.file("l"))[0].since, turn.since);
                holder.let_go();
                bash.say("echo status $?");
                bash.comes_to("status 0\n");
                queue_is(lab, 1);
                bash.say("flock -u 8; exit 4");
                gets_it(&mut behind);
                assert_eq!(bash.end(), End::Exited(4), "{command} {how}");
                nothing_is_left(lab, &[]);
            }
        }
    });
}
