//! Queues of several users, of several namespaces, and where there is no /proc.

use std::process::Command;

use super::crowd::Crowd;
use super::{WHY, holder_to_be, nothing_is_left, queue_is, queuing_by};
use test_support::locks::{turns, waiters};
use test_support::process::End;
use test_support::{Lab, departure, installed, may_unshare};

/// Somebody else: `nobody`, who may come into the lab, read the lock file, and write the order. `None` where we cannot
/// be somebody else.
fn stranger(lab: &Lab, script: &str) -> Option<Command> {
    if !rustix::process::geteuid().is_root() || !installed("setpriv") {
        return None;
    }
    lab.sh("chmod 755 .; : >l; chmod 644 l; : >order; chmod 666 order")
        .expect_code(0);
    let stranger = |script: &str| {
        let mut command = lab.command("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.args(["sh", "-c", script]);
        command
    };
    let may = lab.finish(stranger("flock --version && [ -r l ] && [ ! -w l ]"));
    if may.code() != 0 {
        println!("a stranger may not come in: {may:?}");
        return None;
    }
    Some(stranger(script))
}

#[test]
fn users_who_may_do_nothing_to_each_other_queue_together() {
    departure(WHY, |lab| {
        lab.run(["--fair", "-n", "l", "true"]).expect_code(0);
        let by_path = |name: &str| format!("exec flock --fair l sh -c 'echo {name} >>order'");
        let by_descriptor = |name: &str| format!("exec 8<l; flock --fair 8; echo {name} >>order");
        let holder = lab.hold(&["--fair"], "l");
        let mut queue = Vec::new();
        let mut wanted = String::new();
        for number in 0..6 {
            let name = number.to_string();
            let Some(stranger) = stranger(lab, &by_path(&name)) else {
                // Nothing to see here.
                return;
            };
            queue.push(queuing_by(lab, stranger));
            let name = format!("root {number}");
            let mut root = lab.command("sh");
            root.args(["-c", &by_descriptor(&name)]);
            queue.push(queuing_by(lab, root));
            wanted += &format!("{number}\n{name}\n");
        }
        let tokens: Vec<i32> = turns(lab.file("l")).iter().map(|turn| turn.token).collect();
        holder.let_go();
        for waiter in &mut queue {
            assert_eq!(waiter.end(), End::Exited(0));
        }
        let order = std::fs::read_to_string(lab.file("order")).expect("the order");
        assert_eq!(order, wanted);
        nothing_is_left(lab, &tokens);
    });
}

#[test]
fn a_stopped_process_of_another_users_is_passed_too() {
    departure(WHY, |lab| {
        lab.run(["--fair", "-n", "l", "true"]).expect_code(0);
        let holder = lab.hold(&["--fair"], "l");
        let Some(sleeper) = stranger(lab, "exec flock --fair l sh -c 'echo sleeper >>order'")
        else {
            return;
        };
        let mut sleeper = queuing_by(lab, sleeper);
        let mut second = holder_to_be(lab, &["--fair"]);
        sleeper.signal(libc::SIGSTOP);
        sleeper.stops();
        let third = stranger(lab, "exec flock --fair l sh -c 'echo third >>order'");
        let mut third = queuing_by(lab, third.expect("as before"));
        holder.let_go();
        second.hears("held");
        second.let_go();
        assert_eq!(third.end(), End::Exited(0));
        sleeper.signal(libc::SIGCONT);
        assert_eq!(sleeper.end(), End::Exited(0));
        let order = std::fs::read_to_string(lab.file("order")).expect("the order");
        assert_eq!(order, "third\nsleeper\n");
        nothing_is_left(lab, &[]);
    });
}

/// `unshare` in such a way, and these words in there.
fn apart(lab: &Lab, how: &str, words: &[&str]) -> Command {
    let mut command = lab.command("unshare");
    command.args(how.split(' ')).args(words);
    command
}

#[test]
fn those_who_do_not_see_each_others_processes_are_served_all_the_same() {
    departure(WHY, |lab| {
        lab.run(["--fair", "-n", "l", "true"]).expect_code(0);
        std::fs::write(lab.file("counter"), "0\n").expect("a counter");
        let step = "mkdir alone || echo two at once; read n <counter; echo $((n + 1)) >counter; rmdir alone";
        for how in ["-rpf", "-rpf --mount-proc"] {
            if !may_unshare(lab, how) {
                return;
            }
        }
        // Everybody comes before anybody is served.
        let holder = lab.hold(&["--fair"], "l");
        let words = ["flock", "--fair", "l", "sh", "-c", step];
        let mut queue = Vec::new();
        for how in ["-rpf", "-rpf --mount-proc"] {
            queue.push(queuing_by(lab, apart(lab, how, &words)));
            queue.push(queuing_by(lab, lab.flock(&words[1..])));
        }
        holder.let_go();
        for waiter in &mut queue {
            assert_eq!(waiter.end(), End::Exited(0));
            let silence = waiter.until("\n").expect_err("nothing is said");
            assert!(silence.ends_with("heard: \"\""), "{silence}");
        }
        let counter = std::fs::read_to_string(lab.file("counter")).expect("a counter");
        assert_eq!(counter, "4\n");
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn within_a_namespace_of_processes_the_order_is_kept() {
    departure(WHY, |lab| {
        lab.run(["--fair", "-n", "l", "true"]).expect_code(0);
        if !may_unshare(lab, "-rpf --mount-proc") {
            return;
        }
        // The lock is held within; each waiter is started when the turn of the one before it shows.
        let script = r#"exec 9<>l; flock --fair 9
            turns() { grep -c "OFDLCK.*:$(stat -c %i l) " /proc/locks; }
            for i in 0 1 2 3 4 5 6 7; do
                flock --fair l sh -c "echo $i >>order" 9>&- &
                until [ "$(turns)" -gt $i ]; do :; done
            done
            flock -u 9; wait; cat order"#;
        let outcome = lab.finish(apart(lab, "-rpf --mount-proc", &["sh", "-c", script]));
        outcome
            .expect_err("")
            .expect_out("0\n1\n2\n3\n4\n5\n6\n7\n");
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn without_proc_it_works_or_does_without_turns() {
    departure(WHY, |lab| {
        lab.run(["--fair", "-n", "l", "true"]).expect_code(0);
        let hidden = "mount -t tmpfs none /proc || exit 99; ";
        let within = |script: &str| {
            let script = format!("{hidden}{script}");
            apart(lab, "-rm", &["sh", "-c", &script])
        };
        if !may_unshare(lab, "-rm") || lab.finish(within("exit 0")).code() == 99 {
            return;
        }
        lab.finish(within("exec flock --fair -n l echo ran"))
            .expect_code(0)
            .expect_out("ran\n")
            .expect_err("");
        let holder = lab.hold(&["--fair"], "l");
        for patience in ["-n", "-w0.01"] {
            let script = format!(
                "flock --fair {patience} -E42 l true; echo $?; exec 8<>l; flock --fair {patience} -E42 8"
            );
            lab.finish(within(&script))
                .expect_err("")
                .expect_out("42\n")
                .expect_code(42);
        }
        let script = "flock --fair -w1000 l true; echo $?; exec 8<>l; flock --fair 8; echo $?";
        let mut waiter = lab.start(within(script));
        waiter.lives_until("it waits", || {
            waiters(lab.file("l")) + turns(lab.file("l")).len() > 0
        });
        holder.let_go();
        waiter.hears("0");
        waiter.hears("0");
        assert_eq!(waiter.end(), End::Exited(0));
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn a_crowd_in_a_user_namespace_is_like_any() {
    departure(WHY, |lab| {
        lab.run(["--fair", "-n", "l", "true"]).expect_code(0);
        if !may_unshare(lab, "-r") {
            return;
        }
        let holder = lab.hold(&["--fair"], "l");
        let mut crowd = Crowd::new(lab);
        for number in 0..8 {
            match number % 2 {
                0 => crowd.joins(&["--fair"]),
                _ => crowd.joins_by_shell("exec unshare -r flock --fair l sh -c 'NOTE'"),
            }
        }
        queue_is(lab, 8);
        holder.let_go();
        crowd.end_well(0..8);
        assert_eq!(crowd.order(), Vec::from_iter(0..8));
        nothing_is_left(lab, &crowd.tokens());
    });
}

#[test]
fn where_children_would_be_elsewhere_it_does_without_turns() {
    departure(WHY, |lab| {
        lab.run(["--fair", "-n", "l", "true"]).expect_code(0);
        if !may_unshare(lab, "-rp") {
            return;
        }
        // The command is the namespace's first process, and nobody else is.
        let words = ["flock", "--fair", "l", "sh", "-c", "echo $$"];
        lab.finish(apart(lab, "-rp", &words))
            .expect_err("")
            .expect_out("1\n");
        let holder = lab.hold(&["--fair"], "l");
        let mut waiter = lab.start(apart(lab, "-rp", &words));
        waiter.lives_until("it waits", || waiters(lab.file("l")) == 1);
        holder.let_go();
        waiter.hears("1");
        assert_eq!(waiter.end(), End::Exited(0));
        nothing_is_left(lab, &[]);
    });
}

#[test]
fn those_whose_clocks_differ_are_served_all_the_same() {
    departure(WHY, |lab| {
        lab.run(["--fair", "-n", "l", "true"]).expect_code(0);
        for how in ["-rT --boottime 1000000", "-rT --boottime 10000000"] {
            if !may_unshare(lab, how) {
                return;
            }
            let holder = lab.hold(&["--fair"], "l");
            let words = ["flock", "--fair", "l", "echo", "done"];
            let mut queue = [
                queuing_by(lab, lab.flock(&words[1..])),
                queuing_by(lab, apart(lab, how, &words)),
                queuing_by(lab, lab.flock(&words[1..])),
                queuing_by(lab, apart(lab, how, &words)),
            ];
            holder.let_go();
            for waiter in &mut queue {
                waiter.hears("done");
                assert_eq!(waiter.end(), End::Exited(0));
            }
            nothing_is_left(lab, &[]);
        }
    });
}

/// For a script in a folder of some file system: a reader has the lock, a writer waits for his turn, so no reader gets
/// in.
const STORY: &str = "exec 9<>l; flock --fair -s 9; echo first
    (exec 9>&-; flock --fair l echo writer) &
    until ! flock --fair -ns l true; do :; done
    (exec 9>&-; flock --fair -s l echo reader) & reader=$!
    flock -ns l echo passes; flock -u 9; wait";

#[test]
fn other_file_systems_of_the_machine_have_queues_too() {
    departure(WHY, |lab| {
        lab.run(["--fair", "-n", "l", "true"]).expect_code(0);
        for mount in [
            "mount -t tmpfs none m",
            "mkdir low up work; : >low/l; mount -t overlay -o lowerdir=low,upperdir=up,workdir=work none m",
            "mkdir low up work; mount -t overlay -o lowerdir=low,upperdir=up,workdir=work none m",
            "mkdir b; mount --bind b m",
        ] {
            lab.sh("rm -rf m b low up work; mkdir m").expect_code(0);
            let script = format!("{{ {mount}; }} 2>&- || exit 99; cd m || exit; {STORY}");
            let outcome = lab.finish(apart(lab, "-rm", &["sh", "-c", &script]));
            if outcome.code() == 99 || outcome.err().starts_with("unshare: ") {
                println!("cannot be had here: {mount}");
                continue;
            }
            let said = outcome.expect_err("").out();
            assert!(said.starts_with("first\npasses\n"), "{mount}: {said}");
            assert_eq!(said.lines().count(), 4, "{mount}: {said}");
        }
    });
}
