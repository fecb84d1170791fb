//! Random scripts: commands that are delegated to the program do the same as without the builtin.
//!
//! `FDLOCK_STORM` and `FDLOCK_STORM_SEED` work as in the stress tests.

use fastrand::Rng;
use test_support::builtin::for_each_bash;
use test_support::stress::StressSettings;

/// Generates scripts with calls in all places where bash forks, and where it does not.
struct ScriptGenerator {
    rng: Rng,
    /// The number that replaces `N`.
    next: u64,
}

impl ScriptGenerator {
    fn choose(&mut self, from: &[&str]) -> String {
        let choice = self.rng.usize(..from.len());
        self.next += 1;
        from[choice].replace('N', &self.next.to_string())
    }

    /// Generates a call, with a lock file of its own.
    fn call(&mut self) -> String {
        let prefixes = ["", "", "", "command ", "PREFIX", "A=N ", "A='x y' "];
        let prefix = self.choose(&prefixes);
        let options = self.choose(&["", "", "-n ", "-w 5 "]);
        let command = self.choose(&[
            "echo N",
            "sh -c 'echo N; exit 3'",
            "sh -c 'echo $A'",
            "cat",
            "false",
            "no-such-N",
        ]);
        // A side effect of a redirection must happen once.
        let redirection = self.choose(&[
            "",
            "",
            " >>out",
            " 2>&1",
            " <<<\"$(echo >>ticks; echo N)\"",
            " </dev/null",
        ]);
        let input = if command == "cat" && !redirection.contains('<') {
            " </dev/null"
        } else {
            ""
        };
        let file = self.choose(&["lN"]);
        format!("{prefix}flock {options}{file} {command}{redirection}{input}")
    }

    fn list(&mut self, depth: u32) -> String {
        let mut list = self.statement(depth);
        for _ in 0..self.rng.u64(..3) {
            let more = self.statement(depth);
            let status = self.choose(&["", "; echo status $?"]);
            list = format!("{list}{status}; {more}");
        }
        list
    }

    fn statement(&mut self, depth: u32) -> String {
        if depth == 0 || self.rng.u64(..4) == 0 {
            return self.call();
        }
        let form = self.choose(&[
            "( LIST )",
            "{ LIST; }",
            "CALL && CALL",
            "CALL || CALL",
            "! CALL",
            "CALL | cat",
            "{ LIST; } | { cat; LIST; }",
            "x=$(LIST); echo \"$x\"",
            "( CALL ); for w in $(LIST); do echo $w; done",
            "fN() { x=$(LIST); echo $x; }; fN & wait $!; echo waited $?",
            "fN() { LIST; }; fN",
            "fN() { LIST; }; fN & wait $!; echo waited $?",
            "eval 'EVAL'",
            "trap 'EVAL' USR1; kill -USR1 $BASHPID; :",
            "for i in 1 2; do LIST; done",
            "if CALL; then LIST; else echo no; fi",
            "while CALL; do LIST; break; done",
            "CALL & wait $!; echo waited $?",
            "( LIST ) & wait $!; echo waited $?",
            "{ LIST; } & wait $!; echo waited $?",
        ]);
        let mut text = form;
        while let Some(place) = text.find("LIST") {
            let list = self.list(depth - 1);
            text.replace_range(place..place + 4, &list);
        }
        while let Some(place) = text.find("CALL") {
            let call = self.call();
            text.replace_range(place..place + 4, &call);
        }
        if text.contains("EVAL") {
            let list = self.list(depth - 1).replace('\'', "'\\''");
            text = text.replace("EVAL", &list);
        }
        text
    }
}

#[test]
fn random_scripts_work_as_without_the_builtin() {
    let StressSettings { size, seed } = StressSettings::from_env();
    for_each_bash(|env| {
        for round in 0..12 * size {
            let mut generator = ScriptGenerator {
                rng: Rng::with_seed(seed ^ (round << 40)),
                next: 0,
            };
            let mode = generator.choose(&[
                "",
                "",
                "set -e",
                "set -o pipefail",
                "set -m",
                "shopt -s lastpipe",
                "trap 'echo bye' EXIT",
                "trap 'echo failed' ERR",
                "set -o posix",
                "set +h",
            ]);
            let script = format!(
                "{mode}\n{}\n{}\necho end",
                generator.list(3),
                generator.list(3)
            );
            // Up to 5.0, `command` in the background then returns 1, whatever the program returns.
            let script = match &mode[..] {
                "set -e" => script.replace("command ", ""),
                _ => script,
            };
            let invocation = generator.choose(&[
                "./script",
                "-c \"$(cat script)\"",
                "-c '. ./script'",
                "-c 'eval \"$(cat script)\"'",
            ]);
            let run = |first: &str, prefix: &str| {
                let script = format!("{first}\n{}\n", script.replace("PREFIX", prefix));
                std::fs::write(env.file("script"), script).expect("a script");
                let outcome = env.run_with_builtin(format!(
                    "rm -f out ticks; PATH=$PWD/bin/bin:$PATH bash {invocation} </dev/null
                     echo $?; sort out 2>/dev/null; wc -l 2>/dev/null <ticks"
                ));
                outcome.stdout_text()
            };
            let (with, without) = (run(":", "builtin "), run("enable -d flock", ""));
            assert_eq!(with, without, "seed {seed}: {invocation}: {script}");
        }
    });
}
