//! What is shown.

use std::fmt;
use std::time::Duration;

use crate::flock::Target;
use crate::flock::terminal::{fit, width};
use crate::flock::who::WaitStatus;
use crate::flock::who::text::{elapsed, escape};

/// How much of a long name is shown at least.
const MIN_NAME: usize = 4;

/// The length of the bar.
const BAR: usize = 20;

/// Returns the name of the file that is waited for.
pub(super) fn label(target: &Target) -> String {
    match target {
        Target::Path(path) => escape(path.as_encoded_bytes()),
        Target::Descriptor(number) => format!("descriptor {number}"),
    }
}

/// The line on a terminal.
pub(super) struct Line<'l> {
    pub label: String,
    pub status: &'l WaitStatus,
    pub elapsed: Duration,
    pub limit: Option<Duration>,
}

impl Line<'_> {
    /// Returns the line, with as much information as fits into this many columns.
    pub fn fit(&self, columns: usize) -> String {
        let name = self.label.rsplit('/').next().unwrap_or_default();
        let held = self.status.held();
        let held = held.map_or_else(String::new, |held| format!(": {held}"));
        let ahead = match self.status.ahead {
            None | Some(0) => String::new(),
            Some(count) => format!("{}{count} ahead of you", separator()),
        };
        let time = format!("{}{}", separator(), self.clock());
        let bar = self.bar();
        let line = |label: &str, pieces: &[&str]| format!("waiting for {label}{}", pieces.concat());
        let all = [&*held, &ahead, &time, &bar];
        // A name is cut, but not to nothing.
        let room = columns.saturating_sub(width(&line("", &[&time])));
        let room = room.max(MIN_NAME);
        let candidates = [
            line(&self.label, &all),
            line(name, &all),
            line(name, &all[..3]),
            line(name, &[&held, &time]),
            line(name, &[&time]),
            line(fit(name, room), &[&time]),
            // What shows that the wait goes on fits into any window.
            self.clock(),
            clock(self.elapsed),
        ];
        let best = candidates.iter().find(|line| width(line) <= columns);
        let shortest = &candidates[candidates.len() - 1];
        fit(best.unwrap_or(shortest), columns).to_owned()
    }

    /// Returns the time that has passed, and the limit: `0:45 of 5:00`.
    fn clock(&self) -> String {
        let elapsed = clock(self.elapsed);
        match self.limit {
            Some(limit) if limit.as_secs() > 0 => format!("{elapsed} of {}", clock(limit)),
            _ => elapsed,
        }
    }

    /// Returns a bar that is full at the limit.
    fn bar(&self) -> String {
        let Some(limit) = self.limit.filter(|limit| !limit.is_zero()) else {
            return String::new();
        };
        let share = (self.elapsed.as_secs_f64() / limit.as_secs_f64()).min(1.0);
        let full = (share * BAR as f64) as usize;
        format!(" [{}{}]", "#".repeat(full), ".".repeat(BAR - full))
    }
}

/// Formats a duration as a clock does: `0:45`, `1:00:00`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// Returns what separates the pieces of the line, in the character set of the user.
fn separator() -> &'static str {
    let names = ["LC_ALL", "LC_CTYPE", "LANG"];
    let mut locales = names.into_iter().filter_map(std::env::var_os);
    let locale = locales
        .find(|locale| !locale.is_empty())
        .unwrap_or_default();
    let locale = locale.to_string_lossy().to_ascii_lowercase();
    match locale.contains("utf-8") || locale.contains("utf8") {
        true => " · ",
        false => ", ",
    }
}

/// A sentence in a log.
pub(super) struct Sentence {
    pub label: String,
    pub status: WaitStatus,
    /// How long the wait has lasted; `None` at its start.
    pub waited: Option<Duration>,
    pub limit: Option<Duration>,
}

