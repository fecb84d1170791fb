//! `flock --fair` as a builtin: the shell waits for its turn itself, and has a child that it knows nothing of.

mod traps;

use crate::fair::waiter_pool::WaiterPool;
use crate::fair::{assert_clean, assert_queue_len, last_ticket};
use test_support::builtin::for_each_bash;
use test_support::locks::tickets;
use test_support::process::{ExitReason, Process, send_signal};
use test_support::procfs::{children_of, is_sentinel, is_stopped, parent_of};
use test_support::{TestEnv, wait_until};

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
fn waiting(env: &TestEnv, before: &str, wait: &str, after: &str) -> Process {
    let count = tickets(env.file("l")).len();
    let script =
        format!("got() {{ echo got; }}\nexec 8<>l\n{before}\n{wait}\necho over $?\n{after}");
    let mut waiter = env.start_with_builtin(script);
    waiter.wait_alive_until("its turn shows", || tickets(env.file("l")).len() > count);
    waiter
}

/// The same, and it notes its name in `order` while it has the lock.
#[track_caller]
fn start_noting(env: &TestEnv, before: &str, wait: &str, name: &str) -> Process {
    let note = format!("echo {name} >>order");
    let before = format!("{before}\ngot() {{ echo got; {note}; }}");
    let after = if wait.ends_with('8') { &note } else { "" };
    waiting(env, &before, wait, after)
}

/// Asserts in which order they had the lock.
#[track_caller]
fn assert_order(env: &TestEnv, names: &[&str]) {
    let order = std::fs::read_to_string(env.file("order")).expect("the order");
    assert_eq!(order.lines().collect::<Vec<_>>(), names);
    std::fs::remove_file(env.file("order")).expect("the order");
}

/// The end of a wait that has got the lock.
#[track_caller]
fn assert_acquires(waiter: &mut Process) {
    let said = waiter.expect("over 0\n");
    assert!(["over 0\n", "got\nover 0\n"].contains(&&said[..]), "{said}");
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[test]
fn shells_and_programs_are_served_in_the_order_in_which_they_came() {
    for_each_bash(|env| {
        let holder = env.hold(&["--fair"], "l");
        let mut pool = WaiterPool::new(env);
        for number in 0..20 {
            match number % 5 {
                0 => pool.spawn(&["--fair"]),
                1 => pool.spawn_builtin("exec 8<>l; flock --fair 8 || exit; NOTE"),
                2 => pool.spawn_builtin("f() { NOTE; }; flock --fair -w 1000 l f"),
                3 => pool.spawn_shell("exec 8<l; flock --fair -w1000 8 || exit; NOTE"),
                _ => pool.spawn_builtin("exec 8<l; (flock --fair 8 || exit; NOTE); :"),
            }
        }
        holder.release();
        pool.assert_success(0..20);
        assert_eq!(pool.order(), Vec::from_iter(0..20));
        assert_clean(env, &pool.sentinels());
    });
}

#[test]
fn readers_of_all_kinds_hold_together_and_a_writer_waits_for_all_of_them() {
    for_each_bash(|env| {
        let holder = env.hold(&["--fair"], "l");
        let mut shell = waiting(env, "", "flock --fair -s 8", "read x");
        let mut function = waiting(env, "f() { echo in; read x; }", "flock --fair -s l f", "");
        let mut program = crate::fair::spawn_waiting_holder(env, &["--fair", "-s"]);
        let mut writer = waiting(env, "", "flock --fair 8", "");
        let mut late = waiting(env, "", "flock --fair -s 8", "");
        holder.release();
        shell.expect_line("over 0");
        function.expect_line("in");
        program.expect_line("held");
        assert_queue_len(env, 2);
        shell.send_line("");
        program.release();
        assert_queue_len(env, 2);
        function.send_line("");
        function.expect_line("over 0");
        assert_acquires(&mut writer);
        assert_acquires(&mut late);
        assert_clean(env, &[]);
    });
}

#[test]
fn the_shell_that_waits_has_a_child_that_it_never_hears_of() {
    for_each_bash(|env| {
        for wait in WAITS {
            let holder = env.hold(&[], "l");
            let after = "trap - CHLD; jobs; wait; echo waited $?; read c </proc/$$/task/$$/children || echo none $c";
            let mut waiter = waiting(env, "trap 'echo child' CHLD", wait, after);
            let sentinel = last_ticket(env).sentinel;
            assert_eq!(parent_of(sentinel), waiter.pid());
            wait_until("it has its name", || is_sentinel(sentinel));
            holder.release();
            let said = waiter.expect("over 0\n");
            assert!(!said.contains("child"), "{said}");
            waiter.expect_line("waited 0");
            waiter.expect_line("none");
            assert_eq!(waiter.wait(), ExitReason::Exited(0));
            assert_clean(env, &[sentinel]);
        }
    });
}

#[test]
fn the_death_of_the_token_is_no_news_to_the_shell() {
    for_each_bash(|env| {
        let holder = env.hold(&["--fair"], "l");
        let mut first = waiting(env, "trap 'echo child' CHLD", "flock --fair 8", "");
        let mut second = waiting(env, "trap 'echo child' CHLD", "flock --fair 8", "");
        let before = tickets(env.file("l"));
        for ticket in &before {
            assert!(send_signal(ticket.sentinel, libc::SIGKILL));
        }
        wait_until("the second has another one", || {
            let now = tickets(env.file("l"));
            now.len() == 2 && now[1].sentinel != before[1].sentinel
        });
        assert_eq!(tickets(env.file("l"))[1].arrived, before[1].arrived);
        assert_eq!(children_of(second.pid()).len(), 1);
        holder.release();
        assert_acquires(&mut first);
        assert_acquires(&mut second);
        assert_clean(env, &[]);
    });
}

#[test]
fn the_shells_own_children_are_heard_of_as_ever() {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        let before = "mkfifo end; (read x <end; exit 7) & child=$!; (exit 6) & other=$!";
        let after = "wait $child; echo $?; wait $other; echo $?; wait; echo $?";
        let mut waiter = waiting(env, before, "flock --fair 8", after);
        std::fs::write(env.file("end"), "\n").expect("a FIFO");
        holder.release();
        for line in ["over 0", "7", "6", "0"] {
            waiter.expect_line(line);
        }
        std::fs::remove_file(env.file("end")).expect("a FIFO");
    });
}

