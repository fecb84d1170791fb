//! The results as one picture: a panel for each measurement, each with a scale of its own that starts at zero. A bar that is
//! far too long for it has a gap.

use crate::measurement::{Measurement, Who, times};
use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;

const WIDTH: u32 = 960;
const HEADER: u32 = 76;
const PANEL: u32 = 176;
const EDGE: i32 = 24;
/// Where the bars of a panel begin, from its left and from its top.
const BARS: (i32, i32) = (EDGE + 80, 50);
/// The column of the numbers, at the right of the bars.
const NUMBERS: i32 = 128;
/// From one bar to the next, and how much of that the bar is.
const PITCH: i32 = 28;
const THICKNESS: i32 = 20;

/// A bar that is so many times as long as ours would leave nothing to be seen of the others.
const OUT_OF_SCALE: f64 = 50.0;

pub const INK: RGBColor = RGBColor(31, 35, 40);
pub const FAINT: RGBColor = RGBColor(89, 99, 110);
const RED: RGBColor = RGBColor(207, 34, 46);

pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws on white, so that it can be read on a dark page too.
pub fn draw(measurements: &[Measurement], heading: &str, to: &Path) -> Result<()> {
    let rows = measurements.len().div_ceil(2);
    let root = SVGBackend::new(to, (WIDTH, HEADER + PANEL * rows as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let (header, panels) = root.split_vertically(HEADER);
    write(&header, heading, (EDGE, 26), &bold(22))?;
    let legend = "less is better · bar: median · line on it: p10 to p90 · × of the first bar · red: the most that fdlock may take";
    write(&header, legend, (EDGE, 50), &font(16, FAINT))?;
    for (panel, measurement) in panels.split_evenly((rows, 2)).iter().zip(measurements) {
        draw_panel(panel, measurement)?;
    }
    Ok(root.present()?)
}

fn draw_panel(panel: &Area, measurement: &Measurement) -> Result<()> {
    write(panel, measurement.title, (EDGE, 14), &bold(17))?;
    write(
        panel,
        measurement.command,
        (EDGE, 34),
        &("monospace", 15).into_font().color(&FAINT),
    )?;

    let (left, mut top) = BARS;
    let right = panel.dim_in_pixel().0 as i32 - NUMBERS;
    let ours = measurement.spread(measurement.subject()).median;
    let longest = measurement
        .everybody()
        .map(|who| measurement.spread(who).p90)
        .filter(|amount| *amount < ours * OUT_OF_SCALE)
        .chain(measurement.target.map(|target| target.amount(measurement)))
        .fold(ours, f64::max);
    // At least a pixel: the floor may be next to nothing.
    let x = |amount: f64| {
        let part = (amount / longest).min(1.0);
        left + ((part * f64::from(right - left)) as i32).max(1)
    };

    for who in measurement.everybody() {
        let spread = measurement.spread(who);
        let (middle, bottom) = (top + THICKNESS / 2, top + THICKNESS);
        write(panel, who.name(), (EDGE, middle), &font(16, INK))?;
        let bar = [(left, top), (x(spread.median), bottom)];
        panel.draw(&Rectangle::new(bar, colour(who).filled()))?;
        if spread.median > longest {
            // The bar goes on beyond the panel: a gap says so.
            let gap = [(right - 24, bottom + 2), (right - 16, top - 2)];
            panel.draw(&PathElement::new(gap, WHITE.stroke_width(5)))?;
        } else {
            let around = [(x(spread.p10), middle), (x(spread.p90), middle)];
            panel.draw(&PathElement::new(around, INK.stroke_width(1)))?;
        }
        if let Some(target) = measurement.target
            && who == measurement.subject()
        {
            let at = x(target.amount(measurement));
            let mark = [(at, top - 3), (at, bottom + 3)];
            panel.draw(&PathElement::new(mark, RED.stroke_width(2)))?;
        }
        let mut numbers = measurement.unit.show(spread.median);
        if who != measurement.first() {
            numbers += &format!(" · ×{}", times(measurement.ratio(who).median));
        }
        write(panel, &numbers, (right + 8, middle), &font(16, INK))?;
        top += PITCH;
    }
    Ok(())
}

pub fn colour(who: Who) -> RGBColor {
    match who {
        Who::Reference | Who::Zsh | Who::Sem => RGBColor(175, 184, 193),
        Who::Ours => RGBColor(84, 174, 255),
        Who::Fair | Who::Slots => RGBColor(31, 111, 235),
        Who::Floor | Who::Alone | Who::Bare | Who::Colon => RGBColor(218, 223, 229),
    }
}

pub fn font(size: u32, colour: RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&colour)
}

pub fn bold(size: u32) -> TextStyle<'static> {
    ("sans-serif", size, FontStyle::Bold)
        .into_font()
        .color(&INK)
}

/// The text begins at `at`, and its middle is on that height.
pub fn write(area: &Area, words: &str, at: (i32, i32), style: &TextStyle) -> Result<()> {
    Ok(area.draw_text(words, &style.pos(Pos::new(HPos::Left, VPos::Center)), at)?)
}
