//! The results as Markdown.

use crate::contenders::{Programs, command};
use crate::measurement::{Measurement, Percentiles, Target, format_ratio};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

pub fn render(measurements: &[Measurement], environment: &str) -> String {
    format!(
        "# Results\n\n{environment}\n\n## Targets\n\n{}\n## Everything\n\n{}\n\
         [README](../README.md) explains the rows and the method.\n",
        targets(measurements),
        all_figures(measurements)
    )
}

/// Returns one line with the date, the versions, the processor and the kernel. It does not identify
/// the machine.
pub fn environment(programs: &Programs) -> Result<String> {
    let kernel = rustix::system::uname();
    let mut parts = Vec::from_iter(shell_output("sh", "date -u +%F"));
    let args = ["--version".as_ref()];
    for (_, mut flock) in [programs.reference(&args), programs.fdlock(&args)] {
        let output = flock.output().context("cannot run flock --version")?;
        let version = String::from_utf8_lossy(&output.stdout);
        parts.extend(version.lines().next().map(str::to_owned));
    }
    if programs.builtin.is_some() {
        parts.extend(shell_output("bash", "echo bash $BASH_VERSION"));
        parts.extend(shell_output("zsh", "echo zsh $ZSH_VERSION"));
    }
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu_model(&cpuinfo).unwrap_or("unknown processor");
    let [release, machine] =
        [kernel.release(), kernel.machine()].map(|text| text.to_string_lossy());
    parts.push(format!("{cpu}; Linux {release} {machine}"));
    Ok(parts.join("; "))
}

/// Returns `None` if the shell is not installed.
fn shell_output(shell: &str, line: &str) -> Option<String> {
    let args = ["-c".as_ref(), line.as_ref()];
    let output = command(Path::new(shell), &args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim_end().to_owned())
}

fn cpu_model(cpuinfo: &str) -> Option<&str> {
    let mut lines = cpuinfo.lines();
    let line = lines.find(|line| line.starts_with("model name"))?;
    Some(line.split_once(": ")?.1)
}

fn targets(measurements: &[Measurement]) -> String {
    let mut table = String::from("| | target | measured | |\n|---|--:|--:|---|\n");
    for measurement in measurements {
        let is_measured = |target: &Target| {
            let mut contenders = measurement.contenders();
            contenders.any(|contender| contender == target.divisor(measurement))
        };
        let Some(target) = measurement.target.filter(is_measured) else {
            continue;
        };
        let measured = target.measured(measurement);
        let is_met = measured <= target.limit();
        let verdict = if is_met { "met" } else { "not met" };
        let format = |amount| match target {
            Target::Ratio(_) | Target::RatioToFloor(_) => {
                format!("{amount:.2} × {}", target.divisor(measurement).name())
            }
            Target::Amount(_) => measurement.unit.format(amount),
        };
        table += &format!(
            "| {}: `{}` | ≤ {} | {} | {verdict} |\n",
            measurement.title,
            measurement.command,
            format(target.limit()),
            format(measured),
        );
    }
    table
}

fn all_figures(measurements: &[Measurement]) -> String {
    let mut table = String::from(
        "| | | samples | median | p10 – p90 | ratio to the first | p10 – p90 |\n\
         |---|---|--:|--:|--:|--:|--:|\n",
    );
    for measurement in measurements {
        let mut heading = format!("{}: `{}`", measurement.title, measurement.command);
        for contender in measurement.contenders() {
            let (unit, amount) = (measurement.unit, measurement.percentiles(contender));
            let (ratio, ratio_range) = if contender == measurement.baseline() {
                ("1".to_owned(), String::new())
            } else {
                let ratio = measurement.ratio(contender);
                (format_ratio(ratio.median), range(ratio, format_ratio))
            };
            table += &format!(
                "| {heading} | {} | {} | {} | {} | {ratio} | {ratio_range} |\n",
                contender.name(),
                measurement.samples(contender).len(),
                unit.format(amount.median),
                range(amount, |amount| unit.format_number(amount)),
            );
            heading.clear();
        }
    }
    table
}

/// Returns an empty string if all samples are the same.
fn range(percentiles: Percentiles, format: impl Fn(f64) -> String) -> String {
    if percentiles.p10 == percentiles.p90 {
        String::new()
    } else {
        format!("{} – {}", format(percentiles.p10), format(percentiles.p90))
    }
}
