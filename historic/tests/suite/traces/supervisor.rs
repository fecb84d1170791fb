//! The supervisor of `loto`, and `loto` itself, while one of the processes is killed.

use models::supervisor::{Mutant, SUPERVISOR, Supervisor, TOOL};
use rstest::rstest;
use test_support::TestEnv;
use test_support::system_calls::{Call, SystemCall, assert_explained};

use crate::env;

/// The PIDs of the processes, as strings.
struct Pids {
    tool: String,
    supervisor: String,
}

/// Names the calls of `loto` after it has the lock, or of its supervisor. A list of the children
/// stands for killing those in it: first the command, if it still runs, then what it has left behind.
fn calls_of(recorded: &[SystemCall], pids: &Pids) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    for call in recorded {
        let has = |text: &str| call.args.contains(text);
        let last = calls.last().map(|(name, _)| *name);
        calls.push(match &*call.name {
            "clone" | "fork" if call.result == pids.supervisor => ("fork", ""),
            "clone" | "fork" => ("clone", ""),
            "prctl" if has("PR_SET_PDEATHSIG") => ("prctl(PR_SET_PDEATHSIG)", ""),
            "getppid" if last == Some("prctl(PR_SET_PDEATHSIG)") => (
                "getppid",
                if call.result == pids.tool {
                    "same"
                } else {
                    "other"
                },
            ),
            "getppid" if last == Some("clone") && call.result != pids.tool => ("SIGCONT", ""),
            "waitid"
                if has("P_PID") && !has("WNOWAIT") && matches!(last, Some("fork" | "clone")) =>
            {
                ("waitid", "")
            }
            // Where the kernel has no lists of children, all processes are looked at.
            "open" | "openat" if has("/children\"") || has("\"/proc\"") => match last {
                Some("waitid" | "SIGCONT") => ("kill command", ""),
                Some("kill command") => ("kill children", ""),
                _ => continue,
            },
            "exit_group" => ("exit", ""),
            _ => continue,
        });
    }
    calls
}

#[rstest]
#[case::none("exit 3", &[3, 5])]
#[case::command("kill -9 $$", &[3, 5])]
#[case::supervisor("kill -9 $PPID; sleep 60", &[5, 3])]
#[case::tool("read -r p c s tool r </proc/$PPID/stat; kill -9 $tool; sleep 60", &[1, 7])]
fn supervision_is_a_path_of_the_model(
    env: TestEnv,
    #[case] script: &str,
    #[case] counts: &[usize; 2],
) {
    let args = ["-L", "k", "--", "sh", "-c", script];
    let Some(command) = env.with_recording_of_all("loto", args) else {
        return;
    };
    env.run_command(command);
    let recorded = env.recorded_processes();
    let find = |name: &str, arg: &str| {
        let has_call = |calls: &&Vec<SystemCall>| {
            let mut calls = calls.iter();
            calls.any(|call| call.name == name && call.args.contains(arg))
        };
        let mut found = recorded.iter().filter(|(_, calls)| has_call(calls));
        found.next().expect("a process that makes this call")
    };
    let (tool, calls_of_tool) = find("execve", "\"-L\", \"k\"");
    let (supervisor, calls_of_supervisor) = find("prctl", "\"lock-keeper\"");
    let pids = Pids {
        tool: tool.to_string(),
        supervisor: supervisor.to_string(),
    };
    let model = Supervisor {
        kills: 1,
        mutant: Mutant::Correct,
    };
    for (process, recorded, count) in [
        (TOOL, calls_of_tool, counts[0]),
        (SUPERVISOR, calls_of_supervisor, counts[1]),
    ] {
        let calls = calls_of(recorded, &pids);
        assert_eq!(calls.len(), count, "{calls:?}");
        assert_explained(&calls, |calls| model.explain(process, calls));
    }
}
