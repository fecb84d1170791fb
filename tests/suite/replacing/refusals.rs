//! `--replace`: when no process is signalled.

use rstest::rstest;
use test_support::process::ExitReason;
use test_support::{TestEnv, can_unshare};

use crate::queue::other_user_command;
use crate::usage_errors::assert_misuse;

#[rstest]
#[case::nested("flock l sh -c 'flock --replace l echo ran; echo $?'")]
#[case::own_descriptor("exec 8>>l; flock 8; flock --replace l echo ran; echo $?")]
#[case::ancestor("exec 8>>l; flock 8; (flock --replace l echo ran 8>&-; echo $?)")]
fn a_process_does_not_replace_itself_or_its_ancestors(#[case] script: &str) {
    let env = TestEnv::new();
    let outcome = env.sh(script).assert_status(0).assert_stdout("1\n");
    let stderr = outcome.stderr_text();
    assert!(
        stderr.starts_with("flock: cannot replace the holder of l: this process "),
        "{stderr}"
    );
}

#[test]
fn if_one_holder_cannot_be_signalled_none_is() {
    let env = &TestEnv::without_builtin();
    let script = "flock --replace l echo ran";
    let Some(command) = other_user_command(env, 54321, script) else {
        return;
    };
    let holder = env.hold(&["-s"], "l");
    let own = other_user_command(
        env,
        54321,
        "exec flock -s l sh -c 'echo held; read x; exit 0'",
    );
    let mut own = env.start(own.expect("it worked before"));
    own.expect_line("held");
    let outcome = env.run_command(command).assert_status(1).assert_stdout("");
    let stderr = outcome.stderr_text();
    assert!(
        stderr.starts_with("flock: cannot replace the holder of l: it is "),
        "{stderr}"
    );
    // Both exit by themselves.
    own.release();
    holder.release();
}

#[test]
fn a_holder_outside_of_the_pid_namespace_is_not_stopped() {
    let env = &TestEnv::without_builtin();
    if !can_unshare(env, "-rpf --mount-proc") {
        return;
    }
    let holder = env.hold(&[], "l");
    let outcome = env
        .sh("unshare -rpf --mount-proc flock --replace l echo ran")
        .assert_status(1)
        .assert_stdout("");
    let stderr = outcome.stderr_text();
    assert!(
        stderr.starts_with("flock: cannot replace the holder of l: "),
        "{stderr}"
    );
    holder.release();
}

#[test]
fn a_holder_in_an_inner_pid_namespace_is_stopped() {
    let env = &TestEnv::without_builtin();
    if !can_unshare(env, "-rpf") {
        return;
    }
    let mut command = env.command("unshare");
    command.args(["-rpf", "flock", "l", "sh", "-c", "echo held; read x"]);
    let mut holder = env.start(command);
    holder.expect_line("held");
    env.run(["--replace", "l", "echo", "ran"])
        .assert_all(0, "ran\n", "");
    assert_ne!(holder.wait(), ExitReason::Exited(0));
}

#[test]
fn invalid_combinations_are_usage_errors() {
    for signal in ["", "0", "65", "NOSUCH", "SIGSIGTERM"] {
        let message = format!(
            "invalid signal: '{signal}' (expected a name such as TERM, HUP or INT, or a number)"
        );
        assert_misuse(&[&format!("--replace={signal}"), "l", "true"], &message);
    }
    for (options, message) in [
        (&["-n"][..], "--nonblock cannot be used with --replace"),
        (&["-w0"], "--replace cannot be used with a timeout of 0"),
        (&["--fair"], "--replace cannot be used with --fair"),
        (&["--slots=2"], "--replace cannot be used with --slots"),
        (&["--queue=2"], "--replace cannot be used with --queue"),
        (&["--also", "m"], "--replace cannot be used with --also"),
        (
            &["-s"],
            "--replace cannot be used with --shared or --unlock",
        ),
        (
            &["--fcntl"],
            "--replace cannot be used with --fcntl, --start or --length",
        ),
    ] {
        let message = message.replace(
            "--nonblock cannot be used with --replace",
            "--replace cannot be used with --nonblock",
        );
        assert_misuse(
            &[&["--replace"], options, &["l", "true"]].concat(),
            &message,
        );
    }
    let message =
        "--ttl and --grace require a lock elsewhere: flock --ttl 30s SCHEME://... COMMAND";
    assert_misuse(&["--grace", "1", "l", "true"], message);
    assert_misuse(&["--ttl", "9", "--replace", "l", "true"], message);
    let message = "--who cannot be used with --replace";
    assert_misuse(&["--who", "--replace", "l"], message);
}
