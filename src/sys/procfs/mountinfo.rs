//! `/proc/PID/mountinfo`: the mounts of a process's namespace.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

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

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            Mount::parse(27, &bytes);
        }
    }
}
