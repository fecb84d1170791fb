//! The examples in the documentation, executed as a user would copy them.

use std::fs;
use std::io::Write;

use test_support::builtin::for_each_bash;
use test_support::locks::{place_count, tickets, waiter_count};
use test_support::process::{ExitReason, Process};
use test_support::{Outcome, TestEnv, differs_from_util_linux, wait_until};

const DOCUMENTS: [&str; 3] = [
    include_str!("../../README.md"),
    include_str!("../../docs/recipes.md"),
    include_str!("../../docs/bash-builtin.md"),
];

/// Returns the first code block after the heading that begins with this text.
#[track_caller]
fn code_block(heading: &str) -> String {
    let heading = format!("# {heading}");
    let mut documents = DOCUMENTS.into_iter();
    let after = documents.find_map(|document| Some(document.split_once(&heading)?.1));
    let after = after.unwrap_or_else(|| panic!("no heading {heading}"));
    let (_, code) = after.split_once("\n```").expect("a code block");
    let (_language, code) = code.split_once('\n').expect("code");
    let (code, _) = code.split_once("```").expect("the end of the code block");
    code.to_owned()
}

/// Installs programs that print their names, and returns a recipe that finds its programs and its
/// lock files in the test environment.
#[track_caller]
fn setup_recipe(env: &TestEnv, heading: &str, programs: &[&str]) -> String {
    for program in programs {
        let name = program.rsplit('/').next().expect("a name");
        env.install_script(program, &format!("#!/bin/sh\necho {name} runs\n"));
    }
    code_block(heading)
        .replace("/run/lock/", "")
        .replace("/usr/local/bin/", "")
}

/// Returns the command of a recipe that is a line of a crontab.
#[track_caller]
fn setup_cron_job(env: &TestEnv, heading: &str, program: &str) -> String {
    let line = setup_recipe(env, heading, &[program]);
    let command = line.splitn(6, ' ').nth(5);
    command
        .expect("a command after five time fields")
        .to_owned()
}

/// Returns a script with a part of it replaced.
#[track_caller]
pub fn replace(script: &str, from: &str, to: &str) -> String {
    assert!(script.contains(from), "no {from} in {script}");
    script.replace(from, to)
}

#[track_caller]
fn run_while_held(env: &TestEnv, lock: &str, script: &str) -> Outcome {
    env.run([lock, "sh", "-c", script])
}

#[test]
fn quick_start_lines_work() {
    let env = TestEnv::new();
    let script = setup_recipe(&env, "Quick start", &["bin/backup.sh", "bin/rebuild"]);
    assert_eq!(script.lines().count(), 5);
    env.sh(&script)
        .assert_all(0, "in\none block\nbackup.sh runs\nrebuild runs\n", "");
}

#[test]
fn cron_job_is_skipped_silently_if_still_running() {
    let env = TestEnv::new();
    let command = setup_cron_job(&env, "Cron: skip the run", "bin/sync-photos");
    env.sh(&command).assert_all(0, "sync-photos runs\n", "");
    run_while_held(&env, "sync.lock", &command).assert_all(1, "", "");
}

#[test]
fn cron_job_reports_the_holder() {
    differs_from_util_linux("--verbose does not report the holder", |env| {
        let command = setup_cron_job(env, "Cron: report what", "bin/backup");
        // A busy machine takes some time to find the holder.
        let command = command.replace("/var/log/", "").replace("1h", "1");
        env.sh(&command).assert_all(0, "", "");
        let holder = env.hold(&["-F"], "backup.lock");
        let outcome = env.sh(&command).assert_stdout("").assert_status(1);
        let holder = holder.pid();
        let message = format!("flock: waiting for backup.lock: held by {holder} sh, ");
        assert!(outcome.stderr_text().starts_with(&message), "{outcome:?}");
    });
}

#[test]
fn systemd_unit_does_not_fail_on_a_held_lock() {
    let env = TestEnv::new();
    let unit = setup_recipe(&env, "systemd timer", &["bin/report"]);
    let value = |key: &str| {
        let mut lines = unit.lines();
        let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        value.unwrap_or_else(|| panic!("no {key}"))
    };
    let command = value("ExecStart");
    env.sh(command).assert_all(0, "report runs\n", "");
    let status = value("SuccessExitStatus").parse().expect("a number");
    run_while_held(&env, "report.lock", command).assert_all(status, "", "");
}

