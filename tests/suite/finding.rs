//! Section 4: how the command is found and started, and what is said when it cannot be.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use test_support::Lab;
use test_support::pre_exec::Inherit;

/// The two ways to start a command, which must not differ.
const WAYS: [&str; 2] = ["-x", "-F"];

/// Puts a file with these permissions into the scratch folder.
fn put(lab: &Lab, name: &str, text: &str, mode: u32) {
    let file = lab.file(name);
    fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    fs::write(&file, text).expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("its mode");
}

/// `flock` itself with this PATH, `None` for none at all.
fn with_path(lab: &Lab, path: Option<&str>, words: &[&str]) -> std::process::Command {
    let flock = lab.file("bin/flock").display().to_string();
    let path = path.map(|path| format!("PATH={path}"));
    let environment: Vec<&[u8]> = path.iter().map(|entry| entry.as_bytes()).collect();
    let mut command = lab.command("true");
    command.straight_to(&flock, &[&["flock"], words].concat(), &environment);
    command
}

/// Asserts that the command cannot be executed for this reason, with nothing on stdout.
#[track_caller]
fn refused(lab: &Lab, command: std::process::Command, name: &str, reason: &str) {
    lab.finish(command)
        .expect_code(69)
        .expect_out("")
        .expect_err(&format!("flock: failed to execute {name}: {reason}\n"));
}

#[test]
fn a_script_without_an_interpreter_line_runs_by_sh() {
    let lab = Lab::new();
    put(&lab, "bin/greet", "echo \"$1 from $0\"; exit 5\n", 0o755);
    for way in WAYS {
        let greet = lab.file("bin/greet").display().to_string();
        for name in ["greet", &greet] {
            lab.run([way, "l", name, "a b"])
                .expect_code(5)
                .expect_out(&format!("a b from {greet}\n"));
        }
        lab.run([way, "l", "bin/greet", "hello"])
            .expect_code(5)
            .expect_out("hello from bin/greet\n");
    }
}

#[test]
fn an_empty_script_is_a_command_that_succeeds() {
    let lab = Lab::new();
    put(&lab, "bin/nothing", "", 0o755);
    for way in WAYS {
        lab.run([way, "l", "nothing"]).expect_code(0);
    }
}

#[test]
fn a_script_with_an_interpreter_line_runs_by_that() {
    let lab = Lab::new();
    put(&lab, "bin/itself", "#!/bin/cat\nits own text\n", 0o755);
    for way in WAYS {
        lab.run([way, "l", "itself"])
            .expect_out("#!/bin/cat\nits own text\n");
    }
}

#[test]
fn a_script_whose_interpreter_is_missing_is_missing() {
    let lab = Lab::new();
    put(&lab, "orphan", "#!/nonexistent/interpreter\n", 0o755);
    for way in WAYS {
        let command = lab.flock([way, "l", "./orphan"]);
        refused(&lab, command, "./orphan", "No such file or directory");
    }
}

#[test]
fn a_missing_command_is_said_to_be_missing() {
    let lab = Lab::new();
    for way in WAYS {
        for name in ["no-such-command", "./no-such-command", "/no/such", ""] {
            let command = lab.flock([way, "l", name]);
            refused(&lab, command, name, "No such file or directory");
        }
    }
}

#[test]
fn a_command_that_may_not_be_executed_is_said_to_be_so() {
    let lab = Lab::new();
    put(&lab, "bin/plain", "echo never\n", 0o644);
    for way in WAYS {
        for name in ["plain", "bin/plain", "./bin", "/"] {
            refused(&lab, lab.flock([way, "l", name]), name, "Permission denied");
        }
        let command = lab.flock([way, "l", "bin/plain/deeper"]);
        refused(&lab, command, "bin/plain/deeper", "Not a directory");
    }
}

#[test]
fn the_lock_is_free_after_a_command_that_could_not_be_executed() {
    let lab = Lab::new();
    for way in WAYS {
        lab.run([way, "l", "/no/such"]).expect_code(69);
        lab.run(["-n", "l", "true"]).expect_code(0);
    }
}

#[test]
fn the_search_goes_on_past_what_cannot_be_executed() {
    let lab = Lab::new();
    put(&lab, "one/tool", "echo never\n", 0o644);
    fs::create_dir_all(lab.file("two/tool")).expect("a folder");
    put(&lab, "three", "not a folder", 0o644);
    put(&lab, "four/tool", "#!/bin/sh\necho found\n", 0o755);
    put(&lab, "five/tool", "#!/bin/sh\necho later\n", 0o755);
    let before = "missing:one:two:three";
    for way in WAYS {
        let path = format!("{before}:four:five");
        lab.finish(with_path(&lab, Some(&path), &[way, "l", "tool"]))
            .expect_code(0)
            .expect_out("found\n");
        // When nothing was found, that which was there but not to be executed is the reason.
        let command = with_path(&lab, Some(before), &[way, "l", "tool"]);
        refused(&lab, command, "tool", "Permission denied");
        let command = with_path(&lab, Some("missing:three"), &[way, "l", "tool"]);
        let outcome = lab.finish(command).expect_code(69);
        assert!(outcome.err().starts_with("flock: failed to execute tool: "));
    }
}

#[test]
fn an_empty_element_of_the_path_is_the_working_directory() {
    let lab = Lab::new();
    put(&lab, "here", "#!/bin/sh\necho here\n", 0o755);
    for way in WAYS {
        for path in [":/nonexistent", "/nonexistent:", "/nonexistent::/none"] {
            lab.finish(with_path(&lab, Some(path), &[way, "l", "here"]))
                .expect_code(0)
                .expect_out("here\n");
        }
        let command = with_path(&lab, Some("/nonexistent"), &[way, "l", "here"]);
        refused(&lab, command, "here", "No such file or directory");
    }
}

#[test]
fn without_a_path_the_systems_own_folders_are_searched() {
    let lab = Lab::new();
    for way in WAYS {
        lab.finish(with_path(&lab, None, &[way, "l", "ls", "-d", "l"]))
            .expect_code(0)
            .expect_out("l\n");
    }
}

#[test]
fn a_name_with_a_slash_is_not_searched_for() {
    let lab = Lab::new();
    put(&lab, "path/sub/tool", "#!/bin/sh\necho never\n", 0o755);
    let command = with_path(&lab, Some("path"), &["l", "sub/tool"]);
    refused(&lab, command, "sub/tool", "No such file or directory");
}

#[test]
fn the_command_is_called_by_the_name_given_with_its_words_untouched() {
    let lab = Lab::new();
    let words: [&[u8]; 9] = [
        b"probe",
        b"words",
        b"file",
        b"-n",
        b"--",
        b"",
        b"two words",
        b"\xff\xfe\n",
        b"",
    ];
    for way in WAYS {
        let mut command = lab.flock([way, "l"]);
        command.args(words.map(test_support::word));
        lab.finish(command).expect_code(0);
        let heard = fs::read(lab.file("file")).expect("its words");
        let wanted = words.map(|word| [word, b"\0"].concat()).concat();
        assert_eq!(
            heard.escape_ascii().to_string(),
            wanted.escape_ascii().to_string()
        );
    }
}
