//! The list of all holders and waiters of a lock, from `flock --who --json`.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::reply::send;
use super::{guard, programs};
use crate::ssh::target::Target;

/// A process that holds the lock or waits for it. What is unknown is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    is_holder: bool,
    mode: String,
    since: Option<u64>,
    /// Host, PID, user and command.
    process: [String; 4],
}

/// Lists the processes.
pub(super) fn run(target: &Target) -> io::Result<()> {
    // Only a lock creates the file.
    let path = OsStr::from_bytes(&target.path);
    if std::fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        send("end");
        return Ok(());
    }
    match list(&target.path)? {
        Ok(entries) => {
            for entry in entries {
                send(&format!("entry {}", entry.fields()));
            }
            send("end");
        }
        Err(text) => send(&format!("error 65 {text}")),
    }
    Ok(())
}

/// Describes a holder of the lock: `process 42 of ann on web1 (report.sh)`.
pub(super) fn describe_holder(path: &[u8]) -> Option<String> {
    let entries = list(path).ok()?.ok()?;
    let holder = entries.into_iter().find(|entry| entry.is_holder)?;
    let [host, pid, user, command] = holder.process;
    Some(format!("process {pid} of {user} on {host} ({command})"))
}

/// Asks `flock` for the processes. The inner error is its message.
fn list(path: &[u8]) -> io::Result<Result<Vec<Entry>, String>> {
    let (_, flock) = programs::paths()?;
    let mut command = Command::new(flock);
    command
        .args(["--who", "--json"])
        .arg(OsStr::from_bytes(path));
    let output = command.stdin(Stdio::null()).output()?;
    let Ok(list) = serde_json::from_slice::<Vec<Value>>(&output.stdout) else {
        let text = String::from_utf8_lossy(&output.stderr);
        let text = text
            .lines()
            .next_back()
            .unwrap_or("flock --who fails there");
        let text = text.strip_prefix("flock: ").unwrap_or(text);
        return Ok(Err(text.to_owned()));
    };
    let host = rustix::system::uname();
    Ok(Ok(entries(&list, &host.nodename().to_string_lossy())))
}

/// Interprets the list. A guard stands for the process for which it holds the lock, and the holder
/// beside it is not another one.
fn entries(list: &[Value], host: &str) -> Vec<Entry> {
    let is_guard = |entry: &&Value| guard::client(&args_of(entry)).is_some();
    let mut guards = list.iter().filter(is_guard);
    let has_guard = guards.any(|entry| entry["role"] == "holder");
    let mut entries = Vec::new();
    for entry in list {
        // Locks of other kinds do not concern this one.
        let mode = match (entry["kind"].as_str(), entry["mode"].as_str()) {
            (Some("FLOCK"), Some(mode @ ("exclusive" | "shared"))) => mode,
            (Some("SLOT"), _) => "slot",
            _ => continue,
        };
        let args = args_of(entry);
        if has_guard && guard::is_holder(&args) {
            continue;
        }
        let process = guard::client(&args).unwrap_or_else(|| {
            let pid = entry["pid"].as_u64().map(|pid| pid.to_string());
            let user = entry["user"].as_str().unwrap_or_default();
            let pid = pid.unwrap_or_default();
            [host.to_owned(), pid, user.to_owned(), args.join(" ")]
        });
        entries.push(Entry {
            is_holder: entry["role"] == "holder",
            mode: mode.to_owned(),
            since: entry["since"].as_u64(),
            process,
        });
    }
    entries
}

impl Entry {
    /// Returns the fields of the line that lists the process. Its token is not known.
    fn fields(&self) -> String {
        let role = if self.is_holder { "holder" } else { "waiter" };
        let since = self.since.map(|since| since.to_string());
        let since = since.unwrap_or_else(|| "-".to_owned());
        let text = |text: &String| match text.is_empty() {
            true => "-".to_owned(),
            false => text.clone(),
        };
        let [host, pid, user, command] = &self.process;
        let word = |word| text(word).replace(char::is_whitespace, "?");
        let (host, pid, user, command) = (word(host), word(pid), word(user), text(command));
        let mode = &self.mode;
        format!("{role} {mode} - {since} {pid} {host} {user} {command}")
    }
}

fn args_of(entry: &Value) -> Vec<String> {
    let args = entry["command"].as_array().map(Vec::as_slice);
    let args = args.unwrap_or_default().iter();
    args.map(|arg| arg.as_str().unwrap_or_default().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(list: &[Value]) -> Vec<String> {
        let entries = entries(list, "db1");
        entries.iter().map(Entry::fields).collect()
    }

    #[test]
    fn guards_stand_for_their_clients() {
        let row = |role: &str, kind: &str, pid: u32, command: &[&str]| {
            json!({"role": role, "kind": kind, "mode": "exclusive", "pid": pid, "user": "locks",
                   "since": 100, "command": command})
        };
        let guard = [
            "/p/flock-ssh",
            "guard",
            "30000",
            "web1",
            "42",
            "ann",
            "sync -a",
        ];
        let waiting = [&["/p/bin/flock", "-F", "/x"][..], &guard].concat();
        let list = [
            row("holder", "FLOCK", 7, &["/p/flock-ssh", "serve"]),
            row("holder", "FLOCK", 8, &guard),
            row("waiter", "FLOCK", 9, &waiting),
            row("waiter", "FLOCK", 10, &["flock", "/x", "make"]),
            row("holder", "POSIX", 11, &["other"]),
        ];
        let expected = [
            "holder exclusive - 100 42 web1 ann sync -a",
            "waiter exclusive - 100 42 web1 ann sync -a",
            "waiter exclusive - 100 10 db1 locks flock /x make",
        ];
        assert_eq!(lines(&list), expected);
    }

    #[test]
    fn slots_and_unknown_processes_are_listed() {
        let slot = json!({"role": "holder", "kind": "SLOT", "mode": null, "pid": 3,
                          "user": null, "since": null, "command": null});
        assert_eq!(lines(&[slot]), ["holder slot - - 3 db1 - -"]);
    }

    #[test]
    fn holder_without_a_guard_is_listed() {
        let holder = json!({"role": "holder", "kind": "FLOCK", "mode": "shared", "pid": 3,
                            "user": "u", "since": 1, "command": ["/p/flock-ssh", "serve"]});
        let expected = ["holder shared - 1 3 db1 u /p/flock-ssh serve"];
        assert_eq!(lines(&[holder]), expected);
    }
}