#[test]
fn deploy_script_waits_and_gives_up() {
    differs_from_util_linux("its timeouts have no units", |env| {
        let script = setup_recipe(env, "Deploy script", &["build", "switch"]);
        env.sh(&script)
            .assert_all(0, "build runs\nswitch runs\n", "");
        let impatient = replace(&script, "-w 5m", "-w 5ms");
        let message = "another deploy is still running\n";
        run_while_held(env, "deploy.lock", &impatient).assert_all(1, "", message);
    });
}

#[test]
fn makefile_waits_for_the_lock() {
    let env = TestEnv::new();
    let makefile = setup_recipe(&env, "Makefile: one upload", &["upload"]);
    fs::write(env.file("Makefile"), makefile).expect("a makefile");
    let holder = env.hold(&[], "publish.lock");
    let mut make = env.start(env.sh_command("exec make -s publish"));
    wait_until("make waits", || waiter_count(env.file("publish.lock")) == 1);
    holder.release();
    make.expect_line("upload runs");
}

#[test]
fn readers_share_the_lock_and_a_writer_does_not() {
    let env = TestEnv::new();
    let lines = setup_recipe(&env, "Readers and a writer", &["report", "update"]);
    let (read, write) = lines.trim().split_once('\n').expect("two lines");
    env.sh(&lines)
        .assert_all(0, "report runs\nupdate runs\n", "");
    env.run(["-s", "data.lock", "sh", "-c", read])
        .assert_all(0, "report runs\n", "");
    for (mode, line) in [("-s", write), ("-x", write), ("-x", read)] {
        let impatient = replace(line, "flock ", "flock -n ");
        env.run([mode, "data.lock", "sh", "-c", &impatient])
            .assert_all(1, "", "");
    }
}

#[test]
fn timeout_is_distinguished_from_a_failure() {
    let env = TestEnv::new();
    let script = setup_recipe(&env, "Tell a timeout from a failure", &["import"]);
    env.sh(&script).assert_all(0, "import runs\nimported\n", "");
    let impatient = replace(&script, "-w 30", "-w 0.01");
    let expected = "gave up after 30 seconds: still locked\n";
    run_while_held(&env, "import.lock", &impatient).assert_all(0, expected, "");
    env.install_script("import", "#!/bin/sh\nexit 3\n");
    env.sh(&script)
        .assert_all(0, "the import failed with status 3\n", "");
}

#[test]
fn single_instance_keeps_the_lock_through_exec() {
    let env = TestEnv::new();
    let script = setup_recipe(&env, "Allow only one instance of a script", &[]);
    let frontend = "#!/bin/sh\nflock -n frontend.lock true || echo still locked\n";
    env.install_script("frontend", frontend);
    env.sh(&script).assert_all(0, "still locked\n", "");
    run_while_held(&env, "frontend.lock", &script).assert_all(1, "", "already running\n");
}

#[test]
fn script_locked_on_itself_runs_alone() {
    let env = TestEnv::new();
    let script = setup_recipe(&env, "Lock a script on itself", &[]);
    env.install_script("itself", &script);
    env.sh("./itself").assert_all(0, "alone\n", "");
    run_while_held(&env, "itself", "./itself").assert_all(1, "", "");
}

#[test]
fn daemon_does_not_keep_the_lock() {
    let env = TestEnv::new();
    let line = setup_recipe(&env, "Start a daemon without passing it the lock", &[]);
    let daemon = "#!/bin/sh\nmkfifo end\nread x <end >/dev/null 2>&1 &\n";
    env.install_script("start-daemon", daemon);
    env.sh(format!("{line}\nflock -n start.lock echo free; echo >end"))
        .assert_all(0, "free\n", "");
    let passing = replace(&line, " -o", "");
    let script = format!("{passing}\nflock -n start.lock echo free || echo kept; echo >end");
    env.sh(format!("rm end; {script}")).assert_stdout("kept\n");
}

