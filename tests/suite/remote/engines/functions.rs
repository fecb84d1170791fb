//! Shell functions under a lock in a real system, by the bash builtin.

use libc::SIGKILL;
use rstest::rstest;
use test_support::process::ExitReason;

use super::{Engine, EngineTest};

#[rstest]
fn function_runs_under_the_lock(#[values(Engine::Etcd, Engine::Postgres)] engine: Engine) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let url = test.url();
    let script = format!(
        "f() {{ x=$FLOCK_TOKEN; flock -n '{url}' true; echo $? $FLOCK_URL; return 5; }}
         flock '{url}' f; echo $? $((x > 0)); flock -n '{url}' true; echo $?"
    );
    let outcome = test.env.run_with_builtin(script);
    outcome.assert_all(0, &format!("1 {url}\n5 1\n0\n"), "");
    test.wait_for_keys(0);
}

#[rstest]
fn function_is_stopped_if_the_lock_is_lost(
    #[values(Engine::Etcd, Engine::Postgres)] engine: Engine,
) {
    let Some(test) = EngineTest::new(engine) else {
        return;
    };
    let script = format!(
        "trap '' TERM; f() {{ echo held; read x; echo no; }}; flock --ttl=15s '{}' f; echo no",
        test.url()
    );
    let mut shell = test.env.start_with_builtin(script);
    shell.expect_line("held");
    test.system.delete(&test.wait_for_keys(1)[0]);
    assert_eq!(shell.wait(), ExitReason::Signaled(SIGKILL));
    // Another process may have the lock already, so there may be no time to say why.
    if shell.read_until("are being stopped: ").is_ok() {
        shell.expect_line(test.system.deletion());
    }
    test.wait_for_keys(0);
}
