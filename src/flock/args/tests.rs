use super::*;
use crate::cli::{Place, Shown};
use crate::flock::{Form as Answer, Who};
use proptest::prelude::*;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

fn asked(line: &str) -> Lock {
    match parse(words(line)) {
        Ok(Asked::Request(Request::Lock(request))) => request,
        other => panic!("{line}: {other:?}"),
    }
}

fn refused(line: &str) -> String {
    parse(words(line))
        .expect_err(line)
        .message()
        .to_string_lossy()
        .into_owned()
}

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn command(line: &str) -> Option<Command> {
    Command::new(words(line))
}

#[test]
fn the_last_of_the_three_modes_counts() {
    for (line, mode) in [
        ("8", Mode::Exclusive),
        ("-s 8", Mode::Shared),
        ("--shared -e 8", Mode::Exclusive),
        ("-x --unlock 8", Mode::Unlocked),
        ("-us 8", Mode::Shared),
    ] {
        assert_eq!(asked(line).mode, mode, "{line}");
    }
}

#[test]
fn nonblock_beats_a_time_limit_wherever_it_stands() {
    let limit = Wait::For(Duration::from_millis(1500));
    for (line, wait) in [
        ("8", Wait::Forever),
        ("-w1.5 8", limit),
        ("--wait=1500ms 8", limit),
        ("-n -w 1.5 8", Wait::Now),
        ("-w 1.5 --nb 8", Wait::Now),
    ] {
        assert_eq!(asked(line).wait, wait, "{line}");
    }
}

#[test]
fn start_and_length_imply_fcntl() {
    for (line, kind) in [
        ("8", Kind::Flock),
        (
            "--fcntl 8",
            Kind::Ofd {
                start: 0,
                length: 0,
            },
        ),
        (
            "--start 1K --fcntl 8",
            Kind::Ofd {
                start: 1024,
                length: 0,
            },
        ),
        (
            "--length 0x10 --start 5 8",
            Kind::Ofd {
                start: 5,
                length: 16,
            },
        ),
    ] {
        assert_eq!(asked(line).kind, kind, "{line}");
    }
}

#[test]
fn the_order_is_the_kernels_unless_another_is_asked_for() {
    for (line, order) in [
        ("8", Order::Kernel),
        ("--fair 8", Order::Arrival),
        ("--slots 3 lock job", Order::Slots(3)),
        ("--slots=+07 --fair lock job", Order::Slots(7)),
    ] {
        assert_eq!(asked(line).order, order, "{line}");
    }
}

#[test]
fn slots_are_for_lock_files_and_are_counted_from_one() {
    for slots in ["0", "-1", "x", "1.5", "", "4294967296"] {
        let line = format!("--slots={slots} lock job");
        assert!(refused(&line).contains("invalid number of slots"), "{line}");
    }
    for line in ["--slots 1 8", "--slots 1 --fd 8 job"] {
        assert!(
            refused(line).contains("--slots requires a lock file"),
            "{line}"
        );
    }
    for with in [
        "-s",
        "-u",
        "--also x",
        "--unlink",
        "--fcntl",
        "--start 1",
        "--length 1",
    ] {
        let line = format!("{with} --slots 1 lock job");
        assert!(
            refused(&line).contains("--slots cannot be used with"),
            "{line}"
        );
    }
}

#[test]
fn a_queue_is_for_locks_of_flock_only() {
    for with in ["--fcntl", "--start 1", "--length 1"] {
        let line = format!("--fair {with} 8");
        assert!(
            refused(&line).contains("--fair cannot be used with"),
            "{line}"
        );
    }
}

#[test]
fn a_range_that_no_file_can_have_is_refused() {
    let last = i64::MAX;
    assert_eq!(
        asked(&format!("--start {last} --length 1 8")).kind,
        Kind::Ofd {
            start: last,
            length: 1
        }
    );
    assert!(refused(&format!("--start {last} --length 2 8")).contains("largest file"));
}

#[test]
fn the_forms_are_told_apart_by_the_number_of_operands() {
    assert_eq!(asked("8").target, Target::Descriptor(8));
    assert_eq!(asked("8 job").target, Target::Path("8".into()));
    let request = asked("--fd 8 job -n");
    assert_eq!(request.target, Target::Descriptor(8));
    assert_eq!(request.job.map(|job| job.command), command("job -n"));
    assert!(refused("lock").contains("bad file descriptor: 'lock'"));
    assert!(refused("-n").contains("requires file descriptor"));
    assert!(refused("--fd 8").contains("requires a command"));
}