#[test]
fn free_descriptor_can_be_locked() {
    let env = TestEnv::new();
    let script = setup_recipe(&env, "Use any free descriptor", &[]);
    env.bash(format!("{script}\nflock -n job.lock true || echo locked"))
        .assert_all(0, "locked\n", "");
}

#[test]
fn readers_do_not_overtake_an_earlier_writer() {
    let env = TestEnv::new();
    let heading = "Keep readers from starving a writer";
    let lines = setup_recipe(&env, heading, &["report", "update"]);
    let (read, write) = lines.trim().split_once('\n').expect("two lines");
    let reader = env.hold(&["-s"], "data.lock");
    let ticket_count = || tickets(env.file("data.lock")).len();
    let waiters = [write, read].map(|line| {
        let count = ticket_count();
        let waiter = env.start(env.sh_command(format!("{line} >>log")));
        wait_until("it queues", || ticket_count() > count);
        waiter
    });
    reader.release();
    waiters.into_iter().for_each(Process::release);
    assert_eq!(env.read_file("log"), "update runs\nreport runs\n");
}

#[test]
fn three_downloads_run_at_once() {
    let env = TestEnv::new();
    let script = setup_recipe(&env, "Limit concurrency", &[]);
    fs::write(env.file("urls"), "a\nb\nc\nd\ne\n").expect("a list");
    // A download runs until it has read a line from `out`.
    env.install_script("download", "#!/bin/sh\necho $1 >>log\nread x <out\n");
    env.sh("mkfifo out").assert_status(0);
    let mut shell = env.start(env.sh_command(&script));
    let log = || fs::read_to_string(env.file("log")).unwrap_or_default();
    let started = || log().lines().count();
    wait_until("three downloads have started", || started() == 3);
    let waiting = || tickets(env.file("downloads.lock")).len();
    wait_until("two downloads wait", || waiting() == 2);
    assert_eq!(started(), 3);
    // Kept open, because a pipe loses its content when no process has it open.
    let mut options = fs::File::options();
    let out = options.read(true).write(true).open(env.file("out"));
    let mut out = out.expect("a pipe");
    out.write_all(b"\n\n\n\n\n").expect("room in the pipe");
    assert_eq!(shell.wait(), ExitReason::Exited(0));
    assert_eq!(started(), 5);
}

#[test]
fn the_running_instance_is_replaced() {
    let env = TestEnv::new();
    let script = setup_recipe(&env, "Replace the running instance", &[]);
    env.install_script("frontend", "#!/bin/sh\necho runs\nread x\n");
    let mut old = env.start(env.sh_command(&script));
    old.expect_line("runs");
    let mut new = env.start(env.sh_command(&script));
    new.expect_line("runs");
    assert_ne!(old.wait(), ExitReason::Exited(0));
    drop(new);
}

#[test]
fn a_job_runs_now_or_once_more_afterwards() {
    let env = TestEnv::new();
    let script = setup_recipe(&env, "Run now, or once more afterwards", &[]);
    env.install_script("rebuild", "#!/bin/sh\necho run >>log\nread x <end\n");
    env.sh("mkfifo end").assert_status(0);
    let mut now = env.start(env.sh_command(&script));
    let log = || fs::read_to_string(env.file("log")).unwrap_or_default();
    now.wait_alive_until("it runs", || log() == "run\n");
    let mut afterwards = env.start(env.sh_command(&script));
    let lock = env.file("rebuild.lock");
    afterwards.wait_alive_until("it waits", || place_count(&lock) == 1);
    env.sh(&script).assert_all(1, "", "");
    let mut options = fs::File::options();
    let end = options.read(true).write(true).open(env.file("end"));
    let mut end = end.expect("a pipe");
    end.write_all(b"\n\n").expect("room in the pipe");
    for mut job in [now, afterwards] {
        assert_eq!(job.wait(), ExitReason::Exited(0));
    }
    assert_eq!(log(), "run\nrun\n");
}

