//! The examples in docs/historic-tools.md.

use rstest::rstest;
use test_support::TestEnv;

use crate::env;

/// Creates the programs that the examples run, and returns the example of a tool.
#[track_caller]
fn setup_example(env: &TestEnv, tool: &str) -> String {
    for program in ["bin/rsync", "bin/sync-photos", "sort-photos"] {
        let name = program.trim_start_matches("bin/");
        env.install_script(program, &format!("#!/bin/sh\necho {name} runs\n"));
    }
    let document = include_str!("../../../docs/historic-tools.md");
    let (_, block) = document.split_once("\n```sh\n").expect("a code block");
    let (block, _) = block.split_once("```").expect("the end of the code block");
    assert_eq!(block.lines().count(), 4);
    let line = block.lines().find(|line| line.starts_with(tool));
    // Abstract names and resources are shared by the whole machine.
    let name = env.file("photos").display().to_string();
    let line = line.expect("an example").replace("/run/lock/", "");
    line.replace("/tmp/photos", &name)
}

#[rstest]
fn loto_example_skips_run_while_locked(env: TestEnv) {
    let line = setup_example(&env, "loto");
    let resources = format!("net {}\n", env.file("net.lock").display());
    std::fs::write(env.file("resources"), resources).expect("a file");
    env.sh(format!("export LOTO_CONF=resources\n{line}"))
        .assert_all(0, "rsync runs\n", "");
    env.sh(format!(
        "export LOTO_CONF=resources\nloto -L net -- sh -c '{line}'"
    ))
    .assert_all(0, "", "");
}

#[rstest]
fn me_only_example_is_refused_while_name_is_bound(env: TestEnv) {
    let line = setup_example(&env, "me-only");
    env.sh(&line).assert_all(0, "sort-photos runs\n", "");
    let name = env.file("photos").display().to_string();
    env.sh(format!("me-only '{name}' sh -c '{line}'"))
        .assert_status(204)
        .assert_stdout("");
}

#[rstest]
fn runlock_example_skips_run_while_locked(env: TestEnv) {
    let line = setup_example(&env, "runlock");
    env.sh(&line).assert_all(0, "sync-photos runs\n", "");
    env.sh(format!("runlock photos sh -c '{line}'"))
        .assert_all(0, "", "Still locked.\n");
}

#[rstest]
fn ulock_example_reads_unless_locked(env: TestEnv) {
    let line = setup_example(&env, "ulock");
    std::fs::write(env.file("master"), "read\n").expect("a file");
    env.sh(&line).assert_all(0, "read\n", "");
    let with_timeout = line.replace("ulock ", "ulock --timeout=0 ");
    env.sh(format!("ulock lock; {with_timeout}"))
        .assert_all(1, "", "");
}
