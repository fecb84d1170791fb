//! The meaning of the errors of flock(2) and of fcntl(2).

use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use crate::lock::AcquireError;
use crate::sys::filesystem::{self, Locality};
use crate::sys::ofd::Blocking;
use crate::sys::procfs::fdinfo::FdInfo;
use crate::sys::procfs::mountinfo::Mount;

/// What an error of a lock call means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Another process holds the lock.
    Conflict,
    /// A signal interrupted the call, which shows nothing about the lock.
    TryAgain,
    /// The lock is not permitted.
    Refused,
    /// The kernel or the file system does not have this kind of lock.
    Unsupported,
    /// No locks or memory are left.
    Exhausted,
    /// The descriptor does not permit the lock, or the range is invalid.
    Invalid,
    /// The file system, or its server, has failed.
    Failed,
}

use Meaning::{Conflict, Exhausted, Failed, Invalid, Refused, TryAgain, Unsupported};

/// The errors that Linux returns in practice: those of flock(2) and fcntl_locking(2), of security
/// modules and seccomp(2), and of network file systems. All others are [`Failed`].
static MEANINGS: &[(Errno, Meaning)] = &[
    // The only error of the kernel for a conflict. `Errno::WOULDBLOCK` is the same number.
    (Errno::AGAIN, Conflict),
    // From a call that does not block, NFS and FUSE return it when a signal arrives while they wait
    // for the server.
    (Errno::INTR, TryAgain),
    // AppArmor, SELinux, NFS. CIFS servers report conflicts in this way: see `meaning`.
    (Errno::ACCESS, Refused),
    // seccomp(2), systemd's SystemCallFilter, NFS.
    (Errno::PERM, Refused),
    // NFS: the server has exported the file system read-only.
    (Errno::ROFS, Refused),
    // NFS: the Kerberos ticket has expired.
    (Errno::KEYEXPIRED, Refused),
    // A server that detects deadlocks; the kernel does so only for locks that belong to a process.
    (Errno::DEADLK, Refused),
    // Lustre without `-o flock`, cluster file systems without their daemon, seccomp(2).
    (Errno::NOSYS, Unsupported),
    // NFS servers without a lock service, overlay and FUSE file systems.
    (Errno::OPNOTSUPP, Unsupported),
    // Open file description locks before Linux 3.15, and in some sandboxes.
    (Errno::INVAL, Unsupported),
    // The kernel's memory, or the NFS server's lock service.
    (Errno::NOLCK, Exhausted),
    (Errno::NOMEM, Exhausted),
    (Errno::NOSPC, Exhausted),
    (Errno::DQUOT, Exhausted),
    // The descriptor is not open, or not open for the access that the lock requires.
    (Errno::BADF, Invalid),
    (Errno::OVERFLOW, Invalid),
    (Errno::FAULT, Invalid),
    // NFS, CIFS, FUSE.
    (Errno::IO, Failed),
    (Errno::STALE, Failed),
    (Errno::TIMEDOUT, Failed),
    (Errno::NOTCONN, Failed),
    (Errno::CONNABORTED, Failed),
    (Errno::HOSTDOWN, Failed),
    (Errno::REMOTEIO, Failed),
];

impl Meaning {
    /// Returns the meaning of an error, without regard to the file.
    pub fn from_errno(errno: Errno) -> Self {
        let row = MEANINGS.iter().find(|(known, _)| *known == errno);
        row.map_or(Failed, |(_, meaning)| *meaning)
    }

    /// Returns the meaning of an error of a lock call on this file.
    ///
    /// CIFS servers report a conflict as `EACCES`. On any other file system, and from a call that
    /// may block, it means that the lock is not permitted.
    pub(super) fn of_call(errno: Errno, fd: BorrowedFd<'_>, blocking: Blocking) -> Self {
        if errno == Errno::ACCESS && blocking == Blocking::No && filesystem::is_smb(fd) {
            return Conflict;
        }
        Self::from_errno(errno)
    }
}

