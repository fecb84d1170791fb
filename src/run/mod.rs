//! Running a command under a lock: it sees the world as the caller left it, gets the signals that are sent to us, and
//! we end as it does.

mod descendants;
mod forward;
mod path_lookup;
mod supervisor;
mod terminal;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::BorrowedFd;

use crate::sys::deferred_signals::{HeldBack, REQUESTS};
use crate::sys::errno;
use crate::sys::process::{self, Ends, Image, World};
use crate::sys::signal::{self, Disposition, Set};

use forward::Relay;

pub use forward::end_like;

/// A command to run: its words, name first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    words: Vec<OsString>,
    place: Place,
}

/// Where a program is that is named without a slash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In `PATH`, as execvp(3) has it.
    Path,
    /// In the working directory, as execv(2) has it; and if not there, in `PATH`.
    Here,
}

/// Under what terms a command runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms<'a> {
    /// Descriptors that it does not inherit.
    pub without: &'a [BorrowedFd<'a>],
    /// What becomes of it when this process is killed.
    pub leash: Leash,
    /// The signals that the caller holds back until he has tidied up after the command. If one has come before the
    /// command is started, it is not started; what comes after its end waits.
    pub held: Option<&'a HeldBack>,
}

/// What becomes of a command when this process is killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leash {
    /// A signal that can be caught is passed on to it; after `SIGKILL` it goes on alone.
    #[default]
    Loose,
    /// It is stopped, with all that it has left behind in our session, before the descriptors that it does not inherit are
    /// closed: so a lock that they hold outlasts the command.
    Tight,
}

impl Command {
    /// A program and its arguments, untouched. `None` when there is not even a name.
    pub fn new(words: Vec<OsString>) -> Option<Self> {
        Self::at(Place::Path, words)
    }

    /// The same for a program that may be named by a path of the working directory without a slash.
    pub fn here(words: Vec<OsString>) -> Option<Self> {
        Self::at(Place::Here, words)
    }

    fn at(place: Place, words: Vec<OsString>) -> Option<Self> {
        (!words.is_empty()).then_some(Self { words, place })
    }

    /// A line for `/bin/sh -c`, as system(3) runs it.
    pub fn system(line: OsString) -> Self {
        Self {
            words: vec!["/bin/sh".into(), "-c".into(), line],
            place: Place::Path,
        }
    }

    /// A line for the caller's shell: `$SHELL -c line`, or `/bin/sh` where `SHELL` is unset or empty.
    pub fn shell(line: OsString) -> Self {
        let shell = std::env::var_os("SHELL")
            .filter(|shell| !shell.is_empty())
            .unwrap_or_else(|| "/bin/sh".into());
        Self {
            words: vec![shell, "-c".into(), line],
            place: Place::Path,
        }
    }

    /// The program's name, as given.
    pub fn name(&self) -> &OsStr {
        &self.words[0]
    }

    /// Its words, name first, as they will be executed.
    pub fn words(&self) -> &[OsString] {
        &self.words
    }

    /// Looks for the program in `PATH`, as execvp(3) would, without executing anything.
    ///
    /// # Errors
    ///
    /// There is none, or none that may be executed.
    pub fn find(&self) -> Result<(), Error> {
        path_lookup::find(&self.image()).map_err(|error| self.not_executed(error))
    }

