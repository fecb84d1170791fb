//! `/proc/PID/mountinfo`: the mounts of a process's namespace.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::decimal;
use super::read::{self, End};

/// A mount, and the file system that it shows.
///
/// # References
///
/// proc_pid_mountinfo(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The major and the minor device number of the file system.
    pub device: (u32, u32),
    /// Its type, such as `ext4` or `fuse.sshfs`.
    pub file_system: String,
    /// Its own options, separated by commas.
    pub options: String,
}

impl Mount {
    /// Returns the mount with this ID in the namespace of this process.
    pub fn find(id: u64) -> Option<Self> {
        let mut found = None;
        let file = read::open("/proc/self/mountinfo").ok()?;
        let visited = read::visit_lines(file, 4096, End::EmptyRead, &mut |line| {
            found = Self::parse(id, line);
            match found {
                Some(_) => ControlFlow::Break(()),
                None => ControlFlow::Continue(()),
            }
        });
        visited.ok().and(found)
    }

    /// Parses a line, unless it is that of another mount.
    fn parse(id: u64, line: &[u8]) -> Option<Self> {
        let (own_id, device) = id_and_device(line)?;
        if own_id != id {
            return None;
        }
        let mut fields = line.split(|byte| *byte == b' ').skip(3);
        // A hyphen ends the optional fields.
        fields.find(|field| *field == b"-");
        let text =
            |field: Option<&[u8]>| String::from_utf8_lossy(field.unwrap_or_default()).into_owned();
        Some(Self {
            device,
            file_system: text(fields.next()),
            options: text(fields.nth(1)),
        })
    }
}

/// The devices of the mounts in a namespace, by the IDs of the mounts.
pub type MountDevices = BTreeMap<u64, (u32, u32)>;

/// Returns the devices of all mounts in the namespace of the process or thread with this directory
/// in `/proc`.
pub fn devices_in(dir: &str) -> Option<MountDevices> {
    let mut devices = BTreeMap::new();
    let file = read::open(&format!("{dir}/mountinfo")).ok()?;
    let visited = read::visit_lines(file, 4096, End::EmptyRead, &mut |line| {
        devices.extend(id_and_device(line));
        ControlFlow::Continue(())
    });
    visited.ok().map(|_| devices)
}

/// Returns where the root of the file system of a device is mounted in the namespace of this
/// process.
pub fn mount_point(device: (u32, u32)) -> Option<PathBuf> {
    let mut found = None;
    let file = read::open("/proc/self/mountinfo").ok()?;
    let visited = read::visit_lines(file, 4096, End::EmptyRead, &mut |line| {
        found = root_mount_point(device, line);
        match found {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    });
    visited.ok().and(found)
}

/// Returns the mount point of a line, if it is that of the root of the device's file system.
fn root_mount_point(device: (u32, u32), line: &[u8]) -> Option<PathBuf> {
    let (_, found) = id_and_device(line)?;
    let mut fields = line.split(|byte| *byte == b' ').skip(3);
    let is_root = fields.next()? == b"/";
    let path = fields.next()?;
    (found == device && is_root).then(|| PathBuf::from(OsString::from_vec(unescape(path))))
}

/// Replaces what the kernel writes for blanks, newlines and backslashes: `\040`.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((first, others)) = rest.split_first() {
        let digits = others.get(..3).filter(|_| *first == b'\\');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = match escaped {
            Some(_) => &others[3..],
            None => others,
        };
    }
    bytes
}

fn id_and_device(line: &[u8]) -> Option<(u64, (u32, u32))> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = decimal(fields.next()?)?;
    let mut device = fields.nth(1)?.split(|byte| *byte == b':');
    let mut part = || u32::try_from(decimal(device.next()?)?).ok();
    Some((id, (part()?, part()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_fields_of_a_mount_are_parsed() {
        let table = b"22 27 0:21 / /proc rw,relatime - proc proc rw,hidepid=invisible\n\
                      27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
                      x 1 2:3\n";
        let fields = |id| {
            let mut lines = table.split(|byte| *byte == b'\n');
            let mount = lines.find_map(|line| Mount::parse(id, line))?;
            Some((mount.device, mount.file_system, mount.options))
        };
        let expected = |device, file_system: &str, options: &str| {
            Some((device, file_system.to_owned(), options.to_owned()))
        };
        assert_eq!(fields(27), expected((254, 0), "ext4", "rw"));
        let options = "rw,hidepid=invisible";
        assert_eq!(fields(22), expected((0, 21), "proc", options));
        assert_eq!(fields(1), None);
    }

    #[test]
    fn a_mount_point_is_that_of_the_root() {
        let point = |line: &str| root_mount_point((254, 0), line.as_bytes());
        let line =
            |root, device, path| format!("27 1 {device} {root} {path} rw - ext4 /dev/vda rw");
        let found = point(&line("/", "254:0", "/a\\040b\\134\\9"));
        assert_eq!(found, Some(PathBuf::from("/a b\\\\9")));
        assert_eq!(point(&line("/sub", "254:0", "/a")), None);
        assert_eq!(point(&line("/", "254:1", "/a")), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            root_mount_point((0, 0), &bytes);
            Mount::parse(27, &bytes);
        }
    }
}
