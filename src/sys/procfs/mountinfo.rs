//! `/proc/self/mountinfo`: the mounts of this process's namespace.

use std::fs;

use super::decimal;

/// Returns the major and the minor device number of a mount.
///
/// # References
///
/// proc_pid_mountinfo(5).
pub fn device_of(mount: u64) -> Option<(u32, u32)> {
    find_device(mount, &fs::read("/proc/self/mountinfo").ok()?)
}

/// Returns the type of the file system of a mount, such as `ext4` or `fuse.sshfs`.
///
/// # References
///
/// proc_pid_mountinfo(5).
pub fn type_of(mount: u64) -> Option<String> {
    find_type(mount, &fs::read("/proc/self/mountinfo").ok()?)
}

fn find_type(mount: u64, table: &[u8]) -> Option<String> {
    table.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        if decimal(fields.next()?)? != mount {
            return None;
        }
        // A hyphen ends the optional fields.
        fields.find(|field| *field == b"-")?;
        Some(String::from_utf8_lossy(fields.next()?).into_owned())
    })
}

fn find_device(mount: u64, table: &[u8]) -> Option<(u32, u32)> {
    table.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        if decimal(fields.next()?)? != mount {
            return None;
        }
        let mut device = fields.nth(1)?.split(|byte| *byte == b':');
        let mut part = || u32::try_from(decimal(device.next()?)?).ok();
        Some((part()?, part()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_device_of_a_mount_is_found() {
        let table = b"22 27 0:21 / /proc rw,relatime - proc proc rw\n\
                      27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
                      x 1 2:3\n";
        assert_eq!(find_device(27, table), Some((254, 0)));
        assert_eq!(find_device(22, table), Some((0, 21)));
        assert_eq!(find_device(1, table), None);
    }

    #[test]
    fn the_type_of_a_mount_is_found() {
        let table = b"22 27 0:21 / /proc rw,relatime - proc proc rw\n\
                      27 1 254:0 / / rw,relatime shared:1 master:2 - fuse.sshfs host:/ rw\n";
        assert_eq!(find_type(22, table).as_deref(), Some("proc"));
        assert_eq!(find_type(27, table).as_deref(), Some("fuse.sshfs"));
        assert_eq!(find_type(1, table), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            find_device(27, &bytes);
            find_type(27, &bytes);
        }
    }
}
