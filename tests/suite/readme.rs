//! The recipes of README.md, run as people copy them.

use test_support::builtin::in_every_bash;
use test_support::locks::{turns, waiters};
use test_support::process::End;
use test_support::{Lab, departure, wait_until};

const README: &str = include_str!("../../README.md");

/// The code below a heading that begins with these words.
#[track_caller]
fn recipe(heading: &str) -> String {
    let (_, below) = README
        .split_once(&format!("# {heading}"))
        .unwrap_or_else(|| panic!("no heading {heading}"));
    let (_, code) = below.split_once("\n```").expect("some code");
    let (_language, code) = code.split_once('\n').expect("code");
    code.split_once("```")
        .expect("an end of the code")
        .0
        .to_owned()
}

/// Puts programs into the lab that say their names when they run; returns a recipe whose lock files are there too.
#[track_caller]
fn kitchen(lab: &Lab, heading: &str, programs: &[&str]) -> String {
    for program in programs {
        let name = program.rsplit('/').next().expect("a name");
        lab.program(program, &format!("#!/bin/sh\necho {name} runs\n"));
    }
    recipe(heading)
        .replace("/run/lock/", "")
        .replace("/usr/local/bin/", "")
}

/// Runs a script while somebody holds the lock.
#[track_caller]
fn while_held(lab: &Lab, lock: &str, script: &str) -> test_support::Outcome {
    lab.run([lock, "sh", "-c", script])
}

#[test]
fn the_four_lines_at_the_top_do_what_they_say() {
    let lab = Lab::new();
    let script = kitchen(&lab, "fdlock: ", &["bin/backup.sh"]);
    assert_eq!(script.lines().count(), 4);
    lab.sh(&script)
        .expect_out("in\none block\nbackup.sh runs\n")
        .expect_code(0);
}

#[test]
fn the_cron_job_is_skipped_silently_while_it_still_runs() {
    let lab = Lab::new();
    let line = kitchen(&lab, "Cron", &["bin/sync-photos"]);
    let command = line
        .splitn(6, ' ')
        .nth(5)
        .expect("five fields of time and a command");
    lab.sh(command)
        .expect_out("sync-photos runs\n")
        .expect_code(0);
    while_held(&lab, "sync.lock", command)
        .expect_out("")
        .expect_err("")
        .expect_code(1);
}

#[test]
fn the_unit_takes_a_lock_that_is_taken_for_no_failure() {
    let lab = Lab::new();
    let unit = kitchen(&lab, "systemd", &["bin/report"]);
    let of = |key: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_else(|| panic!("no {key}")).to_owned()
    };
    let command = of("ExecStart=");
    lab.sh(&command).expect_out("report runs\n").expect_code(0);
    let status = of("SuccessExitStatus=").parse().expect("a number");
    while_held(&lab, "report.lock", &command)
        .expect_out("")
        .expect_code(status);
}

#[test]
fn the_deploy_script_waits_and_gives_up() {
    departure("util-linux's flock knows seconds only", |lab| {
        let script = kitchen(lab, "Deploy", &["build", "switch"]);
        lab.sh(&script)
            .expect_out("build runs\nswitch runs\n")
            .expect_code(0);
        let impatient = script.replace("-w 5m", "-w 5ms");
        assert_ne!(impatient, script);
        let outcome = while_held(lab, "deploy.lock", &impatient);
        outcome
            .expect_out("")
            .expect_err("another deploy is still running\n")
            .expect_code(1);
    });
}

#[test]
fn the_makefile_waits_for_its_turn() {
    let lab = Lab::new();
    let makefile = kitchen(&lab, "Makefile", &["upload"]);
    std::fs::write(lab.file("Makefile"), makefile).expect("a makefile");
    let holder = lab.hold(&[], "publish.lock");
    let mut make = lab.command("make");
    make.args(["-s", "publish"]);
    let mut make = lab.start(make);
    wait_until("make waits", || waiters(lab.file("publish.lock")) == 1);
    holder.let_go();
    make.hears("upload runs");
}