#[test]
fn what_follows_the_lock_file_is_the_command_untouched() {
    for (line, words) in [
        ("lock -n cmd", "-n cmd"),
        ("lock -- cmd", "-- cmd"),
        ("-- lock cmd -- -x", "cmd -- -x"),
    ] {
        assert_eq!(
            asked(line).job.map(|job| job.command),
            command(words),
            "{line}"
        );
    }
    assert_eq!(
        asked("lock -c true").job.expect("a job").command,
        Command::shell("true".into())
    );
    assert!(refused("lock -c").contains("-c requires exactly one"));
    assert!(refused("lock --command a b").contains("--command requires exactly one"));
}

#[test]
fn the_command_is_run_in_one_of_three_manners() {
    for (line, manner) in [
        ("l j", Manner::Child),
        ("-o l j", Manner::ChildWithoutLock),
        ("--no-fork l j", Manner::InPlace),
    ] {
        assert_eq!(asked(line).job.expect("a job").manner, manner, "{line}");
    }
    assert!(refused("-oF l j").contains("incompatible"));
}

#[test]
fn every_option_has_help_and_a_name_of_its_own() {
    let mut names = Vec::new();
    for option in (PAGE.options)() {
        assert!(
            !option.help.is_empty() && !option.help.ends_with('.'),
            "{option:?}"
        );
        names.extend(option.short.chars().map(String::from));
        names.extend(option.long.iter().map(|name| (*name).to_owned()));
    }
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
}

fn question(line: &str) -> Who {
    match parse(words(line)) {
        Ok(Asked::Request(Request::Who(who))) => who,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn it_may_be_asked_who_has_files_or_a_descriptor() {
    let files = |names: &[&str]| {
        let path = |name: &&str| Target::Path(name.into());
        names.iter().map(path).collect::<Vec<_>>()
    };
    for (line, targets, form) in [
        ("--who f", files(&["f"]), Answer::Table),
        ("--who 8 g", files(&["8", "g"]), Answer::Table),
        ("--json --who -- -f", files(&["-f"]), Answer::Json),
        (
            "--who --pids f --json",
            files(&["f", "--json"]),
            Answer::Pids,
        ),
        ("--fd 8 --who", vec![Target::Descriptor(8)], Answer::Table),
        ("--verbose --who f", files(&["f"]), Answer::Table),
    ] {
        assert_eq!(question(line), Who { targets, form }, "{line}");
    }
}

/// Whoever adds an option decides whether it goes with --who.
#[test]
fn options_that_say_how_a_lock_is_taken_do_not_go_with_who() {
    let others = ["fd", "verbose", "who", "json", "pids", "help", "version"];
    let is_of_locks =
        |option: &&Shown| option.place == Place::Ahead && !others.contains(&option.long[0]);
    let options = (PAGE.options)();
    assert!(options.iter().filter(is_of_locks).count() > 10);
    for option in options.iter().filter(is_of_locks) {
        let value = if option.value.is_some() { "=1" } else { "" };
        let line = format!("--{}{value} --who f", option.long[0]);
        let message = refused(&line);
        assert!(
            message.contains("cannot be used with --who"),
            "{line}: {message}"
        );
        assert!(message.contains(option.long[0]), "{line}: {message}");
    }
}

proptest! {
    #[test]
    fn no_command_line_is_too_odd(words: Vec<Vec<u8>>) {
        let words = words.into_iter().map(OsString::from_vec).collect();
        let _ = parse(words);
    }

    #[test]
    fn no_mix_of_real_options_and_odd_values_is_too_odd(
        words in prop::collection::vec(prop_oneof![
            prop::sample::select(vec!["-w", "-E", "-n", "-s", "--who", "--json", "--pids", "--fd", "--start=", "--length", "--", "-c", "8", "f"])
                .prop_map(OsString::from),
            "[-a-z0-9.=]{0,8}".prop_map(OsString::from),
        ], 0..8),
    ) {
        let _ = parse(words);
    }
}
