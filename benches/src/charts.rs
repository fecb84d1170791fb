//! The results as pictures.

use crate::contenders::Contender;
use crate::measurement::{Measurement, format_ratio};
use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::iter::once;
use std::path::Path;

const WIDTH: u32 = 960;
const HEADER_HEIGHT: u32 = 76;
const PANEL_HEIGHT: u32 = 176;
const MARGIN: i32 = 24;
/// The top left corner of the first bar of a panel.
const BARS: (i32, i32) = (MARGIN + 80, 50);
/// The width of the numbers to the right of the bars.
const NUMBERS_WIDTH: i32 = 128;
/// The distance from one bar to the next.
const BAR_PITCH: i32 = 28;
const BAR_THICKNESS: i32 = 20;

/// A bar this many times as long as fdlock's is cut off, because it would make the others
/// invisible.
const OUT_OF_SCALE: f64 = 50.0;

/// The distance from one call to the next in the breakdown.
const BREAKDOWN_PITCH: usize = 56;

const LINE_CHART_SIZE: (u32, u32) = (720, 420);
const LABEL_HEIGHT: i32 = 18;

const INK: RGBColor = RGBColor(31, 35, 40);
const FAINT: RGBColor = RGBColor(89, 99, 110);
const RED: RGBColor = RGBColor(207, 34, 46);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws a panel for each measurement, with a scale of its own that starts at zero.
///
/// The background is white, so that the picture is readable on a dark page too.
pub fn draw_bars(measurements: &[Measurement], heading: &str, path: &Path) -> Result<()> {
    let rows = measurements.len().div_ceil(2);
    let height = HEADER_HEIGHT + PANEL_HEIGHT * rows as u32;
    let root = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let (header, panels) = root.split_vertically(HEADER_HEIGHT);
    draw_text(&header, heading, (MARGIN, 26), &bold(22))?;
    let legend =
        "less is better · bar: median · line: p10 to p90 · ×: ratio to the first bar · red: target";
    draw_text(&header, legend, (MARGIN, 50), &font(16, FAINT))?;
    for (panel, measurement) in panels.split_evenly((rows, 2)).iter().zip(measurements) {
        draw_panel(panel, measurement)?;
    }
    Ok(root.present()?)
}

fn draw_panel(panel: &Area, measurement: &Measurement) -> Result<()> {
    draw_text(panel, &measurement.title, (MARGIN, 14), &bold(17))?;
    let monospace = ("monospace", 15).into_font().color(&FAINT);
    draw_text(panel, measurement.command, (MARGIN, 34), &monospace)?;

    let (left, mut top) = BARS;
    let right = panel.dim_in_pixel().0 as i32 - NUMBERS_WIDTH;
    let subject = measurement.target_contender();
    let subject_median = measurement.percentiles(subject).median;
    let longest = measurement
        .contenders()
        .map(|contender| measurement.percentiles(contender).p90)
        .filter(|amount| *amount < subject_median * OUT_OF_SCALE)
        .chain(measurement.target.map(|target| target.amount(measurement)))
        .fold(subject_median, f64::max);
    // At least one pixel: the floor may be almost zero.
    let x = |amount: f64| {
        let fraction = (amount / longest).min(1.0);
        left + ((fraction * f64::from(right - left)) as i32).max(1)
    };

    for contender in measurement.contenders() {
        let percentiles = measurement.percentiles(contender);
        let (middle, bottom) = (top + BAR_THICKNESS / 2, top + BAR_THICKNESS);
        draw_text(panel, contender.name(), (MARGIN, middle), &font(16, INK))?;
        let bar = [(left, top), (x(percentiles.median), bottom)];
        panel.draw(&Rectangle::new(bar, colour(contender).filled()))?;
        if percentiles.median > longest {
            // A gap shows that the bar is cut off.
            let gap = [(right - 24, bottom + 2), (right - 16, top - 2)];
            panel.draw(&PathElement::new(gap, WHITE.stroke_width(5)))?;
        } else {
            let range = [(x(percentiles.p10), middle), (x(percentiles.p90), middle)];
            panel.draw(&PathElement::new(range, INK.stroke_width(1)))?;
        }
        if let Some(target) = measurement.target
            && contender == subject
        {
            let x = x(target.amount(measurement));
            let mark = [(x, top - 3), (x, bottom + 3)];
            panel.draw(&PathElement::new(mark, RED.stroke_width(2)))?;
        }
        let mut numbers = measurement.unit.format(percentiles.median);
        if contender != measurement.baseline() {
            let ratio = measurement.ratio(contender).median;
            numbers += &format!(" · ×{}", format_ratio(ratio));
        }
        draw_text(panel, &numbers, (right + 8, middle), &font(16, INK))?;
        top += BAR_PITCH;
    }
    Ok(())
}