#[test]
fn readers_go_together_and_the_writer_alone() {
    let lab = Lab::new();
    let lines = kitchen(&lab, "Readers", &["report", "update"]);
    let (read, write) = lines.trim().split_once('\n').expect("two lines");
    lab.sh(&lines)
        .expect_out("report runs\nupdate runs\n")
        .expect_code(0);
    lab.run(["-s", "data.lock", "sh", "-c", read])
        .expect_out("report runs\n")
        .expect_code(0);
    for (mode, line) in [("-s", write), ("-x", write), ("-x", read)] {
        let impatient = line.replace("flock ", "flock -n ");
        lab.run([mode, "data.lock", "sh", "-c", &impatient])
            .expect_out("")
            .expect_code(1);
    }
}

#[test]
fn the_limit_tells_a_timeout_from_a_failure() {
    let lab = Lab::new();
    let script = kitchen(&lab, "A limit", &["import"]);
    lab.sh(&script)
        .expect_out("import runs\nimported\n")
        .expect_code(0);
    let impatient = script.replace("-w 30", "-w 0.01");
    assert_ne!(impatient, script);
    let told = "gave up after 30 seconds: still locked\n";
    while_held(&lab, "import.lock", &impatient)
        .expect_out(told)
        .expect_code(0);
    lab.program("import", "#!/bin/sh\nexit 3\n");
    lab.sh(&script)
        .expect_out("the import failed with status 3\n")
        .expect_code(0);
}

#[test]
fn the_guard_lets_one_in_and_the_lock_lasts_through_exec() {
    let lab = Lab::new();
    let script = kitchen(&lab, "A guard", &[]);
    lab.program(
        "frontend",
        "#!/bin/sh\nflock -n frontend.lock true || echo still locked\n",
    );
    lab.sh(&script).expect_out("still locked\n").expect_code(0);
    while_held(&lab, "frontend.lock", &script)
        .expect_out("")
        .expect_err("already running\n")
        .expect_code(1);
}

#[test]
fn the_script_that_locks_itself_is_alone() {
    let lab = Lab::new();
    let script = kitchen(&lab, "A script that locks itself", &[]);
    lab.program("itself", &script);
    lab.sh("./itself").expect_out("alone\n").expect_code(0);
    while_held(&lab, "itself", "./itself")
        .expect_out("")
        .expect_code(1);
}

#[test]
fn a_daemon_that_is_started_under_the_lock_does_not_keep_it() {
    let lab = Lab::new();
    let line = kitchen(&lab, "A job that starts a daemon", &[]);
    lab.program(
        "start-daemon",
        "#!/bin/sh\nmkfifo end\nread x <end >/dev/null 2>&1 &\n",
    );
    lab.sh(format!("{line}\nflock -n start.lock echo free; echo >end"))
        .expect_out("free\n")
        .expect_code(0);
    let kept = line.replace(" -o", "");
    lab.sh(format!(
        "rm end; {kept}\nflock -n start.lock echo free || echo kept; echo >end"
    ))
    .expect_out("kept\n");
}

#[test]
fn readers_do_not_pass_the_writer_that_came_before_them() {
    departure("the reference has no queue", |lab| {
        lab.run(["--fair", "some.lock", "true"]).expect_code(0);
        let lines = kitchen(lab, "Readers and a writer, and", &["report", "update"]);
        let (read, write) = lines.trim().split_once('\n').expect("two lines");
        let reader = lab.hold(&["-s"], "data.lock");
        let mut queue = [write, read].map(|line| {
            let mut shell = lab.command("sh");
            shell.args(["-c", &format!("{line} >>log")]);
            let queued = turns(lab.file("data.lock")).len();
            let one = lab.start(shell);
            wait_until("it queues", || turns(lab.file("data.lock")).len() > queued);
            one
        });
        reader.let_go();
        assert!(queue.iter_mut().all(|one| one.end() == End::Exited(0)));
        let log = std::fs::read_to_string(lab.file("log")).expect("a log");
        assert_eq!(log, "update runs\nreport runs\n");
    });
}

