//! `--name` and `--path`: one lock file for each name and user, in a directory that is checked.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rstest::rstest;
use rustix::process::geteuid;
use test_support::builtin::for_each_bash;
use test_support::{TestEnv, can_unshare, is_installed};

use crate::usage_errors::assert_misuse;

/// A name that no other test uses. Its lock file is removed in the end, and the directory if it is
/// empty.
struct Name {
    text: String,
    path: PathBuf,
}

impl Name {
    fn new() -> Self {
        let dir = match geteuid().as_raw() {
            0 => "/run/flock".to_owned(),
            uid => format!("/tmp/flock-{uid}"),
        };
        Self::in_dir(&dir)
    }

    fn in_dir(dir: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let text = format!("fdlock-test-{}-{number}", std::process::id());
        let path = Path::new(dir).join(format!("{text}.lock"));
        Self { text, path }
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let _ = self.path.parent().map(fs::remove_dir);
    }
}

/// The output of `--path`.
fn printed(name: &Name) -> String {
    format!("{}\n", name.path.display())
}

#[test]
fn a_name_excludes_in_every_form() {
    let (env, name) = (TestEnv::new(), Name::new());
    let (text, path) = (&name.text[..], name.path.to_str().expect("UTF-8"));
    for held in [&["--name", text][..], &[path]] {
        for requested in [&["--name", text][..], &["--fair", "--name", text], &[path]] {
            let nested = [held, &["flock", "-nE9"], requested, &["true"]].concat();
            env.run(nested).assert_all(9, "", "");
        }
    }
    env.run(["--name", text, "-c", "echo ran"])
        .assert_all(0, "ran\n", "");
}

#[test]
fn names_are_different_locks() {
    let (env, first, second) = (TestEnv::new(), Name::new(), Name::new());
    let [first, second] = [&first, &second].map(|name| &name.text[..]);
    env.run(["--name", first, "flock", "-n", "--name", second, "true"])
        .assert_all(0, "", "");
}

#[test]
fn a_script_opens_the_printed_path() {
    let (env, name) = (TestEnv::new(), Name::new());
    let text = &name.text;
    env.sh(format!(
        "exec 8>>\"$(flock --name {text} --path)\"; flock 8; flock -nE9 --name {text} true"
    ))
    .assert_all(9, "", "");
}

#[test]
fn the_path_does_not_depend_on_the_environment() {
    let (env, name) = (TestEnv::new(), Name::new());
    for setup in [
        "env -i PATH=\"$PATH\"",
        "env HOME=/nonexistent",
        "env XDG_RUNTIME_DIR=/tmp TMPDIR=/var/tmp",
        "cd / && umask 077 &&",
    ] {
        env.sh(format!("{setup} flock --path --name {}", name.text))
            .assert_all(0, &printed(&name), "");
    }
}

#[test]
fn only_the_user_can_enter_the_directory() {
    let (env, name) = (TestEnv::new(), Name::new());
    env.run(["--name", &name.text, "true"])
        .assert_all(0, "", "");
    let dir = fs::metadata(name.path.parent().expect("a directory")).expect("it exists");
    assert_eq!(dir.mode() & 0o7777, 0o700);
    assert_eq!(dir.uid(), geteuid().as_raw());
    // The sticky bit is a sign to systemd-tmpfiles.
    let file = fs::metadata(&name.path).expect("the lock file");
    assert_eq!((file.mode() & 0o7777, file.len()), (0o1600, 0));
}

#[test]
fn only_a_component_of_a_path_is_a_name() {
    for name in ["", ".", "..", "/", "a/b", "/tmp/x", "a/"] {
        let message = format!("invalid name: '{name}' (expected a file name without a slash)");
        assert_misuse(&["--name", name, "true"], &message);
    }
}

#[test]
fn a_name_takes_the_place_of_a_file_and_needs_a_command() {
    let needs_command = "--name requires a command to run, or --path";
    assert_misuse(&["--name", "n"], needs_command);
    assert_misuse(&["-n", "--name", "n"], needs_command);
    assert_misuse(
        &["--name", "n", "--path", "true"],
        "--path takes no command",
    );
    assert_misuse(
        &["--path"],
        "--path requires --name: flock --name NAME --path",
    );
    assert_misuse(
        &["--path", "l", "true"],
        "--path requires --name: flock --name NAME --path",
    );
    let message = "--name cannot be used with --fd";
    assert_misuse(&["--fd", "8", "--name", "n", "true"], message);
    let message = "--who cannot be used with --path";
    assert_misuse(&["--who", "--path", "--name", "n"], message);
}

#[test]
fn nothing_is_created_for_a_missing_command() {
    let (env, name) = (TestEnv::new(), Name::new());
    env.run(["--name", &name.text, "nosuch"]).assert_status(69);
    assert!(!name.path.exists());
}

#[test]
fn holders_of_a_name_are_listed_and_nothing_is_created() {
    let (env, name) = (TestEnv::new(), Name::new());
    let text = &name.text[..];
    env.run(["--who", "--name", text]).assert_status(66);
    assert!(!name.path.exists());
    let holder = env.hold(&["--name"], text);
    let table = env
        .run(["--who", "--name", text])
        .assert_status(0)
        .stdout_text();
    assert!(table.contains(&format!("--name {text}")), "{table}");
    holder.release();
    env.run(["--who", "--name", text]).assert_status(1);
}

#[test]
fn the_lock_file_of_a_name_can_be_removed() {
    let (env, name) = (TestEnv::new(), Name::new());
    env.run(["--unlink", "--name", &name.text, "true"])
        .assert_all(0, "", "");
    assert!(!name.path.exists());
}

