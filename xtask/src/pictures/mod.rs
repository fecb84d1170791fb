//! The pictures of a terminal in the documents: what `flock` really shows there.
//!
//! `cargo xtask pictures` runs the scenes with the `flock` that `FLOCK_UNDER_TEST` names, and draws
//! those whose output is no longer what the picture shows. Times differ from run to run, so they
//! are not compared: see [`pattern`].

pub mod scenes;
pub mod svg;

use std::path::PathBuf;
use std::{fs, io};

use crate::document::absolute;

/// Returns the path of a picture.
pub fn path(name: &str) -> PathBuf {
    absolute(format!("docs/pictures/{name}.svg"))
}

/// Returns the text that a stored picture shows, or `None` if it does not exist, or would be drawn
/// differently today.
///
/// # Errors
///
/// It cannot be read.
pub fn stored_text(name: &str) -> io::Result<Option<String>> {
    match fs::read_to_string(path(name)) {
        Ok(picture) => {
            let text = svg::text(&picture);
            let is_current = svg::draw(&text) == picture;
            Ok(is_current.then_some(text))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Draws all scenes if one of the pictures is out of date, and returns the paths of the changed
/// pictures.
///
/// # Errors
///
/// A picture cannot be read or written, or the scenes cannot be played here.
pub fn update() -> io::Result<Vec<PathBuf>> {
    if are_current(&play(scenes::Pace::Hurried)?)? {
        return Ok(Vec::new());
    }
    let mut changed = Vec::new();
    for (name, text) in play(scenes::Pace::Real)? {
        let picture = svg::draw(&text);
        if fs::read_to_string(path(name)).ok().as_ref() != Some(&picture) {
            fs::write(path(name), picture)?;
            changed.push(path(name));
        }
    }
    Ok(changed)
}

fn play(pace: scenes::Pace) -> io::Result<Vec<(&'static str, String)>> {
    let unsupported = || io::Error::other("the scenes need unshare(1) and /proc/sys/kernel");
    scenes::play(pace).ok_or_else(unsupported)
}

fn are_current(scenes: &[(&'static str, String)]) -> io::Result<bool> {
    for (name, text) in scenes {
        let stored = stored_text(name)?;
        if stored.is_none_or(|stored| pattern(&stored) != pattern(text)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns what does not differ from run to run: the text with blanks of one length, durations
/// without their numbers, and an empty bar.
pub fn pattern(text: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in text.split_inclusive('\n').flat_map(|line| {
        let is_last = line.ends_with('\n');
        line.split_whitespace().chain(is_last.then_some("\n"))
    }) {
        let pattern = word_pattern(word);
        // `1m 15s` is one duration.
        if !(pattern == DURATION && words.last().is_some_and(|last| last == DURATION)) {
            words.push(pattern);
        }
    }
    words.join(" ")
}

/// Stands for any duration.
const DURATION: &str = "TIME";

fn word_pattern(word: &str) -> String {
    let digits = word.trim_end_matches(['s', 'm', 'h', 'd']);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number(digits) && digits.len() + 1 == word.len() {
        return DURATION.to_owned();
    }
    match word.split_once(':') {
        Some((minutes, seconds)) if is_number(minutes) && is_number(seconds) => "M:SS".to_owned(),
        _ if word.starts_with("[#") || word.starts_with("[.") => word.replace('#', "."),
        _ => word.to_owned(),
    }
}
