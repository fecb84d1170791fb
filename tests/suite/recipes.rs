//! The examples of the documents, run as users copy them.

use test_support::builtin::for_each_bash;
use test_support::locks::{tickets, waiter_count};
use test_support::process::ExitReason;
use test_support::{TestEnv, differs_from_util_linux, wait_until};

/// The documents whose examples are run here.
const DOCUMENTS: [&str; 3] = [
    include_str!("../../README.md"),
    include_str!("../../docs/recipes.md"),
    include_str!("../../docs/bash-builtin.md"),
];

/// Returns the first code block after the heading that begins with this text.
#[track_caller]
fn code_block(heading: &str) -> String {
    let after_heading = |document: &'static str| {
        let (_, after) = document.split_once(&format!("# {heading}"))?;
        Some(after)
    };
    let after = DOCUMENTS.into_iter().find_map(after_heading);
    let after = after.unwrap_or_else(|| panic!("no heading {heading}"));
    let (_, code) = after.split_once("\n```").expect("a code block");
    let (_language, code) = code.split_once('\n').expect("code");
    let (code, _) = code.split_once("```").expect("the end of the code block");
    code.to_owned()
}

/// Puts programs into the test environment that say their names when they run; returns a recipe whose lock files are there too.
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

/// Runs a script while somebody holds the lock.
#[track_caller]
fn run_while_held(env: &TestEnv, lock: &str, script: &str) -> test_support::Outcome {
    env.run([lock, "sh", "-c", script])
}

#[test]
fn the_four_lines_at_the_top_do_what_they_say() {
    let env = TestEnv::new();
    let script = setup_recipe(&env, "Quick start", &["bin/backup.sh"]);
    assert_eq!(script.lines().count(), 4);
    env.sh(&script)
        .assert_stdout("in\none block\nbackup.sh runs\n")
        .assert_status(0);
}

#[test]
fn the_cron_job_is_skipped_silently_while_it_still_runs() {
    let env = TestEnv::new();
    let line = setup_recipe(&env, "Cron: skip the run", &["bin/sync-photos"]);
    let command = line
        .splitn(6, ' ')
        .nth(5)
        .expect("five fields of time and a command");
    env.sh(command)
        .assert_stdout("sync-photos runs\n")
        .assert_status(0);
    run_while_held(&env, "sync.lock", command)
        .assert_stdout("")
        .assert_stderr("")
        .assert_status(1);
}

#[test]
fn the_unit_takes_a_lock_that_is_taken_for_no_failure() {
    let env = TestEnv::new();
    let unit = setup_recipe(&env, "systemd timer", &["bin/report"]);
    let of = |key: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_else(|| panic!("no {key}")).to_owned()
    };
    let command = of("ExecStart=");
    env.sh(&command)
        .assert_stdout("report runs\n")
        .assert_status(0);
    let status = of("SuccessExitStatus=").parse().expect("a number");
    run_while_held(&env, "report.lock", &command)
        .assert_stdout("")
        .assert_status(status);
}

#[test]
fn the_deploy_script_waits_and_gives_up() {
    differs_from_util_linux("util-linux's flock knows seconds only", |env| {
        let script = setup_recipe(env, "Deploy script", &["build", "switch"]);
        env.sh(&script)
            .assert_stdout("build runs\nswitch runs\n")
            .assert_status(0);
        let impatient = script.replace("-w 5m", "-w 5ms");
        assert_ne!(impatient, script);
        let outcome = run_while_held(env, "deploy.lock", &impatient);
        outcome
            .assert_stdout("")
            .assert_stderr("another deploy is still running\n")
            .assert_status(1);
    });
}

#[test]
fn the_makefile_waits_for_its_turn() {
    let env = TestEnv::new();
    let makefile = setup_recipe(&env, "Makefile: one upload", &["upload"]);
    std::fs::write(env.file("Makefile"), makefile).expect("a makefile");
    let holder = env.hold(&[], "publish.lock");
    let mut make = env.command("make");
    make.args(["-s", "publish"]);
    let mut make = env.start(make);
    wait_until("make waits", || waiter_count(env.file("publish.lock")) == 1);
    holder.release();
    make.expect_line("upload runs");
}

#[test]
fn readers_go_together_and_the_writer_alone() {
    let env = TestEnv::new();
    let lines = setup_recipe(&env, "Readers and a writer", &["report", "update"]);
    let (read, write) = lines.trim().split_once('\n').expect("two lines");
    env.sh(&lines)
        .assert_stdout("report runs\nupdate runs\n")
        .assert_status(0);
    env.run(["-s", "data.lock", "sh", "-c", read])
        .assert_stdout("report runs\n")
        .assert_status(0);
    for (mode, line) in [("-s", write), ("-x", write), ("-x", read)] {
        let impatient = line.replace("flock ", "flock -n ");
        env.run([mode, "data.lock", "sh", "-c", &impatient])
            .assert_stdout("")
            .assert_status(1);
    }
}