impl fmt::Display for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = self.limit.filter(|limit| limit.as_secs() > 0);
        let limit = limit.map(elapsed);
        match (self.waited, &limit) {
            (None, _) => write!(f, "waiting for {}", self.label)?,
            (Some(waited), None) => {
                write!(
                    f,
                    "still waiting for {} after {}",
                    self.label,
                    elapsed(waited)
                )?;
            }
            (Some(waited), Some(limit)) => {
                let waited = elapsed(waited);
                write!(
                    f,
                    "still waiting for {} after {waited} of {limit}",
                    self.label
                )?;
            }
        }
        if let Some(held) = self.status.held() {
            write!(f, ": {held}")?;
        }
        match self.status.ahead {
            None | Some(0) => {}
            Some(count) => write!(f, "; {count} ahead in the queue")?,
        }
        match (self.waited, limit) {
            (None, Some(limit)) => write!(f, "; giving up after {limit}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> WaitStatus {
        WaitStatus::with_note("held by 4711 rsync for 3m 12s", 2)
    }

    #[test]
    fn a_narrow_line_has_less_information() {
        let line = Line {
            label: "/run/lock/build.lock".to_owned(),
            status: &status(),
            elapsed: Duration::from_secs(45),
            limit: Some(Duration::from_secs(300)),
        };
        let text = |columns| line.fit(columns).replace(" · ", ", ");
        let held = "build.lock: held by 4711 rsync for 3m 12s";
        let (end, bar) = ("2 ahead of you, 0:45 of 5:00", "[###.................]");
        assert_eq!(
            text(200),
            format!("waiting for /run/lock/{held}, {end} {bar}")
        );
        assert_eq!(text(112), format!("waiting for {held}, {end} {bar}"));
        assert_eq!(text(90), format!("waiting for {held}, {end}"));
        assert_eq!(text(75), format!("waiting for {held}, 0:45 of 5:00"));
        assert_eq!(text(40), "waiting for build.lock, 0:45 of 5:00");
        for name in ["build.loc", "buil"] {
            let columns = 24 + name.len() + width(separator());
            let cut = format!("waiting for {name}, 0:45 of 5:00");
            assert_eq!(text(columns), cut);
        }
        assert_eq!(text(27), "0:45 of 5:00");
        assert_eq!(text(10), "0:45");
        assert_eq!(text(3), "0:4");
        assert_eq!(text(0), "");
    }

    #[test]
    fn without_a_limit_there_is_no_bar() {
        let line = Line {
            label: "x".to_owned(),
            status: &WaitStatus::default(),
            elapsed: Duration::from_secs(3661),
            limit: None,
        };
        assert_eq!(line.fit(80).replace(" · ", ", "), "waiting for x, 1:01:01");
    }

    #[test]
    fn the_bar_fills_towards_the_limit() {
        for (elapsed, full) in [(0, 0), (5, 1), (99, 19), (100, 20), (500, 20)] {
            let line = Line {
                label: String::new(),
                status: &WaitStatus::default(),
                elapsed: Duration::from_secs(elapsed),
                limit: Some(Duration::from_secs(100)),
            };
            assert_eq!(line.bar().matches('#').count(), full);
            assert_eq!(line.bar().len(), BAR + 3);
        }
    }

    #[test]
    fn sentences_tell_the_time_and_the_limit() {
        let sentence = |waited: Option<u64>, limit: Option<u64>| {
            let sentence = Sentence {
                label: "x".to_owned(),
                status: status(),
                waited: waited.map(Duration::from_secs),
                limit: limit.map(Duration::from_secs),
            };
            sentence.to_string()
        };
        let held = "held by 4711 rsync for 3m 12s; 2 ahead in the queue";
        for (waited, limit, expected) in [
            (None, None, format!("waiting for x: {held}")),
            (None, Some(0), format!("waiting for x: {held}")),
            (
                None,
                Some(300),
                format!("waiting for x: {held}; giving up after 5m 0s"),
            ),
            (
                Some(10),
                None,
                format!("still waiting for x after 10s: {held}"),
            ),
            (
                Some(60),
                Some(300),
                format!("still waiting for x after 1m 0s of 5m 0s: {held}"),
            ),
        ] {
            assert_eq!(sentence(waited, limit), expected);
        }
    }
}
