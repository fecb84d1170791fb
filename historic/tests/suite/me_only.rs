//! `me-only`: one script of a name, and what its caller is told.
//!
//! A name is the machine's, so every test makes its own from its test environment's folder.

mod holding;
mod names;
mod storm;

use std::ffi::OsStr;
use std::process::Command;

use test_support::process::Process;
use test_support::{Outcome, TestEnv};

/// The script of a holder: it says so with its process, and holds until its stdin ends.
const HOLD: [&str; 3] = ["sh", "-c", "echo held $$; read x; exit 0"];

trait MeOnlyEnv {
    fn me_only<A: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = A>) -> Command;

    fn run_me_only<A: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = A>) -> Outcome;

    /// A name that no other test has.
    fn unique_name(&self) -> String;

    /// Someone who holds the name until told [`Process::release`], and the process of its script.
    fn hold_name(&self, name: &str) -> (Process, i32);

    /// Asserts that a call for the name is refused, and who is said to have it.
    fn assert_refused(&self, name: &str, holders: &[i32]);

    /// Asserts that nobody has the name.
    fn assert_free(&self, name: &str);
}

impl MeOnlyEnv for TestEnv {
    fn me_only<A: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.command("me-only");
        command.args(words);
        command
    }

    #[track_caller]
    fn run_me_only<A: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = A>) -> Outcome {
        self.run_command(self.me_only(words))
    }

    fn unique_name(&self) -> String {
        self.file("lock").display().to_string()
    }

    #[track_caller]
    fn hold_name(&self, name: &str) -> (Process, i32) {
        hold_with(self, self.me_only([name]))
    }

    #[track_caller]
    fn assert_refused(&self, name: &str, holders: &[i32]) {
        let refused = self.run_me_only([name, "echo", "overlap"]);
        let refused = refused.assert_status(4).assert_stdout("");
        let named = holders.iter().any(|holder| {
            refused.stderr_text()
                == format!("me-only: {name}: not the only instance (held by process {holder})\n")
        });
        assert!(named, "one of {holders:?}: {refused:?}");
    }

    #[track_caller]
    fn assert_free(&self, name: &str) {
        self.run_me_only([name, "true"])
            .assert_status(0)
            .assert_stderr("");
    }
}

/// A holder by this command, which still lacks its script.
#[track_caller]
fn hold_with(env: &TestEnv, mut command: Command) -> (Process, i32) {
    command.args(HOLD);
    let mut holder = env.start(command);
    let held = holder.read_line();
    let script = held.strip_prefix("held ").expect("it holds");
    let script = script.parse().expect("a pid");
    (holder, script)
}

#[test]
fn a_scripts_status_is_its_own_unless_it_is_one_of_ours() {
    let env = TestEnv::new();
    let name = env.unique_name();
    for (status, wanted) in [
        (0, 0),
        (1, 201),
        (2, 202),
        (3, 203),
        (4, 204),
        (5, 5),
        (70, 70),
        (127, 127),
        (255, 255),
    ] {
        env.run_me_only([&name, "sh", "-c", &format!("exit {status}")])
            .assert_status(wanted)
            .assert_stderr("");
    }
}

#[test]
fn a_script_that_dies_of_a_signal_is_128_and_its_number() {
    let env = TestEnv::new();
    env.run_me_only([&env.unique_name(), "sh", "-c", "kill -KILL $$"])
        .assert_status(128 + 9);
}

#[test]
fn a_script_that_is_not_there_or_not_executable_is_status_1() {
    let env = TestEnv::new();
    let name = env.unique_name();
    let failed = |script: &str, reason: &str| {
        env.run_me_only([&name, script])
            .assert_status(1)
            .assert_stdout("")
            .assert_stderr(&format!("me-only: failed to execute {script}: {reason}\n"));
        env.assert_free(&name);
    };
    env.sh("echo echo overlap >plain").assert_status(0);
    failed("./missing", "No such file or directory");
    failed("missing", "No such file or directory");
    failed("./plain/below", "Not a directory");
    failed("./plain", "Permission denied");
    failed("./bin", "Permission denied");
}

#[test]
fn wrong_arguments_are_status_2_and_nothing_is_run() {
    let env = TestEnv::new();
    let long = "x".repeat(108);
    let ran = ["sh", "-c", "echo ran"];
    for (words, what) in [
        (vec![], "missing LOCK_PATH"),
        (vec!["lock"], "missing SCRIPT_PATH"),
        (
            [&["-x", "lock"], &ran[..]].concat(),
            "invalid option -- 'x'",
        ),
        (
            [&[""], &ran[..]].concat(),
            "invalid lock path: '' (expected 1 to 107 bytes)",
        ),
        (
            [&[&long[..]], &ran[..]].concat(),
            &format!("invalid lock path: '{long}' (expected 1 to 107 bytes)"),
        ),
    ] {
        env.run_me_only(words)
            .assert_status(2)
            .assert_stdout("")
            .assert_stderr(&format!(
                "me-only: {what}\nUsage: me-only LOCK_PATH SCRIPT_PATH [ARGUMENT]...\n"
            ));
    }
}

