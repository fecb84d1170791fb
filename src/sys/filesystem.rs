//! Whether a file system can be changed by other machines.
//!
//! The kernel sees, and can report, every change to a local file system. On any other one (NFS,
//! CIFS, FUSE, cluster file systems), other machines change files without its knowledge, and a
//! process that waits for a change must poll. A file system counts as local only if it is known to
//! be local.

use std::ffi::OsStr;
use std::os::fd::AsFd;

/// Which machines can change the files of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locality {
    /// Only this machine.
    Local,
    /// Other machines too, or it is unknown.
    Remote,
}

impl Locality {
    /// Returns the locality of the file system of an open file, determined by fstatfs(2).
    pub fn from_fd(file: impl AsFd) -> Self {
        rustix::fs::fstatfs(file).map_or(Self::Remote, |stat| Self::from_magic(stat.f_type as u32))
    }

    /// Returns the locality of the file system that a path leads to, determined by statfs(2).
    pub fn from_path(path: &OsStr) -> Self {
        rustix::fs::statfs(path).map_or(Self::Remote, |stat| Self::from_magic(stat.f_type as u32))
    }

    /// Looks up a magic number. All of them have 32 bits; the size and signedness of `f_type`
    /// depend on the architecture.
    fn from_magic(magic: u32) -> Self {
        if LOCAL.contains(&magic) {
            Self::Local
        } else {
            Self::Remote
        }
    }
}

/// Returns whether the file is on a server that speaks SMB, which was called CIFS.
pub fn is_smb(file: impl AsFd) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|stat| SMB.contains(&(stat.f_type as u32)))
}

/// The magic numbers of `smbfs`, and of `cifs` for either version of the protocol.
const SMB: [u32; 3] = [0x517b, 0xff53_4d42, 0xfe53_4d42];

/// The magic numbers of local file systems, from `linux/magic.h` and the file systems' own headers.
/// An overlay is as local as its upper layer, which cannot be NFS.
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
    fn shared_file_systems_are_remote() {
        for (magic, expected) in [
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
            assert_eq!(Locality::from_magic(magic), expected, "{magic:#x}");
        }
    }

    #[test]
    fn tmpfs_is_local_and_an_unknown_type_is_remote() {
        let open = |path| {
            let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
            rustix::fs::open(path, flags, rustix::fs::Mode::empty()).expect("the directory exists")
        };
        assert_eq!(Locality::from_fd(open("/dev/shm")), Locality::Local);
        assert_eq!(Locality::from_fd(open("/proc")), Locality::Remote);
    }
}
