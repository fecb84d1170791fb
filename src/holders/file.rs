//! Which file it is, found out without touching it.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{FileType, Mode as Permissions, OFlags, StatxFlags, makedev};
use rustix::io::Errno;

use super::{Error, proc_error};
use crate::holders::line::{Info, Number, device_of};
use crate::lock;
use crate::lock::file::{Id, id_of};
use crate::sys;
use crate::sys::filesystem::Locality;

/// A file whose locks are looked at.
#[derive(Debug)]
pub struct File {
    handle: Handle,
    pub(super) number: Number,
    id: Option<Id>,
}

#[derive(Debug)]
enum Handle {
    Ours(OwnedFd),
    Theirs(BorrowedFd<'static>),
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.handle {
            Handle::Ours(fd) => fd.as_fd(),
            Handle::Theirs(fd) => *fd,
        }
    }
}

impl File {
    /// The file that the path leads to. It is not opened (`O_PATH`): that needs no permission but to get there, makes
    /// nothing, and neither a FIFO nor a lease can hold us there.
    ///
    /// # Errors
    ///
    /// There is no such file, or no `/proc` that tells which it is.
    pub fn at(path: &OsStr) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Permissions::empty()).map_err(|errno| {
            let is_number = path.as_encoded_bytes().iter().all(u8::is_ascii_digit);
            Error::Lock(lock::Error::Open {
                path: path.to_owned(),
                error: errno.into(),
                needed: (is_number && errno == Errno::NOENT)
                    .then_some("for a descriptor, use flock --who --fd NUMBER"),
            })
        })?;
        Self::of(Handle::Ours(fd))
    }

    /// What the caller has open by this number.
    ///
    /// # Errors
    ///
    /// It is not open, or there is no `/proc` that tells what it is.
    pub fn inherited(number: RawFd) -> Result<Self, Error> {
        let closed = || {
            Error::Lock(lock::Error::Lock {
                what: number.to_string().into(),
                error: Errno::BADF.into(),
                hint: None,
            })
        };
        let fd = sys::fd::inherited(number).ok_or_else(closed)?;
        rustix::io::fcntl_getfd(fd).map_err(|_| closed())?;
        Self::of(Handle::Theirs(fd))
    }

    fn of(handle: Handle) -> Result<Self, Error> {
        let mut file = Self {
            handle,
            number: Number {
                device: (0, 0),
                inode: 0,
            },
            id: None,
        };
        file.id = id_of(&file);
        let (device, inode) = file.id.unwrap_or_default();
        let path = format!("/proc/self/fdinfo/{}", file.as_fd().as_raw_fd());
        let info = Info::parse(&fs::read(&path).map_err(|error| proc_error(&path, error))?);
        // What is on no mount of ours, as a pipe is on none, is what stat(2) says.
        let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
        let mounted = info.mount.and_then(|mount| device_of(mount, &mounts));
        file.number = Number {
            device: mounted.unwrap_or((rustix::fs::major(device), rustix::fs::minor(device))),
            inode: info.inode.unwrap_or(inode),
        };
        Ok(file)
    }

    /// Whether a descriptor of a process, which is known to be open on a file of this number, is open on this one. On
    /// btrfs, files of several subvolumes may have one number.
    ///
    /// No more is asked than what is known here, as a file server may be dead.
    pub(super) fn is_open_at(&self, path: &str) -> bool {
        let Some((device, inode)) = self.id else {
            return true;
        };
        let (major, minor) = self.number.device;
        if makedev(major, minor) == device {
            return true;
        }
        let flags = rustix::fs::AtFlags::STATX_DONT_SYNC;
        let stat = rustix::fs::statx(rustix::fs::CWD, path, flags, StatxFlags::INO);
        stat.is_ok_and(|stat| {
            makedev(stat.stx_dev_major, stat.stx_dev_minor) == device && stat.stx_ino == inode
        })
    }

    /// The file, opened to be asked about; `None` if that is not allowed, or could do something.
    pub(super) fn opened(&self) -> Option<OwnedFd> {
        let kind = rustix::fs::fstat(self).map(|stat| FileType::from_raw_mode(stat.st_mode));
        if !matches!(kind, Ok(FileType::RegularFile | FileType::Directory)) {
            return None;
        }
        let path = format!("/proc/self/fd/{}", self.as_fd().as_raw_fd());
        // O_NONBLOCK so that a lease does not hold us there.
        let flags = OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        rustix::fs::open(path, flags, Permissions::empty()).ok()
    }

    /// Who can lock it.
    pub fn locality(&self) -> Locality {
        Locality::of(self)
    }
}