#[test]
fn three_downloads_run_at_a_time() {
    departure("the reference has no slots", |lab| {
        lab.run(["--slots", "1", "some.lock", "true"])
            .expect_code(0);
        let loop_ = kitchen(lab, "So many at a time", &[]);
        std::fs::write(lab.file("urls"), "a\nb\nc\nd\ne\n").expect("a list");
        // Whoever is in says so and waits until he is let out.
        lab.program("download", "#!/bin/sh\necho $1 >>log\nread x <out\n");
        lab.sh("mkfifo out").expect_code(0);
        let mut shell = lab.command("sh");
        shell.args(["-c", &loop_]);
        let mut shell = lab.start(shell);
        let began = || {
            std::fs::read_to_string(lab.file("log"))
                .unwrap_or_default()
                .lines()
                .count()
        };
        wait_until("three are in", || began() == 3);
        wait_until("two queue", || turns(lab.file("downloads.lock")).len() == 2);
        assert_eq!(began(), 3);
        // Open until the end: what is in a pipe that nobody has open is lost.
        let pipe = std::fs::File::options()
            .read(true)
            .write(true)
            .open(lab.file("out"));
        let pipe = pipe.expect("a pipe");
        std::io::Write::write_all(&mut &pipe, b"\n\n\n\n\n").expect("room");
        assert_eq!(shell.end(), End::Exited(0));
        assert_eq!(began(), 5);
    });
}

#[test]
fn two_locks_are_taken_both_or_none() {
    departure("the reference locks one file only", |lab| {
        let script = kitchen(lab, "Two locks: both or none", &["deploy"]).replace("10m", "0.01");
        for lock in ["web.lock", "db.lock"] {
            while_held(lab, lock, &script).expect_out("").expect_code(1);
        }
        lab.sh(&script).expect_out("deploy runs\n").expect_code(0);
    });
}

#[test]
fn no_lock_file_is_left_behind() {
    departure("the reference leaves lock files behind", |lab| {
        let script = kitchen(lab, "No lock file left behind", &["sync"]);
        lab.sh(&script).expect_out("sync runs\n").expect_code(0);
        assert_eq!(lab.names(), ["sync"]);
    });
}

#[test]
fn who_has_it_is_told_by_file_and_by_descriptor() {
    departure("the reference does not tell who holds a lock", |lab| {
        let lines = kitchen(lab, "Who has it?", &[]);
        let holder = lab.hold(&["-F"], "sync.lock");
        let number = holder.pid().to_string();
        let told = lab
            .sh(format!("exec 8>>sync.lock; {lines}"))
            .expect_err("")
            .out();
        assert_eq!(told.matches(&number).count(), 3, "{told}");
        let shown = "ROLE    LOCK   MODE       PID";
        assert!(told.starts_with(shown) && README.contains(shown), "{told}");
        holder.let_go();
        let told = lab.sh(format!("exec 8>>sync.lock; {lines}")).expect_err("");
        told.expect_out("[]\nnobody\n");
    });
}

#[test]
fn the_cron_job_says_who_is_in_the_way() {
    departure("the reference does not tell who is in the way", |lab| {
        let line = kitchen(lab, "A cron job that says who", &["bin/backup"]);
        let command = line.splitn(6, ' ').nth(5).expect("a command");
        let command = command.replace("/var/log/", "").replace("1h", "0.01");
        lab.sh(&command)
            .expect_out("")
            .expect_err("")
            .expect_code(0);
        let holder = lab.hold(&["-F"], "backup.lock");
        let told = lab.sh(&command).expect_out("").expect_code(1).err();
        let wanted = format!(
            "flock: waiting for backup.lock: held by {} sh, ",
            holder.pid()
        );
        assert!(told.starts_with(&wanted), "{told}");
    });
}

#[test]
fn the_switch_ends_what_it_has_started() {
    departure("the reference does not tell who holds a lock", |lab| {
        let script = kitchen(lab, "A switch", &[]);
        lab.program("switch", &script);
        lab.program("radio", "#!/bin/sh\necho plays\nread x\n");
        let mut radio = lab.start(lab.command("./switch"));
        radio.hears("plays");
        lab.sh("./switch")
            .expect_out("")
            .expect_err("")
            .expect_code(0);
        assert_eq!(radio.end(), End::Killed(libc::SIGTERM));
        let mut radio = lab.start(lab.command("./switch"));
        radio.hears("plays");
    });
}

#[test]
fn any_free_descriptor_will_do() {
    let lab = Lab::new();
    let script = kitchen(&lab, "Any free descriptor", &[]);
    lab.bash(format!("{script}\nflock -n job.lock true || echo locked"))
        .expect_out("locked\n")
        .expect_code(0);
}

/// The places where README says that the builtin may be.
const PLACES: &str = "/usr/local/lib/bash:/usr/lib/bash";

