//! The models of the protocols (`models/`) against the programs: system calls that strace(1) records
//! must be a path of the model. A change that reorders two of them fails here.

mod lease;
mod lock_file;
mod queue;
mod several;
mod slots;

use test_support::TestEnv;
use test_support::system_calls::{Call, SystemCall};

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
