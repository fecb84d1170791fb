//! How long it takes to drain the more waiters the longer, as a picture.

use crate::charts::{FAINT, INK, bold, colour, font, write};
use crate::drain::COUNTS;
use crate::measurement::{Measurement, Who};
use anyhow::Result;
use plotters::prelude::*;
use std::iter::once;
use std::path::Path;

const SIZE: (u32, u32) = (720, 420);
/// The height of a name.
const NAME: i32 = 18;

/// Waiters and milliseconds.
struct Line {
    who: Who,
    points: Vec<(f64, f64)>,
}

/// One measurement for each of [`COUNTS`].
pub fn draw(drains: &[Measurement], to: &Path) -> Result<()> {
    let root = SVGBackend::new(to, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let heading = "From the release of the lock until the last waiter has ended";
    write(&root, heading, (24, 26), &bold(20))?;
    let mut lines: Vec<Line> = drains[0].everybody().map(|who| line(who, drains)).collect();
    lines.sort_by(|one, other| end(other).1.total_cmp(&end(one).1));
    let most = end(&lines[0]);

    let mut chart = ChartBuilder::on(&root)
        .margin_top(52)
        .margin_right(130)
        .margin_bottom(12)
        .x_label_area_size(40)
        .y_label_area_size(72)
        .build_cartesian_2d(0.0..most.0, 0.0..most.1 * 1.05)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT.mix(0.2))
        .axis_style(FAINT)
        .label_style(font(15, INK))
        .x_label_formatter(&|count| format!("{count:.0}"))
        .y_label_formatter(&|amount| format!("{amount:.0}"))
        .x_desc("waiters")
        .y_desc("ms")
        .draw()?;
    let mut lowest = 0;
    for line in &lines {
        let style = colour(line.who).stroke_width(3);
        chart.draw_series(once(PathElement::new(line.points.clone(), style)))?;
        let (right, height) = chart.backend_coord(&end(line));
        // The names stay apart, however near to each other the lines end.
        lowest = height.max(lowest + NAME);
        write(&root, line.who.name(), (right + 8, lowest), &font(16, INK))?;
    }
    Ok(root.present()?)
}

fn line(who: Who, drains: &[Measurement]) -> Line {
    let medians = drains.iter().map(|drain| drain.spread(who).median);
    let counts = COUNTS.map(|count| count as f64);
    Line {
        who,
        points: counts.into_iter().zip(medians).collect(),
    }
}

fn end(line: &Line) -> (f64, f64) {
    line.points[line.points.len() - 1]
}