#[test]
fn the_two_lines_enable_the_builtin_where_it_is_and_leave_the_program_where_it_is_not() {
    in_every_bash(|lab| {
        let lines = recipe("In bash, without a process");
        assert_eq!(lines.lines().count(), 2);
        let script =
            format!("set -eu\n{lines}\ntype -t flock; exec 8>l; flock 8; bin/flock -n l true");
        for (places, kind) in [
            ("/nowhere:bin/lib/bash", "builtin"),
            ("/nowhere:bin/lib", "file"),
        ] {
            let script = script.replace(PLACES, places);
            lab.shell("bash", &script)
                .expect_err("")
                .expect_out(&format!("{kind}\n"))
                .expect_code(1);
        }
    });
}

#[test]
fn the_function_under_a_lock_leaves_what_it_has_set() {
    in_every_bash(|lab| {
        let script = recipe("A function under a lock").replace(PLACES, "bin/lib/bash");
        for number in [1, 2] {
            lab.shell("bash", &script)
                .expect_out(&format!("my number is {number}\n"))
                .expect_code(0);
        }
        let impatient = script.replace("-w 30", "-w 0.01");
        assert_ne!(impatient, script);
        let held = format!("exec 8>counter.lock; bin/flock 8; {impatient}");
        lab.shell("bash", held).expect_out("").expect_code(1);
        let without = script.replace("bin/lib/bash", "/nowhere");
        lab.shell("bash", without).expect_out("").expect_code(1);
    });
}

/// The line about one of the four older tools, with its files in the lab, and what it calls.
fn older(lab: &Lab, tool: &str) -> String {
    let programs = ["bin/rsync", "bin/sync-photos", "sort-photos"];
    let lines = kitchen(lab, "The four older tools", &programs);
    assert_eq!(lines.lines().count(), 4);
    let line = lines.lines().find(|line| line.starts_with(tool));
    // Names in the kernel and of resources belong to the whole machine.
    let name = lab.file("photos").display().to_string();
    line.expect("a line about it").replace("/tmp/photos", &name)
}

#[test]
fn the_line_about_loto_skips_what_still_runs() {
    let lab = Lab::new();
    let line = older(&lab, "loto");
    let lock = lab.file("net.lock").display().to_string();
    std::fs::write(lab.file("resources"), format!("net {lock}\n")).expect("a file");
    let script = format!("export LOTO_CONF=resources\n{line}");
    lab.sh(&script).expect_out("rsync runs\n").expect_code(0);
    let held = format!("export LOTO_CONF=resources\nloto -L net -- sh -c '{line}'");
    lab.sh(&held).expect_out("").expect_err("").expect_code(0);
}

#[test]
fn the_line_about_me_only_lets_one_in() {
    let lab = Lab::new();
    let line = older(&lab, "me-only");
    lab.sh(&line)
        .expect_out("sort-photos runs\n")
        .expect_code(0);
    let name = lab.file("photos").display().to_string();
    lab.sh(format!("me-only '{name}' sh -c '{line}'"))
        .expect_out("")
        .expect_code(204);
}

#[test]
fn the_line_about_runlock_skips_what_still_runs() {
    let lab = Lab::new();
    let line = older(&lab, "runlock");
    lab.sh(&line)
        .expect_out("sync-photos runs\n")
        .expect_err("")
        .expect_code(0);
    lab.sh(format!("runlock photos sh -c '{line}'"))
        .expect_out("")
        .expect_err("Still locked.\n")
        .expect_code(0);
}

#[test]
fn the_line_about_ulock_reads_while_nobody_writes() {
    let lab = Lab::new();
    let line = older(&lab, "ulock");
    std::fs::write(lab.file("master"), "read\n").expect("a file");
    lab.sh(&line).expect_out("read\n").expect_code(0);
    let impatient = line.replace("ulock ", "ulock --timeout=0 ");
    lab.sh(format!("ulock lock; {impatient}"))
        .expect_out("")
        .expect_code(1);
}

#[test]
fn the_figures_are_those_of_the_last_measurement() {
    let results = include_str!("../../benches/results/results.md");
    let (_, targets) = results.split_once("## Targets\n").expect("targets");
    let table = targets
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'));
    let (_, shown) = README
        .split_once("<!-- results: begin (make bench) -->\n")
        .expect("a beginning");
    let (shown, _) = shown.split_once("<!-- results: end -->").expect("an end");
    assert_eq!(shown.lines().collect::<Vec<_>>(), table.collect::<Vec<_>>());
}
