//! The contents of a lock file, and what they say about the process that created it.
//!
//! The first line is the one that Perl's LockFile::Simple writes and reads: a PID, or `PID:HOST`
//! from processes that share files with other machines. The second line is read by our processes
//! only: it distinguishes the process from all others that ever have the same PID.

use std::ffi::OsString;
use std::fs;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;

use rustix::io::Errno;
use rustix::process::{Pid, getpid};

use fdlock::sys::filesystem::Locality;
use fdlock::sys::procfs::liveness::{self, Liveness};

/// More than any file of this kind contains.
const MAX_SIZE: usize = 4096;

/// The process that examines a lock file or creates one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProcessIdentity {
    pid: Pid,
    host: Vec<u8>,
    /// `None` if `/proc` does not show it.
    instance: Option<ProcessInstance>,
}

/// What distinguishes a process from all others that ever have the same PID.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ProcessInstance {
    /// The kernel's ID of the boot.
    boot: Vec<u8>,
    /// The inode of the PID namespace.
    namespace: u64,
    /// The start time of the process.
    start: u64,
}

/// Where the PID in a lock file is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// The file does not say.
    Unspecified,
    /// On this host.
    Host(Vec<u8>),
    /// On this host, and for this instance: the file was created by our `runlock`.
    Runlock {
        host: Vec<u8>,
        instance: ProcessInstance,
    },
}

/// What a lock file says about its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OwnerState {
    /// The process is alive.
    Alive(Pid),
    /// The process is dead.
    Dead(Pid),
    /// The process is not visible from here. While it lives, it holds the flock(2) lock on the
    /// file, which is visible.
    CheckFlock(Pid),
    /// The process runs on another machine.
    Remote { pid: Pid, host: OsString },
    /// The file does not name a process.
    Unknown,
}

impl ProcessIdentity {
    /// Returns the identity of this process.
    pub(super) fn current() -> Self {
        Self {
            pid: getpid(),
            host: sanitize(rustix::system::uname().nodename().to_bytes()),
            instance: ProcessInstance::current(),
        }
    }

    /// Returns the contents of a lock file that this process creates.
    pub(super) fn file_contents(&self) -> Vec<u8> {
        let mut text = format!("{}\n", self.pid).into_bytes();
        if let Some(instance) = &self.instance {
            let (start, namespace) = (instance.start, instance.namespace);
            text.extend(format!("start={start} pidns={namespace} boot=").bytes());
            text.extend([&instance.boot, &b" host="[..], &self.host, b"\n"].concat());
        }
        text
    }

    /// Determines the state of the owner from the contents of a lock file that this process has not
    /// created.
    pub(super) fn owner_state(
        &self,
        contents: &[u8],
        locality: Locality,
        check_liveness: impl Fn(Pid) -> Liveness,
    ) -> OwnerState {
        let Some((pid, origin)) = parse(contents) else {
            return OwnerState::Unknown;
        };
        let remote = |host| OwnerState::Remote {
            pid,
            host: OsString::from_vec(host),
        };
        match (origin, &self.instance) {
            (Origin::Host(host), _) if host != self.host => remote(host),
            (Origin::Runlock { instance, .. }, Some(own)) if instance.boot == own.boot => {
                if instance.namespace != own.namespace {
                    return OwnerState::CheckFlock(pid);
                }
                match check_liveness(pid) {
                    Liveness::Alive { start: None } => OwnerState::CheckFlock(pid),
                    Liveness::Alive { start: Some(start) } if start == instance.start => {
                        OwnerState::Alive(pid)
                    }
                    _ => OwnerState::Dead(pid),
                }
            }
            // From before this machine booted, unless another machine shares the file system.
            (Origin::Runlock { host, .. }, Some(_)) => {
                if locality == Locality::Local || host == self.host {
                    OwnerState::Dead(pid)
                } else {
                    remote(host)
                }
            }
            (Origin::Runlock { host, .. }, None) if host != self.host => remote(host),
            // The PID is ours now: the process that had it before is dead.
            _ if pid == self.pid => OwnerState::Dead(pid),
            _ => match check_liveness(pid) {
                Liveness::Alive { .. } => OwnerState::Alive(pid),
                Liveness::Dead => OwnerState::Dead(pid),
            },
        }
    }
}

impl ProcessInstance {
    fn current() -> Option<Self> {
        let boot = fs::read("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = rustix::fs::stat("/proc/self/ns/pid").ok()?;
        Some(Self {
            boot: sanitize(boot.trim_ascii()),
            namespace: namespace.st_ino,
            start: liveness::own_start()?,
        })
    }
}

/// Reads the contents of a lock file, as far as they matter.
pub(super) fn read(file: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    let mut contents = vec![0; MAX_SIZE];
    let mut length = 0;
    while length < MAX_SIZE {
        match rustix::io::pread(file, &mut contents[length..], length as u64) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    contents.truncate(length);
    Ok(contents)
}

/// Replaces all bytes of a value that could be mistaken for its end or would affect a terminal.
fn sanitize(value: &[u8]) -> Vec<u8> {
    let replace = |byte: &u8| if byte.is_ascii_graphic() { *byte } else { b'?' };
    value.iter().map(replace).collect()
}

/// Returns `None` if the file does not name a process: it is empty, or not a lock file at all.
fn parse(contents: &[u8]) -> Option<(Pid, Origin)> {
    let mut lines = contents.split(|byte| *byte == b'\n');
    let mut first = lines.next()?.splitn(2, |byte| *byte == b':');
    let (pid, host) = (first.next()?, first.next());
    // `str::parse` alone would accept signs. For kill(2), zero and negative numbers mean whole
    // groups of processes.
    let is_decimal = pid.iter().all(u8::is_ascii_digit);
    let pid = std::str::from_utf8(pid).ok().filter(|_| is_decimal)?;
    let pid = Pid::from_raw(pid.parse().ok()?)?;
    let origin = match host {
        Some(host) => Origin::Host(sanitize(host)),
        None => lines
            .next()
            .and_then(parse_second_line)
            .unwrap_or(Origin::Unspecified),
    };
    Some((pid, origin))
}

/// Returns `None` if the line is not one of ours, or incomplete.
fn parse_second_line(line: &[u8]) -> Option<Origin> {
    let value = |name: &str| {
        let mut fields = line.split(|byte| *byte == b' ');
        fields.find_map(|field| field.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    };
    let number = |name| std::str::from_utf8(value(name)?).ok()?.parse().ok();
    Some(Origin::Runlock {
        host: sanitize(value("host")?),
        instance: ProcessInstance {
            boot: sanitize(value("boot")?),
            namespace: number("pidns")?,
            start: number("start")?,
        },
    })
}

#[cfg(test)]
mod tests;
