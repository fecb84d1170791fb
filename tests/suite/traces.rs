//! The models of the protocols (`models/`) against the programs: system calls that strace(1) records
//! must be a path of the model. A change that reorders two of them fails here.

mod lock_file;
mod queue;
mod several;
mod slots;

use test_support::TestEnv;
use test_support::system_calls::SystemCall;

/// A call and its result, as the models name them.
type Call = (&'static str, &'static str);

/// Runs `flock` to its end, and returns its calls as the models name them. `None` without strace.
fn record(
    env: &TestEnv,
    args: &[&str],
    name: impl FnOnce(&[SystemCall]) -> Vec<Call>,
) -> Option<Vec<Call>> {
    let command = env.with_recording("flock", args)?;
    env.run_command(command);
    Some(name(&env.recorded_calls()))
}

/// Checks that a model explains the calls, and no others: not with two of them in reverse order.
#[track_caller]
fn assert_explained(calls: &[Call], explain: impl Fn(&[Call]) -> Result<(), usize>) {
    if let Err(index) = explain(calls) {
        panic!(
            "not in the model: {:?} after {:?}",
            calls[index],
            &calls[..index]
        );
    }
    for index in 1..calls.len() {
        let mut reordered = calls.to_vec();
        reordered.swap(index - 1, index);
        let is_same = calls[index - 1] == calls[index];
        assert!(is_same || explain(&reordered).is_err(), "{reordered:?}");
    }
}
