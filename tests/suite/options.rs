//! The spellings and combinations of options, and their effects.

use rstest::rstest;
use test_support::{TestEnv, differs_from_util_linux};

use crate::usage_errors::{assert_usage_error, long_options};

/// Descriptors 7 and 8 refer to two open file descriptions of the file `l`. `mode_of_7` uses 8 to
/// find out how 7 is locked.
const SETUP: &str = "exec 7<>l 8<>l
mode_of_7() {
    if flock -n -x 8; then echo free; elif flock -n -s 8; then echo shared; else echo exclusive; fi
}
";

/// Tries to lock a descriptor and a path while the file is locked.
const CONFLICT: &str = "flock 7 || exit; flock FORM 8; echo $?; flock FORM l echo ran; echo $?";

/// Prints whether the command inherits the lock, and the status of another attempt to take it.
const INHERITED: &str = "flock FORM f sh -c 'for d in /proc/$$/fd/*; do
    [ $d -ef f ] && echo inherited; done; flock -n f true; echo $?'";

/// Prints the number of processes: one if `flock` has replaced itself with the command.
const PROCESSES: &str = "sh -c 'echo $$; exec flock FORM f sh -c \"echo \\$\\$\"' | uniq | wc -l";

/// Runs the script with each of the forms in place of `FORM`, and asserts what it prints.
#[track_caller]
fn assert_each_form(env: &TestEnv, script: &str, expected: &str, forms: &[&str]) {
    for form in forms {
        println!("{form}");
        env.sh(format!("{SETUP}{}", script.replace("FORM", form)))
            .assert_all(0, &format!("{expected}\n"), "");
    }
}

#[rstest]
// The lock is shared before, so each mode is a change, except for shared, which is not the default.
#[case::shared(
    "flock -s 7; flock FORM 7; mode_of_7", "shared",
    &["-s", "--shared", "--sh", "-xs", "-us", "-x -u -s", "--unlock --shared"]
)]
#[case::exclusive(
    "flock -s 7; flock FORM 7; mode_of_7", "exclusive",
    &["", "-x", "-e", "--exclusive", "--excl", "-sx", "-se", "-s -ux", "-su --exclusive"]
)]
#[case::unlock(
    "flock -s 7; flock FORM 7; mode_of_7", "free",
    &["-u", "--unlock", "--un", "-nu", "-un", "-sxu", "-s --unlock", "-x -u", "-eu"]
)]
#[case::exclusive_path(
    "flock FORM f flock -n -s f true; echo $?", "1",
    &["", "-s -x", "-u -x"]
)]
#[case::shared_or_unlocked_path(
    "flock FORM f flock -n -s f true; echo $?", "0",
    &["-x -s", "-s -e -s", "-x -u"]
)]
// An ignored option would make these wait forever.
#[case::nonblock(
    CONFLICT, "1\n1",
    &["-n", "--nonblock", "--nonblocking", "--nb", "--non", "-xn", "-ns"]
)]
#[case::timeout(
    CONFLICT, "1\n1",
    &[
        "-w.01", "-w .01", "--timeout=.01", "--timeout .01", "--wait=.01", "--wait .01", "--w .01",
        "--t=.01", "-xw.01", "-sw .01",
    ]
)]
#[case::nonblock_beats_timeout(
    CONFLICT, "1\n1",
    &["-n -w 9999", "-w 9999 -n", "-nw9999", "--wait=9999 --nb"]
)]
#[case::last_timeout_wins(
    CONFLICT, "1\n1",
    &["-w 9999 -w .01", "--timeout 9999 --wait .01", "-w9999 -w0"]
)]
#[case::zero_timeout_fails_at_once(
    CONFLICT, "1\n1",
    &["-w0", "-w 0", "-w0.0", "-w.0", "--timeout=0"]
)]
#[case::zero_timeout_takes_a_free_lock(
    "flock -s 7; flock -s FORM 8; echo $?; flock -s FORM l echo ran", "0\nran",
    &["-w0", "-w0.0", "-w.0", "--timeout=0"]
)]
#[case::conflict_exit_code(
    CONFLICT, "5\n5",
    &[
        "-nE5", "-nE 5", "-n -E5", "-E 5 -n", "-E5 -w.01", "--nb --conflict-exit-code 5",
        "--nb --conflict-exit-code=5", "-n --co 5", "-n --co=5", "-nE9 -E5", "-w.01 -E5",
    ]
)]
#[case::conflict_exit_code_0(
    "flock 7 || exit; flock FORM 8; echo $?; flock FORM l -c 'echo ran'; echo $?", "0\n0",
    &["-nE0", "-w.01 -E0"]
)]
#[case::close(INHERITED, "1", &["-o", "--close", "--cl", "-xo", "-on"])]
#[case::without_close(INHERITED, "inherited\n1", &["", "-x"])]
#[case::no_fork(PROCESSES, "1", &["-F", "--no-fork", "--no-", "-xF", "-nF"])]
#[case::fork(PROCESSES, "2", &["", "-n"])]
#[case::verbose(
    "flock FORM f true | grep -c 'getting lock took'", "1",
    &["--verbose", "--verb"]
)]
fn each_form_has_the_effect(#[case] script: &str, #[case] expected: &str, #[case] forms: &[&str]) {
    assert_each_form(&TestEnv::new(), script, expected, forms);
}

