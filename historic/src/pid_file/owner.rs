//! Whose a pid lock file is: what stands in it, and what that says about who made it.
//!
//! The first line is for everybody, as Perl's LockFile::Simple writes and reads it: a process id, or `PID:HOST` by those who
//! share files with other machines. The second is ours, and nobody else looks at it: what tells the process from all others
//! that ever get the same id.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;

use rustix::process::{Pid, getpid};

use fdlock::sys::filesystem::Locality;
use fdlock::sys::procfs::liveness::{self, Liveness};

/// Who looks at a lock file, or makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Here {
    pid: Pid,
    host: Vec<u8>,
    /// `None` where `/proc` does not tell.
    life: Option<Life>,
}

/// What a process id means something in.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Life {
    /// The kernel's name for this run of the machine.
    boot: Vec<u8>,
    /// The pid namespace, by its inode.
    namespace: u64,
    /// When the process was started.
    start: u64,
}

/// What stands in a lock file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    pid: Pid,
    origin: Origin,
}

/// Where its process id is from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// Nothing is said.
    Unsaid,
    /// A machine.
    Host(Vec<u8>),
    /// A machine, and more: a `runlock` of ours made it.
    Ours { host: Vec<u8>, life: Life },
}

/// What a lock file says about who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The process lives.
    Lives(Pid),
    /// The process is dead.
    Dead(Pid),
    /// The process cannot be seen from here. While it lives it holds a lock of flock(2) on the file, which can.
    AskTheLock(Pid),
    /// The process is on another machine.
    Elsewhere { pid: Pid, host: OsString },
    /// No process is named.
    Nobody,
}

impl Here {
    /// This process.
    pub(super) fn now() -> Self {
        Self {
            pid: getpid(),
            host: graphic(rustix::system::uname().nodename().to_bytes()),
            life: Life::now(),
        }
    }

    /// What stands in a lock file of this process's.
    pub(super) fn claim(&self) -> Vec<u8> {
        let mut text = format!("{}\n", self.pid.as_raw_nonzero()).into_bytes();
        if let Some(life) = &self.life {
            text.extend(format!("start={} pidns={} boot=", life.start, life.namespace).bytes());
            text.extend(&life.boot);
            text.extend(b" host=");
            text.extend(&self.host);
            text.push(b'\n');
        }
        text
    }

    /// What a file with this text, which is not of this process's making, says about who made it.
    pub(super) fn judge(
        &self,
        text: &[u8],
        locality: Locality,
        look: impl Fn(Pid) -> Process,
    ) -> Finding {
        let Some(Claim { pid, origin }) = parse(text) else {
            return Finding::Nobody;
        };
        let elsewhere = |host| Finding::Elsewhere {
            pid,
            host: OsString::from_vec(host),
        };
        match (origin, &self.life) {
            (Origin::Host(host), _) if host != self.host => elsewhere(host),
            (Origin::Ours { life, .. }, Some(here)) if life.boot == here.boot => {
                if life.namespace != here.namespace {
                    return Finding::AskTheLock(pid);
                }
                match look(pid) {
                    Liveness::Alive { start: None } => Finding::AskTheLock(pid),
                    Liveness::Alive { start } if start == Some(life.start) => Finding::Lives(pid),
                    _ => Finding::Dead(pid),
                }
            }
            // From before this machine was started, unless another machine has the same files.
            (Origin::Ours { host, .. }, Some(_)) => {
                if locality == Locality::Local || host == self.host {
                    Finding::Dead(pid)
                } else {
                    elsewhere(host)
                }
            }
            (Origin::Ours { host, .. }, None) if host != self.host => elsewhere(host),
            // Our own id was somebody else's before us.
            _ if pid == self.pid => Finding::Dead(pid),
            _ => match look(pid) {
                Liveness::Alive { .. } => Finding::Lives(pid),
                Liveness::Dead => Finding::Dead(pid),
            },
        }
    }
}

impl Life {
    fn now() -> Option<Self> {
        let boot = fs::read("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = rustix::fs::stat("/proc/self/ns/pid").ok()?;
        Some(Self {
            boot: graphic(boot.trim_ascii()),
            namespace: namespace.st_ino,
            start: liveness::own_start()?,
        })
    }
}

/// A word without what could be mistaken for the end of one, or would do something to a terminal.
fn graphic(word: &[u8]) -> Vec<u8> {
    let graphic = |byte: &u8| if byte.is_ascii_graphic() { *byte } else { b'?' };
    word.iter().map(graphic).collect()
}

/// `None` where no process is named: the file is empty, or something else altogether.
fn parse(text: &[u8]) -> Option<Claim> {
    let mut lines = text.split(|byte| *byte == b'\n');
    let first = lines.next()?;
    let (number, host) = match first.iter().position(|byte| *byte == b':') {
        Some(colon) => (&first[..colon], Some(&first[colon + 1..])),
        None => (first, None),
    };
    // Not `str::parse` alone, which knows signs. Zero and what is below mean whole groups of processes to kill(2).
    let digits = number.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(number).ok().filter(|_| digits)?;
    let pid = Pid::from_raw(number.parse().ok()?)?;
    let origin = match host {
        Some(host) => Origin::Host(graphic(host)),
        None => lines.next().and_then(ours).unwrap_or(Origin::Unsaid),
    };
    Some(Claim { pid, origin })
}

/// What our own line says, if it is one, and whole.
fn ours(line: &[u8]) -> Option<Origin> {
    let value = |name: &str| {
        let mut words = line.split(|byte| *byte == b' ');
        words.find_map(|word| word.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    };
    let number = |name| std::str::from_utf8(value(name)?).ok()?.parse().ok();
    Some(Origin::Ours {
        host: graphic(value("host")?),
        life: Life {
            boot: graphic(value("boot")?),
            namespace: number("pidns")?,
            start: number("start")?,
        },
    })
}

#[cfg(test)]
mod tests;
