//! `--who` for a lock elsewhere, whose holders and waiters its helper lists.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::json::{self, or_null, string};
use super::text;
use crate::exit::{self, Exit};
use crate::flock::failure::Failure;
use crate::flock::remote::describe;
use crate::flock::{OutputFormat, RemoteWhoRequest};
use crate::remote::Error;
use crate::remote::helper::{Answer, Helper};
use crate::remote::protocol::{self, Entry, Message};
use crate::remote::terms::Terms;
use crate::remote::url::Url;
use crate::report::{Output, Report};
use crate::sys::init_signals;

/// How long a helper may take for the next line.
const LIMIT: Duration = Duration::from_secs(60);

/// Shown for what is unknown.
const UNKNOWN: &str = "-";

const HEAD: [&str; 7] = ["ROLE", "MODE", "TOKEN", "HOST", "PID", "USER", "TIME"];

/// Lists the holders and waiters, and returns how to exit.
#[cold]
#[inline(never)]
pub fn run(request: &RemoteWhoRequest, report: &mut Report) -> Exit {
    init_signals::die_of_signals();
    let entries = match entries(&request.url) {
        Ok(entries) => entries,
        Err(error) => return report.finish(&exit::FLOCK, Err(error)),
    };
    match request.format {
        OutputFormat::Json => {
            let objects = entries.iter().map(|entry| object(&request.url, entry));
            json::print_objects(objects, &mut |text| report.print(text));
        }
        OutputFormat::Table | OutputFormat::Pids => report.print(table(&entries).as_bytes()),
    }
    let is_held = entries.iter().any(|entry| entry.is_holder);
    Exit::Status(match (is_held, report.output()) {
        (true, Output::Good) => exit::SUCCESS,
        (true, Output::Failed) => exit::FLOCK.no_output,
        (false, _) => exit::NOT_HELD,
    })
}

/// Returns the holders and waiters of a lock elsewhere.
pub(super) fn entries(url: &Url) -> Result<Vec<Entry>, Failure> {
    let mut helper = Helper::start(&protocol::Request {
        url,
        also: &[],
        mode: "list",
        slots: None,
        wait: Some(Duration::ZERO),
        terms: Terms::new(None, None),
        holder: &describe(&[]),
    })?;
    let mut entries = Vec::new();
    loop {
        match helper.next_message(Instant::now().checked_add(LIMIT), None)? {
            Answer::Message(Message::Entry(entry)) => entries.push(entry),
            Answer::Message(Message::End) => return Ok(entries),
            Answer::Message(Message::Error { status, text }) => {
                let url = Some(url.as_os_str().to_owned());
                return Err(Error::Engine { url, status, text }.into());
            }
            Answer::Message(_) => return Err(helper.error("cannot list locks").into()),
            Answer::TimedOut => return Err(helper.error("does not answer").into()),
        }
    }
}

/// Returns for how long an entry has existed. The clocks of the machines may differ.
fn age(entry: &Entry) -> Option<Duration> {
    let since = UNIX_EPOCH.checked_add(Duration::from_secs(entry.since?))?;
    Some(SystemTime::now().duration_since(since).unwrap_or_default())
}

/// Returns a line for each entry, below a line of headings, or nothing for an empty list.
pub(super) fn table(entries: &[Entry]) -> String {
    if entries.is_empty() {
        return String::new();
    }
    let mut rows = vec![(HEAD.map(str::to_owned), "COMMAND".to_owned())];
    for entry in entries {
        let text = |field: &Option<String>| {
            let field = field.as_ref().map(|text| text::escape(text.as_bytes()));
            field.unwrap_or_else(|| UNKNOWN.to_owned())
        };
        let role = if entry.is_holder { "holder" } else { "waiter" };
        let cells = [
            role.to_owned(),
            entry.mode.clone(),
            entry
                .token
                .map_or_else(|| UNKNOWN.to_owned(), |token| token.to_string()),
            text(&entry.host),
            text(&entry.pid),
            text(&entry.user),
            age(entry).map_or_else(|| UNKNOWN.to_owned(), text::elapsed),
        ];
        rows.push((cells, text(&entry.command)));
    }
    let width = |column: usize| {
        rows.iter()
            .map(|(cells, _)| cells[column].chars().count())
            .max()
    };
    let widths: [usize; 7] = std::array::from_fn(|column| width(column).unwrap_or_default());
    let mut table = String::new();
    for (cells, command) in &rows {
        for (cell, width) in cells.iter().zip(widths) {
            table += &format!("{cell:width$}  ");
        }
        table += command;
        table.push('\n');
    }
    table
}

/// Returns an entry as a JSON object.
pub(super) fn object(url: &Url, entry: &Entry) -> String {
    let role = if entry.is_holder { "holder" } else { "waiter" };
    let text = |field: &Option<String>| or_null(field.as_ref().map(|text| string(text.as_ref())));
    // A number, if it is one.
    let pid = entry.pid.as_ref().and_then(|pid| pid.parse::<u32>().ok());
    let fields = [
        ("url", string(url.as_os_str())),
        ("role", format!("\"{role}\"")),
        ("mode", format!("\"{}\"", entry.mode)),
        ("token", or_null(entry.token)),
        ("host", text(&entry.host)),
        ("pid", or_null(pid)),
        ("user", text(&entry.user)),
        ("since", or_null(entry.since)),
        ("command", text(&entry.command)),
    ];
    let fields = fields.map(|(name, value)| format!("\"{name}\":{value}"));
    format!("{{{}}}", fields.join(","))
}
