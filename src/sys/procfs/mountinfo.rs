//! `/proc/PID/mountinfo`: the mounts of a process's namespace.

use std::fs;

use super::decimal;

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
        Self::find_in("/proc/self", id)
    }

    /// Returns the mount with this ID in the namespace of the process or thread with this directory
    /// in `/proc`.
    pub fn find_in(dir: &str, id: u64) -> Option<Self> {
        Self::parse(id, &fs::read(format!("{dir}/mountinfo")).ok()?)
    }

    fn parse(id: u64, table: &[u8]) -> Option<Self> {
        table.split(|byte| *byte == b'\n').find_map(|line| {
            let mut fields = line.split(|byte| *byte == b' ');
            if decimal(fields.next()?)? != id {
                return None;
            }
            let mut device = fields.nth(1)?.split(|byte| *byte == b':');
            let mut part = || u32::try_from(decimal(device.next()?)?).ok();
            let device = (part()?, part()?);
            // A hyphen ends the optional fields.
            fields.find(|field| *field == b"-");
            let text = |field: Option<&[u8]>| {
                String::from_utf8_lossy(field.unwrap_or_default()).into_owned()
            };
            Some(Self {
                device,
                file_system: text(fields.next()),
                options: text(fields.nth(1)),
            })
        })
    }
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
            let mount = Mount::parse(id, table)?;
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
