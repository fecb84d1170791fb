//! `--unlink`: the lock file goes with its last holder, and no second holder ever gets in.

use std::fs;

use test_support::builtin::in_every_bash;
use test_support::stress::{Dice, size_and_seed};
use test_support::{Lab, departure};

/// Why all of these are departures.
const WHY: &str = "the reference leaves lock files behind";

#[test]
fn the_file_goes_when_the_command_has_ended_however_it_has() {
    departure(WHY, |lab| {
        for (script, code) in [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137)] {
            for how in ["-x", "-s", "--fcntl", "-o"] {
                lab.run([
                    how,
                    "--unlink",
                    "l",
                    "sh",
                    "-c",
                    &format!("[ -e l ] && {script}"),
                ])
                .expect_err("")
                .expect_code(code);
                assert!(lab.names().is_empty(), "{how} {script}");
            }
        }
    });
}

#[test]
fn one_that_was_there_before_goes_too_and_others_named_by_also() {
    departure(WHY, |lab| {
        lab.sh(": >l; flock --unlink --also m l true")
            .expect_code(0);
        assert!(lab.names().is_empty());
    });
}

#[test]
fn whoever_is_refused_removes_nothing() {
    departure(WHY, |lab| {
        let _holder = lab.hold(&[], "l");
        lab.run(["-n", "--unlink", "l", "true"]).expect_code(1);
        assert_eq!(lab.names(), ["l"]);
    });
}

#[test]
fn it_stays_while_somebody_else_holds_it_and_goes_with_the_last() {
    departure(WHY, |lab| {
        let first = lab.hold(&["-s", "--unlink"], "l");
        let second = lab.hold(&["-s", "--unlink"], "l");
        first.let_go();
        assert_eq!(lab.names(), ["l"]);
        lab.run(["-n", "l", "true"]).expect_code(1);
        second.let_go();
        assert!(lab.names().is_empty());
    });
}

#[test]
fn what_the_command_leaves_behind_keeps_lock_and_file() {
    departure(WHY, |lab| {
        lab.sh(
            "mkfifo end; flock --unlink l sh -c 'read x <end & exit 0' </dev/null >/dev/null 2>&1
             flock -n l true; echo $?; echo >end; flock l true; [ -e l ] && flock --unlink l true; [ -e l ]; echo $?",
        )
        .expect_out("1\n1\n");
    });
}

#[test]
fn a_folder_and_what_a_symbolic_link_leads_to_stay() {
    departure(WHY, |lab| {
        lab.sh("mkdir d; : >f; ln -s f s; flock --unlink d true && flock --unlink s true")
            .expect_err("")
            .expect_code(0);
        assert_eq!(lab.names(), ["d", "f", "s"]);
    });
}

#[test]
fn a_file_that_may_not_be_removed_is_said_and_the_status_is_the_commands() {
    departure(WHY, |lab| {
        let script =
            "mkdir d; : >d/l; chmod 555 d; flock --unlink d/l sh -c 'exit 4'; echo $?; chmod 755 d";
        if let Some(command) = lab.powerless(script) {
            lab.finish(command)
                .expect_out("4\n")
                .expect_err("flock: cannot remove lock file d/l: Permission denied\n");
        }
    });
}

#[test]
fn it_is_for_lock_files_needs_flock_to_stay_and_takes_no_abbreviation() {
    departure(WHY, |lab| {
        for (words, message) in [
            (
                &["--unlink", "8"][..],
                "--unlink is for lock files: flock --unlink ... FILE COMMAND",
            ),
            (
                &["-F", "--unlink", "l", "true"],
                "the --no-fork and --unlink options are incompatible",
            ),
        ] {
            lab.run(words).expect_code(64).expect_err(&format!(
                "flock: {message}\nTry 'flock --help' for more information.\n"
            ));
        }
        // As ever.
        lab.sh("exec 8>l; flock 8; flock --un 8; flock -n l true")
            .expect_code(0);
        assert_eq!(lab.names(), ["l"]);
    });
}

#[test]
fn no_second_holder_gets_in_through_a_storm_of_kills() {
    departure(WHY, |lab| {
        let (size, seed) = size_and_seed();
        fs::write(lab.file("journal"), "").expect("a journal");
        // The witness is locked by whoever is inside, and is never removed.
        let step = "exec 9>>witness; flock -n 9 || echo two at once >&2
             n=$(wc -l <journal); echo $((n + 1)) >>journal";
        std::thread::scope(|scope| {
            for one in 0..6_u64 {
                let mut dice = Dice(seed ^ (one << 50));
                scope.spawn(move || {
                    for _ in 0..40 * size {
                        let mut command = lab.flock(["--unlink", "l", "sh", "-c", step]);
                        if one < 2 {
                            let mut child = command.spawn().expect("it starts");
                            dice.dawdle();
                            let _ = child.kill();
                            let _ = child.wait();
                        } else {
                            lab.finish(command).expect_err("").expect_code(0);
                        }
                    }
                });
            }
        });
        // Whoever was killed may have left a command behind, which still has the lock.
        lab.run(["--unlink", "l", "true"]).expect_code(0);
        let journal = fs::read_to_string(lab.file("journal")).expect("a journal");
        let steps = journal.lines().count() as u64;
        assert!(steps >= 4 * 40 * size);
        let wanted: String = (1..=steps).map(|step| format!("{step}\n")).collect();
        assert_eq!(journal, wanted);
        assert_eq!(lab.names(), ["journal", "witness"]);
    });
}

#[test]
fn the_builtin_does_it_for_functions_wherever_they_go() {
    in_every_bash(|lab: &Lab| {
        lab.builtin("f() { [ -e l ] && cd /; return 3; }; flock --unlink l f; echo $?")
            .expect_out("3\n");
        assert!(lab.names().is_empty());
    });
}
