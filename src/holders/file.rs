//! Identifies a file without touching it.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

use rustix::fs::{FileType, Mode as Permissions, OFlags, StatxFlags, makedev};
use rustix::io::Errno;

use super::error::Error;
use crate::lock;
use crate::lock::file_id::FileId;
use crate::sys;
use crate::sys::filesystem::Locality;
use crate::sys::procfs::fdinfo::{self, FdInfo};
use crate::sys::procfs::locks::FileKey;
use crate::sys::procfs::mountinfo::Mount;
use crate::sys::procfs::own_fd_path;

/// What identifies a file at the descriptors of processes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    /// Its key in `/proc/locks`.
    pub key: FileKey,
    /// What stat(2) reports, if the file is at hand.
    pub id: Option<FileId>,
}

/// A file whose locks are listed.
#[derive(Debug)]
pub struct File {
    handle: Handle,
    pub(super) identity: Identity,
    /// The mount through which it is open; `None` if it is not on a mount of this namespace.
    mount: Option<Mount>,
    /// Whether it has been deleted, and the handle is its former directory's.
    pub(super) is_found_deleted: bool,
}

#[derive(Debug)]
enum Handle {
    Owned(OwnedFd),
    Borrowed(BorrowedFd<'static>),
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Owned(fd) => fd.as_fd(),
            Self::Borrowed(fd) => *fd,
        }
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl Identity {
    /// Returns whether a descriptor that is open on a file with this key is open on this file. On
    /// btrfs, files of several subvolumes may have the same key.
    ///
    /// Only cached attributes are read, because the server of the file may be unreachable.
    pub(super) fn is_open_at(&self, path: &str) -> bool {
        let Some(id) = self.id else {
            return true;
        };
        let (major, minor) = self.key.device;
        if makedev(major, minor) == id.device {
            return true;
        }
        let flags = rustix::fs::AtFlags::STATX_DONT_SYNC;
        let stat = rustix::fs::statx(rustix::fs::CWD, path, flags, StatxFlags::INO);
        stat.is_ok_and(|stat| {
            let device = makedev(stat.stx_dev_major, stat.stx_dev_minor);
            (device, stat.stx_ino) == (id.device, id.inode)
        })
    }
}

impl File {
    /// Identifies the file at a path. It is opened with `O_PATH`, which requires no permission on
    /// the file, creates nothing, and is blocked neither by a FIFO nor by a lease.
    ///
    /// # Errors
    ///
    /// The file does not exist, or `/proc` does not identify it.
    pub fn from_path(path: &OsStr) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Permissions::empty()).map_err(|errno| {
            let is_number =
                !path.is_empty() && path.as_encoded_bytes().iter().all(u8::is_ascii_digit);
            Error::Lock(lock::Error::Open {
                path: path.to_owned(),
                error: errno.into(),
                hint: match errno {
                    Errno::NOENT if is_number => {
                        Some("for a descriptor, use flock --who --fd NUMBER".into())
                    }
                    _ => lock::open_hint::for_path(path, errno),
                },
            })
        })?;
        Self::from_handle(Handle::Owned(fd))
    }

    /// Identifies the file that the caller has open.
    ///
    /// # Errors
    ///
    /// The descriptor is not open, or `/proc` does not identify its file.
    pub fn from_inherited(number: RawFd) -> Result<Self, Error> {
        let closed = || {
            Error::Lock(lock::Error::Lock {
                target: number.to_string().into(),
                error: Errno::BADF.into(),
                hint: None,
            })
        };
        let fd = sys::fd::inherited(number).ok_or_else(closed)?;
        rustix::io::fcntl_getfd(fd).map_err(|_| closed())?;
        Self::from_handle(Handle::Borrowed(fd))
    }

    /// Identifies the file that the caller has open, by a handle that does not keep the caller's
    /// open file description, and so no lock.
    ///
    /// # Errors
    ///
    /// The descriptor is not open, or `/proc` does not identify its file.
    pub fn reopen(number: RawFd) -> Result<Self, Error> {
        Self::from_path(own_fd_path(number).as_ref())
    }

    fn from_handle(handle: Handle) -> Result<Self, Error> {
        let id = FileId::from_fd(handle.as_fd());
        let (device, inode) = id.map_or((0, 0), |id| (id.device, id.inode));
        let info = FdInfo::read_own(handle.as_fd())
            .map_err(|error| Error::proc(&fdinfo::own_path(handle.as_fd()), error))?;
        // A file that is not on a mount of this namespace, such as a pipe, has the device of
        // stat(2).
        let mount = info.mount.and_then(Mount::find);
        let own_device = || (rustix::fs::major(device), rustix::fs::minor(device));
        let key = FileKey {
            device: mount.as_ref().map_or_else(own_device, |mount| mount.device),
            inode: info.inode.unwrap_or(inode),
        };
        Ok(Self {
            handle,
            identity: Identity { key, id },
            mount,
            is_found_deleted: false,
        })
    }

    /// Creates the description of a file that has been deleted from a directory, and is known only
    /// by its key.
    pub(super) fn deleted_from(dir: Self, key: FileKey) -> Self {
        Self {
            identity: Identity { key, id: None },
            is_found_deleted: true,
            ..dir
        }
    }

    /// Returns whether the file has no name any more.
    pub(super) fn is_deleted(&self) -> bool {
        let links = || rustix::fs::fstat(self.handle.as_fd()).map(|stat| stat.st_nlink);
        self.is_found_deleted || links() == Ok(0)
    }

    /// Returns the path under which the kernel knows the file.
    pub(super) fn kernel_path(&self) -> Option<PathBuf> {
        fs::read_link(own_fd_path(self.handle.as_fd().as_raw_fd())).ok()
    }

    /// Opens the file to query its locks.
    ///
    /// # Errors
    ///
    /// It is not permitted. `EOPNOTSUPP`: it could have side effects.
    pub(super) fn open(&self) -> Result<OwnedFd, Errno> {
        if self.is_found_deleted {
            return Err(Errno::OPNOTSUPP);
        }
        let stat = rustix::fs::fstat(self.handle.as_fd());
        let file_type = stat.map(|stat| FileType::from_raw_mode(stat.st_mode));
        if !matches!(file_type, Ok(FileType::RegularFile | FileType::Directory)) {
            return Err(Errno::OPNOTSUPP);
        }
        let path = own_fd_path(self.handle.as_fd().as_raw_fd());
        // With O_NONBLOCK, a lease does not block open(2).
        let flags = OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        rustix::fs::open(path, flags, Permissions::empty())
    }

    /// Returns the type of its file system, such as `nfs4` or `fuse.sshfs`.
    pub(super) fn file_system(&self) -> Option<&str> {
        self.mount.as_ref().map(|mount| mount.file_system.as_str())
    }

    /// Returns whether other machines can lock it.
    pub fn locality(&self) -> Locality {
        Locality::from_fd(self.handle.as_fd())
    }
}