#[test]
fn the_limit_tells_a_timeout_from_a_failure() {
    let env = TestEnv::new();
    let script = setup_recipe(&env, "Tell a timeout from a failure", &["import"]);
    env.sh(&script)
        .assert_stdout("import runs\nimported\n")
        .assert_status(0);
    let impatient = script.replace("-w 30", "-w 0.01");
    assert_ne!(impatient, script);
    let told = "gave up after 30 seconds: still locked\n";
    run_while_held(&env, "import.lock", &impatient)
        .assert_stdout(told)
        .assert_status(0);
    env.install_script("import", "#!/bin/sh\nexit 3\n");
    env.sh(&script)
        .assert_stdout("the import failed with status 3\n")
        .assert_status(0);
}

#[test]
fn the_guard_lets_one_in_and_the_lock_lasts_through_exec() {
    let env = TestEnv::new();
    let script = setup_recipe(&env, "Allow only one instance of a script", &[]);
    env.install_script(
        "frontend",
        "#!/bin/sh\nflock -n frontend.lock true || echo still locked\n",
    );
    env.sh(&script)
        .assert_stdout("still locked\n")
        .assert_status(0);
    run_while_held(&env, "frontend.lock", &script)
        .assert_stdout("")
        .assert_stderr("already running\n")
        .assert_status(1);
}

#[test]
fn the_script_that_locks_itself_is_alone() {
    let env = TestEnv::new();
    let script = setup_recipe(&env, "Lock a script on itself", &[]);
    env.install_script("itself", &script);
    env.sh("./itself").assert_stdout("alone\n").assert_status(0);
    run_while_held(&env, "itself", "./itself")
        .assert_stdout("")
        .assert_status(1);
}

#[test]
fn a_daemon_that_is_started_under_the_lock_does_not_keep_it() {
    let env = TestEnv::new();
    let line = setup_recipe(&env, "Start a daemon without passing it the lock", &[]);
    env.install_script(
        "start-daemon",
        "#!/bin/sh\nmkfifo end\nread x <end >/dev/null 2>&1 &\n",
    );
    env.sh(format!("{line}\nflock -n start.lock echo free; echo >end"))
        .assert_stdout("free\n")
        .assert_status(0);
    let kept = line.replace(" -o", "");
    env.sh(format!(
        "rm end; {kept}\nflock -n start.lock echo free || echo kept; echo >end"
    ))
    .assert_stdout("kept\n");
}

#[test]
fn readers_do_not_pass_the_writer_that_came_before_them() {
    differs_from_util_linux("the reference has no queue", |env| {
        env.run(["--fair", "some.lock", "true"]).assert_status(0);
        let lines = setup_recipe(
            env,
            "Keep readers from starving a writer",
            &["report", "update"],
        );
        let (read, write) = lines.trim().split_once('\n').expect("two lines");
        let reader = env.hold(&["-s"], "data.lock");
        let mut queue = [write, read].map(|line| {
            let mut shell = env.command("sh");
            shell.args(["-c", &format!("{line} >>log")]);
            let queued = tickets(env.file("data.lock")).len();
            let one = env.start(shell);
            wait_until("it queues", || {
                tickets(env.file("data.lock")).len() > queued
            });
            one
        });
        reader.release();
        assert!(
            queue
                .iter_mut()
                .all(|one| one.wait() == ExitReason::Exited(0))
        );
        let log = std::fs::read_to_string(env.file("log")).expect("a log");
        assert_eq!(log, "update runs\nreport runs\n");
    });
}

#[test]
fn three_downloads_run_at_a_time() {
    differs_from_util_linux("the reference has no slots", |env| {
        env.run(["--slots", "1", "some.lock", "true"])
            .assert_status(0);
        let loop_ = setup_recipe(env, "Limit concurrency", &[]);
        std::fs::write(env.file("urls"), "a\nb\nc\nd\ne\n").expect("a list");
        // Whoever is in says so and waits until he is let out.
        env.install_script("download", "#!/bin/sh\necho $1 >>log\nread x <out\n");
        env.sh("mkfifo out").assert_status(0);
        let mut shell = env.command("sh");
        shell.args(["-c", &loop_]);
        let mut shell = env.start(shell);
        let began = || {
            std::fs::read_to_string(env.file("log"))
                .unwrap_or_default()
                .lines()
                .count()
        };
        wait_until("three are in", || began() == 3);
        wait_until("two queue", || {
            tickets(env.file("downloads.lock")).len() == 2
        });
        assert_eq!(began(), 3);
        // Open until the end: what is in a pipe that nobody has open is lost.
        let pipe = std::fs::File::options()
            .read(true)
            .write(true)
            .open(env.file("out"));
        let pipe = pipe.expect("a pipe");
        std::io::Write::write_all(&mut &pipe, b"\n\n\n\n\n").expect("room");
        assert_eq!(shell.wait(), ExitReason::Exited(0));
        assert_eq!(began(), 5);
    });
}

