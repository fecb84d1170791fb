//! The deployment to three machines in `docs/remote.md`, executed as a user would copy it.

use test_support::TestEnv;

use super::HandleTest;
use crate::recipes::replace;

const DOCUMENT: &str = include_str!("../../../../docs/remote.md");

/// Returns the script, with another lock.
#[track_caller]
fn script(env: &TestEnv) -> String {
    let (_, after) = DOCUMENT
        .split_once("### Deploy to three machines")
        .expect("the recipe");
    let (_, code) = after.split_once("```sh\n").expect("a code block");
    let (code, _) = code.split_once("```").expect("its end");
    let directory = format!("{}/deploy.", env.path().display());
    let code = replace(code, "/tmp/deploy.", &directory);
    replace(&code, "etcd://db1,db2,db3/", "test://")
}

/// Installs programs that write what they are for. `ssh` closes the descriptors that it inherits, and
/// then executes this.
fn install(test: &HandleTest, ssh: &str) {
    test.install_script("bin/rsync", "#!/bin/sh\necho copy ${3%%:*} >>log\n");
    let ssh = format!("#!/bin/sh\nexec 8>&-; echo restart $1 >>log; {ssh}\n");
    test.install_script("bin/ssh", &ssh);
}

#[test]
fn deployment_goes_over_all_machines() {
    let test = HandleTest::new(super::GRANTS);
    install(&test, ":");
    let outcome = test.bash(script(&test)).assert_stderr("").assert_status(0);
    assert!(
        outcome
            .stdout_text()
            .starts_with("flock: getting lock took ")
    );
    let expected = "copy web1\nrestart web1\ncopy web2\nrestart web2\ncopy web3\nrestart web3\n";
    assert_eq!(test.read_file("log"), expected);
}

#[test]
fn loss_of_the_lock_stops_the_deployment_and_ssh() {
    let helper =
        "echo granted 7 $(in_ms 600000); wait_for go; echo lost it is gone; wait_for_release";
    let test = HandleTest::new(helper);
    install(&test, "exec 9>>witness; flock 9; echo >go; exec sleep 600");
    let options = replace(&script(&test), "-w 5m", "--ttl=600s --grace=300s -w 5m");
    let outcome = test.bash(options).assert_status(75);
    let stderr = outcome.stderr_text();
    assert!(stderr.contains("lock lost"), "{stderr}");
    assert!(stderr.ends_with("deployment interrupted\n"), "{stderr}");
    assert_eq!(test.read_file("log"), "copy web1\nrestart web1\n");
    test.run(["-w60", "witness", "true"]).assert_all(0, "", "");
}
