//! Whether a file system is this machine's alone.
//!
//! On one that is, the kernel sees whatever happens to a file, and can be asked to tell. On any other (NFS, CIFS, FUSE,
//! cluster file systems) other machines change files behind its back, and whoever waits for that has to look again and
//! again. The list is one of what is known to be local: a file system that nobody has heard of is not.

use std::ffi::OsStr;
use std::os::fd::AsFd;

/// Who can change the files of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locality {
    /// This machine only.
    Local,
    /// Others too, or nobody knows.
    Remote,
}

impl Locality {
    /// fstatfs(2) – of the file system that this file is on.
    pub fn from_fd(file: impl AsFd) -> Self {
        rustix::fs::fstatfs(file).map_or(Self::Remote, |stat| Self::from_magic(stat.f_type as u32))
    }

    /// statfs(2) – of the file system that this path leads to.
    pub fn from_path(path: &OsStr) -> Self {
        rustix::fs::statfs(path).map_or(Self::Remote, |stat| Self::from_magic(stat.f_type as u32))
    }

    /// Of the file system with this magic number. All of them have 32 bits; the field has more or less, with a sign or
    /// without, depending on the processor.
    fn from_magic(magic: u32) -> Self {
        if LOCAL.contains(&magic) {
            Self::Local
        } else {
            Self::Remote
        }
    }
}

/// As `linux/magic.h` and the file systems' own headers have them. An overlay is as local as what lies on top of it,
/// and that cannot be NFS.
const LOCAL: &[u32] = &[
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683e, // btrfs
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0x794c_7630, // overlayfs
    0xf2f5_2010, // f2fs
    0x2fc1_2fc1, // zfs
    0xca45_1a4e, // bcachefs
    0x3153_464a, // jfs
    0x5265_4973, // reiserfs
    0x3434,      // nilfs2
    0x4d44,      // msdos, vfat
    0x2011_bab0, // exfat
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_can_reach_is_not_local() {
        for (magic, wanted) in [
            (0xef53, Locality::Local),
            (0x0102_1994, Locality::Local),
            (0x9123_683e, Locality::Local),
            (0x6969, Locality::Remote),      // nfs
            (0xff53_4d42, Locality::Remote), // cifs
            (0xfe53_4d42, Locality::Remote), // smb2
            (0x6573_5546, Locality::Remote), // fuse
            (0x0102_1997, Locality::Remote), // 9p
            (0x00c3_6400, Locality::Remote), // ceph
            (0x0116_1970, Locality::Remote), // gfs2
            (0, Locality::Remote),
        ] {
            assert_eq!(Locality::from_magic(magic), wanted, "{magic:#x}");
        }
    }

    #[test]
    fn memory_is_local_and_what_cannot_be_asked_is_not() {
        let file = |path| {
            let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
            rustix::fs::open(path, flags, rustix::fs::Mode::empty()).expect("it is there")
        };
        assert_eq!(Locality::from_fd(file("/dev/shm")), Locality::Local);
        assert_eq!(Locality::from_fd(file("/proc")), Locality::Remote);
    }
}
