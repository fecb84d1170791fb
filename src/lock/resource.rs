//! Lock files that go by a name: resources of the machine.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::Error;
use crate::sys::errno;

/// Where the administrator names resources, unless `LOTO_CONF` says otherwise.
const FILE: &str = "/etc/loto.conf";

/// Where the lock file of a resource is: this and its name.
const PREFIX: &str = "/var/lock/loto.";

/// Resources that everybody has.
const KNOWN: [&str; 2] = ["cpu", "net"];

/// The resources that there are, and their lock files. Of several of one name the last one counts.
#[derive(Debug, Default)]
pub struct Resources(Vec<(OsString, OsString)>);

impl Resources {
    /// `cpu`, `net`, and those that the administrator has named; nothing is read when none of the words can be a name.
    ///
    /// # Errors
    ///
    /// The administrator's file is there and cannot be read, or a line of it is no name.
    pub fn for_words(words: &[OsString]) -> Result<Self, Error> {
        if !words.iter().any(|word| is_name(word.as_bytes())) {
            return Ok(Self::default());
        }
        let chosen = std::env::var_os("LOTO_CONF").filter(|path| !path.is_empty());
        let path = chosen.clone().unwrap_or_else(|| FILE.into());
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && chosen.is_none() => Vec::new(),
            Err(error) => {
                let problem = errno::text(&error);
                return Err(Error::Names { path, problem });
            }
        };
        parse(&text).map_err(|problem| Error::Names { path, problem })
    }

    /// The lock file that a word means: that of the resource of this name, or else the word itself.
    pub fn file<'a>(&'a self, word: &'a OsStr) -> &'a OsStr {
        let found = self.0.iter().rfind(|(name, _)| name == word);
        found.map_or(word, |(_, file)| file)
    }
}

/// What is known anyway, then what the lines say.
fn parse(text: &[u8]) -> Result<Resources, String> {
    let mut resources = KNOWN
        .map(|name| (name.into(), default_file(name.as_bytes())))
        .to_vec();
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let end = line.iter().position(u8::is_ascii_whitespace);
        let (name, path) = line.split_at(end.unwrap_or(line.len()));
        let path = path.trim_ascii();
        if !is_name(name) {
            return Err(format!("line {number}: a name of a resource has no slash"));
        }
        let file = match path {
            [] => default_file(name),
            [b'/', ..] => OsString::from_vec(path.to_vec()),
            _ => return Err(format!("line {number}: the path must begin with a slash")),
        };
        resources.push((OsString::from_vec(name.to_vec()), file));
    }
    Ok(Resources(resources))
}

fn default_file(name: &[u8]) -> OsString {
    let mut file = OsString::from(PREFIX);
    file.push(OsStr::from_bytes(name));
    file
}

fn is_name(word: &[u8]) -> bool {
    !word.contains(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str, word: &str) -> String {
        let resources = parse(text.as_bytes()).expect(text);
        let file = resources.file(OsStr::new(word));
        file.to_str().expect("text").to_owned()
    }

    #[test]
    fn everybody_has_two() {
        assert_eq!(file("", "cpu"), "/var/lock/loto.cpu");
        assert_eq!(file("", "net"), "/var/lock/loto.net");
    }

    #[test]
    fn what_is_no_resource_is_a_file() {
        for word in ["disk", "./cpu", "/cpu", "cpu ", "CPU", ""] {
            assert_eq!(file("", word), word);
        }
    }

    #[test]
    fn the_administrator_names_others_and_moves_these() {
        let text = "# resources\n\n  disk\ntape\t/srv/tape lock  # with a blank\ncpu /run/cpu\n";
        assert_eq!(file(text, "disk"), "/var/lock/loto.disk");
        assert_eq!(file(text, "tape"), "/srv/tape lock");
        assert_eq!(file(text, "cpu"), "/run/cpu");
        assert_eq!(file(text, "net"), "/var/lock/loto.net");
        assert_eq!(file("a /1\na /2", "a"), "/2");
    }

    #[test]
    fn an_odd_line_is_named() {
        let refused = |text: &str| parse(text.as_bytes()).expect_err(text);
        let relative = refused("a\nb c");
        assert_eq!(relative, "line 2: the path must begin with a slash");
        assert!(refused("a/b /c").starts_with("line 1: a name"));
    }
}