#[test]
fn both_locks_are_taken_or_none() {
    let env = TestEnv::new();
    let script = setup_recipe(&env, "Take two locks without deadlock", &["deploy"]);
    let script = replace(&script, "10m", "0.01");
    for lock in ["web.lock", "db.lock"] {
        run_while_held(&env, lock, &script).assert_all(1, "", "");
    }
    env.sh(&script).assert_all(0, "deploy runs\n", "");
}

#[test]
fn lock_file_is_removed_afterwards() {
    let env = TestEnv::new();
    let script = setup_recipe(&env, "Remove the lock file afterwards", &["sync"]);
    env.sh(&script).assert_all(0, "sync runs\n", "");
    assert_eq!(env.file_names(), ["sync"]);
}

#[test]
fn holders_are_listed_by_file_and_by_descriptor() {
    let env = TestEnv::new();
    let lines = setup_recipe(&env, "List holders and waiters", &[]);
    let script = format!("exec 8>>sync.lock; {lines}");
    let holder = env.hold(&["-F"], "sync.lock");
    let pid = holder.pid().to_string();
    let stdout = env.sh(&script).assert_stderr("").stdout_text();
    assert_eq!(stdout.matches(&pid).count(), 3, "{stdout}");
    let header = "ROLE    LOCK   MODE       PID";
    assert!(stdout.starts_with(header), "{stdout}");
    holder.release();
    env.sh(&script).assert_all(0, "[]\nnot held\n", "");
}

#[test]
fn second_call_stops_what_the_first_has_started() {
    let env = TestEnv::new();
    let script = setup_recipe(&env, "Start and stop with the same command", &[]);
    env.install_script("switch", &script);
    env.install_script("radio", "#!/bin/sh\necho plays\nread x\n");
    let mut radio = env.start(env.command("./switch"));
    radio.expect_line("plays");
    env.sh("./switch").assert_all(0, "", "");
    assert_eq!(radio.wait(), ExitReason::Signaled(libc::SIGTERM));
    let mut radio = env.start(env.command("./switch"));
    radio.expect_line("plays");
}

/// The directories in which the documentation looks for the builtin.
const BUILTIN_DIRS: &str = "/usr/local/lib/bash:/usr/lib/bash";

#[test]
fn builtin_is_enabled_where_it_is_installed() {
    for_each_bash(|env| {
        let lines = code_block("The bash builtin");
        assert_eq!(lines.lines().count(), 2);
        let script =
            format!("set -eu\n{lines}\ntype -t flock; exec 8>l; flock 8; bin/flock -n l true");
        for (dirs, kind) in [
            ("/nowhere:bin/lib/bash", "builtin\n"),
            ("/nowhere:bin/lib", "file\n"),
        ] {
            env.shell("bash", replace(&script, BUILTIN_DIRS, dirs))
                .assert_all(1, kind, "");
        }
    });
}

#[test]
fn function_under_a_lock_keeps_its_variables() {
    for_each_bash(|env| {
        let script = code_block("Run a function under a lock");
        let script = replace(&script, BUILTIN_DIRS, "bin/lib/bash");
        for number in [1, 2] {
            env.shell("bash", &script)
                .assert_all(0, &format!("my number is {number}\n"), "");
        }
        let impatient = replace(&script, "-w 30", "-w 0.01");
        let held = format!("exec 8>counter.lock; bin/flock 8; {impatient}");
        let without_builtin = replace(&script, "bin/lib/bash", "/nowhere");
        for script in [held, without_builtin] {
            env.shell("bash", script).assert_stdout("").assert_status(1);
        }
    });
}

#[test]
fn the_figures_are_those_of_the_last_measurement() {
    let results = include_str!("../../benches/results/results.md");
    let (_, targets) = results.split_once("## Targets\n").expect("targets");
    let table = targets
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'));
    let (_, shown) = include_str!("../../benches/README.md")
        .split_once("<!-- results: begin (make bench) -->\n")
        .expect("a beginning");
    let (shown, _) = shown.split_once("<!-- results: end -->").expect("an end");
    assert_eq!(shown.lines().collect::<Vec<_>>(), table.collect::<Vec<_>>());
}