#[test]
fn a_deadly_signal_leaves_neither_turn_nor_token() {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        for wait in WAITS {
            for signal in [libc::SIGTERM, libc::SIGKILL, libc::SIGINT, libc::SIGHUP, 34] {
                let mut waiter = waiting(env, "", wait, "");
                let sentinel = last_ticket(env).sentinel;
                waiter.signal(signal);
                assert_eq!(waiter.wait(), ExitReason::Signaled(signal), "{wait}");
                assert_queue_len(env, 0);
                wait_until("the token goes too", || !is_sentinel(sentinel));
            }
            let mut waiter = waiting(env, "trap 'exit 3' TERM", wait, "");
            let sentinel = last_ticket(env).sentinel;
            waiter.signal(libc::SIGTERM);
            assert_eq!(waiter.wait(), ExitReason::Exited(3));
            assert_queue_len(env, 0);
            wait_until("the token goes too", || !is_sentinel(sentinel));
        }
        holder.release();
        assert_clean(env, &[]);
    });
}

#[test]
fn a_shell_that_was_stopped_and_continued_keeps_its_place() {
    for_each_bash(|env| {
        for wait in WAITS {
            let holder = env.hold(&["--fair"], "l");
            let mut first = start_noting(env, "", wait, "first");
            let mut second = start_noting(env, "", wait, "second");
            for shell in [&first, &second] {
                shell.signal(libc::SIGSTOP);
                shell.wait_stopped();
            }
            for shell in [&second, &first] {
                shell.signal(libc::SIGCONT);
            }
            assert_queue_len(env, 2);
            holder.release();
            assert_acquires(&mut first);
            assert_acquires(&mut second);
            assert_order(env, &["first", "second"]);
            assert_clean(env, &[]);
        }
    });
}

#[test]
fn a_timeout_ends_the_wait_and_leaves_nothing_in_the_shell() {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
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
        env.run_with_builtin(script)
            .assert_stderr("")
            .assert_stdout(&wanted);
        assert_eq!(tickets(env.file("l")), []);
        let first = waiting(env, "", "flock --fair 8", "");
        env.run_with_builtin(script)
            .assert_stderr("")
            .assert_stdout(&wanted);
        assert_eq!(tickets(env.file("l")).len(), 1);
        drop(first);
        holder.release();
        assert_clean(env, &[]);
    });
}

#[test]
fn a_free_lock_is_had_at_once_and_what_is_had_is_had_again() {
    for_each_bash(|env| {
        env.run_with_builtin(
            "exec 8<>l 9<>l; f() { bin/flock -n l true; echo $?; return 3; }
             flock --fair l f; echo $?; flock --fair 8; echo $?; flock --fair 8; echo $?; flock --fair -n 9; echo $?
             flock --fair -s 8; flock --fair -ns 9; echo $?; flock --fair -n 8; echo $?
             flock --fair -u 9; flock --fair -n 8; echo $?
             flock --fair -n l f; echo $?; read c </proc/$$/task/$$/children || echo none $c",
        )
        .assert_stderr("")
        .assert_stdout("1\n3\n0\n0\n1\n0\n1\n0\n1\nnone\n");
    });
}

