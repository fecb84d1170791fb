//! The files that `make install` and its variants install and remove. Nothing is built: empty files
//! take the place of the programs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rstest::rstest;
use test_support::{HISTORIC, TestEnv};

/// Runs make for these targets, which install below the directory `machine`.
fn make(env: &TestEnv, targets: &[&str]) {
    let built = env.file("built");
    if !built.exists() {
        fs::create_dir(&built).expect("a directory");
        let programs = [
            "flock.so",
            "flock-etcd",
            "flock-postgres",
            "flock-ssh",
            "flock",
        ];
        for name in HISTORIC.into_iter().chain(programs) {
            fs::write(built.join(name), "").expect("a program");
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
    env.run_command(command).assert_all(0, "", "");
}

/// Returns the paths of all files that are installed.
fn installed(env: &TestEnv) -> BTreeSet<String> {
    fn collect(dir: &Path, root: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                collect(&path, root, found);
            } else {
                let path = path.strip_prefix(root).expect("below the root");
                found.insert(path.display().to_string());
            }
        }
    }
    let mut found = BTreeSet::new();
    let machine = env.file("machine");
    collect(&machine, &machine, &mut found);
    found
}

/// Returns the program, its manual and its completions.
fn files_of(name: &str) -> [String; 5] {
    [
        format!("usr/bin/{name}"),
        format!("usr/share/man/man1/{name}.1"),
        format!("usr/share/bash-completion/completions/{name}"),
        format!("usr/share/zsh/site-functions/_{name}"),
        format!("usr/share/fish/vendor_completions.d/{name}.fish"),
    ]
}

/// The helpers, of which some have a second name.
const HELPERS: [&str; 5] = [
    "usr/libexec/fdlock/flock-etcd",
    "usr/libexec/fdlock/flock-etcds",
    "usr/libexec/fdlock/flock-postgres",
    "usr/libexec/fdlock/flock-postgresql",
    "usr/libexec/fdlock/flock-ssh",
];

/// Returns the files of flock, of the bash builtin and of the helpers.
fn flock_files() -> BTreeSet<String> {
    let others = ["usr/lib/bash/flock"].into_iter().chain(HELPERS);
    let others = others.map(str::to_owned);
    files_of("flock").into_iter().chain(others).collect()
}

fn historic_files() -> BTreeSet<String> {
    HISTORIC.into_iter().flat_map(files_of).collect()
}

#[rstest]
#[case::only_flock("install", flock_files())]
#[case::only_the_older_tools("install-historic", historic_files())]
fn install_target_installs(#[case] target: &str, #[case] expected: BTreeSet<String>) {
    let env = TestEnv::new();
    make(&env, &[target]);
    assert_eq!(installed(&env), expected);
}

#[test]
fn uninstall_targets_remove_only_their_own_files() {
    let env = TestEnv::new();
    make(&env, &["install", "install-historic"]);
    make(&env, &["uninstall"]);
    assert_eq!(installed(&env), historic_files());
    make(&env, &["install", "uninstall-historic"]);
    assert_eq!(installed(&env), flock_files());
}

#[test]
fn helpers_can_be_left_out() {
    let env = TestEnv::new();
    make(&env, &["install", "REMOTE="]);
    let mut expected = flock_files();
    expected.retain(|file| !HELPERS.contains(&file.as_str()));
    assert_eq!(installed(&env), expected);
}

#[test]
fn both_schemes_have_the_same_helper() {
    let env = TestEnv::new();
    make(&env, &["install"]);
    // The last helper has one scheme only.
    for names in HELPERS.chunks_exact(2) {
        let link = env.file("machine").join(names[1]);
        let target = fs::read_link(link).expect("a symbolic link");
        assert_eq!(Some(target.as_os_str()), Path::new(names[0]).file_name());
    }
}
