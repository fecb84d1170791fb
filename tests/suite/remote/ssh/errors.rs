//! What cannot be locked, with statuses and messages.

use rstest::rstest;
use test_support::process::ExitReason;

use super::SshTest;

/// Runs a lock, and asserts the status and the message.
#[track_caller]
fn assert_message(test: &SshTest, url: &str, status: i32, text: &str) {
    let outcome = test.env.run(["-n", "--ttl=5s", url, "echo", "never"]);
    let stderr = outcome.stderr_text();
    outcome.assert_status(status).assert_stdout("");
    assert!(stderr.starts_with(&format!("flock: {url}: ")), "{stderr}");
    assert!(stderr.contains(text), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[test]
fn invalid_url_is_refused() {
    let Some(test) = SshTest::new() else { return };
    for (url, text) in [
        ("ssh://h", "it has no path"),
        ("ssh://-oProxyCommand=x/y", "invalid host"),
        ("ssh://$(x)@h/y", "invalid user"),
    ] {
        assert_message(&test, url, 64, text);
    }
}

#[test]
fn unreached_machine_has_a_status() {
    let Some(mut test) = SshTest::new() else {
        return;
    };
    test.server.kill();
    let url = test.url();
    let address = &test.server.address;
    let text = format!("machine is not reached: connect to host {address} port");
    assert_message(&test, &url, 66, &text);
    let outcome = test.env.run(["-w0.1", &url, "echo"]).assert_status(66);
    assert!(outcome.stderr_text().ends_with("Connection refused\n"));
}

#[test]
fn machine_that_starts_later_is_reached() {
    let Some(mut test) = SshTest::new() else {
        return;
    };
    test.server.kill();
    let mut waiter = test.start(&[], "echo got it");
    waiter.expect("flock: machine is not reached, trying again: connect to host");
    test.server.restart(&test.env);
    waiter.expect("\ngot it\n");
    assert_eq!(waiter.wait(), ExitReason::Exited(0));
}

#[rstest]
#[case::key(": >ssh/authorized_keys", 77, "Permission denied (publickey)")]
#[case::host(": >ssh/known_hosts", 65, "Host key verification failed")]
#[case::configuration("echo Nonsense x >>ssh/config", 69, "configuration option")]
fn refusal_of_ssh_has_a_status(#[case] script: &str, #[case] status: i32, #[case] text: &str) {
    let Some(test) = SshTest::new() else { return };
    test.env.sh(script).assert_status(0);
    assert_message(&test, &test.url(), status, text);
}

#[test]
fn missing_ssh_has_a_status() {
    let Some(test) = SshTest::new() else { return };
    test.env.sh("rm bin/ssh").assert_status(0);
    let mut command = test.env.flock([test.url().as_str(), "echo", "never"]);
    command.env("PATH", test.env.file("bin"));
    let outcome = test.env.run_command(command).assert_status(69);
    let expected = format!(
        "flock: {}: cannot execute ssh: No such file or directory\n",
        test.url()
    );
    outcome.assert_stderr(&expected);
}

/// The other machine has another flock, as that of util-linux, or none.
#[rstest]
#[case::other("other:/usr/bin:/bin", "/other/flock on machine is not that of fdlock")]
#[case::none("other/tools", "there is no flock on machine")]
fn machine_without_this_flock_is_unsuitable(#[case] path: &str, #[case] text: &str) {
    let Some(mut test) = SshTest::new() else {
        return;
    };
    let script = "mkdir -p other/tools && echo '#!/bin/sh' >other/flock && chmod +x other/flock &&
        ln -s $(command -v sh) $(command -v readlink) other/tools";
    test.env.sh(script).assert_status(0);
    let path = format!("{}/{path}", test.env.path().display());
    let edit = format!("sed -i 's|PATH=[^ ]*|PATH={path}|' ssh/sshd_config");
    test.env.sh(edit).assert_status(0);
    test.server.restart(&test.env);
    assert_message(&test, &test.url(), 65, text);
}

/// The status of `ssh` says that it will never work, also if the caller ignores `SIGCHLD`.
#[rstest]
#[case::heard("")]
#[case::ignored("trap '' CHLD")]
fn account_without_commands_is_unsuitable(#[case] trap: &str) {
    let Some(test) = SshTest::new() else { return };
    let edit = "sed -i 's|^|command=\"exit 3\" |' ssh/authorized_keys";
    test.env.sh(edit).assert_status(0);
    let script = format!("{trap}\nexec flock -w 1 {} echo never", test.url());
    let outcome = test.env.bash(script).assert_status(65);
    let stderr = outcome.stderr_text();
    assert!(
        stderr.contains("no command can be run there: status 3"),
        "{stderr}"
    );
}

#[test]
fn file_that_cannot_be_opened_is_unsuitable() {
    let Some(test) = SshTest::new() else { return };
    let url = test.url() + "/x";
    assert_message(&test, &url, 65, "cannot open lock file");
}

/// What a shell prints when it starts is not the holder's.
#[test]
fn output_of_the_shell_there_does_not_matter() {
    let Some(test) = SshTest::new() else { return };
    let script = "#!/bin/sh\necho Welcome\necho granted 5\neval \"$SSH_ORIGINAL_COMMAND\"\n";
    test.env.install_script("noisy", script);
    force(&test, &test.env.file("noisy").display().to_string());
    let outcome = test.env.run([&test.url(), "echo", "got it"]);
    outcome.assert_all(0, "got it\n", "");
}

/// A key that is good for locks only.
#[test]
fn forced_command_may_be_the_holder() {
    let Some(test) = SshTest::new() else { return };
    let program = test.env.file("libexec/fdlock/flock-ssh");
    let command = "trap '' HUP TERM; PROGRAM serve; echo fdlock-ssh gone";
    force(
        &test,
        &command.replace("PROGRAM", &program.display().to_string()),
    );
    let outcome = test.env.run([&test.url(), "echo", "got it"]);
    outcome.assert_all(0, "got it\n", "");
}

/// Makes a command the only one that the key may run.
fn force(test: &SshTest, command: &str) {
    let keys = test.env.read_file("ssh/authorized_keys");
    let line = format!("restrict,command=\"{command}\" {keys}");
    std::fs::write(test.env.file("ssh/authorized_keys"), line).expect("our file");
}
