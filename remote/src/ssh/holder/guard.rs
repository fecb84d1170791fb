//! The guard: the process that has acquired the lock, and keeps it if the holder is killed.
//!
//! `flock` becomes this process when it holds the lock, so the lock is on a descriptor that it has
//! inherited. Its arguments say for which process the lock is held, so `ps` and `flock --who` show
//! that, while it waits as well.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use rustix::stdio;

use super::wait::wait;
use crate::clock::{self, Alarm};

/// The word that makes this program the guard.
pub const WORD: &str = "guard";

/// The descriptors among which are those that `flock` has opened: the lowest above standard error,
/// or the next ones if a file was replaced meanwhile. The holder starts `flock` without any others.
const LOCKS: std::ops::Range<i32> = 3..24;

/// How many locks are handed over at most: more than a request may contain.
const MAX_LOCKS: usize = 21;

/// Holds the lock as long as the holder does, and if that is killed, for the time to live. The
/// connection to the holder is standard input.
pub fn run(args: &[String]) {
    let ttl = args.first().and_then(|ttl| ttl.parse().ok());
    let ttl = Duration::from_millis(ttl.unwrap_or_default());
    // First, because the alarm is a descriptor, too.
    let locks = duplicate_locks();
    let Ok(alarm) = Alarm::new() else {
        return;
    };
    if offer(&locks).is_err() {
        return;
    }
    let mut stdin = io::stdin().lock();
    // Nothing was promised before this.
    if !matches!(stdin.read(&mut [0]), Ok(1)) {
        return;
    }
    // The holder sends nothing else: it kills this process when the lock is to be released. So this
    // is its end.
    let _ = stdin.read(&mut [0]);
    let end = clock::now() + ttl + crate::ssh::extra_time(ttl);
    if alarm.set(Some(end)).is_ok() {
        let mut fds = [PollFd::from_borrowed_fd(alarm.as_fd(), PollFlags::IN)];
        let _ = wait(&mut fds);
    }
}

/// Returns another descriptor of each lock. Before Linux 5.6, there is no such call, and without
/// enough descriptors, it fails: then the holder does without. It must not keep a part of them.
fn duplicate_locks() -> Vec<OwnedFd> {
    let Ok(own) = pidfd_open(getpid(), PidfdFlags::empty()) else {
        return Vec::new();
    };
    let mut locks = Vec::<OwnedFd>::new();
    for fd in LOCKS {
        let is_ours = |ours: &OwnedFd| ours.as_raw_fd() == fd;
        if is_ours(&own) || locks.iter().any(is_ours) {
            continue;
        }
        match pidfd_getfd(&own, fd, PidfdGetfdFlags::empty()) {
            Ok(lock) => locks.push(lock),
            Err(Errno::BADF) => {}
            Err(_) => return Vec::new(),
        }
    }
    locks
}

/// Tells the holder that the lock is held.
fn offer(locks: &[OwnedFd]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_LOCKS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = Vec::from_iter(locks.iter().map(AsFd::as_fd));
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let data = [IoSlice::new(b"h")];
    sendmsg(stdio::stdin(), &data, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives the locks from the guard. Returns `None` if it has exited, and no descriptor if it could
/// not duplicate them.
pub(super) fn receive(socket: &UnixStream) -> Option<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_LOCKS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffer = [0];
    let mut data = [IoSliceMut::new(&mut buffer)];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let message = recvmsg(socket, &mut data, &mut control, flags).ok()?;
    if message.bytes == 0 {
        return None;
    }
    let fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    Some(fds.flatten().collect())
}

/// Tells the guard that the lock is granted.
pub(super) fn confirm(mut socket: &UnixStream) {
    // If it has been killed, that is noticed when it is listened to.
    let _ = socket.write_all(b"k");
}

/// Returns host, PID, user and command of the process for which a guard, or a `flock` that will
/// become one, holds a lock or waits, from its arguments.
pub fn client(args: &[String]) -> Option<[String; 4]> {
    let mut pairs = args.windows(2);
    let guard = pairs.position(|pair| pair[0].ends_with("/flock-ssh") && pair[1] == WORD)?;
    let words = args.get(guard + 3..guard + 7)?;
    words.to_vec().try_into().ok()
}

/// Whether these are the arguments of a holder.
pub fn is_holder(args: &[String]) -> bool {
    matches!(args, [program, word] if program.ends_with("/flock-ssh") && word == "serve")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Vec<String> {
        text.split('|').map(str::to_owned).collect()
    }

    #[test]
    fn clients_are_found_in_arguments() {
        let guard = "/usr/libexec/fdlock/flock-ssh|guard|30000|web1|42|ann|sync -a";
        let expected = ["web1", "42", "ann", "sync -a"].map(str::to_owned);
        assert_eq!(client(&args(guard)), Some(expected.clone()));
        let waiter = format!("/usr/bin/flock|-F|--fair|/run/lock/x|{guard}");
        assert_eq!(client(&args(&waiter)), Some(expected));
        assert_eq!(client(&args("/x/flock-ssh|guard|30000|web1")), None);
        assert_eq!(client(&args("sh|-c|flock-ssh guard")), None);
    }

    #[test]
    fn holders_are_found_by_arguments() {
        assert!(is_holder(&args("/x/flock-ssh|serve")));
        assert!(!is_holder(&args("/x/flock-ssh|guard")));
    }
}