    /// Runs it in a child and waits for its end, passing on the signals that are sent to this process. When it stops,
    /// so do we, and we go on together.
    ///
    /// `warn` is told what went wrong on the way.
    ///
    /// # Errors
    ///
    /// It could not be started or executed.
    pub fn run(&self, terms: Terms<'_>, warn: &mut dyn FnMut(Error)) -> Result<Ended, Error> {
        let mut image = self.image();
        // With SIGCHLD ignored the kernel would keep the command's status to itself.
        let sigchld = signal::set_disposition(signal::number::CHLD, Disposition::Default);
        // From here on nothing can end us between the command's start and its end: whatever is sent waits for `relay`.
        let mask = signal::set_mask(Set::ALL);
        // What came while we were at it is for us alone: there is no command yet. It ends us here or never, or when the
        // caller lets it.
        match terms.held {
            Some(held) if held.came() => return Err(Error::Interrupted),
            None if signal::pending().minus(mask) != Set::EMPTY => {
                signal::set_mask(mask);
                signal::set_mask(Set::ALL);
            }
            _ => {}
        }
        let world = World {
            mask: terms.held.map_or(mask, HeldBack::mask),
            sigchld,
            without: terms.without,
            number: None,
            ends: match terms.leash {
                Leash::Loose => Ends::ByItself,
                Leash::Tight => Ends::WithItsParent,
            },
        };
        let ended = match terms.leash {
            Leash::Loose => loose(&mut image, &world, warn),
            Leash::Tight => supervisor::run(&mut image, &world, warn),
        };
        // What came after the command's end is for us alone again: Ctrl-C between two rounds of a loop ends the loop.
        match terms.held {
            Some(held) => held.only_requests(),
            None => {
                signal::unblock(Set::of_all(&REQUESTS).minus(mask));
            }
        }
        ended.map_err(|problem| match problem {
            Problem::Fork(error) => Error::Fork(error),
            Problem::Exec(error) => self.not_executed(error),
            Problem::Wait(error) => Error::Wait(error),
        })
    }

    /// Replaces this process by the command. Returns only the error.
    pub fn exec(&self) -> Error {
        self.not_executed(self.image().exec())
    }

    fn image(&self) -> Image {
        path_lookup::image(&self.words, self.place)
    }

    fn not_executed(&self, error: io::Error) -> Error {
        Error::Exec {
            name: self.name().to_owned(),
            error,
        }
    }
}

/// Runs it as our own child.
fn loose(
    image: &mut Image,
    world: &World<'_>,
    warn: &mut dyn FnMut(Error),
) -> Result<Ended, Problem> {
    let child = process::start(image, world).map_err(Problem::Fork)?;
    let mut relay = Relay::new(child.pid, signal::pending());
    let end = relay.until_end(warn).map_err(Problem::Wait)?;
    match child.exec_error() {
        Some(error) => Err(Problem::Exec(error)),
        None => Ok(relay.judge(end)),
    }
}

/// Why a command did not run, before its name is known.
#[derive(Debug)]
enum Problem {
    Fork(io::Error),
    Exec(io::Error),
    Wait(io::Error),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this status.
    Exited(u8),
    /// Killed by a signal that had been sent to us as well.
    KilledWithUs(i32),
    /// Killed by a signal that had been sent to it alone.
    KilledAlone(i32),
}

/// Why a command did not run as it should.
#[derive(Debug)]
pub enum Error {
    /// A signal that the caller holds back has come before.
    Interrupted,
    /// No process could be had for it.
    Fork(io::Error),
    /// It could not be executed.
    Exec {
        /// Its name, as given.
        name: OsString,
        /// What the system says.
        error: io::Error,
    },
    /// It could not be waited for.
    Wait(io::Error),
    /// A signal that was sent to us could not be passed on to it.
    Signal {
        /// The signal's number.
        signal: i32,
        /// The command's process.
        pid: i32,
        /// What the system says.
        error: io::Error,
    },
}

impl Error {
    /// The message, in bytes, as names are.
    pub fn message(&self) -> OsString {
        match self {
            Self::Interrupted => "interrupted before the command was started".into(),
            Self::Fork(error) => format!("fork failed: {}", errno::text(error)).into(),
            Self::Exec { name, error } => {
                let mut message = OsString::from("failed to execute ");
                message.push(name);
                message.push(": ");
                message.push(errno::text(error));
                message
            }
            Self::Wait(error) => format!("waitpid failed: {}", errno::text(error)).into(),
            Self::Signal { signal, pid, error } => format!(
                "cannot forward signal {signal} to the command (process {pid}): {}",
                errno::text(error)
            )
            .into(),
        }
    }
}
