//! The scripts of the article that most shell programmers know `flock` from, in every shell that is installed:
//! "using flock to protect critical sections in shell scripts" (10 January 2009) with its readers' comments, and the
//! line from the manual by which a script locks itself.
//!
//! They are as printed, with the lines restored that its page has lost. Replaced at run time are only the folder of the
//! locks, what stands for the work, and `sleep`, by a nap that ends when it is told to.

use test_support::{Outcome, TestEnv, differs_from_util_linux, is_installed};

/// Shells, and whether a command inherits a descriptor above 2 that `exec` opened: not from a Korn shell, which has to
/// hand it on by `8>&8`.
const SHELLS: &[(&str, Inherits)] = &[
    ("bash", Inherits::All),
    ("dash", Inherits::All),
    ("zsh", Inherits::All),
    ("busybox sh", Inherits::All),
    ("ksh", Inherits::Standard),
    ("mksh", Inherits::Standard),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Inherits {
    All,
    Standard,
}

/// Plays a scene in a fresh test environment for every shell that is installed.
fn for_each_shell(case: impl Fn(&TestEnv, &str, Inherits)) {
    for (shell, inherits) in installed_shells() {
        println!("{shell}");
        case(&TestEnv::new(), shell, inherits);
    }
}

fn installed_shells() -> impl Iterator<Item = (&'static str, Inherits)> {
    let program = |shell: &'static str| shell.split(' ').next().unwrap_or(shell);
    SHELLS
        .iter()
        .copied()
        .filter(move |(shell, _)| is_installed(program(shell)))
}

fn korn_shells() -> impl Iterator<Item = &'static str> {
    let korn = |(shell, inherits)| (inherits == Inherits::Standard).then_some(shell);
    installed_shells().filter_map(korn)
}

impl Inherits {
    /// The script as this shell needs it: where it would keep the descriptor to itself, `flock` is handed it.
    fn adapt(self, script: &str) -> String {
        let mut script = script.to_owned();
        if self == Self::Standard {
            // So is a `sleep` that ends a subshell: it takes the place of the shell, and the lock went with that.
            for call in ["-x 8", "-e 8", "-u 8", "sleep 10"] {
                script = script.replace(call, &format!("{call} 8>&8"));
            }
        }
        script
    }
}

/// Runs a script to its end, from a file, and with a last line that is one: at the end of its input, and by `-c`, mksh
/// keeps a copy of a descriptor that `exec` closes.
#[track_caller]
fn run_script(env: &TestEnv, shell: &str, script: impl AsRef<str>) -> Outcome {
    let script = format!("{}\n", script.as_ref());
    std::fs::write(env.file("script"), script).expect("the script");
    env.sh(format!("exec {shell} script"))
}

/// Puts a script of the article on the stage, and teaches it to nap: `nap` says so in the FIFO `began`, and wakes up by
/// the FIFO `over`. Every critical section contains a nap, so the scene decides how long a lock is held.
fn install_adapted_script(env: &TestEnv, name: &str, script: &str, inherits: Inherits) {
    env.install_queued_script();
    env.install_script(
        "bin/nap",
        "#!/bin/sh\necho napping >began\nread word <over\n",
    );
    env.sh("mkfifo began over").assert_status(0);
    let folder = format!("{}/", env.path().display());
    let script = inherits
        .adapt(script)
        .replace("/tmp/", &folder)
        .replace("sleep ", "nap ");
    std::fs::write(env.file(name), script).expect("the script");
}

#[test]
fn the_general_form_makes_a_queue() {
    for_each_shell(|env, shell, inherits| {
        install_adapted_script(
            env,
            "flocktest0",
            include_str!("blog/flocktest0.sh"),
            inherits,
        );
        let said = env
            .sh(format!(
                "{shell} flocktest0 >>log & first=$!
                read word <began
                {shell} flocktest0 >>log & second=$!
                queued flocktest0.LCK 1
                echo wake >over; wait $first || exit
                read word <began; echo wake >over; wait $second || exit
                sed -e \"s/$first/first/; s/$second/second/\" log"
            ))
            .assert_status(0)
            .assert_stderr("");
        said.assert_stdout(
            "I'm in (first)\nI'm done (first)\nI'm in (second)\nI'm done (second)\n",
        );
    });
}

#[test]
fn the_alternate_form_rejects_until_the_first_is_done() {
    for_each_shell(|env, shell, inherits| {
        install_adapted_script(
            env,
            "flocktest1",
            include_str!("blog/flocktest1.sh"),
            inherits,
        );
        env.sh(format!(
            "{shell} flocktest1 >>log & first=$!
            read word <began
            for i in 2 3 4; do {shell} flocktest1 >>log || exit; done
            echo wake >over; wait $first || exit
            {shell} flocktest1 >>log & fifth=$!
            read word <began; echo wake >over; wait $fifth || exit
            sed -e \"s/$first/first/; s/$fifth/fifth/; s/rejected .*/rejected/\" log"
        ))
        .assert_status(0)
        .assert_stderr("")
        .assert_stdout(
            "I'm in (first)\nI'm rejected\nI'm rejected\nI'm rejected\nI'm done (first)\n\
             I'm in (fifth)\nI'm done (fifth)\n",
        );
    });
}