#[test]
fn what_the_function_starts_inherits_the_lock_and_not_the_turn() {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        // By then the child is the program, which has no descriptors of the shell's own.
        let before = "mkfifo end; f() { sh -c 'read x <end' & until [ \"$(cat /proc/$!/comm)\" = sh ]; do :; done
            for fd in /proc/$!/fd/*; do [ $fd -ef l ] && echo inherited; done; }";
        let mut waiter = waiting(env, before, "flock --fair l f", "");
        let sentinel = last_ticket(env).sentinel;
        holder.release();
        // By the descriptor of the lock, and by 8, which is the script's own.
        for line in ["inherited", "inherited", "over 0"] {
            waiter.expect_line(line);
        }
        assert_eq!(waiter.wait(), ExitReason::Exited(0));
        assert_clean(env, &[sentinel]);
        env.sh("echo >end; rm end").assert_status(0);
    });
}

#[test]
fn in_subshells_substitutions_and_behind_it_is_the_same() {
    for_each_bash(|env| {
        for script in [
            "(flock --fair 8; echo got $?)",
            "x=$(flock --fair 8; echo got $?); echo $x",
            "flock --fair 8 | cat; echo got ${PIPESTATUS[0]}",
            "flock --fair 8 & wait $!; echo got $?",
            "{ flock --fair -w 1000 8; echo got $?; } & wait",
            "cat <(flock --fair 8; echo got $?)",
        ] {
            let holder = env.hold(&[], "l");
            let mut waiter = waiting(env, "", script, "");
            let mut behind = waiting(env, "", "flock --fair l got", "");
            let sentinels: Vec<i32> = tickets(env.file("l"))
                .iter()
                .map(|ticket| ticket.sentinel)
                .collect();
            holder.release();
            waiter.expect_line("got 0");
            waiter.expect_line("over 0");
            assert_eq!(waiter.wait(), ExitReason::Exited(0), "{script}");
            assert_acquires(&mut behind);
            assert_clean(env, &sentinels);
        }
    });
}

#[test]
fn signals_and_timers_are_as_before() {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        let state = r#"state() { local line; while read -r line; do case $line in Sig[CIB]*) echo "$line";; esac; done </proc/$BASHPID/status
            if [ -e /proc/$BASHPID/timers ]; then while read -r line; do echo "$line"; done </proc/$BASHPID/timers; fi; }"#;
        let traps = "trap 'echo trapped' USR1; trap '' TERM; trap : RTMAX-1 CHLD; (:)";
        let mut waiter = waiting(
            env,
            &format!("{state}; {traps}; state >before"),
            "flock --fair 8",
            "state >after; flock -u 8; exec 9<>l; flock 9; flock --fair -w 0.01 8; state >timeout
             for file in after timeout; do cmp before $file; echo $?; done; grep -c Sig before",
        );
        waiter.signal(libc::SIGUSR1);
        waiter.expect_line("trapped");
        assert_queue_len(env, 1);
        holder.release();
        for line in ["over 0", "0", "0", "3"] {
            waiter.expect_line(line);
        }
    });
}

#[test]
fn an_interrupt_at_the_terminal_ends_the_wait_and_not_the_shell() {
    for_each_bash(|env| {
        let holder = env.hold(&[], "l");
        for command in WAITS {
            let mut bash = env.start_builtin_at_terminal();
            bash.send_line("exec 8<>l; got() { echo got; }");
            for _ in 0..3 {
                bash.send_line(command);
                assert_queue_len(env, 1);
                let sentinel = last_ticket(env).sentinel;
                bash.send(CTRL_C);
                bash.send_line("echo status $?");
                bash.expect("status 130\n");
                assert_queue_len(env, 0);
                wait_until("the token goes too", || !is_sentinel(sentinel));
            }
            bash.send_line("read c </proc/$$/task/$$/children || echo none $c; exit 3");
            bash.expect("none\n");
            assert_eq!(bash.wait(), ExitReason::Exited(3), "{command}");
        }
        holder.release();
        assert_clean(env, &[]);
    });
}

#[test]
fn a_wait_that_was_stopped_at_the_terminal_goes_on_in_its_place() {
    for_each_bash(|env| {
        for command in ["flock --fair 8", "flock --fair -w 1000 8"] {
            for how in ["fg", "bg; wait"] {
                let holder = env.hold(&[], "l");
                let mut bash = env.start_builtin_at_terminal();
                bash.send_line("exec 8<>l");
                bash.send_line(command);
                assert_queue_len(env, 1);
                let ticket = last_ticket(env);
                bash.send(CTRL_Z);
                bash.expect("Stopped");
                bash.read_line();
                bash.send_line("echo status $?");
                bash.expect(&format!("status {}\n", 128 + libc::SIGTSTP));
                bash.send_line(how);
                wait_until("it goes on", || !is_stopped(parent_of(ticket.sentinel)));
                let mut behind = waiting(env, "", "flock --fair 8", "");
                assert_queue_len(env, 2);
                assert_eq!(tickets(env.file("l"))[0].arrived, ticket.arrived);
                holder.release();
                bash.send_line("echo status $?");
                bash.expect("status 0\n");
                assert_queue_len(env, 1);
                bash.send_line("flock -u 8; exit 4");
                assert_acquires(&mut behind);
                assert_eq!(bash.wait(), ExitReason::Exited(4), "{command} {how}");
                assert_clean(env, &[]);
            }
        }
    });
}
