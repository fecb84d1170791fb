//! Whether a file system can be changed by other machines.
//!
//! The kernel sees, and can report, every change to a local file system. On any other one (NFS,
//! CIFS, FUSE, cluster file systems), other machines change files without its knowledge, and a
//! process that waits for a change must poll.
//!
//! There are too many local file systems to list them, and the kernel does not say which ones are.
//! But a file system on a block device of this machine is local, unless it is made for disks that
//! several machines share, and those are few. Without a block device, a file system counts as local
//! only if it is known to be local.

use std::ffi::OsStr;
use std::os::fd::AsFd;

use rustix::fs::{Stat, StatFs};

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
        rustix::fs::fstat(&file).map_or(Self::Remote, |stat| Self::from_fd_with(file, &stat))
    }

    /// Does the same for a file whose status is known.
    pub fn from_fd_with(file: impl AsFd, stat: &Stat) -> Self {
        rustix::fs::fstatfs(file).map_or(Self::Remote, |fs| Self::new(&fs, stat))
    }

    /// Returns the locality of the file system that a path leads to, determined by statfs(2).
    pub fn from_path(path: &OsStr) -> Self {
        match (rustix::fs::statfs(path), rustix::fs::stat(path)) {
            (Ok(fs), Ok(stat)) => Self::new(&fs, &stat),
            _ => Self::Remote,
        }
    }

    /// All magic numbers have 32 bits; the size and signedness of `f_type` depend on the
    /// architecture, and so does the size of `st_dev`.
    #[allow(clippy::unnecessary_cast)]
    fn new(fs: &StatFs, stat: &Stat) -> Self {
        Self::classify(fs.f_type as u32, stat.st_dev as u64)
    }

    /// Decides by the magic number and the device.
    fn classify(magic: u32, device: u64) -> Self {
        // File systems without a block device have a number of their own with major 0.
        let has_block_device = rustix::fs::major(device) != 0;
        if !REMOTE.contains(&magic) && (has_block_device || LOCAL.contains(&magic)) {
            Self::Local
        } else {
            Self::Remote
        }
    }
}

/// Returns whether the file is on a file server, whose clients answer from caches that another
/// machine's changes do not reach at once.
///
/// A block device answers that without a system call. The file systems that share one keep the
/// caches of their machines coherent.
pub fn is_on_server(file: impl AsFd, device: u64) -> bool {
    let is_local = |fs: StatFs| LOCAL.contains(&(fs.f_type as u32));
    rustix::fs::major(device) == 0 && !rustix::fs::fstatfs(file).is_ok_and(is_local)
}

/// Returns whether the file is on a server that speaks SMB, which was called CIFS.
pub fn is_smb(file: impl AsFd) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|stat| SMB.contains(&(stat.f_type as u32)))
}

/// Returns whether the lock of a directory is one of this machine only, because the client of the
/// file server forwards only the locks of files.
pub fn locks_directories_locally(file: impl AsFd) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|stat| LOCAL_DIRECTORIES.contains(&(stat.f_type as u32)))
}

/// The magic numbers of smbfs, and of cifs with version 1 and with later versions of SMB.
const SMB: [u32; 3] = [0x517b, 0xff53_4d42, 0xfe53_4d42];

/// The magic numbers of file systems that other machines can change although they may have a block
/// device, from `linux/magic.h` and the file systems' own headers. Those that never have one would
/// count as remote anyway; they are listed so that the list is complete.
const REMOTE: &[u32] = &[
    NFS,
    SMB[0],
    SMB[1],
    SMB[2],
    0x564c, // ncpfs
    FUSE,   // whatever the server does
    NINE_P,
    0x5346_414f, // openafs
    0x6b41_4653, // afs of the kernel
    0x7375_7245, // coda
    0x00c3_6400, // ceph
    0x0bd0_0bd0, // lustre
    0x1983_0326, // beegfs
    0x2003_0528, // orangefs
    0xaad7_aaea, // panfs
    0x4750_4653, // gpfs
    0x0116_1970, // gfs2
    0x7461_636f, // ocfs2
    0x6163_6673, // acfs
    0xa501_fcf5, // vxfs, also of clusters
    0xbeef_dead, // snfs
    0x0131_11a8, // ibrix
    0x786f_4256, // vboxsf: directories of a virtual machine's host
    0xbacb_acbc, // vmhgfs
    0x7c7c_6673, // prl_fs
    0x00c0_ffee, // hostfs
];