#[test]
fn two_locks_are_taken_both_or_none() {
    differs_from_util_linux("the reference locks one file only", |env| {
        let script = setup_recipe(env, "Take two locks without deadlock", &["deploy"])
            .replace("10m", "0.01");
        for lock in ["web.lock", "db.lock"] {
            run_while_held(env, lock, &script)
                .assert_stdout("")
                .assert_status(1);
        }
        env.sh(&script)
            .assert_stdout("deploy runs\n")
            .assert_status(0);
    });
}

#[test]
fn no_lock_file_is_left_behind() {
    differs_from_util_linux("the reference leaves lock files behind", |env| {
        let script = setup_recipe(env, "Remove the lock file afterwards", &["sync"]);
        env.sh(&script)
            .assert_stdout("sync runs\n")
            .assert_status(0);
        assert_eq!(env.file_names(), ["sync"]);
    });
}

#[test]
fn who_has_it_is_told_by_file_and_by_descriptor() {
    differs_from_util_linux("the reference does not tell who holds a lock", |env| {
        let lines = setup_recipe(env, "List holders and waiters", &[]);
        let holder = env.hold(&["-F"], "sync.lock");
        let number = holder.pid().to_string();
        let told = env
            .sh(format!("exec 8>>sync.lock; {lines}"))
            .assert_stderr("")
            .stdout_text();
        assert_eq!(told.matches(&number).count(), 3, "{told}");
        let shown = "ROLE    LOCK   MODE       PID";
        assert!(
            told.starts_with(shown) && code_block("Who holds the lock?").contains(shown),
            "{told}"
        );
        holder.release();
        let told = env
            .sh(format!("exec 8>>sync.lock; {lines}"))
            .assert_stderr("");
        told.assert_stdout("[]\nnobody\n");
    });
}

#[test]
fn the_cron_job_says_who_is_in_the_way() {
    differs_from_util_linux("the reference does not tell who is in the way", |env| {
        let line = setup_recipe(env, "Cron: report what", &["bin/backup"]);
        let command = line.splitn(6, ' ').nth(5).expect("a command");
        let command = command.replace("/var/log/", "").replace("1h", "0.01");
        env.sh(&command)
            .assert_stdout("")
            .assert_stderr("")
            .assert_status(0);
        let holder = env.hold(&["-F"], "backup.lock");
        let told = env
            .sh(&command)
            .assert_stdout("")
            .assert_status(1)
            .stderr_text();
        let wanted = format!(
            "flock: waiting for backup.lock: held by {} sh, ",
            holder.pid()
        );
        assert!(told.starts_with(&wanted), "{told}");
    });
}

#[test]
fn the_switch_ends_what_it_has_started() {
    differs_from_util_linux("the reference does not tell who holds a lock", |env| {
        let script = setup_recipe(env, "Start and stop with the same command", &[]);
        env.install_script("switch", &script);
        env.install_script("radio", "#!/bin/sh\necho plays\nread x\n");
        let mut radio = env.start(env.command("./switch"));
        radio.expect_line("plays");
        env.sh("./switch")
            .assert_stdout("")
            .assert_stderr("")
            .assert_status(0);
        assert_eq!(radio.wait(), ExitReason::Signaled(libc::SIGTERM));
        let mut radio = env.start(env.command("./switch"));
        radio.expect_line("plays");
    });
}

#[test]
fn any_free_descriptor_will_do() {
    let env = TestEnv::new();
    let script = setup_recipe(&env, "Use any free descriptor", &[]);
    env.bash(format!("{script}\nflock -n job.lock true || echo locked"))
        .assert_stdout("locked\n")
        .assert_status(0);
}

/// The places where README says that the builtin may be.
const PLACES: &str = "/usr/local/lib/bash:/usr/lib/bash";

#[test]
fn the_two_lines_enable_the_builtin_where_it_is_and_leave_the_program_where_it_is_not() {
    for_each_bash(|env| {
        let lines = code_block("The bash builtin");
        assert_eq!(lines.lines().count(), 2);
        let script =
            format!("set -eu\n{lines}\ntype -t flock; exec 8>l; flock 8; bin/flock -n l true");
        for (places, kind) in [
            ("/nowhere:bin/lib/bash", "builtin"),
            ("/nowhere:bin/lib", "file"),
        ] {
            let script = script.replace(PLACES, places);
            env.shell("bash", &script)
                .assert_stderr("")
                .assert_stdout(&format!("{kind}\n"))
                .assert_status(1);
        }
    });
}

#[test]
fn the_function_under_a_lock_leaves_what_it_has_set() {
    for_each_bash(|env| {
        let script = code_block("Run a function under a lock").replace(PLACES, "bin/lib/bash");
        for number in [1, 2] {
            env.shell("bash", &script)
                .assert_stdout(&format!("my number is {number}\n"))
                .assert_status(0);
        }
        let impatient = script.replace("-w 30", "-w 0.01");
        assert_ne!(impatient, script);
        let held = format!("exec 8>counter.lock; bin/flock 8; {impatient}");
        env.shell("bash", held).assert_stdout("").assert_status(1);
        let without = script.replace("bin/lib/bash", "/nowhere");
        env.shell("bash", without)
            .assert_stdout("")
            .assert_status(1);
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
