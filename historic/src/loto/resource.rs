//! Lock files that go by a name: resources of the machine.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use fdlock::lock::Error;
use fdlock::sys::errno;

/// Where the administrator names resources, unless `LOTO_CONF` says otherwise.
const FILE: &str = "/etc/loto.conf";

/// Where the lock file of a resource is: this and its name.
const PREFIX: &str = "/var/lock/loto.";

/// Resources that everybody has.
const KNOWN: [&str; 2] = ["cpu", "net"];

/// The resources that there are, and their lock files. Of several of one name the last one counts.
#[derive(Debug, Default)]
pub struct Resources(Vec<(OsString, Resource)>);

/// What jobs share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its lock file.
    pub file: OsString,
    /// How many jobs may have it at the same time; `None`: one, by an ordinary lock, which those exclude too who know nothing
    /// of slots.
    pub slots: Option<u32>,
}

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

    /// The resource of this name.
    pub fn named(&self, word: &OsStr) -> Option<&Resource> {
        let found = self.0.iter().rfind(|(name, _)| name == word);
        found.map(|(_, resource)| resource)
    }
}

/// What is known anyway, then what the lines say.
fn parse(text: &[u8]) -> Result<Resources, String> {
    let known = |name: &str| Resource {
        file: default_file(name.as_bytes()),
        slots: None,
    };
    let mut resources = KNOWN.map(|name| (name.into(), known(name))).to_vec();
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let end = line.iter().position(u8::is_ascii_whitespace);
        let (name, path) = line.split_at(end.unwrap_or(line.len()));
        let path = path.trim_ascii();
        let (name, slots) = match name.iter().position(|byte| *byte == b'*') {
            None => (name, None),
            Some(star) => {
                let slots = slots(&name[star + 1..]);
                let right = "expected a positive number or nothing after '*'";
                let slots = slots.ok_or_else(|| format!("line {number}: {right}"))?;
                (&name[..star], Some(slots))
            }
        };
        if !is_name(name) {
            return Err(format!(
                "line {number}: a resource name cannot contain a slash"
            ));
        }
        let file = match path {
            [] => default_file(name),
            [b'/', ..] => OsString::from_vec(path.to_vec()),
            _ => return Err(format!("line {number}: the path must begin with a slash")),
        };
        let name = OsString::from_vec(name.to_vec());
        resources.push((name, Resource { file, slots }));
    }
    Ok(Resources(resources))
}

/// As many as the number says, or as there are processors for us.
fn slots(number: &[u8]) -> Option<u32> {
    if number.is_empty() {
        let processors = std::thread::available_parallelism().ok()?;
        return u32::try_from(processors.get()).ok();
    }
    let digits = number.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(number).ok().filter(|_| digits)?;
    number.parse().ok().filter(|slots| *slots > 0)
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

    fn resource(text: &str, word: &str) -> Option<Resource> {
        let resources = parse(text.as_bytes()).expect(text);
        resources.named(OsStr::new(word)).cloned()
    }

    fn file(text: &str, word: &str) -> String {
        let resource = resource(text, word).expect(word);
        assert_eq!(resource.slots, None);
        resource.file.into_string().expect("text")
    }

    #[test]
    fn everybody_has_two() {
        assert_eq!(file("", "cpu"), "/var/lock/loto.cpu");
        assert_eq!(file("", "net"), "/var/lock/loto.net");
    }

    #[test]
    fn what_is_no_resource_is_a_file() {
        for word in ["disk", "./cpu", "/cpu", "cpu ", "CPU", ""] {
            assert_eq!(resource("", word), None, "{word}");
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
    fn a_star_makes_slots_of_a_resource() {
        let text = "cpu*4\ntape*2 /srv/tape\nnet*";
        let of = |name| {
            let resource = resource(text, name).expect(name);
            (resource.file, resource.slots)
        };
        assert_eq!(of("cpu"), ("/var/lock/loto.cpu".into(), Some(4)));
        assert_eq!(of("tape"), ("/srv/tape".into(), Some(2)));
        let (file, slots) = of("net");
        assert_eq!(file, "/var/lock/loto.net");
        assert!(slots.is_some_and(|slots| slots > 0), "a processor each");
        for odd in ["cpu*0", "cpu*x", "cpu*-1", "cpu*4*", "cpu*99999999999 /x"] {
            let refused = parse(odd.as_bytes()).expect_err(odd);
            assert!(
                refused.starts_with("line 1: expected a positive number"),
                "{refused}"
            );
        }
    }

    #[test]
    fn an_odd_line_is_named() {
        let refused = |text: &str| parse(text.as_bytes()).expect_err(text);
        let relative = refused("a\nb c");
        assert_eq!(relative, "line 2: the path must begin with a slash");
        assert!(refused("a/b /c").starts_with("line 1: a resource name"));
    }
}
