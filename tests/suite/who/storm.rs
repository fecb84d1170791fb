//! All locks of a machine that has very many.

use std::collections::{BTreeMap, BTreeSet};

use test_support::process::Process;
use test_support::stress::StressSettings;
use test_support::{TestEnv, wait_until};

use super::machine::listed;

/// Twenty thousand locks in a long run. Other tests read the kernel's table of all locks, too.
#[test]
fn locks_of_very_many_files_are_listed() {
    let StressSettings { size, .. } = StressSettings::from_env();
    let (processes, files) = if size > 1 { (25, 800) } else { (4, 500) };
    let env = TestEnv::new();
    let hold = |number| {
        let mut holder = env.start_lock_holder("files", 0, files, &format!("{number}-"));
        holder.expect_line("held");
        holder
    };
    let holders: Vec<Process> = (0..processes).map(hold).collect();
    let expected: BTreeMap<_, _> = holders
        .iter()
        .map(|holder| (i64::from(holder.pid()), files as usize))
        .collect();
    wait_until("every file is listed with its holder", || {
        let mut found: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
        for row in listed(&env) {
            let (pid, file) = (row["pid"].as_i64(), row["file"].to_string());
            found.entry(pid.unwrap_or(0)).or_default().insert(file);
        }
        found
            .into_iter()
            .map(|(pid, files)| (pid, files.len()))
            .eq(expected.clone())
    });
}
