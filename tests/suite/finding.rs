//! Section 4: how the command is found and started, and what is said when it cannot be.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use test_support::TestEnv;
use test_support::pre_exec::CommandPreExecExt;

/// The two ways to start a command, which must not differ.
const WAYS: [&str; 2] = ["-x", "-F"];

/// Puts a file with these permissions into the scratch folder.
fn put(env: &TestEnv, name: &str, text: &str, mode: u32) {
    let file = env.file(name);
    fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    fs::write(&file, text).expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("its mode");
}

/// `flock` itself with this PATH, `None` for none at all.
fn with_path(env: &TestEnv, path: Option<&str>, words: &[&str]) -> std::process::Command {
    let flock = env.file("bin/flock").display().to_string();
    let path = path.map(|path| format!("PATH={path}"));
    let environment: Vec<&[u8]> = path.iter().map(|entry| entry.as_bytes()).collect();
    let mut command = env.command("true");
    command.execve(&flock, &[&["flock"], words].concat(), &environment);
    command
}

/// Asserts that the command cannot be executed for this reason, with nothing on stdout.
#[track_caller]
fn refused(env: &TestEnv, command: std::process::Command, name: &str, reason: &str) {
    env.run_command(command)
        .assert_status(69)
        .assert_stdout("")
        .assert_stderr(&format!("flock: failed to execute {name}: {reason}\n"));
}

#[test]
fn a_script_without_an_interpreter_line_runs_by_sh() {
    let env = TestEnv::new();
    put(&env, "bin/greet", "echo \"$1 from $0\"; exit 5\n", 0o755);
    for way in WAYS {
        let greet = env.file("bin/greet").display().to_string();
        for name in ["greet", &greet] {
            env.run([way, "l", name, "a b"])
                .assert_status(5)
                .assert_stdout(&format!("a b from {greet}\n"));
        }
        env.run([way, "l", "bin/greet", "hello"])
            .assert_status(5)
            .assert_stdout("hello from bin/greet\n");
    }
}

#[test]
fn an_empty_script_is_a_command_that_succeeds() {
    let env = TestEnv::new();
    put(&env, "bin/nothing", "", 0o755);
    for way in WAYS {
        env.run([way, "l", "nothing"]).assert_status(0);
    }
}

#[test]
fn a_script_with_an_interpreter_line_runs_by_that() {
    let env = TestEnv::new();
    put(&env, "bin/itself", "#!/bin/cat\nits own text\n", 0o755);
    for way in WAYS {
        env.run([way, "l", "itself"])
            .assert_stdout("#!/bin/cat\nits own text\n");
    }
}

#[test]
fn a_script_whose_interpreter_is_missing_is_missing() {
    let env = TestEnv::new();
    put(&env, "orphan", "#!/nonexistent/interpreter\n", 0o755);
    for way in WAYS {
        let command = env.flock([way, "l", "./orphan"]);
        refused(&env, command, "./orphan", "No such file or directory");
    }
}

#[test]
fn a_missing_command_is_said_to_be_missing() {
    let env = TestEnv::new();
    for way in WAYS {
        for name in ["no-such-command", "./no-such-command", "/no/such", ""] {
            let command = env.flock([way, "l", name]);
            refused(&env, command, name, "No such file or directory");
        }
    }
}

#[test]
fn a_command_that_may_not_be_executed_is_said_to_be_so() {
    let env = TestEnv::new();
    put(&env, "bin/plain", "echo never\n", 0o644);
    for way in WAYS {
        for name in ["plain", "bin/plain", "./bin", "/"] {
            refused(&env, env.flock([way, "l", name]), name, "Permission denied");
        }
        let command = env.flock([way, "l", "bin/plain/deeper"]);
        refused(&env, command, "bin/plain/deeper", "Not a directory");
    }
}

#[test]
fn the_lock_is_free_after_a_command_that_could_not_be_executed() {
    let env = TestEnv::new();
    for way in WAYS {
        env.run([way, "l", "/no/such"]).assert_status(69);
        env.run(["-n", "l", "true"]).assert_status(0);
    }
}

#[test]
fn the_search_goes_on_past_what_cannot_be_executed() {
    let env = TestEnv::new();
    put(&env, "one/tool", "echo never\n", 0o644);
    fs::create_dir_all(env.file("two/tool")).expect("a folder");
    put(&env, "three", "not a folder", 0o644);
    put(&env, "four/tool", "#!/bin/sh\necho found\n", 0o755);
    put(&env, "five/tool", "#!/bin/sh\necho later\n", 0o755);
    let before = "missing:one:two:three";
    for way in WAYS {
        let path = format!("{before}:four:five");
        env.run_command(with_path(&env, Some(&path), &[way, "l", "tool"]))
            .assert_status(0)
            .assert_stdout("found\n");
        // When nothing was found, that which was there but not to be executed is the reason.
        let command = with_path(&env, Some(before), &[way, "l", "tool"]);
        refused(&env, command, "tool", "Permission denied");
        let command = with_path(&env, Some("missing:three"), &[way, "l", "tool"]);
        let outcome = env.run_command(command).assert_status(69);
        assert!(
            outcome
                .stderr_text()
                .starts_with("flock: failed to execute tool: ")
        );
    }
}

#[test]
fn an_empty_element_of_the_path_is_the_working_directory() {
    let env = TestEnv::new();
    put(&env, "here", "#!/bin/sh\necho here\n", 0o755);
    for way in WAYS {
        for path in [":/nonexistent", "/nonexistent:", "/nonexistent::/none"] {
            env.run_command(with_path(&env, Some(path), &[way, "l", "here"]))
                .assert_status(0)
                .assert_stdout("here\n");
        }
        let command = with_path(&env, Some("/nonexistent"), &[way, "l", "here"]);
        refused(&env, command, "here", "No such file or directory");
    }
}

#[test]
fn without_a_path_the_systems_own_folders_are_searched() {
    let env = TestEnv::new();
    for way in WAYS {
        env.run_command(with_path(&env, None, &[way, "l", "ls", "-d", "l"]))
            .assert_status(0)
            .assert_stdout("l\n");
    }
}

#[test]
fn a_name_with_a_slash_is_not_searched_for() {
    let env = TestEnv::new();
    put(&env, "path/sub/tool", "#!/bin/sh\necho never\n", 0o755);
    let command = with_path(&env, Some("path"), &["l", "sub/tool"]);
    refused(&env, command, "sub/tool", "No such file or directory");
}

#[test]
fn the_command_is_called_by_the_name_given_with_its_words_untouched() {
    let env = TestEnv::new();
    let words: [&[u8]; 9] = [
        b"test-helper",
        b"args",
        b"file",
        b"-n",
        b"--",
        b"",
        b"two words",
        b"\xff\xfe\n",
        b"",
    ];
    for way in WAYS {
        let mut command = env.flock([way, "l"]);
        command.args(words.map(test_support::os_string));
        env.run_command(command).assert_status(0);
        let heard = fs::read(env.file("file")).expect("its words");
        let wanted = words.map(|word| [word, b"\0"].concat()).concat();
        assert_eq!(
            heard.escape_ascii().to_string(),
            wanted.escape_ascii().to_string()
        );
    }
}
