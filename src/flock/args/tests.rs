use super::*;
use crate::cli::{OptPosition, OptionDoc};
use crate::flock::Verbosity;
use crate::flock::{OutputFormat, RemoteJob, RemoteRequest, WhoRequest};
use crate::remote::terms::Terms;
use crate::remote::url::Url;
use proptest::prelude::*;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

mod several;

fn lock_request(line: &str) -> LockRequest {
    match parse(split(line)) {
        Ok(ParseResult::Request(Request::Lock(request))) => request,
        other => panic!("{line}: {other:?}"),
    }
}

#[track_caller]
fn assert_usage_error(line: &str, part: &str) {
    let error = parse(split(line)).expect_err(line);
    let message = error.message().to_string_lossy();
    assert!(message.contains(part), "{line}: {message}");
}

fn split(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn command(line: &str) -> Option<Command> {
    Command::new(split(line))
}

#[test]
fn the_last_mode_takes_effect() {
    for (line, mode) in [
        ("8", Mode::Exclusive),
        ("-s 8", Mode::Shared),
        ("--shared -e 8", Mode::Exclusive),
        ("-x --unlock 8", Mode::Unlocked),
        ("-us 8", Mode::Shared),
    ] {
        assert_eq!(lock_request(line).mode, mode, "{line}");
    }
}

#[test]
fn nonblock_overrides_a_timeout_in_any_order() {
    let limit = Timeout::After(Duration::from_millis(1500));
    for (line, timeout) in [
        ("8", Timeout::Infinite),
        ("-w1.5 8", limit),
        ("--wait=1500ms 8", limit),
        ("-n -w 1.5 8", Timeout::NonBlocking),
        ("-w 1.5 --nb 8", Timeout::NonBlocking),
    ] {
        assert_eq!(lock_request(line).timeout, timeout, "{line}");
    }
}

#[test]
fn start_and_length_imply_fcntl() {
    let last = i64::MAX;
    assert_eq!(lock_request("8").api, LockApi::Flock);
    for (line, start, length) in [
        ("--fcntl 8", 0, 0),
        ("--start 1K --fcntl 8", 1024, 0),
        ("--length 0x10 --start 5 8", 5, 16),
        (&format!("--start {last} --length 1 8"), last, 1),
    ] {
        let api = LockApi::Ofd { start, length };
        assert_eq!(lock_request(line).api, api, "{line}");
    }
    assert_usage_error(&format!("--start {last} --length 2 8"), "largest file");
}

#[test]
fn fairness_is_off_unless_requested() {
    for (line, fairness) in [
        ("8", Fairness::None),
        ("--fair 8", Fairness::Fifo),
        ("--slots 3 lock job", Fairness::Slots(3)),
        ("--slots=+07 --fair lock job", Fairness::Slots(7)),
    ] {
        assert_eq!(lock_request(line).fairness, fairness, "{line}");
    }
}

#[test]
fn slots_require_a_lock_file_and_a_positive_number() {
    for slots in ["0", "-1", "x", "1.5", "", "4294967296"] {
        let line = format!("--slots={slots} lock job");
        assert_usage_error(&line, "invalid number of slots");
    }
    for line in ["--slots 1 8", "--slots 1 --fd 8 job"] {
        assert_usage_error(line, "--slots requires a lock file");
    }
    for with in ["-s", "-u", "--also x", "--unlink"] {
        let line = format!("{with} --slots 1 lock job");
        assert_usage_error(&line, "--slots cannot be used with");
    }
}

#[test]
fn fair_and_slots_cannot_be_used_with_fcntl() {
    for with in ["--fcntl", "--start 1", "--length 1"] {
        let (fair, slots) = (format!("--fair {with} 8"), format!("{with} --slots 1 l j"));
        assert_usage_error(&fair, "--fair cannot be used with");
        assert_usage_error(&slots, "--slots cannot be used with");
    }
}

#[test]
fn the_number_of_operands_selects_the_form() {
    assert_eq!(lock_request("8").target, Target::Descriptor(8));
    assert_eq!(lock_request("8 job").target, Target::Path("8".into()));
    let request = lock_request("--fd 8 job -n");
    assert_eq!(request.target, Target::Descriptor(8));
    assert_eq!(request.job.map(|job| job.command), command("job -n"));
    assert_usage_error("lock", "bad file descriptor: 'lock'");
    assert_usage_error("-n", "requires file descriptor");
    assert_usage_error("--fd 8", "requires a command");
}

#[test]
fn the_command_after_the_lock_file_is_untouched() {
    for (line, expected) in [
        ("lock -n cmd", command("-n cmd")),
        ("lock -- cmd", command("-- cmd")),
        ("-- lock cmd -- -x", command("cmd -- -x")),
        ("lock -c true", Some(Command::shell("true".into()))),
    ] {
        let job = lock_request(line).job;
        assert_eq!(job.map(|job| job.command), expected, "{line}");
    }
    assert_usage_error("lock -c", "-c requires exactly one");
    assert_usage_error("lock --command a b", "--command requires exactly one");
}

#[test]
fn a_line_for_the_shell_may_follow_a_descriptor() {
    for line in [
        "--fd 8 -c true",
        "-o --fd=8 --command true",
        "--fd 8 -n -c true",
        "--fd 8 -- -c true",
    ] {
        let request = lock_request(line);
        assert_eq!(request.target, Target::Descriptor(8), "{line}");
        let command = request.job.map(|job| job.command);
        assert_eq!(command, Some(Command::shell("true".into())), "{line}");
    }
    assert_usage_error("--fd 8 -c", "-c requires exactly one");
    assert_usage_error("--fd 8 -c true x", "-c requires exactly one");
    assert_usage_error("-c true --fd 8", "it must follow the lock file");
    assert_usage_error("--fd 8 -ctrue", "it must follow the lock file");
}

#[test]
fn close_and_no_fork_select_the_exec_mode() {
    for (line, exec_mode) in [
        ("l j", ExecMode::Fork),
        ("-o l j", ExecMode::ForkAndClose),
        ("--no-fork l j", ExecMode::Exec),
    ] {
        let job = lock_request(line).job.expect("a job");
        assert_eq!(job.exec_mode, exec_mode, "{line}");
    }
    assert_usage_error("-oF l j", "incompatible");
}

#[test]
fn close_alone_concerns_the_callers_descriptor() {
    for (line, expected) in [("-o 8", true), ("8", false), ("-o l true", false)] {
        assert_eq!(lock_request(line).close_on_exec, expected, "{line}");
    }
}

#[test]
fn every_option_has_help_and_a_unique_name() {
    let mut names = Vec::new();
    for option in (SPEC.options)() {
        let help = option.help;
        assert!(!help.is_empty() && !help.ends_with('.'), "{option:?}");
        names.extend(option.short.chars().map(String::from));
        names.extend(option.long.iter().map(|name| (*name).to_owned()));
    }
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
}

fn who_request(line: &str) -> WhoRequest {
    match parse(split(line)) {
        Ok(ParseResult::Request(Request::Who(who))) => who,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn who_takes_files_or_a_descriptor_or_nothing() {
    let files = |names: &[&str]| {
        let path = |name: &&str| Target::Path(name.into());
        names.iter().map(path).collect::<Vec<_>>()
    };
    let descriptor = vec![Target::Descriptor(8)];
    let (table, json, pids) = (OutputFormat::Table, OutputFormat::Json, OutputFormat::Pids);
    for (line, targets, format) in [
        ("--who f", files(&["f"]), table),
        ("--who 8 g", files(&["8", "g"]), table),
        ("--json --who -- -f", files(&["-f"]), json),
        ("--who --pids f --json", files(&["f", "--json"]), pids),
        ("--fd 8 --who", descriptor, table),
        ("--verbose --who f", files(&["f"]), table),
        ("--who", files(&[]), table),
        ("--json --who", files(&[]), json),
        ("--watch --who", files(&[]), table),
        ("--who --watch f", files(&["f"]), table),
    ] {
        let watch = line.contains("--watch");
        let expected = WhoRequest {
            targets,
            format,
            watch,
        };
        assert_eq!(who_request(line), expected, "{line}");
    }
}

/// A new option must be classified: either it works with --who, or it is in the list of conflicts.
#[test]
fn lock_options_cannot_be_used_with_who() {
    let others = [
        "fd", "name", "verbose", "who", "json", "pids", "watch", "help", "version",
    ];
    let is_lock_option = |option: &&OptionDoc| {
        option.position == OptPosition::BeforeOperands && !others.contains(&option.long[0])
    };
    let options = (SPEC.options)();
    assert!(options.iter().filter(is_lock_option).count() > 10);
    for option in options.iter().filter(is_lock_option) {
        let value = if option.value.is_some() { "=1" } else { "" };
        let line = format!("--{}{value} --who f", option.long[0]);
        assert_usage_error(&line, "--who cannot be used with");
        assert_usage_error(&line, option.long[0]);
    }
}

proptest! {
    #[test]
    fn arbitrary_arguments_do_not_panic(words: Vec<Vec<u8>>) {
        let words = words.into_iter().map(OsString::from_vec).collect();
        let _ = parse(words);
    }

    #[test]
    fn options_with_odd_values_do_not_panic(
        words in prop::collection::vec(prop_oneof![
            prop::sample::select(vec!["-w", "-E", "-n", "-s", "--who", "--json", "--pids", "--watch", "--fd", "--start=", "--length", "--", "-c", "8", "f"])
                .prop_map(OsString::from),
            "[-a-z0-9.=]{0,8}".prop_map(OsString::from),
        ], 0..8),
    ) {
        let _ = parse(words);
    }
}

fn remote_request(line: &str) -> RemoteRequest {
    match parse(split(line)) {
        Ok(ParseResult::Request(Request::Remote(request))) => request,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn a_url_is_a_lock_elsewhere() {
    let request = remote_request("-s -w 1.5 -E 9 etcd://h/n sync -a");
    let expected = RemoteRequest {
        url: Url::parse("etcd://h/n".as_ref()).expect("a URL"),
        also: Vec::new(),
        terms: Terms::new(None, None),
        slots: None,
        mode: Mode::Shared,
        timeout: Timeout::After(Duration::from_millis(1500)),
        job: RemoteJob::Command(command("sync -a").expect("a command")),
        prints_token: false,
        conflict_status: 9,
        verbosity: Verbosity::Quiet,
    };
    assert_eq!(request, expected);
}

#[test]
fn terms_of_a_lease_are_checked() {
    let terms = |line| {
        let terms = remote_request(line).terms;
        (terms.ttl.as_secs(), terms.grace.as_secs())
    };
    assert_eq!(terms("--ttl 20s --grace 10 e://n x"), (20, 10));
    assert_eq!(terms("--ttl 9 e://n x"), (9, 3));
    assert_usage_error("--ttl 4.9s e://n x", "--ttl must be from 5s to 1d");
    assert_usage_error("--ttl 25h e://n x", "--ttl must be from 5s to 1d");
    assert_usage_error("--ttl x e://n x", "invalid --ttl value: 'x'");
    assert_usage_error("--grace -1 e://n x", "invalid --grace value: '-1'");
    assert_usage_error(
        "--grace 16 e://n x",
        "--grace must be at most half of --ttl",
    );
}

#[test]
fn a_lock_elsewhere_can_belong_to_a_descriptor() {
    for (line, mode, prints_token) in [
        ("8 e://n", Mode::Exclusive, false),
        ("-s -w 3 --ttl 9s 8 e://n", Mode::Shared, false),
        ("-u 8 e://n", Mode::Unlocked, false),
        ("--print-token --verbose 8 e://n", Mode::Exclusive, true),
    ] {
        let Ok(ParseResult::Request(Request::Remote(request))) = parse(split(line)) else {
            panic!("{line}");
        };
        assert_eq!(request.job, RemoteJob::Descriptor(8), "{line}");
        assert_eq!((request.mode, request.prints_token), (mode, prints_token));
    }
    // A file of that number, and a command with that name.
    let request = lock_request("./8 e://n");
    assert_eq!(request.target, Target::Path("./8".into()));
    assert!(request.job.is_some());
}

#[test]
fn options_that_do_not_fit_a_url_are_rejected() {
    for option in ["-u", "--queue 1", "-o", "-F", "--fcntl", "--unlink"] {
        let line = format!("{option} e://n x");
        assert_usage_error(&line, "cannot be used with a lock elsewhere");
    }
    assert_usage_error(
        "--fd 8 e://n x",
        "--fd cannot be used with a lock elsewhere",
    );
    assert_usage_error(
        "--print-token e://n x",
        "--print-token requires a descriptor",
    );
    assert_usage_error("--print-token 8", "--print-token requires a descriptor");
    assert_usage_error(
        "--print-token -u 8 e://n",
        "--print-token requires a descriptor",
    );
    assert_usage_error(
        "--who --pids e://n",
        "--pids does not support locks elsewhere",
    );
    for line in ["--ttl 9 l x", "--grace 1 8"] {
        assert_usage_error(line, "--ttl and --grace require a lock elsewhere");
    }
}

#[test]
fn a_password_does_not_reach_the_message() {
    for line in [
        "p://ann:secret@h/n x",
        "p://ann:secret@h/n",
        "--who p://a:secret@h/n",
    ] {
        let error = parse(split(line)).expect_err(line);
        let message = error.message().to_string_lossy();
        assert!(!message.contains("secret"), "{message}");
    }
    assert_usage_error(
        "p://ann:secret@h/n x",
        "invalid URL: it contains a password",
    );
    assert_usage_error("p://h/n", "a lock elsewhere requires a command");
}

#[test]
fn a_url_after_a_slash_is_a_path() {
    let target = lock_request("./etcd://h/n x").target;
    assert_eq!(target, Target::Path("./etcd://h/n".into()));
}
