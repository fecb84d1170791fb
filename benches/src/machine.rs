//! Where and with what the numbers were made.

use crate::contenders::{self, Contenders};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::time::SystemTime;

/// One line: the day, the versions, the processor, the kernel. Nothing that tells whose machine it was.
pub fn describe(contenders: &Contenders) -> Result<String> {
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let day = now.split('T').next().unwrap_or(&now);
    let kernel = rustix::system::uname();
    let mut parts = vec![day.to_owned()];
    for (_, mut flock) in contenders.both(&["--version".as_ref()]) {
        let output = flock.output().context("cannot ask for a version")?;
        let version = String::from_utf8_lossy(&output.stdout);
        parts.extend(version.lines().next().map(str::to_owned));
    }
    if contenders.builtin().is_some() {
        parts.extend(version_of("bash", "echo bash $BASH_VERSION"));
        parts.extend(version_of("zsh", "echo zsh $ZSH_VERSION"));
    }
    parts.push(processor(
        &fs::read_to_string("/proc/cpuinfo").unwrap_or_default(),
    ));
    parts.push(format!(
        "Linux {} {}",
        kernel.release().to_string_lossy(),
        kernel.machine().to_string_lossy()
    ));
    Ok(parts.join("; "))
}

fn version_of(shell: &str, line: &str) -> Option<String> {
    let arguments = ["-c".as_ref(), line.as_ref()];
    let output = contenders::command(Path::new(shell), &arguments).output();
    let version = String::from_utf8(output.ok()?.stdout).ok()?;
    Some(version.trim_end().to_owned())
}

fn processor(cpuinfo: &str) -> String {
    let model = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))
        .and_then(|line| line.split_once(": "));
    model
        .map_or("processor unknown", |(_, name)| name)
        .to_owned()
}