#[test]
fn a_socket_that_cannot_be_had_is_status_3() {
    let env = TestEnv::new();
    let name = env.unique_name();
    // The first of two sockets takes the last descriptor that there is, or there is none above 2 for it.
    for few in ["ulimit -n 4; exec", "exec <&-; ulimit -n 3; exec"] {
        env.sh(format!("{few} me-only {name} echo ran"))
            .assert_status(3)
            .assert_stdout("")
            .assert_stderr("me-only: cannot create socket: Too many open files\n");
    }
    let inject = "inject=socket:error=ENOBUFS";
    if let Some(me_only) =
        env.with_fault_injection_into("me-only", "", inject, &[&name, "echo", "ran"])
    {
        env.run_command(me_only)
            .assert_status(3)
            .assert_stdout("")
            .assert_stderr("me-only: cannot create socket: No buffer space available\n");
    }
}

#[test]
fn a_bind_that_fails_is_status_4_whatever_the_reason() {
    let env = TestEnv::new();
    let name = env.unique_name();
    let words = [&name[..], "echo", "ran"];
    for which in ["1", "2"] {
        let inject = format!("inject=bind:error=EACCES:when={which}");
        // Where there is no strace, nothing but a taken name makes bind(2) fail.
        let Some(me_only) = env.with_fault_injection_into("me-only", "", &inject, &words) else {
            return;
        };
        env.run_command(me_only)
            .assert_status(4)
            .assert_stdout("")
            .assert_stderr(&format!(
                "me-only: cannot bind socket address {name}: Permission denied\n"
            ));
    }
}

#[test]
fn the_name_comes_first_and_the_script_second() {
    let env = TestEnv::new();
    let name = env.unique_name();
    let (holder, script) = env.hold_name(&name);
    let refused = env.run_me_only([&name, "./missing"]).assert_status(4);
    assert!(
        refused.stderr_text().contains("not the only instance"),
        "{refused:?}"
    );
    env.assert_refused(&name, &[holder.pid(), script]);
    holder.release();
    env.run_me_only([&name, "./missing"]).assert_status(1);
}

#[test]
fn a_refusal_inside_a_script_is_not_one_of_the_script() {
    let env = TestEnv::new();
    let name = env.unique_name();
    env.run_me_only([&name, "me-only", &name, "echo", "overlap"])
        .assert_status(204)
        .assert_stdout("");
}

#[test]
fn a_script_gets_its_arguments_untouched() {
    let env = TestEnv::new();
    env.install_script("script", "#!/bin/sh\nprintf '<%s>' \"$@\"\n");
    let words = ["./script", "1", "", "-h", "--", "a  b", "*"];
    let name = env.unique_name();
    env.run_me_only([&[&name[..]], &words[..]].concat())
        .assert_status(0)
        .assert_stdout("<1><><-h><--><a  b><*>");
}

#[test]
fn a_script_without_a_slash_is_looked_for_where_we_stand_and_then_in_path() {
    let env = TestEnv::new();
    let name = env.unique_name();
    env.install_script("bin/script", "#!/bin/sh\necho in PATH\n");
    env.run_me_only([&name[..], "script"])
        .assert_stdout("in PATH\n");
    env.install_script("script", "#!/bin/sh\necho here\n");
    env.run_me_only([&name[..], "script"])
        .assert_stdout("here\n");
}

/// The ways of the first page, with a name and a script of the test's.
fn examples(env: &TestEnv, script: &str) -> [String; 2] {
    let name = env.unique_name();
    [
        format!(
            r#"me-only {name} {script} 1 2 3 || {{ echo "ERROR: ..." >&2; exit 1; }}
echo "went on""#
        ),
        format!(
            r#"me-only {name} {script} 1 2 3
RC=$?
if [ $RC -ne 0 ]; then
  echo "ERROR: ..." >&2
  exit 1
fi
echo "went on""#
        ),
    ]
}

#[test]
fn the_examples_of_the_first_page_go_on_when_all_is_well_and_not_when_it_is_not() {
    let env = TestEnv::new();
    let path = |name: &str| env.file(name).display().to_string();
    env.install_script("good", "#!/bin/sh\necho \"$*\"\n");
    for example in examples(&env, &path("good")) {
        env.sh(example)
            .assert_status(0)
            .assert_stdout("1 2 3\nwent on\n");
    }
    env.install_script("bad", "#!/bin/sh\nexit 4\n");
    for example in examples(&env, &path("bad")) {
        let failed = env.sh(example).assert_status(1).assert_stdout("");
        failed.assert_stderr("ERROR: ...\n");
    }
    let (_holder, _) = env.hold_name(&env.unique_name());
    for example in examples(&env, &path("good")) {
        let failed = env.sh(example).assert_status(1).assert_stdout("");
        assert!(
            failed.stderr_text().ends_with(")\nERROR: ...\n"),
            "{failed:?}"
        );
    }
}
