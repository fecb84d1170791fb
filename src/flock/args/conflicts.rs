//! The options that cannot be combined.

use super::raw::RawArgs;
use crate::cli::UsageError;
use crate::flock::{OnRelease, ProgressMode};
use crate::lock::Mode;

/// One option, or several that stand for the same thing, and whether any of them was given.
type Given = (&'static str, fn(&RawArgs) -> bool);

const MODE: Given = ("--shared, --exclusive or --unlock", |raw| {
    raw.mode.is_some()
});
const SHARED: Given = ("--shared or --unlock", |raw| {
    raw.mode.is_some_and(|mode| mode != Mode::Exclusive)
});
const NONBLOCK: Given = ("--nonblock", |raw| raw.nonblock);
const TIMEOUT: Given = ("--timeout", |raw| raw.timeout.is_some());
const STATUS: Given = ("--conflict-exit-code", |raw| raw.conflict_status.is_some());
const CLOSE: Given = ("--close", |raw| raw.close);
const NO_FORK: Given = ("--no-fork", |raw| raw.no_fork);
const FCNTL: Given = ("--fcntl, --start or --length", |raw| raw.range.is_some());
const FD: Given = ("--fd", |raw| raw.descriptor.is_some());
const NAME: Given = ("--name", |raw| raw.name.is_some());
const PATH: Given = ("--path", |raw| raw.path);
const FAIR: Given = ("--fair", |raw| raw.fair);
const SLOTS: Given = ("--slots", |raw| raw.slots.is_some());
const QUEUE: Given = ("--queue", |raw| raw.max_waiters.is_some());
const REPLACE: Given = ("--replace", |raw| raw.replace.is_some());
const ALSO: Given = ("--also", |raw| !raw.also.is_empty());
const UNLINK: Given = ("--unlink", |raw| raw.on_release == OnRelease::Unlink);
const ALSO_OR_UNLINK: Given = ("--also or --unlink", |raw| (ALSO.1)(raw) || (UNLINK.1)(raw));
const TERMS: Given = ("--ttl or --grace", |raw| {
    raw.terms.ttl.is_some() || raw.terms.grace.is_some()
});
const PRINT_TOKEN: Given = ("--print-token", |raw| raw.terms.prints_token);
const PROGRESS: Given = ("--progress", |raw| raw.progress == ProgressMode::Shown);
const WHO: Given = ("--who", |raw| raw.who.who);
const JSON: Given = ("--json", |raw| raw.who.json);
const PIDS: Given = ("--pids", |raw| raw.who.pids);
const WATCH: Given = ("--watch", |raw| raw.who.watch);

/// How a conflict is reported.
#[derive(Clone, Copy)]
enum Wording {
    /// As in util-linux: `the A and B options are incompatible`.
    Incompatible,
    /// `A cannot be used with B`.
    NotWith,
    /// The same, and what to do instead.
    Rather(&'static str),
}

use Wording::{Incompatible, NotWith, Rather};

/// All combinations that are rejected: an option, and those that it cannot be used with. The first
/// one that was given is reported.
static CONFLICTS: &[(Given, &[Given], Wording)] = &[
    (JSON, &[PIDS, WATCH], Incompatible),
    (PIDS, &[WATCH], Incompatible),
    (
        WHO,
        &[
            MODE,
            NONBLOCK,
            TIMEOUT,
            STATUS,
            CLOSE,
            NO_FORK,
            FCNTL,
            FAIR,
            SLOTS,
            QUEUE,
            REPLACE,
            ALSO,
            UNLINK,
            PATH,
            TERMS,
            PRINT_TOKEN,
            PROGRESS,
        ],
        NotWith,
    ),
    (NAME, &[FD], NotWith),
    (NO_FORK, &[CLOSE, UNLINK], Incompatible),
    (FAIR, &[FCNTL], NotWith),
    (
        REPLACE,
        &[NONBLOCK, SHARED, FCNTL, FAIR, SLOTS, QUEUE, ALSO],
        NotWith,
    ),
    (
        QUEUE,
        &[FCNTL, ALSO],
        Rather("nest two calls: flock --queue N OTHER-FILE flock ... FILE COMMAND"),
    ),
    (SLOTS, &[FCNTL, SHARED, ALSO_OR_UNLINK], NotWith),
];

/// The options that require a lock file and a command.
static FILE_ONLY: &[Given] = &[SLOTS, ALSO, UNLINK];

/// The options that do not apply to a lock elsewhere, each with the reason.
static NOT_FOR_URL: &[(Given, &str)] = &[
    (CLOSE, "it has no descriptor"),
    (
        NO_FORK,
        "flock has to stay, to renew it and to stop the command in time",
    ),
    (FCNTL, "it is not a lock of fcntl(2)"),
    (QUEUE, "its waiters are not counted"),
    (REPLACE, "its holders cannot be stopped from here"),
    (
        PROGRESS,
        "its holder and its queue are not visible from here",
    ),
    (UNLINK, "it has no lock file"),
];

/// Checks that no two options conflict.
pub(super) fn check(raw: &RawArgs) -> Result<(), UsageError> {
    // Most calls give none of the options in the first column.
    for ((option, is_given), others, wording) in CONFLICTS {
        if is_given(raw)
            && let Some((other, _)) = others.iter().find(|(_, is_given)| is_given(raw))
        {
            return Err(UsageError::new(match wording {
                Incompatible => format!("the {option} and {other} options are incompatible"),
                NotWith => format!("{option} cannot be used with {other}"),
                Rather(advice) => format!("{option} cannot be used with {other}; {advice}"),
            }));
        }
    }
    Ok(())
}

/// Checks that no option was given that does not apply to a lock elsewhere.
pub(super) fn check_for_url(raw: &RawArgs) -> Result<(), UsageError> {
    let mut options = NOT_FOR_URL.iter();
    match options.find(|((_, is_given), _)| is_given(raw)) {
        Some(((option, _), reason)) => Err(UsageError::new(format!(
            "{option} cannot be used with a lock elsewhere: {reason}"
        ))),
        None => Ok(()),
    }
}

/// Checks that no option was given that does not apply to a descriptor.
pub(super) fn check_for_descriptor(raw: &RawArgs) -> Result<(), UsageError> {
    let Some((option, _)) = FILE_ONLY.iter().find(|(_, is_given)| is_given(raw)) else {
        return Ok(());
    };
    Err(UsageError::new(format!(
        "{option} requires a lock file and a command: flock {option} ... FILE COMMAND"
    )))
}