/// Draws where the time of each call goes: to the floor, to the start of the C library, and to
/// fdlock. The start of the C library is that of the first measurement in all of them.
pub fn draw_breakdown(calls: &[Measurement], path: &Path) -> Result<()> {
    let median = |call: &Measurement, contender| call.percentiles(contender).median;
    let parts = |call: &Measurement| {
        let (floor, total) = (
            median(call, Contender::Floor),
            median(call, Contender::Fdlock),
        );
        let start = median(&calls[0], Contender::CLibrary) - median(&calls[0], Contender::Floor);
        let start = start.clamp(0.0, (total - floor).max(0.0));
        [
            (Contender::Floor, "least possible", floor),
            (Contender::CLibrary, "C library", start),
            (
                Contender::Fdlock,
                "fdlock",
                (total - floor - start).max(0.0),
            ),
        ]
    };
    let height = HEADER_HEIGHT + BREAKDOWN_PITCH as u32 * calls.len() as u32;
    let root = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    draw_text(
        &root,
        "Where the time of a call goes",
        (MARGIN, 26),
        &bold(22),
    )?;
    let mut x = MARGIN;
    for (contender, name, _) in parts(&calls[0]) {
        let square = [(x, 44), (x + 12, 56)];
        root.draw(&Rectangle::new(square, colour(contender).filled()))?;
        draw_text(&root, name, (x + 18, 50), &font(16, FAINT))?;
        x += 150;
    }
    let right = WIDTH as i32 - NUMBERS_WIDTH;
    for (call, top) in calls
        .iter()
        .zip((HEADER_HEIGHT as i32..).step_by(BREAKDOWN_PITCH))
    {
        let monospace = ("monospace", 15).into_font().color(&FAINT);
        draw_text(&root, call.command, (MARGIN, top + 10), &monospace)?;
        let total: f64 = parts(call).iter().map(|(_, _, time)| time).sum();
        let (bar_top, mut done) = (top + 22, 0.0);
        let x = |time: f64| MARGIN + (time / total * f64::from(right - MARGIN)) as i32;
        for (contender, _, time) in parts(call) {
            let bar = [
                (x(done), bar_top),
                (x(done + time), bar_top + BAR_THICKNESS),
            ];
            root.draw(&Rectangle::new(bar, colour(contender).filled()))?;
            done += time;
        }
        let ratio = call.ratio_to(Contender::Fdlock, Contender::Floor).median;
        let numbers = format!("{} · ×{}", call.unit.format(total), format_ratio(ratio));
        let middle = bar_top + BAR_THICKNESS / 2;
        draw_text(&root, &numbers, (right + 8, middle), &font(16, INK))?;
    }
    Ok(root.present()?)
}

/// The medians of one contender: waiters and times.
struct Line {
    contender: Contender,
    points: Vec<(f64, f64)>,
}

impl Line {
    fn new(contender: Contender, measurements: &[Measurement], counts: &[usize]) -> Self {
        let medians = measurements
            .iter()
            .map(|measurement| measurement.percentiles(contender).median);
        let counts = counts.iter().map(|count| *count as f64);
        Self {
            contender,
            points: counts.zip(medians).collect(),
        }
    }

    fn end(&self) -> (f64, f64) {
        self.points[self.points.len() - 1]
    }
}

/// Draws a time against the number of waiters, one measurement for each of these.
pub fn draw_lines(
    measurements: &[Measurement],
    counts: &[usize],
    heading: &str,
    path: &Path,
) -> Result<()> {
    let root = SVGBackend::new(path, LINE_CHART_SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    draw_text(&root, heading, (MARGIN, 26), &bold(20))?;
    let mut lines: Vec<Line> = measurements[0]
        .contenders()
        .map(|contender| Line::new(contender, measurements, counts))
        .collect();
    lines.sort_by(|a, b| b.end().1.total_cmp(&a.end().1));
    let (most_waiters, longest) = lines[0].end();

    let mut chart = ChartBuilder::on(&root)
        .margin_top(52)
        .margin_right(130)
        .margin_bottom(12)
        .x_label_area_size(40)
        .y_label_area_size(72)
        .build_cartesian_2d(0.0..most_waiters, 0.0..longest * 1.05)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT.mix(0.2))
        .axis_style(FAINT)
        .label_style(font(15, INK))
        .x_label_formatter(&|count| format!("{count:.0}"))
        .y_label_formatter(&|amount| format!("{amount:.0}"))
        .x_desc("waiters")
        .y_desc(measurements[0].unit.name())
        .draw()?;
    let mut label_y = 0;
    for line in &lines {
        let style = colour(line.contender).stroke_width(3);
        chart.draw_series(once(PathElement::new(line.points.clone(), style)))?;
        let (right, y) = chart.backend_coord(&line.end());
        // Keeps the labels apart if the lines end close to each other.
        label_y = y.max(label_y + LABEL_HEIGHT);
        let name = line.contender.name();
        draw_text(&root, name, (right + 8, label_y), &font(16, INK))?;
    }
    Ok(root.present()?)
}

fn colour(contender: Contender) -> RGBColor {
    match contender {
        Contender::Reference
        | Contender::Zsh
        | Contender::GnuSem
        | Contender::Fuser
        | Contender::Lsof
        | Contender::Lslocks
        | Contender::Etcdctl
        | Contender::Psql
        | Contender::Ssh => RGBColor(175, 184, 193),
        Contender::Fdlock => RGBColor(84, 174, 255),
        Contender::Fair | Contender::Slots => RGBColor(31, 111, 235),
        Contender::CLibrary => RGBColor(191, 155, 48),
        Contender::Floor | Contender::NoLock | Contender::BashColon | Contender::Kernel => {
            RGBColor(218, 223, 229)
        }
    }
}

fn font(size: u32, colour: RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&colour)
}

fn bold(size: u32) -> TextStyle<'static> {
    let font = ("sans-serif", size, FontStyle::Bold).into_font();
    font.color(&INK)
}

/// Draws text that starts at `position` and is centred vertically on it.
fn draw_text(area: &Area, text: &str, position: (i32, i32), style: &TextStyle) -> Result<()> {
    let style = style.pos(Pos::new(HPos::Left, VPos::Center));
    Ok(area.draw_text(text, &style, position)?)
}
