//! The results as Markdown.

use crate::measurement::{Measurement, Target, times};
use crate::stats::Spread;

pub fn render(measurements: &[Measurement], machine: &str) -> String {
    format!(
        "# Results\n\n{machine}\n\n## Targets\n\n{}\n## Everything\n\n{}\n\
         What each line is and how it was measured: [README](../README.md).\n",
        targets(measurements),
        everything(measurements)
    )
}

fn targets(measurements: &[Measurement]) -> String {
    let mut table = String::from("| | target | measured | |\n|---|--:|--:|---|\n");
    for measurement in measurements {
        let Some(target) = measurement.target else {
            continue;
        };
        let measured = target.of(measurement);
        let verdict = if measured <= target.most() {
            "met"
        } else {
            "not met"
        };
        let show = |amount| match target {
            Target::Ratio(_) => format!("{amount:.2} × {}", measurement.first().name()),
            Target::Amount(_) => measurement.unit.show(amount),
        };
        let (title, command, most, measured) = (
            measurement.title,
            measurement.command,
            show(target.most()),
            show(measured),
        );
        table += &format!("| {title}: `{command}` | ≤ {most} | {measured} | {verdict} |\n");
    }
    table
}

fn everything(measurements: &[Measurement]) -> String {
    let mut table = String::from(
        "| | | samples | median | p10 – p90 | ÷ the first | p10 – p90 |\n|---|---|--:|--:|--:|--:|--:|\n",
    );
    for measurement in measurements {
        let mut heading = format!("{}: `{}`", measurement.title, measurement.command);
        for who in measurement.everybody() {
            let (unit, amount) = (measurement.unit, measurement.spread(who));
            let (ratio, ratio_around) = if who == measurement.first() {
                ("1".to_owned(), String::new())
            } else {
                let ratio = measurement.ratio(who);
                let show = times;
                (show(ratio.median), around(ratio, show))
            };
            table += &format!(
                "| {heading} | {} | {} | {} | {} | {ratio} | {ratio_around} |\n",
                who.name(),
                measurement.samples(who).len(),
                unit.show(amount.median),
                around(amount, |amount| unit.number(amount)),
            );
            heading.clear();
        }
    }
    table
}

/// Nothing where all samples are the same.
fn around(spread: Spread, show: impl Fn(f64) -> String) -> String {
    if spread.p10 == spread.p90 {
        String::new()
    } else {
        format!("{} – {}", show(spread.p10), show(spread.p90))
    }
}
