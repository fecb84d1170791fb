//! `ulock`: locks made of hard links. What its forms do, how they end, and what they leave behind.

mod original;
mod refused;
mod stale;
mod storm;
mod waiting;

use test_support::pre_exec::{CommandPreExecExt, signal_set};
use test_support::process::Process;
use test_support::procfs::{status_field, voluntary_switches};
use test_support::{TestEnv, can_unshare, wait_until};

trait UlockEnv {
    /// Starts a script to talk with.
    fn start_sh(&self, script: &str) -> Process;

    /// Starts `ulock` with these words, and comes back when it waits in the kernel for a file to change.
    fn start_waiting_ulock(&self, words: &[&str]) -> Process;

    /// The same for a command that becomes `ulock`.
    fn start_waiting(&self, command: std::process::Command) -> Process;

    /// Starts a reader who reads until told to let go.
    fn start_reader(&self) -> Process;

    /// Asserts that there is nothing in the test environment but this.
    fn assert_files(&self, names: &[&str]);
}

impl UlockEnv for TestEnv {
    #[track_caller]
    fn start_sh(&self, script: &str) -> Process {
        let mut shell = self.command("sh");
        shell.args(["-c", script]);
        self.start(shell)
    }

    #[track_caller]
    fn start_waiting_ulock(&self, words: &[&str]) -> Process {
        let mut command = self.command("ulock");
        command.args(words);
        self.start_waiting(command)
    }

    #[track_caller]
    fn start_waiting(&self, command: std::process::Command) -> Process {
        let live = self.start(command);
        wait_until("it waits in the kernel", || waits(live.pid()));
        live
    }

    #[track_caller]
    fn start_reader(&self) -> Process {
        let mut reader = self.command("ulock");
        reader.args(["-r", "lock", "counter", "echo reads; read x; exit 0"]);
        let mut reader = self.start(reader);
        reader.expect_line("reads");
        reader
    }

    #[track_caller]
    fn assert_files(&self, names: &[&str]) {
        assert_eq!(self.file_names(), names);
    }
}

/// Whether a process watches a file and sleeps.
fn waits(pid: i32) -> bool {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fdinfo")) else {
        return false;
    };
    let watches = descriptors.filter_map(Result::ok).any(|descriptor| {
        std::fs::read_to_string(descriptor.path()).is_ok_and(|info| info.contains("inotify wd:"))
    });
    watches && status_field(pid, "State").starts_with('S')
}

