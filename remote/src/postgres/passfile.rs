//! The file of passwords: `PGPASSFILE`, or `~/.pgpass`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::server::{Place, Server};

/// The passwords in the file, and why the file is not used. It does not implement `Debug`, so that
/// no message contains a password.
#[derive(Clone, Default)]
pub struct Passfile {
    lines: Vec<String>,
    problem: Option<String>,
}

impl Passfile {
    /// Reads the file. As for libpq, one that others can read does not count.
    pub fn read(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let in_home = || variable("HOME").map(|home| PathBuf::from(home).join(".pgpass"));
        let Some(path) = variable("PGPASSFILE").map(PathBuf::from).or_else(in_home) else {
            return Self::default();
        };
        let Ok(metadata) = fs::metadata(&path) else {
            return Self::default();
        };
        if metadata.is_file() && metadata.mode() & 0o077 != 0 {
            let path = path.display();
            let problem = Some(format!("{path} is ignored, because others can access it"));
            let lines = Vec::new();
            return Self { lines, problem };
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self {
            lines: lines.map(str::to_owned).collect(),
            problem: None,
        }
    }

    /// Returns the password of the first line that fits: `HOST:PORT:DATABASE:USER:PASSWORD`, where
    /// each of the first four may be `*`. All sockets are at `localhost`.
    ///
    /// # Errors
    ///
    /// No line fits, or the file is not used; the text says what to do.
    pub fn find(&self, server: &Server, database: &str, user: &str) -> Result<String, String> {
        let port = server.port.to_string();
        let (host, alias) = match &server.place {
            Place::Host(host) => (host.as_str(), host.as_str()),
            Place::Directory(directory) => (directory.as_str(), "localhost"),
        };
        let find = |line: &'_ str| -> Option<usize> {
            let mut rest = line;
            for expected in [&[host, alias][..], &[&port], &[database], &[user]] {
                let (field, after) = next_field(rest)?;
                if field != "*" && !expected.contains(&field.as_str()) {
                    return None;
                }
                rest = after;
            }
            Some(line.len() - rest.len())
        };
        let found = self.lines.iter().find_map(|line| Some((line, find(line)?)));
        match (found, &self.problem) {
            (Some((line, start)), _) => Ok(unescape(&line[start..])),
            (None, Some(problem)) => Err(problem.clone()),
            (None, None) => Err("set PGPASSFILE or PGPASSWORD".to_owned()),
        }
    }
}

/// Returns the text before the next colon, in which a backslash makes a colon or a backslash a part
/// of the text, and what follows.
fn next_field(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut chars = text.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            ':' => return Some((field, &text[index + 1..])),
            '\\' => field.push(chars.next()?.1),
            c => field.push(c),
        }
    }
    None
}

/// Removes the backslashes before other characters.
fn unescape(text: &str) -> String {
    let mut chars = text.chars();
    let next = || match chars.next()? {
        '\\' => chars.next(),
        c => Some(c),
    };
    std::iter::from_fn(next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(place: Place) -> Server {
        Server { place, port: 5433 }
    }

    fn host() -> Server {
        server(Place::Host("db1".to_owned()))
    }

    #[test]
    fn first_line_that_fits_counts() {
        let text = "# db1:5433:locks:ann:comment\ndb1:5433:locks:bob:no\nbroken\n*:*:locks:ann:a:b\ndb1:5433:locks:ann:late\n";
        let found = Passfile::parse(text);
        assert_eq!(found.find(&host(), "locks", "ann"), Ok("a:b".to_owned()));
        assert_eq!(found.find(&host(), "locks", "bob"), Ok("no".to_owned()));
        assert!(found.find(&host(), "other", "ann").is_err());
    }

    #[test]
    fn colons_can_be_escaped() {
        let found = Passfile::parse(r"db1:5433:a\:b\\:ann:x\:\\");
        assert_eq!(found.find(&host(), r"a:b\", "ann"), Ok(r"x:\".to_owned()));
    }

    #[test]
    fn sockets_are_at_localhost() {
        let found = Passfile::parse("localhost:*:*:*:x");
        let socket = server(Place::Directory("/run/pg".to_owned()));
        assert_eq!(found.find(&socket, "locks", "ann"), Ok("x".to_owned()));
        assert!(found.find(&host(), "locks", "ann").is_err());
    }
}
