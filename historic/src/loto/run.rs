//! A request to `loto`, carried out: all the locks, then the command under them, on a leash.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use fdlock::exit::Exit;
use fdlock::flock::failure::{Failure, conclude};

use crate::exit;
use crate::loto::resource::Resources;
use crate::loto::{Loudness, Request};
use fdlock::lock::fair::marker::Moment;
use fdlock::lock::multi::{self, Wanted};
use fdlock::lock::{self, Answer, Guard, Kind, Mode};
use fdlock::report::Report;
use fdlock::run::{Ended, Leash, Terms};

/// Carries out a request and says how to end.
pub fn perform(request: &Request, report: &mut Report) -> Exit {
    conclude(&exit::LOTO, report, |report| attempt(request, report))
}

fn attempt(request: &Request, report: &mut Report) -> Result<Exit, Failure> {
    let mut story = Story {
        loudness: request.loudness,
        began: Instant::now(),
        report,
    };
    let files = lock_files(request, &mut story)?;
    // As in `flock`: a misspelt line in a crontab leaves nothing behind.
    if files.iter().any(|(file, _)| !lock::file::exists(file)) {
        request.command.find()?;
    }
    let grants = multi::acquire(
        &files,
        Mode::Exclusive,
        &request.wait.begin(),
        &mut |file| story.waiting(file),
    )?;
    let guards = match grants {
        Ok(guards) => guards,
        Err((answer, file)) => return Ok(story.refused(answer, file)),
    };
    let waited = story.began.elapsed();
    story.executing(request.command.name());
    let without = guards.iter().map(Guard::as_fd).collect::<Vec<_>>();
    let terms = Terms {
        without: &without,
        leash: Leash::Tight,
        ..Terms::default()
    };
    let ended = request.command.run(terms, &mut |error| {
        story.report.complain(error.message());
    })?;
    story.ended(ended, waited);
    Ok(ended.into())
}

/// The lock files that the words mean, and how they are locked.
fn lock_files(request: &Request, story: &mut Story<'_>) -> Result<Vec<Wanted>, Failure> {
    let resources = Resources::for_words(&request.files)?;
    let file = |word: &OsString| {
        let Some(resource) = resources.named(word) else {
            return (word.to_owned(), Kind::Flock);
        };
        story.resource(&resource.file);
        let kind = resource.slots.map_or(Kind::Flock, |of| Kind::Slot {
            of,
            since: Moment::now(),
        });
        (resource.file.clone(), kind)
    };
    Ok(request.files.iter().map(file).collect())
}

/// What is told, on standard output, of what goes well.
struct Story<'a> {
    loudness: Loudness,
    began: Instant,
    report: &'a mut Report,
}

impl Story<'_> {
    fn tell(&mut self, parts: &[&OsStr]) {
        if self.loudness == Loudness::Verbose {
            self.report.tell(parts.join(OsStr::new("")));
        }
    }

    fn resource(&mut self, file: &OsStr) {
        self.tell(&["resource lock file ".as_ref(), file]);
    }

    fn waiting(&mut self, file: &OsStr) {
        self.tell(&["waiting for lock on ".as_ref(), file]);
    }

    fn executing(&mut self, command: &OsStr) {
        self.tell(&["executing ".as_ref(), command]);
    }

    fn ended(&mut self, ended: Ended, waited: Duration) {
        let how = match ended {
            Ended::Exited(status) => format!("exited with {status}"),
            Ended::KilledWithUs(signal) | Ended::KilledAlone(signal) => {
                format!("was killed by signal {signal}")
            }
        };
        let all = self.began.elapsed();
        let (ran, waited) = ((all - waited).as_secs(), waited.as_secs());
        let line = format!("command {how} (run time: {ran} sec, lock wait: {waited} sec)");
        self.tell(&[line.as_ref()]);
    }

    /// That a lock is taken is a failure only if somebody wants to hear of it.
    fn refused(&mut self, answer: Answer, file: &OsStr) -> Exit {
        if self.loudness == Loudness::Quiet {
            return Exit::Status(fdlock::exit::SUCCESS);
        }
        let mut message = OsString::from(match answer {
            Answer::TimedOut => "Timeout to gain lock on ",
            _ => "Failed to gain lock on ",
        });
        message.push(file);
        self.report.complain(message);
        Exit::Status(exit::LOTO.conflict)
    }
}
