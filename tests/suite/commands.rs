//! Executing the command: how it is found, why that may fail, and its exit status.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use rstest::rstest;
use test_support::pre_exec::CommandPreExecExt;
use test_support::{TestEnv, differs_from_util_linux, os_string};

/// The options for two ways to execute the command: in a child, and in place of `flock`.
const EXEC_MODES: [&str; 2] = ["-x", "-F"];

const NOT_FOUND: &str = "No such file or directory";

/// Creates a file with these permissions, and its directory.
fn create(env: &TestEnv, name: &str, text: &str, mode: u32) {
    let file = env.file(name);
    fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
    if mode & 0o111 != 0 {
        return env.install_script(name, text);
    }
    fs::write(&file, text).expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("permissions");
}

/// Returns `flock` with a PATH, or with an empty environment.
fn flock_with_path(env: &TestEnv, path: Option<&str>, args: &[&str]) -> Command {
    let flock = env.file("bin/flock").display().to_string();
    let path = path.map(|path| format!("PATH={path}"));
    let environment: Vec<&[u8]> = path.iter().map(|entry| entry.as_bytes()).collect();
    let mut command = env.command("true");
    command.execve(&flock, &[&["flock"], args].concat(), &environment);
    command
}

#[track_caller]
fn assert_cannot_execute(env: &TestEnv, flock: Command, name: &str, reason: &str) {
    let outcome = env.run_command(flock).assert_status(69).assert_stdout("");
    // A hint may follow.
    let message = format!("flock: failed to execute {name}: {reason}");
    let stderr = outcome.stderr_text();
    assert!(stderr.starts_with(&message), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[test]
fn a_script_without_an_interpreter_is_run_by_sh() {
    let env = TestEnv::new();
    create(&env, "bin/greet", "echo \"$1 from $0\"; exit 5\n", 0o755);
    create(&env, "bin/nothing", "", 0o755);
    let greet = env.file("bin/greet").display().to_string();
    for mode in EXEC_MODES {
        for (name, path) in [
            ("greet", &*greet),
            (&greet, &greet),
            ("bin/greet", "bin/greet"),
        ] {
            env.run([mode, "l", name, "a b"])
                .assert_all(5, &format!("a b from {path}\n"), "");
        }
        env.run([mode, "l", "nothing"]).assert_status(0);
    }
}

#[test]
fn a_script_with_an_interpreter_is_run_by_it() {
    let env = TestEnv::new();
    create(&env, "bin/itself", "#!/bin/cat\nits own text\n", 0o755);
    for mode in EXEC_MODES {
        env.run([mode, "l", "itself"])
            .assert_stdout("#!/bin/cat\nits own text\n");
    }
}

#[test]
fn the_reason_for_a_failed_execution_is_reported() {
    let env = TestEnv::new();
    create(&env, "bin/plain", "echo ran\n", 0o644);
    create(&env, "orphan", "#!/nonexistent/interpreter\n", 0o755);
    symlink("loop", env.file("loop")).expect("a link");
    fs::write(env.file("l"), "").expect("l");
    let long = format!("./{}", "x".repeat(256));
    for (command, reason) in [
        ("no-such-command", NOT_FOUND),
        ("./no-such-command", NOT_FOUND),
        ("./bin/no-such-command", NOT_FOUND),
        ("/no/such", NOT_FOUND),
        ("", NOT_FOUND),
        ("./orphan", NOT_FOUND),
        ("plain", "Permission denied"),
        ("bin/plain", "Permission denied"),
        ("./bin", "Permission denied"),
        ("/", "Permission denied"),
        ("bin/plain/deeper", "Not a directory"),
        ("./loop", "Too many levels of symbolic links"),
        (&long, "File name too long"),
    ] {
        for option in ["-x", "-F", "-o"] {
            // Whether the lock file exists makes no difference.
            for file in ["l", "new"] {
                let flock = env.flock([option, file, command, "-n"]);
                assert_cannot_execute(&env, flock, command, reason);
            }
            env.run(["-n", "l", "true"]).assert_status(0);
        }
    }
}

#[rstest]
#[case("nosuch")]
#[case("./nosuch")]
#[case("/no/such")]
#[case("-n")]
fn no_lock_file_is_created_for_a_missing_command(#[case] command: &str) {
    differs_from_util_linux("it creates the file", |env| {
        let flock = env.flock(["new", command]);
        assert_cannot_execute(env, flock, command, NOT_FOUND);
        assert!(env.file_names().is_empty(), "{:?}", env.file_names());
    });
}

#[test]
fn a_missing_command_precedes_a_missing_directory() {
    differs_from_util_linux("it opens the file first", |env| {
        let flock = env.flock(["no/new", "nosuch"]);
        assert_cannot_execute(env, flock, "nosuch", NOT_FOUND);
    });
}

#[test]
fn a_conflict_is_reported_before_a_missing_command() {
    let env = TestEnv::new();
    env.run(["l", "flock", "-n", "-E", "9", "l", "nosuch"])
        .assert_all(9, "", "");
}

#[test]
fn the_search_in_path_skips_unusable_files() {
    let env = TestEnv::new();
    create(&env, "one/tool", "echo ran\n", 0o644);
    fs::create_dir_all(env.file("two/tool")).expect("a directory");
    create(&env, "three", "not a directory", 0o644);
    create(&env, "four/tool", "#!/bin/sh\necho found\n", 0o755);
    create(&env, "five/tool", "#!/bin/sh\necho later\n", 0o755);
    for mode in EXEC_MODES {
        let flock = |path| flock_with_path(&env, Some(path), &[mode, "l", "tool"]);
        env.run_command(flock("missing:one:two:three:four:five"))
            .assert_all(0, "found\n", "");
        // If a file was found that cannot be executed, the reason is the one for that file.
        let only_unusable = flock("missing:one:two:three");
        assert_cannot_execute(&env, only_unusable, "tool", "Permission denied");
        let outcome = env.run_command(flock("missing:three")).assert_status(69);
        let message = "flock: failed to execute tool: ";
        assert!(outcome.stderr_text().starts_with(message), "{outcome:?}");
    }
}

#[test]
fn an_empty_element_of_path_is_the_working_directory() {
    let env = TestEnv::new();
    create(&env, "here", "#!/bin/sh\necho here\n", 0o755);
    for mode in EXEC_MODES {
        let flock = |path| flock_with_path(&env, Some(path), &[mode, "l", "here"]);
        for path in [":/nonexistent", "/nonexistent:", "/nonexistent::/none"] {
            env.run_command(flock(path)).assert_all(0, "here\n", "");
        }
        assert_cannot_execute(&env, flock("/nonexistent"), "here", NOT_FOUND);
    }
}

#[test]
fn without_path_the_default_directories_are_searched() {
    let env = TestEnv::new();
    for mode in EXEC_MODES {
        env.run_command(flock_with_path(&env, None, &[mode, "l", "ls", "-d", "l"]))
            .assert_all(0, "l\n", "");
    }
}

#[test]
fn a_name_with_a_slash_is_not_searched_in_path() {
    let env = TestEnv::new();
    create(&env, "path/sub/tool", "#!/bin/sh\necho ran\n", 0o755);
    let flock = flock_with_path(&env, Some("path"), &["l", "sub/tool"]);
    assert_cannot_execute(&env, flock, "sub/tool", NOT_FOUND);
}

#[test]
fn the_command_gets_its_name_and_arguments_unchanged() {
    let env = TestEnv::new();
    let args = b"test-helper|args|file|-n|--help|-V|--bogus|-c|--command|-w|--|l||\
        a  b|*|$HOME|\\|'|\n|\xff\xfe\n|";
    let args: Vec<&[u8]> = args.split(|byte| *byte == b'|').collect();
    let expected = [&args.join(&b'\0')[..], b"\0"].concat();
    for mode in EXEC_MODES {
        let mut flock = env.flock([mode, "l"]);
        flock.args(args.iter().map(|arg| os_string(arg)));
        env.run_command(flock).assert_all(0, "", "");
        let received = fs::read(env.file("file")).expect("the arguments");
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        assert_eq!(text(&received), text(&expected));
    }
}

#[test]
fn a_failed_fork_is_a_lack_of_resources() {
    let env = TestEnv::new();
    let inject = "inject=?clone,?clone3,?fork,?vfork:error=EAGAIN";
    let Some(command) = env.with_fault_injection("", inject, &["l", "echo", "ran"]) else {
        return;
    };
    let message = "flock: fork failed: Resource temporarily unavailable\n";
    env.run_command(command).assert_all(71, "", message);
}

#[test]
fn an_interrupt_before_or_after_the_command_ends_flock() {
    let env = TestEnv::new();
    // Our flock checks for pending signals right before the fork, which must then not happen, and
    // waits for the command with waitid.
    let before = "inject=?rt_sigpending:signal=INT:when=1 inject=?fork,?vfork,?clone:error=EAGAIN";
    let after = "inject=?waitid:signal=INT:when=1";
    for (inject, stdout) in [(before, ""), (after, "ran\n")] {
        let Some(command) = env.with_fault_injection("", inject, &["l", "echo", "ran"]) else {
            return;
        };
        let outcome = env.run_command(command);
        if !env.is_reference() {
            outcome.assert_all(128 + libc::SIGINT, stdout, "");
        }
    }
}

#[test]
fn every_exit_status_is_passed_on() {
    let env = TestEnv::new();
    for mode in EXEC_MODES {
        env.sh(format!(
            "i=0; while [ $i -le 255 ]; do
                flock {mode} l sh -c \"exit $i\"; [ $? -eq $i ] || echo \"$i: $?\"
                i=$((i + 1))
            done"
        ))
        .assert_all(0, "", "");
    }
}

#[test]
fn a_command_killed_by_signal_n_is_status_128_plus_n() {
    let env = TestEnv::new();
    for signal in (1..=15).chain(24..=27).chain([29, 30, 31, 34, 50, 64]) {
        let script = format!("ulimit -c 0; kill -{signal} $$");
        let outcome = env.run(["l", "sh", "-c", &script]);
        let outcome = outcome.assert_all(128 + signal, "", "");
        assert!(outcome.status.code().is_some(), "flock itself is killed");
    }
}

#[test]
fn with_no_fork_a_signal_kills_the_command_itself() {
    let env = TestEnv::new();
    for signal in [1, 2, 9, 15, 34, 64] {
        let script = format!("kill -{signal} $$");
        let status = env.run(["-F", "l", "sh", "-c", &script]).status;
        assert_eq!(status.signal(), Some(signal));
    }
}

#[test]
fn a_broken_pipe_is_visible_in_the_exit_status() {
    let env = TestEnv::new();
    env.bash("flock l yes | head -n 1; echo ${PIPESTATUS[0]}")
        .assert_all(0, "y\n141\n", "");
    env.bash("trap '' PIPE; flock l yes 2>/dev/null | head -n 1; echo ${PIPESTATUS[0]}")
        .assert_stdout("y\n1\n");
}

#[rstest]
#[case::exited("true", "")]
#[case::failed("sh -c 'exit 9'", "")]
#[case::killed("sh -c 'kill -9 $$'", "")]
#[case::stopped("sh -c 'kill -STOP $$; exit 9'", "")]
// This child exits while the command runs.
#[case::exits_later("sh -c 'read x <go; exit 9'", "echo >go")]
fn other_children_are_not_mistaken_for_the_command(#[case] child: &str, #[case] wake: &str) {
    let env = TestEnv::new();
    env.sh("mkfifo go");
    // The command continues when the other child has exited or is stopped.
    let command = format!(
        "{wake}
        until grep -q '^State:.[ZT]' /proc/$s/status 2>/dev/null || [ ! -e /proc/$s ]; do :; done
        echo done; kill -9 $s 2>/dev/null; exit 3"
    );
    let script = format!("{child} >/dev/null & s=$!; export s; exec flock l sh -c \"$command\"");
    let mut shell = env.command("sh");
    shell.args(["-c", &script]).env("command", command);
    env.run_command(shell).assert_all(3, "done\n", "");
}