#[rstest]
// The two kinds of lock do not conflict, so of the two attempts only the second one fails.
#[case::fcntl(
    "flock FORM f sh -c 'flock -n f true; echo $?; flock -n --fcntl f true; echo $?'", "0\n1",
    &[
        "--fcntl", "--fc", "--start=0", "--start 0", "--st=0", "--length=0", "--length 1", "--l=1",
        "-x --fcntl", "--fcntl --start=0 --length=1",
    ]
)]
#[case::fd(
    "flock FORM sh -c 'flock -n 7; echo $?; echo got \"$@\"' sh -n l", "1\ngot -n l",
    &["--fd 8", "--fd=8", "-x --fd 8", "--fd=+08 -n"]
)]
#[case::conflict_on_fd(
    "flock 7; flock FORM echo ran; echo $?", "5",
    &["-nE5 --fd 8", "--fd=8 -E5 -w.01"]
)]
#[case::close_fd(
    "flock FORM sh -c '[ -e /proc/$$/fd/8 ] && echo inherited; echo ran'", "ran",
    &["-o --fd 8", "--fd=8 --close"]
)]
#[case::line_on_fd(
    "flock FORM 'flock -n 7; echo $?; echo a | tr a b'", "1\nb",
    &["--fd 8 -c", "--fd=8 --command", "--fd 8 -n -c", "-x --fd 8 -- -c"]
)]
#[case::close_fd_for_line(
    "flock FORM '[ -e /proc/$$/fd/8 ] && echo inherited; echo ran'", "ran",
    &["-o --fd 8 -c", "--fd=8 --close --command"]
)]
fn each_form_of_newer_options_has_the_effect(
    #[case] script: &str,
    #[case] expected: &str,
    #[case] forms: &[&str],
) {
    let env = TestEnv::new();
    if env.supports_option("--fcntl") && env.supports_option("--fd") {
        assert_each_form(&env, script, expected, forms);
    }
}

#[test]
fn with_fd_all_operands_are_the_command() {
    let env = TestEnv::new();
    if !env.supports_option("--fd") {
        return;
    }
    env.install_script("bin/8", "#!/bin/sh\necho eight \"$@\"\n");
    env.sh("exec 8>l; flock --fd 8 8 -n")
        .assert_all(0, "eight -n\n", "");
    assert!(!env.file("8").exists());
}

#[test]
fn fd_takes_the_number_of_an_open_descriptor() {
    let env = TestEnv::new();
    if !env.supports_option("--fd") {
        return;
    }
    env.run(["--fd", "99", "echo", "ran"])
        .assert_all(65, "", "flock: 99: Bad file descriptor\n");
    for value in ["x", "8x", "0x8", "4294967304"] {
        assert_usage_error(env.run(["--fd", value, "echo", "ran"]), value);
    }
}

#[test]
fn help_and_version_are_printed_on_stdout() {
    let env = TestEnv::new();
    let print = |form: &str| {
        let outcome = env.run([form]).assert_status(0).assert_stderr("");
        outcome.stdout_text()
    };
    for form in ["-h", "--help", "--h", "-xh", "-nh"] {
        let help = print(form);
        for (name, ..) in long_options(&env) {
            // One spelling of each option is enough in the help.
            let is_alias = ["nonblocking", "nb", "wait"].contains(&name);
            let is_listed = help.contains(&format!("--{name}"));
            assert!(is_alias || is_listed, "{form}: {name}: {help}");
        }
    }
    for form in ["-V", "--version", "--vers", "-nV"] {
        let version = print(form);
        assert!(version.starts_with("flock "), "{form}: {version}");
        assert_eq!(version.lines().count(), 1, "{form}: {version}");
    }
}

#[rstest]
#[case(
    "--help",
    &["--help --bogus", "-h -w", "-hz l", "--help -V", "-E5 --help", "--help --timeout=x"]
)]
#[case("--version", &["--version --bogus", "-V -w", "-Vz l", "-V --help"])]
fn arguments_after_help_or_version_are_ignored(#[case] option: &str, #[case] calls: &[&str]) {
    let env = TestEnv::new();
    let expected = env.run([option]).stdout_text();
    for call in calls {
        env.run(call.split(' ')).assert_all(0, &expected, "");
    }
}

#[test]
fn two_dashes_before_the_file_end_the_options() {
    let env = TestEnv::new();
    for (args, file) in [
        (&["--", "-n", "echo", "ran"][..], "-n"),
        (&["-x", "--", "--help", "echo", "ran"], "--help"),
        (&["--", "--", "echo", "ran"], "--"),
        (&["--", "-c", "echo", "ran"], "-c"),
        (&["-n", "--", "l", "-c", "echo ran"], "l"),
    ] {
        env.run(args).assert_all(0, "ran\n", "");
        assert!(env.file(file).exists(), "{file}");
    }
    assert_each_form(
        &env,
        "flock FORM; mode_of_7",
        "exclusive",
        &["-- 7", "-s -x -- 7"],
    );
}

#[rstest]
fn util_linux_rejects_our_own_options(
    #[values(
        "--fair l true",
        "--slots 2 l true",
        "--also k l true",
        "--unlink l true",
        "--who l",
        "--json --who l",
        "--pids --who l"
    )]
    call: &str,
) {
    let option = call.split(' ').next().expect("an option");
    differs_from_util_linux("it has no such option", |env| {
        std::fs::write(env.file("l"), "").expect("a file");
        let outcome = env.run(call.split(' '));
        let rejection = format!("unrecognized option '{option}'");
        let is_rejected = outcome.stderr_text().contains(&rejection);
        assert!(outcome.code() != 64 || !is_rejected, "{outcome:?}");
        if !env.is_reference() {
            // No process holds the lock, so the status of --who is 1.
            let status = i32::from(call.contains("--who"));
            outcome.assert_status(status).assert_stderr("");
        }
    });
}
