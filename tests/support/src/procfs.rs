//! The state of processes, from `/proc`.

use std::path::Path;

/// The name of every sentinel process.
const SENTINEL_NAME: &str = "flock-queue";

/// Returns the children of a process, zombies included.
pub fn children_of(pid: i32) -> Vec<i32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let list = list.unwrap_or_default();
    let pids = list.split_whitespace();
    pids.map(|pid| pid.parse().expect("a pid")).collect()
}

/// Returns the processes whose working directory is this directory or below it. Zombies have none.
pub fn processes_in(dir: &Path) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").expect("/proc can be read");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_inside = |pid: &i32| {
        let cwd = std::fs::read_link(format!("/proc/{pid}/cwd"));
        cwd.is_ok_and(|cwd| cwd.starts_with(dir))
    };
    pids.filter(is_inside).collect()
}

/// Returns the arguments of a process, separated by blanks, or nothing if it does not exist.
pub fn command_line(pid: i32) -> String {
    let args = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&args).replace('\0', " ")
}

/// Returns the parent of a process, or 0 if the process does not exist.
pub fn parent_of(pid: i32) -> i32 {
    status_field(pid, "PPid").parse().unwrap_or(0)
}

/// Returns how much CPU time the process has used, in nanoseconds, or 0 if it does not exist.
pub fn cpu_time_ns(pid: i32) -> u64 {
    let schedstat = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    let first = schedstat.split_whitespace().next();
    first.map_or(0, |time| time.parse().expect("a number"))
}

/// Returns how often the process has gone to sleep, or 0 if it does not exist. The number grows
/// while a process polls.
pub fn voluntary_switches(pid: i32) -> u64 {
    let switches = status_field(pid, "voluntary_ctxt_switches");
    switches.parse().unwrap_or(0)
}

/// Returns a field of /proc/PID/status, empty if the process does not exist.
pub fn status_field(pid: i32, name: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/status"))
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Whether the process has a pidfd of another one, to wait for its exit.
pub fn has_pidfd_of(pid: i32, other: i32) -> bool {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fdinfo"));
    let is_pidfd = |info: String| {
        let mut lines = info.lines();
        lines.any(|line| line.strip_prefix("Pid:\t") == Some(&other.to_string()))
    };
    let mut infos = entries.into_iter().flatten().flatten();
    infos.any(|entry| std::fs::read_to_string(entry.path()).is_ok_and(is_pidfd))
}

/// Whether the process is stopped by a signal.
pub fn is_stopped(pid: i32) -> bool {
    status_field(pid, "State").starts_with('T')
}

/// Whether the process is blocked in a system call.
pub fn is_asleep(pid: i32) -> bool {
    status_field(pid, "State").starts_with('S')
}

/// Whether the process exists and is not a zombie.
pub fn is_running(pid: i32) -> bool {
    let state = status_field(pid, "State");
    !state.is_empty() && !state.starts_with('Z')
}

/// Whether the process is a sentinel, and not another process that has been given its pid since.
pub fn is_sentinel(pid: i32) -> bool {
    is_running(pid) && status_field(pid, "Name") == SENTINEL_NAME
}
