//! The scripts of a widely read article about `flock`, "using flock to protect critical sections in
//! shell scripts" (10 January 2009), and of its readers' comments, and the line of the manual with
//! which a script locks itself, in every shell that is installed.
//!
//! The scripts are as printed, with the lines restored that the page has lost. The tests replace
//! only the directory of the locks, the placeholders for the work, and `sleep`, by a pause that
//! ends when the test says so.

use std::fs;

use crate::recipes::replace;
use test_support::{Outcome, TestEnv, differs_from_util_linux, is_installed};

const MYTHFRONTEND: &str = include_str!("blog/mythfrontend.sh");
const ITSELF: &str = include_str!("blog/itself.sh");

/// A shell, with its arguments.
#[derive(Clone, Copy)]
struct Shell(&'static str);

const BASH: Shell = Shell("bash");
const SHELLS: [Shell; 6] = [
    BASH,
    Shell("dash"),
    Shell("zsh"),
    Shell("busybox sh"),
    Shell("ksh"),
    Shell("mksh"),
];

/// Runs a test with every shell that is installed, each in a new test environment.
fn for_each_shell(body: impl Fn(&TestEnv, Shell)) {
    let is_installed = |shell: &Shell| is_installed(shell.program_and_args().0);
    for shell in SHELLS.into_iter().filter(is_installed) {
        println!("{}", shell.0);
        body(&TestEnv::new(), shell);
    }
}

impl Shell {
    fn program_and_args(self) -> (&'static str, &'static str) {
        self.0.split_once(' ').unwrap_or((self.0, ""))
    }

    /// Whether its commands do not inherit a descriptor above 2 that `exec` has opened: it must be
    /// passed explicitly, with `8>&8`.
    fn is_korn(self) -> bool {
        self.0.ends_with("ksh")
    }

    /// Adapts a script to this shell: a Korn shell has to pass the descriptor to `flock`.
    fn adapt(self, script: &str) -> String {
        let mut script = script.to_owned();
        if self.is_korn() {
            // And to a `sleep` at the end of a subshell, which replaces the shell: otherwise the
            // lock would be released.
            for call in ["-x 8", "-e 8", "-u 8", "sleep 10"] {
                script = script.replace(call, &format!("{call} 8>&8"));
            }
        }
        script
    }

    /// Runs a script from a file, followed by an empty line: mksh keeps a copy of a descriptor that
    /// `exec` closes in the last line of a script, and with `-c`.
    #[track_caller]
    fn run(self, env: &TestEnv, script: &str) -> Outcome {
        fs::write(env.file("script"), format!("{script}\n")).expect("the script");
        env.sh(format!("exec {} script", self.0))
    }

    /// Installs a script of the article, adapted to this shell, with `nap` for `sleep`: it writes
    /// to the FIFO `began` and waits for a line from the FIFO `over`. Every critical section naps,
    /// so the test determines how long the lock is held.
    fn install(self, env: &TestEnv, name: &str, script: &str) {
        env.install_queued_script();
        let nap = "#!/bin/sh\necho napping >began\nread word <over\n";
        env.install_script("bin/nap", nap);
        env.sh("mkfifo began over").assert_status(0);
        let dir = format!("{}/", env.path().display());
        let script = self.adapt(script);
        let script = script.replace("/tmp/", &dir).replace("sleep ", "nap ");
        fs::write(env.file(name), script).expect("the script");
    }
}

#[test]
fn general_form_queues() {
    for_each_shell(|env, shell| {
        shell.install(env, "flocktest0", include_str!("blog/flocktest0.sh"));
        let expected = "I'm in (first)\nI'm done (first)\nI'm in (second)\nI'm done (second)\n";
        let shell = shell.0;
        env.sh(format!(
            "{shell} flocktest0 >>log & first=$!
            read word <began
            {shell} flocktest0 >>log & second=$!
            queued flocktest0.LCK 1
            echo wake >over; wait $first || exit
            read word <began; echo wake >over; wait $second || exit
            sed -e \"s/$first/first/; s/$second/second/\" log"
        ))
        .assert_all(0, expected, "");
    });
}

#[test]
fn alternate_form_rejects_until_the_first_is_done() {
    for_each_shell(|env, shell| {
        shell.install(env, "flocktest1", include_str!("blog/flocktest1.sh"));
        let expected = "I'm in (first)\nI'm rejected\nI'm rejected\nI'm rejected\n\
            I'm done (first)\nI'm in (fifth)\nI'm done (fifth)\n";
        let shell = shell.0;
        env.sh(format!(
            "{shell} flocktest1 >>log & first=$!
            read word <began
            for i in 2 3 4; do {shell} flocktest1 >>log || exit; done
            echo wake >over; wait $first || exit
            {shell} flocktest1 >>log & fifth=$!
            read word <began; echo wake >over; wait $fifth || exit
            sed -e \"s/$first/first/; s/$fifth/fifth/; s/rejected .*/rejected/\" log"
        ))
        .assert_all(0, expected, "");
    });
}

#[test]
fn background_subshells_run_one_after_the_other() {
    for_each_shell(|env, shell| {
        shell.install(env, "mythemail", include_str!("blog/mythemail.sh"));
        env.install_script("bin/mythtvosd", "#!/bin/sh\necho \"$#: $*\" >>log\n");
        // None of the three calls waits, only their subshells do.
        let log = env
            .sh(format!(
                "for i in 1 2 3; do FROM=sender$i SUBJ=\"it $i\" {} mythemail || exit; done
                read word <began; queued mythemail.LCK 2; echo nap >>log; echo wake >over
                read word <began; queued mythemail.LCK 1; echo nap >>log; echo wake >over
                read word <began; echo nap >>log; echo wake >over
                flock mythemail.LCK cat log",
                shell.0
            ))
            .assert_status(0)
            .assert_stderr("")
            .stdout_text();
        let lines: Vec<&str> = log.lines().collect();
        assert!(lines.chunks(2).all(|pair| pair[1] == "nap"), "{log}");
        // Their order is not defined.
        let mut shown: Vec<&str> = lines.into_iter().step_by(2).collect();
        shown.sort_unstable();
        let expected = [1, 2, 3].map(|i| {
            format!("2: --template=scroller --scroll_text=mail from sender{i}, regarding it {i}")
        });
        assert_eq!(shown, expected, "{log}");
    });
}

#[test]
fn guard_allows_one_instance_of_a_script() {
    for_each_shell(|env, shell| {
        let script = format!("{MYTHFRONTEND}echo playing; nap; :\n");
        shell.install(env, "mythfrontend", &script);
        let shell = shell.0;
        let refused = "Can't get file lock, mythfrontend already running";
        let expected = format!("playing\n{refused}\n1\n{refused}\n1\n0\nplaying\n0\n");
        env.sh(format!(
            "{shell} mythfrontend & first=$!
            read word <began
            {shell} mythfrontend; echo $?
            {shell} mythfrontend; echo $?
            echo wake >over; wait $first; echo $?
            {shell} mythfrontend & third=$!
            read word <began; echo wake >over; wait $third; echo $?"
        ))
        .assert_all(0, &expected, "");
    });
}

#[test]
fn subshell_holds_the_lock_until_it_exits() {
    let work = "flock -n lockfile true; echo inside $?";
    let script = include_str!("blog/subshell.sh");
    let script = replace(script, "# XXX: do interesting work here", work);
    let script = format!("{script}flock -n lockfile true; echo outside $?");
    for_each_shell(|env, shell| {
        env.shell(shell.0, &script)
            .assert_all(0, "inside 1\noutside 0\n", "");
    });
}

#[test]
fn descriptor_can_be_opened_and_closed_in_every_way() {
    for_each_shell(|env, shell| {
        for open in ["8>l", "8>>l", "8<l", "8<>l"] {
            let content = if open == "8>l" { "" } else { "kept\n" };
            for release in ["flock -u 8", "exec 8>&-", "exec 8<&-"] {
                let script = format!(
                    "echo kept >l; exec {open}; flock -x 8 || exit; flock -n l true; echo $?; \
                     {release}; flock -n l true; echo $?; cat l"
                );
                let outcome = shell.run(env, &shell.adapt(&script));
                outcome.assert_all(0, &format!("1\n0\n{content}"), "");
            }
        }
    });
}

#[test]
fn lock_lasts_until_the_script_exits() {
    for_each_shell(|env, shell| {
        let script = shell.adapt("exec 8>l; flock -x 8; flock -n l true; echo $?");
        fs::write(env.file("script"), script).expect("the script");
        let shell = shell.0;
        env.sh(format!("{shell} script; flock -n l true; echo $?"))
            .assert_all(0, "1\n0\n", "");
    });
}

#[test]
fn descriptor_number_can_be_a_variable_with_eval() {
    for_each_shell(|env, shell| {
        // A redirection must be evaluated to have a variable as its number.
        let pass = if shell.is_korn() { "$N>&$N" } else { "" };
        let script = format!(
            "N=9; LCK=l; eval \"exec $N>$LCK\"; eval \"flock -x $N {pass}\"; echo $?; \
             flock -n l true; echo $?; eval \"exec $N>&-\"; flock -n l true; echo $?"
        );
        shell.run(env, &script).assert_all(0, "0\n1\n0\n", "");
    });
}

#[test]
fn descriptor_chosen_by_the_shell_can_be_locked() {
    for_each_shell(|env, shell| {
        if !["bash", "zsh"].contains(&shell.0) {
            return;
        }
        let script = "exec {fd}>l; flock -x $fd; echo $? $(( fd > 9 )); flock -n l true; echo $?; \
                      exec {fd}>&-; flock -n l true; echo $?";
        shell.run(env, script).assert_all(0, "0 1\n1\n0\n", "");
    });
}

#[test]
fn lock_file_can_be_removed_afterwards() {
    if !is_installed(BASH.0) {
        return;
    }
    let env = TestEnv::new();
    // The script only asks lsof whether a process has the file open.
    let lsof = "#!/bin/sh\nfor f in /proc/[0-9]*/fd/*; do [ $f -ef $1 ] && exit; done; exit 1\n";
    env.install_script("bin/lsof", lsof);
    let work = "flock -n l true; echo inside $?";
    let script = replace(include_str!("blog/cleanup.sh"), "[[critical code]]", work);
    let script = format!("LOCK_FILE=l lock_file=l\n{script}flock -n l true; echo outside $?");
    for (script, result) in [
        (script.clone(), "removed lock file"),
        (
            format!("exec 7>l; {script}"),
            "lock file still in use, not deleting",
        ),
    ] {
        let expected = format!("inside 1\nremoved lock here\n{result}\noutside 0\n");
        BASH.run(&env, &script).assert_all(0, &expected, "");
    }
}

#[test]
fn script_can_lock_itself() {
    for_each_shell(|env, shell| {
        let script = format!("{ITSELF}echo \"in $# $*\"; nap; :\n");
        // It executes itself, so its first line has to name the shell.
        let (program, args) = shell.program_and_args();
        let script = script.replace("/bin/sh", &format!("$(command -v {program}) {args}"));
        shell.install(env, "printed", &script);
        env.sh(
            "{ eval \"echo \\\"$(head -n 1 printed)\\\"\"; tail -n +2 printed; } >itself
            chmod +x itself
            ./itself a 'b c' & first=$!
            read word <began
            ./itself; echo $?
            echo wake >over; wait $first; echo $?
            ./itself & third=$!
            read word <began; echo wake >over; wait $third; echo $?",
        )
        .assert_all(0, "in 2 a b c\n1\n0\nin 0 \n0\n", "");
    });
}

#[test]
fn descriptor_can_be_passed_explicitly() {
    for_each_shell(|env, shell| {
        let script = "exec 8>l; flock 8 8>&8; echo $?; flock -n l true; echo $?; \
                      exec 8>&-; flock -n l true; echo $?";
        shell.run(env, script).assert_all(0, "0\n1\n0\n", "");
    });
}

#[test]
fn korn_shell_user_gets_a_hint_about_the_descriptor() {
    for_each_shell(|env, shell| {
        if !shell.is_korn() {
            return;
        }
        let outcome = shell
            .run(env, "exec 8>l; flock 8; echo $?")
            .assert_stdout("65\n");
        let message = "flock: 8: Bad file descriptor";
        assert!(outcome.stderr_text().starts_with(message), "{outcome:?}");
        for (call, hint) in [
            ("8", "flock 8 8>&8"),
            ("-n 8", "8 8>&8"),
            ("-x -w 1 8", "8 8>&8"),
        ] {
            differs_from_util_linux("its message does not explain the failure", |env| {
                let stderr = shell
                    .run(env, &format!("exec 8>l; flock {call}; echo $?"))
                    .assert_stdout("65\n")
                    .stderr_text();
                assert!(stderr.starts_with(message), "{stderr}");
                assert!(stderr.contains(hint), "{stderr}");
                assert_eq!(stderr.lines().count(), 1, "{stderr}");
            });
        }
    });
}

#[test]
fn no_hint_about_a_descriptor_that_is_not_open() {
    for_each_shell(|env, shell| {
        let outcome = shell.run(env, "exec 8>&-; flock 8; echo $?");
        outcome.assert_all(0, "65\n", "flock: 8: Bad file descriptor\n");
    });
}
