//! What `make install` and its kind put in place, and what they leave alone. Nothing is built here: for programs there
//! are empty files.

use std::collections::BTreeSet;
use std::path::Path;

use test_support::{HISTORIC, TestEnv};

/// Runs make for these targets with the test environment as the machine.
fn make(env: &TestEnv, targets: &[&str]) {
    let built = env.file("built");
    if !built.exists() {
        std::fs::create_dir(&built).expect("a folder");
        for name in HISTORIC.into_iter().chain(["flock.so", "flock"]) {
            std::fs::write(built.join(name), "").expect("a program");
        }
    }
    let mut command = env.command("make");
    command
        .args(["-s", "-C"])
        .arg(test_support::workspace_root())
        .arg(format!("--assume-old={}", built.join("flock").display()))
        .arg(format!("OUT={}", built.display()))
        .arg(format!("DESTDIR={}", env.file("machine").display()))
        .args(["PREFIX=/usr", "CARGO=false"])
        .args(targets);
    env.run_command(command).assert_stderr("").assert_status(0);
}

/// All files of the machine.
fn files(env: &TestEnv) -> BTreeSet<String> {
    fn collect(folder: &Path, root: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                collect(&path, root, found);
            } else {
                let inside = path.strip_prefix(root).expect("below it");
                found.insert(inside.to_str().expect("text").to_owned());
            }
        }
    }
    let mut found = BTreeSet::new();
    let machine = env.file("machine");
    collect(&machine, &machine, &mut found);
    found
}

/// The program, its page and its completions.
fn of(name: &str) -> BTreeSet<String> {
    BTreeSet::from([
        format!("usr/bin/{name}"),
        format!("usr/share/man/man1/{name}.1"),
        format!("usr/share/bash-completion/completions/{name}"),
        format!("usr/share/zsh/site-functions/_{name}"),
        format!("usr/share/fish/vendor_completions.d/{name}.fish"),
    ])
}

fn of_flock() -> BTreeSet<String> {
    let mut files = of("flock");
    files.insert("usr/lib/bash/flock".to_owned());
    files
}

fn of_the_older_tools() -> BTreeSet<String> {
    HISTORIC.into_iter().flat_map(of).collect()
}

#[test]
fn install_puts_flock_in_place_and_leaves_the_older_tools_out() {
    let env = TestEnv::new();
    make(&env, &["install"]);
    assert_eq!(files(&env), of_flock());
}

#[test]
fn install_historic_puts_the_older_tools_in_place_and_nothing_else() {
    let env = TestEnv::new();
    make(&env, &["install-historic"]);
    assert_eq!(files(&env), of_the_older_tools());
}

#[test]
fn each_is_removed_by_its_own_target() {
    let env = TestEnv::new();
    make(&env, &["install", "install-historic"]);
    make(&env, &["uninstall"]);
    assert_eq!(files(&env), of_the_older_tools());
    make(&env, &["install", "uninstall-historic"]);
    assert_eq!(files(&env), of_flock());
}
