//! What the holder sends.
//!
//! | Line | Meaning |
//! |---|---|
//! | `fdlock-ssh 1` | the first line: it expects a request, in the lines that the helper has got from `flock` |
//! | `fdlock-ssh none`, `fdlock-ssh other PATH` | there is no holder on that machine |
//! | `waits TEXT`, `refused`, `error STATUS TEXT`, `entry …`, `end` | as for `flock`, see `docs/design/remote.md` |
//! | `granted TOKEN` | the lock is held |
//! | `renewed N` | the line `renew N` was received while the lock was held or waited for |
//! | `released` | the lock is free, after the line `release` |
//! | `lost WHY` | the lock is free, because it was not renewed |
//! | `fdlock-ssh gone` | the holder has exited; the shell that has started it says so |
//!
//! What a shell prints before the first line does not count.

/// The first word of lines that are about the holder itself.
pub const NAME: &str = "fdlock-ssh";

/// A line of the holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The holder expects a request.
    Ready,
    /// There is no program called flock.
    NoFlock,
    /// There is one, at this path, but no holder beside it.
    OtherFlock(String),
    /// The holder has exited.
    Gone,
    /// Another process holds the lock.
    Waits(String),
    /// The lock is held, with this token.
    Granted(u64),
    /// This renewal was received.
    Renewed(u64),
    /// The lock was released.
    Released,
    /// The lock was not free in time.
    Refused,
    /// The lock was released although it was not to be.
    Lost(String),
    /// A process that holds the lock or waits for it.
    Entry(String),
    /// The list is complete.
    End,
    /// It failed: the exit status, and the reason.
    Error(u8, String),
}

impl Message {
    /// Parses a line. Returns `None` if it is not one of the holder's.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let line = String::from_utf8_lossy(line);
        let (keyword, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let text = || rest.to_owned();
        Some(match keyword {
            NAME => match rest.split_once(' ').unwrap_or((rest, "")) {
                ("1", "") => Self::Ready,
                ("none", "") => Self::NoFlock,
                ("other", path) => Self::OtherFlock(path.to_owned()),
                ("gone", "") => Self::Gone,
                _ => return None,
            },
            "waits" => Self::Waits(text()),
            "granted" => Self::Granted(rest.parse().ok()?),
            "renewed" => Self::Renewed(rest.parse().ok()?),
            "released" => Self::Released,
            "refused" => Self::Refused,
            "lost" => Self::Lost(text()),
            "entry" => Self::Entry(text()),
            "end" => Self::End,
            "error" => {
                let (status, text) = rest.split_once(' ')?;
                Self::Error(status.parse().ok()?, text.to_owned())
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_parsed() {
        let other = || Message::OtherFlock("/usr/bin/flock".to_owned());
        let error = || Message::Error(65, "no such file".to_owned());
        for (line, expected) in [
            ("fdlock-ssh 1", Some(Message::Ready)),
            ("fdlock-ssh other /usr/bin/flock", Some(other())),
            ("fdlock-ssh gone", Some(Message::Gone)),
            ("granted 7", Some(Message::Granted(7))),
            ("renewed 3", Some(Message::Renewed(3))),
            ("error 65 no such file", Some(error())),
            ("granted", None),
            ("renewed x", None),
            ("fdlock-ssh 2", None),
            ("Welcome", None),
            ("", None),
        ] {
            assert_eq!(Message::parse(line.as_bytes()), expected, "{line}");
        }
    }
}
