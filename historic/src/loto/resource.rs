//! Resources: lock files that have names.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{Mode as Permissions, OFlags};

use crate::error::Error;
use fdlock::sys::errno;

/// The administrator's file of resources, unless `LOTO_CONF` names another.
const DEFAULT_CONFIG: &str = "/etc/loto.conf";

/// The size of the file of resources is limited, because its name may lead to anything, such as
/// `/dev/zero`.
const MAX_CONFIG: usize = 1 << 20;

/// The beginning of the path of a resource's lock file. The name follows.
const LOCK_FILE_PREFIX: &str = "/var/lock/loto.";

/// Resources that exist on every machine.
const BUILT_IN: [&str; 2] = ["cpu", "net"];

/// The resources of the machine, and their lock files. Of several with one name, the last one
/// counts.
#[derive(Debug, Default)]
pub struct Resources(Vec<(OsString, Resource)>);

/// Something that jobs share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The lock file.
    pub file: OsString,
    /// How many jobs may have the resource at the same time. `None` means one, with an ordinary
    /// lock, which also excludes programs that do not use slots.
    pub slots: Option<u32>,
}

impl Resources {
    /// Returns `cpu`, `net` and the resources that the administrator has defined. If none of the
    /// targets can be the name of a resource, nothing is read, and none are returned.
    ///
    /// # Errors
    ///
    /// The administrator's file exists and cannot be read, or one of its lines is not valid.
    pub fn load_for(targets: &[OsString]) -> Result<Self, Error> {
        if !targets.iter().any(|target| is_name(target.as_bytes())) {
            return Ok(Self::default());
        }
        let custom = std::env::var_os("LOTO_CONF").filter(|path| !path.is_empty());
        let path = custom.clone().unwrap_or_else(|| DEFAULT_CONFIG.into());
        let text = match read_limited(&path) {
            Ok(text) if text.len() > MAX_CONFIG => {
                return Err(Error::Config(path, "the file is too long".to_owned()));
            }
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && custom.is_none() => Vec::new(),
            Err(error) => return Err(Error::Config(path, errno::text(&error))),
        };
        parse(&text).map_err(|problem| Error::Config(path, problem))
    }

    /// Returns the resource with this name.
    pub fn get(&self, name: &OsStr) -> Option<&Resource> {
        let mut entries = self.0.iter();
        let entry = entries.rfind(|(entry_name, _)| entry_name == name);
        entry.map(|(_, resource)| resource)
    }
}

/// Reads the file, or a little more than the limit.
fn read_limited(path: &OsStr) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Permissions::empty())?);
    file.take(MAX_CONFIG as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// Returns the built-in resources, followed by those that the text defines.
fn parse(text: &[u8]) -> Result<Resources, String> {
    let built_in = |name: &str| Resource {
        file: default_file(name.as_bytes()),
        slots: None,
    };
    let mut resources = BUILT_IN.map(|name| (name.into(), built_in(name))).to_vec();
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let error = |problem| format!("line {number}: {problem}");
        let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let name_end = line.iter().position(u8::is_ascii_whitespace);
        let (name, path) = line.split_at(name_end.unwrap_or(line.len()));
        let path = path.trim_ascii();
        let (name, slots) = match name.iter().position(|byte| *byte == b'*') {
            None => (name, None),
            Some(star) => {
                let slots = parse_slots(&name[star + 1..]);
                let expected = "expected a positive number or nothing after '*'";
                (&name[..star], Some(slots.ok_or_else(|| error(expected))?))
            }
        };
        let file = match path {
            _ if !is_name(name) => return Err(error("a resource name cannot contain a slash")),
            [] => default_file(name),
            [b'/', ..] => OsString::from_vec(path.to_vec()),
            _ => return Err(error("the path must begin with a slash")),
        };
        let name = OsString::from_vec(name.to_vec());
        resources.push((name, Resource { file, slots }));
    }
    Ok(Resources(resources))
}

/// Parses the number of slots. Without a number, there is one slot per processor that this process
/// may use.
fn parse_slots(number: &[u8]) -> Option<u32> {
    if number.is_empty() {
        let processors = std::thread::available_parallelism().ok()?;
        return u32::try_from(processors.get()).ok();
    }
    let is_decimal = number.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(number).ok().filter(|_| is_decimal)?;
    number.parse().ok().filter(|slots| *slots > 0)
}

fn default_file(name: &[u8]) -> OsString {
    let mut file = OsString::from(LOCK_FILE_PREFIX);
    file.push(OsStr::from_bytes(name));
    file
}

fn is_name(target: &[u8]) -> bool {
    !target.contains(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(text: &str, name: &str) -> Option<Resource> {
        let resources = parse(text.as_bytes()).expect(text);
        resources.get(OsStr::new(name)).cloned()
    }

    fn file(text: &str, name: &str) -> String {
        let resource = resource(text, name).expect(name);
        assert_eq!(resource.slots, None);
        resource.file.into_string().expect("UTF-8")
    }

    #[test]
    fn two_resources_are_built_in() {
        assert_eq!(file("", "cpu"), "/var/lock/loto.cpu");
        assert_eq!(file("", "net"), "/var/lock/loto.net");
    }

    #[test]
    fn other_names_are_not_resources() {
        for name in ["disk", "./cpu", "/cpu", "cpu ", "CPU", ""] {
            assert_eq!(resource("", name), None, "{name}");
        }
    }

    #[test]
    fn the_file_adds_resources_and_moves_built_in_ones() {
        let text = "# resources\n\n  disk\ntape\t/srv/tape lock  # with a blank\ncpu /run/cpu\n";
        assert_eq!(file(text, "disk"), "/var/lock/loto.disk");
        assert_eq!(file(text, "tape"), "/srv/tape lock");
        assert_eq!(file(text, "cpu"), "/run/cpu");
        assert_eq!(file(text, "net"), "/var/lock/loto.net");
        assert_eq!(file("a /1\na /2", "a"), "/2");
    }

    #[test]
    fn a_star_gives_a_resource_slots() {
        let text = "cpu*4\ntape*2 /srv/tape\nnet*";
        let parsed = |name| {
            let resource = resource(text, name).expect(name);
            (resource.file, resource.slots)
        };
        assert_eq!(parsed("cpu"), ("/var/lock/loto.cpu".into(), Some(4)));
        assert_eq!(parsed("tape"), ("/srv/tape".into(), Some(2)));
        let (file, slots) = parsed("net");
        assert_eq!(file, "/var/lock/loto.net");
        assert!(slots.is_some_and(|slots| slots > 0), "one per processor");
        for invalid in ["cpu*0", "cpu*x", "cpu*-1", "cpu*4*", "cpu*99999999999 /x"] {
            let problem = parse(invalid.as_bytes()).expect_err(invalid);
            let expected = "line 1: expected a positive number or nothing after '*'";
            assert_eq!(problem, expected, "{invalid}");
        }
    }

    #[test]
    fn a_problem_names_its_line() {
        let problem = |text: &str| parse(text.as_bytes()).expect_err(text);
        let relative = problem("a\nb c");
        assert_eq!(relative, "line 2: the path must begin with a slash");
        assert!(problem("a/b /c").starts_with("line 1: a resource name"));
    }
}