/// The magic numbers of file systems that have no lock operation for directories, so that the kernel
/// keeps those locks to itself.
const LOCAL_DIRECTORIES: &[u32] = &[NFS, FUSE, NINE_P, SMB[0], SMB[1], SMB[2]];

const NFS: u32 = 0x6969;
/// fuse, fuseblk, virtiofs
const FUSE: u32 = 0x6573_5546;
const NINE_P: u32 = 0x0102_1997;

/// The magic numbers of local file systems that have no block device. An overlay is as local as its
/// upper layer, which cannot be NFS.
const LOCAL: &[u32] = &[
    0x9123_683e, // btrfs, which has a device number for each subvolume
    0xca45_1a4e, // bcachefs
    0x2fc1_2fc1, // zfs
    0x0102_1994, // tmpfs, devtmpfs
    0x8584_58f6, // ramfs
    0x9584_58f6, // hugetlbfs
    0x794c_7630, // overlayfs
    0x2405_1905, // ubifs
    0xe0f5_e1e2, // erofs, in a file
];

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use rustix::fs::{Mode, OFlags, makedev};

    use super::*;

    /// The number of a disk, and one of a file system without a device.
    const DISK: (u32, u32) = (259, 1);
    const NONE: (u32, u32) = (0, 53);

    fn classify(magic: u32, (major, minor): (u32, u32)) -> Locality {
        Locality::classify(magic, makedev(major, minor))
    }

    #[rstest]
    #[case::ext4(0xef53)]
    #[case::xfs(0x5846_5342)]
    #[case::squashfs(0x7371_7368)]
    #[case::erofs(0xe0f5_e1e2)]
    #[case::iso9660(0x9660)]
    #[case::udf(0x1501_3346)]
    #[case::ntfs3(0x7366_746e)]
    #[case::minix(0x4d5a)]
    #[case::vfat(0x4d44)]
    #[case::not_yet_invented(0x1234_5678)]
    fn file_systems_on_a_block_device_are_local(#[case] magic: u32) {
        assert_eq!(classify(magic, DISK), Locality::Local);
    }

    #[rstest]
    #[case::fuseblk(0x6573_5546)]
    #[case::gfs2(0x0116_1970)]
    #[case::ocfs2(0x7461_636f)]
    #[case::gpfs(0x4750_4653)]
    fn shared_file_systems_are_remote_on_any_device(#[case] magic: u32) {
        for device in [DISK, NONE] {
            assert_eq!(classify(magic, device), Locality::Remote);
        }
    }

    #[rstest]
    #[case::tmpfs(0x0102_1994, Locality::Local)]
    #[case::btrfs(0x9123_683e, Locality::Local)]
    #[case::overlay(0x794c_7630, Locality::Local)]
    #[case::nfs(0x6969, Locality::Remote)]
    #[case::cifs(0xff53_4d42, Locality::Remote)]
    #[case::ceph(0x00c3_6400, Locality::Remote)]
    #[case::not_yet_invented(0x1234_5678, Locality::Remote)]
    fn others_are_local_only_if_known(#[case] magic: u32, #[case] expected: Locality) {
        assert_eq!(classify(magic, NONE), expected);
    }

    #[test]
    fn files_on_a_device_or_in_memory_are_not_on_a_server() {
        let open = |path| {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty()).expect("it exists")
        };
        let memory = makedev(NONE.0, NONE.1);
        assert!(!is_on_server(open("/dev/shm"), memory));
        assert!(is_on_server(open("/proc"), memory));
        assert!(!is_on_server(open("/proc"), makedev(DISK.0, DISK.1)));
    }

    #[test]
    fn tmpfs_is_local_and_an_unknown_type_is_remote() {
        for (path, expected) in [("/dev/shm", Locality::Local), ("/proc", Locality::Remote)] {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let fd = rustix::fs::open(path, flags, Mode::empty()).expect("the directory exists");
            assert_eq!(Locality::from_fd(fd), expected);
            assert_eq!(Locality::from_path(OsStr::new(path)), expected);
        }
    }
}
