//! `--unlink`: the lock file goes with its last holder, and no second holder ever gets in.

use std::fs;
use test_support::stress::random_delay;

use fastrand::Rng;
use test_support::builtin::for_each_bash;
use test_support::stress::StressSettings;
use test_support::{TestEnv, differs_from_util_linux};

/// Why all of these are departures.
const WHY: &str = "the reference leaves lock files behind";

#[test]
fn the_file_goes_when_the_command_has_ended_however_it_has() {
    differs_from_util_linux(WHY, |env| {
        for (script, code) in [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137)] {
            for how in ["-x", "-s", "--fcntl", "-o"] {
                env.run([
                    how,
                    "--unlink",
                    "l",
                    "sh",
                    "-c",
                    &format!("[ -e l ] && {script}"),
                ])
                .assert_stderr("")
                .assert_status(code);
                assert!(env.file_names().is_empty(), "{how} {script}");
            }
        }
    });
}

#[test]
fn one_that_was_there_before_goes_too_and_others_named_by_also() {
    differs_from_util_linux(WHY, |env| {
        env.sh(": >l; flock --unlink --also m l true")
            .assert_status(0);
        assert!(env.file_names().is_empty());
    });
}

#[test]
fn whoever_is_refused_removes_nothing() {
    differs_from_util_linux(WHY, |env| {
        let _holder = env.hold(&[], "l");
        env.run(["-n", "--unlink", "l", "true"]).assert_status(1);
        assert_eq!(env.file_names(), ["l"]);
    });
}

#[test]
fn it_stays_while_somebody_else_holds_it_and_goes_with_the_last() {
    differs_from_util_linux(WHY, |env| {
        let first = env.hold(&["-s", "--unlink"], "l");
        let second = env.hold(&["-s", "--unlink"], "l");
        first.release();
        assert_eq!(env.file_names(), ["l"]);
        env.run(["-n", "l", "true"]).assert_status(1);
        second.release();
        assert!(env.file_names().is_empty());
    });
}

#[test]
fn what_the_command_leaves_behind_keeps_lock_and_file() {
    differs_from_util_linux(WHY, |env| {
        env.sh(
            "mkfifo end; flock --unlink l sh -c 'read x <end & exit 0' </dev/null >/dev/null 2>&1
             flock -n l true; echo $?; echo >end; flock l true; [ -e l ] && flock --unlink l true; [ -e l ]; echo $?",
        )
        .assert_stdout("1\n1\n");
    });
}

#[test]
fn a_folder_and_what_a_symbolic_link_leads_to_stay() {
    differs_from_util_linux(WHY, |env| {
        env.sh("mkdir d; : >f; ln -s f s; flock --unlink d true && flock --unlink s true")
            .assert_stderr("")
            .assert_status(0);
        assert_eq!(env.file_names(), ["d", "f", "s"]);
    });
}

#[test]
fn a_file_that_may_not_be_removed_is_said_and_the_status_is_the_commands() {
    differs_from_util_linux(WHY, |env| {
        let script =
            "mkdir d; : >d/l; chmod 555 d; flock --unlink d/l sh -c 'exit 4'; echo $?; chmod 755 d";
        if let Some(command) = env.unprivileged(script) {
            env.run_command(command)
                .assert_stdout("4\n")
                .assert_stderr("flock: cannot remove lock file d/l: Permission denied\n");
        }
    });
}

#[test]
fn it_is_for_lock_files_needs_flock_to_stay_and_takes_no_abbreviation() {
    differs_from_util_linux(WHY, |env| {
        for (words, message) in [
            (
                &["--unlink", "8"][..],
                "--unlink requires a lock file and a command: flock --unlink ... FILE COMMAND",
            ),
            (
                &["-F", "--unlink", "l", "true"],
                "the --no-fork and --unlink options are incompatible",
            ),
        ] {
            env.run(words).assert_status(64).assert_stderr(&format!(
                "flock: {message}\nTry 'flock --help' for more information.\n"
            ));
        }
        // As ever.
        env.sh("exec 8>l; flock 8; flock --un 8; flock -n l true")
            .assert_status(0);
        assert_eq!(env.file_names(), ["l"]);
    });
}

#[test]
fn no_second_holder_gets_in_through_a_storm_of_kills() {
    differs_from_util_linux(WHY, |env| {
        let StressSettings { size, seed } = StressSettings::from_env();
        fs::write(env.file("journal"), "").expect("a journal");
        // The witness is locked by whoever is inside, and is never removed.
        let step = "exec 9>>witness; flock -n 9 || echo two at once >&2
             n=$(wc -l <journal); echo $((n + 1)) >>journal";
        std::thread::scope(|scope| {
            for one in 0..6_u64 {
                let mut rng = Rng::with_seed(seed ^ (one << 50));
                scope.spawn(move || {
                    for _ in 0..40 * size {
                        let mut command = env.flock(["--unlink", "l", "sh", "-c", step]);
                        if one < 2 {
                            let mut child = command.spawn().expect("it starts");
                            random_delay(&mut rng);
                            let _ = child.kill();
                            let _ = child.wait();
                        } else {
                            env.run_command(command).assert_stderr("").assert_status(0);
                        }
                    }
                });
            }
        });
        // Whoever was killed may have left a command behind, which still has the lock.
        env.run(["--unlink", "l", "true"]).assert_status(0);
        let journal = fs::read_to_string(env.file("journal")).expect("a journal");
        let steps = journal.lines().count() as u64;
        assert!(steps >= 4 * 40 * size);
        let wanted: String = (1..=steps).map(|step| format!("{step}\n")).collect();
        assert_eq!(journal, wanted);
        assert_eq!(env.file_names(), ["journal", "witness"]);
    });
}

#[test]
fn the_builtin_does_it_for_functions_wherever_they_go() {
    for_each_bash(|env: &TestEnv| {
        env.run_with_builtin("f() { [ -e l ] && cd /; return 3; }; flock --unlink l f; echo $?")
            .assert_stdout("3\n");
        assert!(env.file_names().is_empty());
    });
}