#[test]
fn mails_are_shown_one_after_the_other_from_the_background() {
    for_each_shell(|env, shell, inherits| {
        install_adapted_script(
            env,
            "mythemail",
            include_str!("blog/mythemail.sh"),
            inherits,
        );
        env.install_script("bin/mythtvosd", "#!/bin/sh\necho \"$#: $*\" >>log\n");
        // None of the three calls waits; the queue is behind them.
        let said = env
            .sh(format!(
                "for mail in 1 2 3; do FROM=him$mail SUBJ=\"it $mail\" {shell} mythemail || exit; done
                read word <began; queued mythemail.LCK 2; echo nap >>log; echo wake >over
                read word <began; queued mythemail.LCK 1; echo nap >>log; echo wake >over
                read word <began; echo nap >>log; echo wake >over
                flock mythemail.LCK cat log"
            ))
            .assert_status(0)
            .assert_stderr("")
            .stdout_text();
        let (mut shown, naps): (Vec<_>, Vec<_>) = said
            .lines()
            .enumerate()
            .partition(|(number, _)| number % 2 == 0);
        assert!(naps.iter().all(|(_, line)| *line == "nap"), "{said}");
        // In which order is nobody's promise.
        shown.sort_by_key(|(_, line)| *line);
        let wanted = [1, 2, 3].map(|mail| {
            format!("2: --template=scroller --scroll_text=mail from him{mail}, regarding it {mail}")
        });
        assert!(shown.iter().map(|(_, line)| *line).eq(&wanted), "{said}");
    });
}

#[test]
fn a_guard_at_the_top_of_a_script_lets_only_one_run() {
    for_each_shell(|env, shell, inherits| {
        let script = include_str!("blog/mythfrontend.sh").to_owned() + "echo playing; nap; :\n";
        install_adapted_script(env, "mythfrontend", &script, inherits);
        let refused = "Can't get file lock, mythfrontend already running";
        env.sh(format!(
            "{shell} mythfrontend & first=$!
            read word <began
            {shell} mythfrontend; echo $?
            {shell} mythfrontend; echo $?
            echo wake >over; wait $first; echo $?
            {shell} mythfrontend & third=$!
            read word <began; echo wake >over; wait $third; echo $?"
        ))
        .assert_status(0)
        .assert_stderr("")
        .assert_stdout(&format!(
            "playing\n{refused}\n1\n{refused}\n1\n0\nplaying\n0\n"
        ));
    });
}

#[test]
fn a_subshell_holds_the_lock_to_its_end_even_in_a_korn_shell() {
    let script = include_str!("blog/subshell.sh");
    let work = "# XXX: do interesting work here\n";
    assert!(script.contains(work), "there is a place for the work");
    for_each_shell(|env, shell, _| {
        let script = script.replace(work, "flock -n lockfile true; echo inside $?\n");
        env.shell(
            shell,
            format!("{script}flock -n lockfile true; echo outside $?"),
        )
        .assert_stdout("inside 1\noutside 0\n")
        .assert_stderr("");
    });
}

#[test]
fn a_descriptor_can_be_opened_in_every_way_and_let_go_in_every_way() {
    for_each_shell(|env, shell, inherits| {
        for open in ["8>l", "8>>l", "8<l", "8<>l"] {
            for end in ["flock -u 8", "exec 8>&-", "exec 8<&-"] {
                let script = format!(
                    ": >l; exec {open}; flock -x 8 || exit; flock -n l true; echo $?; {end}; flock -n l true; echo $?"
                );
                run_script(env, shell, inherits.adapt(&script))
                    .assert_stdout("1\n0\n")
                    .assert_stderr("");
            }
        }
    });
}

#[test]
fn appending_or_reading_keeps_what_the_file_says() {
    for_each_shell(|env, shell, inherits| {
        for open in ["8>>l", "8<l"] {
            let script =
                format!("echo kept >l; exec {open}; flock -x 8; flock -n l true; echo $?; cat l");
            run_script(env, shell, inherits.adapt(&script))
                .assert_stdout("1\nkept\n")
                .assert_stderr("");
        }
    });
}

#[test]
fn the_lock_lasts_until_the_script_ends() {
    for_each_shell(|env, shell, inherits| {
        let inside = inherits.adapt("exec 8>l; flock -x 8; flock -n l true; echo $?");
        std::fs::write(env.file("script"), inside).expect("the script");
        env.sh(format!("{shell} script; flock -n l true; echo $?"))
            .assert_stdout("1\n0\n")
            .assert_stderr("");
    });
}

