//! Draws a text as a terminal shows it.
//!
//! The picture has its own background, so it is readable on light and dark pages. Words that more
//! than one blank separates are placed one by one, so that columns stay aligned whatever font the
//! reader has.

use std::fmt::Write;

const FONT: &str = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace";

/// The width of a character, the height of a line, and the border, in tenths of a pixel.
const COLUMN: usize = 84;
const LINE: usize = 200;
const BORDER: usize = 160;

/// Where a character stands in its line.
const BASE_LINE: usize = 145;

/// What the user has typed stands behind this prompt.
pub const PROMPT: &str = "$ ";

/// Returns the picture of a text, which begins with a command.
pub fn draw(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let title = lines
        .first()
        .map_or("", |line| line.trim_start_matches(PROMPT));
    let title = escape(title);
    let columns = lines.iter().map(|line| line.chars().count()).max();
    let width = pixels(columns.unwrap_or(0) * COLUMN + 2 * BORDER);
    let height = pixels(lines.len() * LINE + 2 * BORDER);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\">\n\
         <title>{title}</title>\n\
         <style>text {{ font: 14px {FONT}; fill: #d5d9e0 }} .typed {{ fill: #ffffff; font-weight: bold }} \
         .prompt {{ fill: #8b93a1 }}</style>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#1f232b\"/>\n"
    );
    for (number, line) in lines.iter().enumerate() {
        let y = pixels(BORDER + number * LINE + BASE_LINE);
        write!(svg, "<text y=\"{y}\">").expect("memory");
        for (column, piece) in pieces(line) {
            let x = pixels(BORDER + column * COLUMN);
            let is_command = line.starts_with(PROMPT);
            let class = match (is_command, column) {
                (false, _) => "",
                (true, 0) => " class=\"prompt\"",
                (true, _) => " class=\"typed\"",
            };
            write!(svg, "<tspan x=\"{x}\"{class}>{}</tspan>", escape(piece)).expect("memory");
        }
        svg += "</text>\n";
    }
    svg += "</svg>\n";
    svg
}

/// Returns the text of a picture that [`draw`] has drawn.
pub fn text(svg: &str) -> String {
    let mut text = String::new();
    for line in svg.lines().filter(|line| line.starts_with("<text ")) {
        let start = text.len();
        for piece in line.split("<tspan x=\"").skip(1) {
            let column = piece.split('"').next().and_then(column);
            let piece = piece.split_once('>').map_or("", |(_, piece)| piece);
            let piece = piece.split('<').next().unwrap_or_default();
            let length = text[start..].chars().count();
            let blanks = column.unwrap_or(0).saturating_sub(length);
            text.extend(std::iter::repeat_n(' ', blanks));
            text += &unescape(piece);
        }
        text.push('\n');
    }
    text
}

/// Splits a line where it has several blanks, and after a prompt. Returns the column of each piece.
fn pieces(line: &str) -> Vec<(usize, &str)> {
    let (prompt, rest) = match line.strip_prefix(PROMPT) {
        Some(command) => (Some((0, PROMPT.trim_end())), command),
        None => (None, line),
    };
    let mut found = Vec::from_iter(prompt);
    let mut column = line.chars().count() - rest.chars().count();
    let mut rest = rest;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.find("  ").unwrap_or(rest.len()));
        let next = after.trim_start_matches(' ');
        if !piece.is_empty() {
            found.push((column, piece));
        }
        column += piece.chars().count() + after.len() - next.len();
        rest = next;
    }
    found
}

fn pixels(tenths: usize) -> String {
    match tenths % 10 {
        0 => format!("{}", tenths / 10),
        rest => format!("{}.{rest}", tenths / 10),
    }
}

/// Returns the column at a position.
fn column(x: &str) -> Option<usize> {
    let (whole, tenths) = x.split_once('.').unwrap_or((x, "0"));
    let tenths = whole.parse::<usize>().ok()? * 10 + tenths.parse::<usize>().ok()?;
    Some(tenths.checked_sub(BORDER)? / COLUMN)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}
