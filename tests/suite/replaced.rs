//! A lock file that is deleted or replaced while somebody waits for it must not let two holders in.

use test_support::{TestEnv, differs_from_util_linux};

/// Why all of these are departures.
const WHY: &str = "the reference is content with a file that nobody can find any more";

/// A command that says whether the file it holds is the one that the path names.
const SAME: &str =
    "for f in /proc/$$/fd/*; do [ $f -ef l ] && same=same; done; echo ${same-other} >>log";

/// Descriptor 9 holds `l`, FORM waits for it (`$waiter`), CHANGE happens to `l`, and the waiter is granted the old file.
const STORY: &str = "
    exec 9<>l; flock HOW 9
    flock FORM 9>&- & waiter=$!
    queued l 1
    CHANGE
    flock HOW -u 9
";

/// Plays the story to a waiter whose lock nobody else wants after the change: it must end with the path's own file.
#[track_caller]
fn ends_with_the_right_file(env: &TestEnv, how: &str, form: &str, change: &str) {
    env.install_queued_script();
    env.install_script("same", &format!("#!/bin/sh\n{SAME}\n"));
    let story = STORY
        .replace("HOW", how)
        .replace("FORM", form)
        .replace("CHANGE", change);
    env.sh(format!(
        "rm -f log l new; {story} wait $waiter; echo $?; cat log"
    ))
    .assert_stdout("0\nsame\n")
    .assert_stderr("");
}

#[test]
fn a_waiter_for_a_deleted_file_makes_it_anew() {
    for form in [
        "l ./same",
        "-s l ./same",
        "-w 100 l ./same",
        "-F l ./same",
        "l -c ./same",
    ] {
        differs_from_util_linux(WHY, |env| ends_with_the_right_file(env, "-x", form, "rm l"));
    }
}

#[test]
fn a_waiter_for_a_replaced_file_goes_for_the_new_one() {
    for change in [
        ": >new; mv new l",
        "rm l; : >l",
        "mv l old; : >l",
        "rm l; ln -s new l",
    ] {
        differs_from_util_linux(WHY, |env| {
            ends_with_the_right_file(env, "-x", "l ./same", change)
        });
    }
}

#[test]
fn a_waiter_for_a_link_that_now_leads_elsewhere_follows_it() {
    differs_from_util_linux(WHY, |env| {
        let change = ": >new; ln -sf new l";
        env.install_queued_script();
        env.install_script("same", &format!("#!/bin/sh\n{SAME}\n"));
        let story = STORY
            .replace("HOW", "-x")
            .replace("FORM", "l ./same")
            .replace("CHANGE", change);
        env.sh(format!(
            ": >old; ln -s old l; {} wait $waiter; cat log",
            story.replace("queued l", "queued old")
        ))
        .assert_stdout("same\n")
        .assert_stderr("");
    });
}

#[test]
fn a_waiter_for_an_fcntl_lock_checks_the_file_as_well() {
    let env = TestEnv::new();
    if !env.supports_option("--fcntl") {
        return;
    }
    for change in ["rm l", ": >new; mv new l"] {
        ends_with_the_right_file(&env, "--fcntl", "--fcntl l ./same", change);
        ends_with_the_right_file(&env, "--fcntl", "--fcntl -s -w 100 l ./same", change);
    }
}

/// The same with a second holder, who took the new file before the waiter was granted the old one.
fn meets_another_holder(form: &str, end: &str) -> String {
    let story = STORY.replace("HOW", "-x").replace("FORM", form);
    let story = story.replace("CHANGE", "rm l; exec 8<>l; flock 8; exec 7<>l");
    story.replace("9>&-", "8>&- 9>&-") + end
}

#[test]
fn a_waiter_for_a_replaced_file_waits_again_if_the_new_one_is_held() {
    differs_from_util_linux(WHY, |env| {
        env.install_queued_script();
        // Who gets in beside the holder leaves `log`, and ends the wait for the queue to form.
        let end = "queued l 1 log; echo holder >>log; flock -u 8; wait $waiter; cat log";
        env.sh(meets_another_holder("l sh -c 'echo waiter >>log'", end))
            .assert_stdout("holder\nwaiter\n")
            .assert_stderr("");
    });
}

#[test]
fn a_waiter_for_a_replaced_file_has_no_more_than_its_one_timeout() {
    let env = TestEnv::new();
    if env.is_reference() {
        return;
    }
    env.install_queued_script();
    // The holder of the new file does not let go: only the timeout can end this.
    let end = "wait $waiter; echo $?";
    env.sh(meets_another_holder("-w 1 -E 7 l echo waiter", end))
        .assert_stdout("7\n")
        .assert_stderr("");
}

#[test]
fn a_waiter_whose_directory_is_gone_says_so() {
    differs_from_util_linux(WHY, |env| {
        env.install_queued_script();
        let story = STORY
            .replace("HOW", "-x")
            .replace("FORM", "d/l echo ran")
            .replace("CHANGE", "rm -r d");
        env.sh(format!(
            "mkdir d; {} wait $waiter; echo $?",
            story
                .replace("<>l", "<>d/l")
                .replace("queued l", "queued d/l")
        ))
        .assert_stdout("66\n")
        .assert_stderr("flock: cannot open lock file d/l: No such file or directory\n");
    });
}

#[test]
fn a_descriptor_has_no_path_that_could_be_replaced() {
    let env = TestEnv::new();
    env.sh("exec 7<>l 8<>l; rm l; flock 8; echo $?; flock -n 7; echo $?")
        .assert_stdout("0\n1\n")
        .assert_stderr("");
    assert!(env.file_names().is_empty(), "{:?}", env.file_names());
}

#[test]
fn holders_that_delete_the_file_when_they_are_done_are_still_alone() {
    let env = TestEnv::new();
    if env.is_reference() {
        // There two get in, only not every time.
        return;
    }
    let alone = "mkdir held || echo two; rmdir held; rm l";
    let run = format!("for i in 1 2 3 4 5 6 7 8; do flock l sh -c '{alone}'; done &");
    env.sh(format!("{} wait", run.repeat(5)))
        .assert_status(0)
        .assert_stdout("")
        .assert_stderr("");
    assert!(env.file_names().is_empty(), "{:?}", env.file_names());
}