/// Explains why a lock on this file could not be acquired, and says what to do. Returns `None` if
/// there is nothing to add to the text of the system.
#[cold]
pub fn hint(error: &AcquireError, fd: BorrowedFd<'_>) -> Option<String> {
    let AcquireError::Lock(error) = error else {
        return None;
    };
    let errno = Errno::from_io_error(error)?;
    let file_system = || FileSystem::from_fd(fd);
    match (errno, Meaning::from_errno(errno)) {
        (Errno::ACCESS | Errno::PERM, _) => Some(file_system().refusal()),
        (_, Unsupported) => Some(file_system().lack_of_support()),
        (Errno::NOLCK, _) => Some(file_system().lack_of_locks()),
        _ => None,
    }
}

/// What a message says about a file system.
struct FileSystem {
    /// Its type, as mount(8) shows it, followed by `file system`.
    name: String,
    locality: Locality,
}

const USE_LOCAL_FILE: &str = "use a lock file on a local file system";

impl FileSystem {
    fn from_fd(fd: BorrowedFd<'_>) -> Self {
        let mount = FdInfo::read_own(fd).ok().and_then(|info| info.mount);
        let mount = mount.and_then(Mount::find);
        let mut name = mount.map_or_else(String::new, |mount| mount.file_system);
        if !name.is_empty() {
            name.push(' ');
        }
        name += "file system";
        Self {
            name,
            locality: Locality::from_fd(fd.as_fd()),
        }
    }

    fn refusal(&self) -> String {
        match self.locality {
            Locality::Local => "a security module or sandbox does not permit the lock".to_owned(),
            Locality::Remote => format!(
                "the server of this {}, a security module or a sandbox does not permit the lock",
                self.name
            ),
        }
    }

    fn lack_of_support(&self) -> String {
        let name = &self.name;
        match self.locality {
            Locality::Local => format!(
                "the kernel or a sandbox does not provide this kind of lock on this {name}; \
                 permit it in the sandbox, or run flock outside of it"
            ),
            Locality::Remote if name.starts_with("lustre") => {
                format!("this {name} is mounted without locks; mount it with -o flock")
            }
            Locality::Remote => {
                format!("this {name} does not support this kind of lock; {USE_LOCAL_FILE}")
            }
        }
    }

    fn lack_of_locks(&self) -> String {
        let name = &self.name;
        match self.locality {
            Locality::Local => {
                format!("the kernel has no memory for more locks on this {name}; free some memory")
            }
            Locality::Remote if name.starts_with("nfs") => format!(
                "the lock service of this {name} does not respond or is full; \
                 start it (rpc.statd) on both sides, or {USE_LOCAL_FILE}"
            ),
            Locality::Remote => {
                format!("this {name} has no lock service, or it is full; {USE_LOCAL_FILE}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_one_row() {
        for (index, (errno, meaning)) in MEANINGS.iter().enumerate() {
            assert_eq!(Meaning::from_errno(*errno), *meaning);
            assert!(MEANINGS[..index].iter().all(|(other, _)| other != errno));
        }
    }

    #[test]
    fn eacces_is_not_a_conflict_on_a_local_file_system() {
        let file = tempfile::tempfile().expect("a temporary file");
        for blocking in [Blocking::No, Blocking::Yes] {
            let meaning = Meaning::of_call(Errno::ACCESS, file.as_fd(), blocking);
            assert_eq!(meaning, Refused);
        }
    }

    #[test]
    fn hints_name_the_file_system() {
        let hint = |name: &str, describe: fn(&FileSystem) -> String| {
            let locality = Locality::Remote;
            let name = format!("{name} file system");
            describe(&FileSystem { name, locality })
        };
        assert!(hint("nfs4", FileSystem::lack_of_locks).contains("this nfs4 file system"));
        assert!(hint("fuse.sshfs", FileSystem::lack_of_support).contains(USE_LOCAL_FILE));
        assert!(hint("lustre", FileSystem::lack_of_support).contains("-o flock"));
    }
}