#[test]
fn a_function_runs_under_the_lock_of_a_name() {
    for_each_bash(|env| {
        let name = Name::new();
        let text = &name.text;
        env.run_with_builtin(format!(
            "try() {{ env flock -nE9 --name {text} true; tried=$?; }}
             flock --name {text} try; echo $tried; flock --path --name {text}"
        ))
        .assert_all(0, &format!("9\n{}", printed(&name)), "");
    });
}

/// A command that runs a script as a user who has no name, if this process may do that.
fn as_other_user(env: &TestEnv, uid: u32, script: &str) -> Option<Command> {
    if !geteuid().is_root() || !is_installed("setpriv") {
        println!("skipped: needs root and setpriv");
        return None;
    }
    fs::set_permissions(env.path(), fs::Permissions::from_mode(0o755)).expect("our directory");
    let mut command = env.command("setpriv");
    command.args([format!("--reuid={uid}"), format!("--regid={uid}")]);
    command.args(["--clear-groups", "sh", "-c", script]);
    // The program may be where only root can enter.
    let check = env.run_command({
        let mut check = env.command("setpriv");
        check.args([format!("--reuid={uid}"), "--clear-groups".to_owned()]);
        check.args(["flock", "--version"]);
        check
    });
    (check.code() == 0).then_some(command)
}

/// Returns a number that belongs to no user, and to no other test.
fn unused_uid() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    1_000_000_000 + std::process::id() * 16 + COUNT.fetch_add(1, Ordering::Relaxed)
}

#[test]
fn every_user_has_another_lock() {
    let env = TestEnv::new();
    let uid = unused_uid();
    let [name, own] =
        [format!("/tmp/flock-{uid}"), "/run/flock".to_owned()].map(|dir| Name::in_dir(&dir));
    let text = &name.text;
    let script = format!(
        "flock --name {text} flock -nE9 --name {text} true; echo $?; flock --name {text} --path"
    );
    let Some(command) = as_other_user(&env, uid, &script) else {
        return;
    };
    let holder = env.hold(&["--name"], text);
    env.run_command(command)
        .assert_all(0, &format!("9\n{}", printed(&name)), "");
    holder.release();
    let _ = fs::remove_file(own.path.with_file_name(format!("{text}.lock")));
}

/// Asserts that the directory of another user is refused after a setup by root.
#[track_caller]
fn assert_refused(setup: impl Fn(&Path, u32), reason: &str) {
    let env = TestEnv::new();
    let uid = unused_uid();
    let name = Name::in_dir(&format!("/tmp/flock-{uid}"));
    let script = format!("flock --name {} echo ran", name.text);
    let Some(command) = as_other_user(&env, uid, &script) else {
        return;
    };
    let dir = name.path.parent().expect("a directory");
    setup(dir, uid);
    let message = format!("flock: cannot use {}: {reason}\n", dir.display());
    env.run_command(command).assert_all(66, "", &message);
    let is_empty = fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none());
    assert!(is_empty, "nothing was created there");
    let _ = fs::remove_file(dir);
}

#[test]
fn the_directory_of_another_user_is_refused() {
    assert_refused(
        |dir, uid| {
            fs::create_dir(dir).expect("a new directory");
            std::os::unix::fs::chown(dir, Some(uid + 1), None).expect("another owner");
            fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).expect("its mode");
        },
        "it belongs to another user",
    );
}

#[test]
fn a_symbolic_link_to_a_directory_is_refused() {
    let target = tempfile::tempdir().expect("a temporary directory");
    assert_refused(
        |dir, uid| {
            std::os::unix::fs::chown(target.path(), Some(uid), None).expect("its owner");
            std::os::unix::fs::symlink(target.path(), dir).expect("a link");
        },
        "it is a symbolic link, not a directory",
    );
}

#[test]
fn a_directory_that_others_can_enter_is_refused() {
    assert_refused(
        |dir, uid| {
            fs::create_dir(dir).expect("a new directory");
            std::os::unix::fs::chown(dir, Some(uid), None).expect("its owner");
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("its mode");
        },
        "its mode is 0755, not 0700",
    );
}

#[test]
fn a_file_in_place_of_the_directory_is_refused() {
    assert_refused(
        |dir, uid| {
            fs::write(dir, "").expect("a file");
            std::os::unix::fs::chown(dir, Some(uid), None).expect("its owner");
        },
        "it is not a directory",
    );
}

/// Runs a script as root with a /run of its own, mounted with these options.
#[track_caller]
fn run_with_own_run(options: &str, status: i32, stdout: &str, stderr: &str) {
    let env = TestEnv::without_builtin();
    if !can_unshare(&env, "-mr") {
        return;
    }
    let script = format!("mount -t tmpfs -o {options} none /run && flock --name n echo ran");
    env.run_command({
        let mut command = env.command("unshare");
        command.args(["-mr", "sh", "-c", &script]);
        command
    })
    .assert_all(status, stdout, stderr);
}

#[rstest]
#[case::usual("mode=755", 0, "ran\n", "")]
#[case::writable(
    "mode=777",
    66,
    "",
    "flock: cannot use /run: other users can replace its entries: its mode is 0777, not 1777\n"
)]
#[case::read_only(
    "ro",
    73,
    "",
    "flock: cannot open lock file /run/flock/n.lock: Read-only file system: its directory cannot be \
     created\n"
)]
fn the_directory_of_root_is_in_run(
    #[case] options: &str,
    #[case] status: i32,
    #[case] stdout: &str,
    #[case] stderr: &str,
) {
    run_with_own_run(options, status, stdout, stderr);
}
