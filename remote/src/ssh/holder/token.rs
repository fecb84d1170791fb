//! The token: a number that rises with every grant.
//!
//! It is the time of the grant, in nanoseconds since 1970, or one more than the last token of this
//! account if that is higher: so it rises even if the clock is set back, over restarts too. The
//! last one is kept in the account's state directory, as the name of an empty file, because the lock
//! file belongs to others: it may be removed after use, or not be ours to write. Where there is no
//! such directory, and among several accounts that use the same lock, the token rises as long as the
//! clock is not set back.
//!
//! *Race:* several grants may look for the last token at the same time. Each renames the file from
//! the number that it has found to its own, and only one of them can do so; the others look again.
//! No lock is needed, so no process that is stopped blocks others. Grants that find no file create
//! one each. From then on, all use that with the highest number.
//!
//! A token is chosen while the lock is held, so the order of tokens is that of the grants.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How often the file may have changed in between.
const MAX_ATTEMPTS: usize = 1000;

/// Returns the next token.
pub fn next() -> u64 {
    let directory = directory(&|name| std::env::var_os(name));
    let stored = directory.and_then(|directory| next_in(&directory, now()).ok());
    stored.unwrap_or_else(now)
}

fn now() -> u64 {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let nanos = time.unwrap_or_default().as_nanos();
    nanos.try_into().unwrap_or(u64::MAX)
}

fn directory(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name| {
        let path = variable(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME");
    let state = state.or_else(|| Some(absolute("HOME")?.join(".local/state")));
    Some(state?.join("fdlock/ssh-token"))
}

/// Returns a token that is higher than the last one in this directory, and at least this number.
fn next_in(directory: &Path, least: u64) -> io::Result<u64> {
    fs::create_dir_all(directory)?;
    let file = |number: u64| directory.join(number.to_string());
    for _ in 0..MAX_ATTEMPTS {
        let (next, result) = match last_in(directory)? {
            Some(last) => {
                let next = least.max(last.saturating_add(1));
                (next, fs::rename(file(last), file(next)))
            }
            None => (least, File::create_new(file(least)).map(|_| ())),
        };
        match result.map_err(|error| error.kind()) {
            Ok(()) => return Ok(next),
            Err(io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn last_in(directory: &Path) -> io::Result<Option<u64>> {
    let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name()));
    let names: Vec<OsString> = names.collect::<io::Result<_>>()?;
    let numbers = names.iter().filter_map(|name| name.to_str()?.parse().ok());
    Ok(numbers.max())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let name = format!("fdlock-token-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }

        fn next(&self, least: u64) -> u64 {
            next_in(&self.0, least).expect("a token")
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn tokens_follow_the_clock_and_never_fall() {
        let scratch = Scratch::new("clock");
        for (clock, expected) in [(100, 100), (200, 200), (50, 201), (201, 202), (300, 300)] {
            assert_eq!(scratch.next(clock), expected);
        }
        assert_eq!(fs::read_dir(&scratch.0).expect("a directory").count(), 1);
    }

    #[test]
    fn simultaneous_tokens_differ() {
        let scratch = Scratch::new("race");
        assert_eq!(scratch.next(7), 7);
        let take = || Vec::from_iter((0..50).map(|_| scratch.next(7)));
        let mut all = Vec::new();
        std::thread::scope(|scope| {
            let threads = Vec::from_iter((0..4).map(|_| scope.spawn(take)));
            for thread in threads {
                let tokens = thread.join().expect("no panic");
                assert!(tokens.is_sorted());
                all.extend(tokens);
            }
        });
        all.sort_unstable();
        assert_eq!(all, Vec::from_iter(8..208));
    }

    #[test]
    fn state_directory_is_that_of_the_account() {
        let of = |home: &str, state: &str| {
            directory(&|name| Some(if name == "HOME" { home } else { state }.into()))
        };
        let expected = |path: &str| Some(PathBuf::from(path));
        assert_eq!(of("/h", ""), expected("/h/.local/state/fdlock/ssh-token"));
        assert_eq!(of("/h", "/s"), expected("/s/fdlock/ssh-token"));
        assert_eq!(of("", ""), None);
    }
}