#[test]
fn a_descriptor_from_a_variable_works_by_eval() {
    for_each_shell(|env, shell, inherits| {
        // An evaluated redirection is the only one that may have a variable for its number.
        let hand_on = if inherits == Inherits::All {
            ""
        } else {
            "$N>&$N"
        };
        let script = format!(
            "N=9; LCK=l; eval \"exec $N>$LCK\"; eval \"flock -x $N {hand_on}\"; echo $?; flock -n l true; echo $?; \
             eval \"exec $N>&-\"; flock -n l true; echo $?"
        );
        run_script(env, shell, script)
            .assert_stdout("0\n1\n0\n")
            .assert_stderr("");
    });
}

#[test]
fn a_descriptor_that_the_shell_chose_can_be_locked() {
    for shell in ["bash", "zsh"]
        .into_iter()
        .filter(|shell| is_installed(shell))
    {
        let script = "exec {fd}>l; flock -x $fd; echo $? $(( fd > 9 )); flock -n l true; echo $?; \
                      exec {fd}>&-; flock -n l true; echo $?";
        run_script(&TestEnv::new(), shell, script)
            .assert_stdout("0 1\n1\n0\n")
            .assert_stderr("");
    }
}

#[test]
fn a_lock_can_be_cleaned_up_after() {
    if !is_installed("bash") {
        return;
    }
    let script = include_str!("blog/cleanup.sh");
    let critical = "[[critical code]]";
    assert!(script.contains(critical), "there is a place for the work");
    let env = TestEnv::new();
    // All that the script asks of lsof: whether anybody has the file open.
    env.install_script(
        "bin/lsof",
        "#!/bin/sh\nfor f in /proc/[0-9]*/fd/*; do [ $f -ef $1 ] && exit; done; exit 1\n",
    );
    let script = script.replace(critical, "flock -n l true; echo inside $?");
    let script = format!("LOCK_FILE=l lock_file=l\n{script}flock -n l true; echo outside $?");
    run_script(&env, "bash", &script)
        .assert_stdout("inside 1\nremoved lock here\nremoved lock file\noutside 0\n")
        .assert_stderr("");
    run_script(&env, "bash", format!("exec 7>l; {script}"))
        .assert_stdout(
            "inside 1\nremoved lock here\nlock file still in use, not deleting\noutside 0\n",
        )
        .assert_stderr("");
}

#[test]
fn a_script_can_lock_itself() {
    for_each_shell(|env, shell, inherits| {
        let script = include_str!("blog/itself.sh").to_owned() + "echo \"in $# $*\"; nap; :\n";
        // It runs as itself, so its first line has to name the shell.
        let (program, rest) = shell.split_once(' ').unwrap_or((shell, ""));
        let script = script.replace("/bin/sh", &format!("$(command -v {program}) {rest}"));
        install_adapted_script(env, "printed", &script, inherits);
        env.sh(
            "{ eval \"echo \\\"$(head -n 1 printed)\\\"\"; tail -n +2 printed; } >itself; chmod +x itself
            ./itself a 'b c' & first=$!
            read word <began
            ./itself; echo $?
            echo wake >over; wait $first; echo $?
            ./itself & third=$!
            read word <began; echo wake >over; wait $third; echo $?",
        )
        .assert_status(0)
        .assert_stderr("")
        .assert_stdout("in 2 a b c\n1\n0\nin 0 \n0\n");
    });
}

#[test]
fn a_korn_shell_hands_a_descriptor_on_when_it_is_told_to() {
    let script = "exec 8>l; flock 8 8>&8; echo $?; flock -n l true; echo $?; exec 8>&-; flock -n l true; echo $?";
    for shell in korn_shells() {
        run_script(&TestEnv::new(), shell, script)
            .assert_stdout("0\n1\n0\n")
            .assert_stderr("");
    }
}

#[test]
fn a_korn_shell_that_keeps_a_descriptor_to_itself_fails_and_is_told_how_to_hand_it_on() {
    for shell in korn_shells() {
        let outcome =
            run_script(&TestEnv::new(), shell, "exec 8>l; flock 8; echo $?").assert_stdout("65\n");
        assert!(
            outcome
                .stderr_text()
                .starts_with("flock: 8: Bad file descriptor"),
            "{outcome:?}"
        );
        for (call, cure) in [
            ("8", "flock 8 8>&8"),
            ("-n 8", "8 8>&8"),
            ("-x -w 1 8", "8 8>&8"),
        ] {
            differs_from_util_linux("`Bad file descriptor` has cost many an evening", |env| {
                let said = run_script(env, shell, format!("exec 8>l; flock {call}; echo $?"))
                    .assert_stdout("65\n")
                    .stderr_text();
                assert!(said.starts_with("flock: 8: Bad file descriptor"), "{said}");
                assert!(said.contains(cure), "{said}");
                assert_eq!(said.lines().count(), 1, "{said}");
            });
        }
    }
}

#[test]
fn a_descriptor_that_no_shell_has_open_brings_no_such_advice() {
    for_each_shell(|env, shell, _| {
        run_script(env, shell, "exec 8>&-; flock 8; echo $?")
            .assert_stdout("65\n")
            .assert_stderr("flock: 8: Bad file descriptor\n");
    });
}