#[test]
fn the_exclusive_section_of_the_page_is_exclusive() {
    TestEnv::new()
        .sh(r#"
            cat >other.sh <<\END
            if ulock --timeout=0 lock; then echo in; rm -f lock; else echo out; fi
END
            if ulock lock; then
                sh other.sh
                rm -f lock
            fi
            sh other.sh"#)
        .assert_stdout("out\nin\n")
        .assert_stderr("")
        .assert_status(0);
}

#[test]
fn the_writer_and_the_reader_of_the_page_take_turns() {
    let env = TestEnv::new();
    env.sh(r#"
        echo old >master
        cat >writelock.sh <<\END
        if ulock -w lock counter; then
            echo new >master.new
            ulock -r --timeout=0 lock counter cat master || echo no reader
            mv master.new master
            rm -f lock
        fi
END
        ulock -r lock counter cat master
        sh writelock.sh
        ulock -r lock counter cat master"#)
        .assert_stdout("old\nno reader\nnew\n")
        .assert_stderr("")
        .assert_status(0);
    env.assert_files(&["counter", "master", "writelock.sh"]);
}

#[test]
fn readers_share_and_writers_are_alone() {
    let env = TestEnv::new();
    env.sh("ulock -r lock counter 'ulock -r --timeout=0 lock counter echo both'")
        .assert_stdout("both\n")
        .assert_status(0);
    env.sh("ulock -r lock counter 'ulock -w --timeout=0 lock counter; echo $?'")
        .assert_stdout("1\n");
    env.sh("ulock -w lock counter; ulock -w --timeout=0 lock counter; echo $?")
        .assert_stdout("1\n");
    env.sh("ulock --timeout=0 -r lock counter echo never")
        .assert_stdout("")
        .assert_stderr("")
        .assert_status(1);
    env.sh("rm lock; ulock -w lock && stat -c %h lock counter")
        .assert_stdout("1\n1\n");
    env.assert_files(&["counter", "lock"]);
}

#[test]
fn without_a_counter_a_writer_does_not_ask_for_readers() {
    let env = TestEnv::new();
    env.sh("ulock -r lock counter 'ulock -w --timeout=0 lock; echo $?'")
        .assert_stdout("0\n");
    env.assert_files(&["counter", "lock"]);
}

#[test]
fn the_words_of_the_command_are_a_line_of_shell_and_its_options_its_own() {
    let env = TestEnv::new();
    for (words, said) in [
        (&["echo a; echo b"][..], "a\nb\n"),
        (&["echo", "a  b", "&&", "echo", "c"], "a b\nc\n"),
        (&["echo", "-r", "--timeout=0", "-w"], "-r --timeout=0 -w\n"),
    ] {
        let mut command = env.command("ulock");
        command.args(["-r", "lock", "counter"]).args(words);
        env.run_command(command)
            .assert_stdout(said)
            .assert_status(0);
    }
    env.sh("mkdir d; echo found >d/f; ulock -r lock counter grep -r -w found d")
        .assert_stdout("d/f:found\n");
    // By /bin/sh, whatever the user's own shell is.
    env.sh("SHELL=/bin/false ulock -r lock counter echo run")
        .assert_stdout("run\n");
}

#[test]
fn a_command_that_fails_leaves_its_link_and_says_so() {
    for (line, status) in [
        ("false", 1),
        ("exit 42", 42),
        ("no-such-command 2>/dev/null", 127),
        ("kill -9 $$", 137),
        ("kill -15 $$", 143),
    ] {
        let env = TestEnv::new();
        let mut command = env.command("ulock");
        command.args(["-r", "lock", "counter", line]);
        let outcome = env
            .run_command(command)
            .assert_status(status)
            .assert_stdout("");
        let names = env.file_names();
        let left = names[0].to_str().expect("a name");
        assert_eq!(names[1..], ["counter"], "{left}");
        assert_eq!(
            outcome.stderr_text(),
            format!("Error(282)[ulock] : command '{line}' failed, file './{left}' is left.\n")
        );
        // It keeps writers out until somebody has looked after it.
        env.sh(format!(
            "[ counter -ef {left} ] || exit 9; ulock -w --timeout=0 lock counter; echo $?
             rm {left}; ulock -w --timeout=0 lock counter"
        ))
        .assert_stdout("1\n")
        .assert_status(0);
    }
}

#[test]
fn a_link_that_was_left_is_no_other_readers() {
    let env = TestEnv::new();
    // The same process number twice, as far as ulock can see: its own is what the name is made of.
    env.sh("ulock -r lock counter false; for n in 0 1 2; do
                cp -l counter .fdlock.$(uname -n).$$.$n; done
            exec ulock -r lock counter 'stat -c %h counter; exit 0'")
        .assert_stdout("6\n")
        .assert_status(0);
    env.sh("stat -c %h counter").assert_stdout("5\n");
}

#[test]
fn the_command_gets_the_callers_world() {
    let env = TestEnv::new();
    let blocked = signal_set([libc::SIGINT, libc::SIGUSR1, 40]);
    let make = |command: &mut std::process::Command| {
        command.ignore_signals([libc::SIGHUP, libc::SIGTERM, 41]);
        command.block_signals(blocked);
    };
    let mut direct = env.command("test-helper");
    make(direct.args(["inherited-state", "state"]));
    let (direct, _) = env.inherited_state_of(direct);
    assert!(direct.contains(&format!("SigBlk {blocked:016x}\n")));
    let mut under = env.command("ulock");
    make(under.args([
        "-r",
        "lock",
        "counter",
        "exec test-helper inherited-state state",
    ]));
    let (under, _) = env.inherited_state_of(under);
    let known = |state: &str| -> Vec<String> {
        let lines = state.lines().filter(|line| !line.contains(" pipe:"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(known(&under), known(&direct));
}

#[test]
fn what_is_made_is_made_beside_the_lock_and_the_counter() {
    let env = TestEnv::new();
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else {
        return;
    };
    let elsewhere = elsewhere.path().display();
    // No link leads from one file system to another.
    for (lock, counter) in [
        (format!("{elsewhere}/lock"), format!("{elsewhere}/counter")),
        (format!("{elsewhere}/lock"), "counter".to_owned()),
        ("lock".to_owned(), format!("{elsewhere}/counter2")),
    ] {
        env.sh(format!(
            "ulock {lock} && rm {lock} && ulock -w {lock} {counter} && rm {lock} &&
             ulock -r {lock} {counter} stat -c %h {counter} && ls -A {elsewhere}"
        ))
        .assert_stderr("")
        .assert_status(0);
    }
    env.sh(format!("ls -A {elsewhere}"))
        .assert_stdout("counter\ncounter2\n");
    env.assert_files(&["counter"]);
}

#[test]
fn a_host_may_be_called_anything() {
    let env = TestEnv::new();
    if !can_unshare(&env, "-ru") {
        return;
    }
    let script = "echo a/b >/proc/sys/kernel/hostname; ulock -r lock counter 'ls .fdlock.*'";
    env.sh(format!(
        "unshare -ru sh -c \"{script}\" | sed 's/[0-9]*[.]0$/PID.0/'"
    ))
    .assert_stderr("")
    .assert_stdout(".fdlock.a_b.PID.0\n");
}

#[test]
fn what_is_made_is_for_all_as_far_as_the_umask_goes() {
    let env = TestEnv::new();
    env.sh("umask 027; ulock -w lock counter; stat -c %a lock counter")
        .assert_stdout("640\n640\n");
    env.sh("rm lock counter; umask 0; ulock -w lock counter; stat -c %a lock counter")
        .assert_stdout("666\n666\n");
}

#[test]
fn names_are_bytes() {
    let env = TestEnv::new();
    let mut command = env.command("ulock");
    command.args(["-r", "lock", "counter", "false"].map(std::ffi::OsString::from));
    command.arg(test_support::os_string(b"\xff"));
    let outcome = env.run_command(command).assert_status(1);
    let said = b"Error(282)[ulock] : command 'false \xff' failed, file './";
    assert!(outcome.stderr.starts_with(said), "{outcome:?}");
    let mut command = env.command("ulock");
    command.arg(test_support::os_string(b"\xfe/lock"));
    let outcome = env.run_command(command).assert_status(1);
    let said = b"ulock: cannot create lock file \xfe/lock: No such file or directory\n";
    assert_eq!(outcome.stderr, said);
}
