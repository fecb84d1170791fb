//! Several locks of one system, held as one: all or none.
//!
//! Each lock has a thread, with its own connections to the servers, its own lease, and the code that
//! a single lock has. This module starts them one after the other, and merges their answers.
//!
//! *Deadlock:* a lock is requested when the one before it, in the order of their names, has been
//! granted. The order is the same for all processes ([`plan`]). A process waits for the holders of a
//! lock and for the waiters before it in the queue. The waiters hold earlier locks only, and came
//! before it; the holders wait for later locks only, if at all. So there is no cycle.
//!
//! *The end of `flock`:* every thread watches `flock`'s connection itself, and releases its lock at
//! its end, wherever it is: connecting, waiting or holding. The thread that merges is not needed for
//! that, and is not asked. It notices by the exits of the others.
//!
//! *All or none:* if one lock is refused, or fails, a descriptor makes the other threads release
//! theirs, because `flock` is still connected. They have done so before `flock` learns of it, unless
//! a server does not answer.
//!
//! *Kills:* the threads are one process, so they are killed and stopped together, like the helper of
//! a single lock: no lock is renewed any more, `flock` stops the command before the first lease
//! ends, and the locks are free when their leases have ended. With a process for each lock, one of
//! them could be killed beside the others, and the others would have to tell that from a release.
//!
//! *Time:* a lock that was granted long before the last one is renewed until then. What is reported
//! to `flock`, at the grant and later, is the earliest end of all leases, so an answer that is
//! missing for one lock counts for all of them. At the grant, five sixths of each must be left.
//!
//! *A lock that is lost* while another one is waited for was of no use yet. The others are released,
//! and all are acquired again.
//!
//! *Race:* a lock may be lost, or `flock` may have closed its connection, while the grant is being
//! sent. The loss is reported after the grant, as for a single lock; the grant reaches no process.

pub mod plan;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use crate::clock;
use crate::front::{Answer, Front, Part, Request};
use plan::{Identity, Plan};

/// What has happened to one of the locks.
enum Event {
    Waits(String),
    Warning(String),
    Granted {
        token: u64,
        until: Duration,
    },
    Until(Duration),
    Lost(String),
    Refused,
    Failed(u8, String),
    /// Its thread has nothing left to do.
    Exited,
}

impl Event {
    /// Takes over an answer. Lists are not asked for.
    fn new(answer: &Answer<'_>) -> Option<Self> {
        Some(match *answer {
            Answer::Waits(text) => Self::Waits(text.to_owned()),
            Answer::Warning(text) => Self::Warning(text.to_owned()),
            Answer::Granted { token, until } => Self::Granted { token, until },
            Answer::Until(until) => Self::Until(until),
            Answer::Lost(why) => Self::Lost(why.to_owned()),
            Answer::Refused => Self::Refused,
            Answer::Error { status, text } => Self::Failed(status, text.to_owned()),
            Answer::GrantedAll { .. } | Answer::Entry(_) | Answer::End => return None,
        })
    }
}

/// Why the locks are not held.
enum Stop {
    /// A thread has exited without an answer: `flock` has closed its connection.
    Released,
    /// One of them was not free in time.
    Refused,
    /// One of them failed: the exit status, and the reason.
    Failed(u8, String),
    /// One of them was lost before all were granted.
    Lost(String),
}

/// What the threads need.
pub struct Locks<'a, S, F> {
    /// A request for each URL, in the order of the operands.
    pub requests: &'a [Request],
    /// The settings for each of them.
    pub settings: &'a [S],
    /// Acquires a single lock and holds it.
    pub serve: F,
    /// When the time to wait began.
    pub start: Duration,
    /// How long a withdrawal may delay the answer that the locks were not acquired.
    pub withdrawal_limit: Duration,
}

impl<S, F> Locks<'_, S, F>
where
    S: Identity + Sync,
    F: Fn(Front, &S, &Request, Duration) + Sync,
{
    /// Acquires all locks and holds them until `flock` closes the connection, or reports why it
    /// cannot.
    pub fn run(&self, front: &Front) {
        let plan = match Plan::new(self.requests, self.settings) {
            Ok(plan) => plan,
            Err(text) => {
                return front.send(&Answer::Error {
                    status: 64,
                    text: &text,
                });
            }
        };
        let mut last_warning = String::new();
        while thread::scope(|scope| {
            let mut attempt = Attempt::new(self, front, &plan, scope, &mut last_warning);
            attempt.run().is_err_and(|stop| attempt.end(stop))
        }) {}
    }
}

/// The time of a lock that was granted.
#[derive(Clone, Copy, Debug)]
struct Grant {
    token: u64,
    until: Duration,
}

/// One attempt to acquire all locks, from the start of the first thread to the exit of the last one.
struct Attempt<'scope, 'env, 'a, S, F> {
    locks: &'env Locks<'env, S, F>,
    front: &'a Front,
    plan: &'env Plan,
    scope: &'scope Scope<'scope, 'env>,
    last_warning: &'a mut String,
    sender: Sender<(usize, Event)>,
    events: Receiver<(usize, Event)>,
    /// What tells each thread to release its lock.
    releases: Vec<OwnedFd>,
    exited: usize,
    /// The locks that were granted, in the order of the plan.
    grants: Vec<Grant>,
}

impl<'scope, 'env, 'a, S, F> Attempt<'scope, 'env, 'a, S, F>
where
    S: Identity + Sync,
    F: Fn(Front, &S, &Request, Duration) + Sync,
{
    fn new(
        locks: &'env Locks<'env, S, F>,
        front: &'a Front,
        plan: &'env Plan,
        scope: &'scope Scope<'scope, 'env>,
        last_warning: &'a mut String,
    ) -> Self {
        let (sender, events) = mpsc::channel();
        Self {
            locks,
            front,
            plan,
            scope,
            last_warning,
            sender,
            events,
            releases: Vec::new(),
            exited: 0,
            grants: Vec::new(),
        }
    }

    /// Acquires the locks, and holds them until the last thread has exited.
    fn run(&mut self) -> Result<(), Stop> {
        while self.grants.len() < self.plan.order.len() {
            self.start_next()
                .map_err(|error| Stop::Failed(69, format!("cannot start a thread: {error}")))?;
            while self.grants.len() < self.releases.len() {
                self.handle_before_grant()?;
            }
        }
        let ttl = self.locks.requests[0].ttl;
        while self.until() < clock::now() + ttl / 6 * 5 {
            self.handle_before_grant()?;
        }
        let token = |lock: &usize| self.grants[*lock].token;
        let tokens = Vec::from_iter(self.plan.lock_of_url.iter().map(token));
        let (tokens, until) = (&tokens[..], self.until());
        self.front.send(&Answer::GrantedAll { tokens, until });
        self.hold(until);
        Ok(())
    }

    /// Starts the thread of the next lock.
    fn start_next(&mut self) -> io::Result<()> {
        let lock = self.releases.len();
        let release = eventfd(0, EventfdFlags::CLOEXEC)?;
        let sender = self.sender.clone();
        let front = self.front.part(Part {
            release: release.try_clone()?,
            answers: Box::new(move |answer| {
                if let Some(event) = Event::new(answer) {
                    let _ = sender.send((lock, event));
                }
            }),
        })?;
        let exit = Exit(lock, self.sender.clone());
        let url = self.plan.order[lock];
        let locks = self.locks;
        thread::Builder::new().spawn_scoped(self.scope, move || {
            let _exit = exit;
            (locks.serve)(
                front,
                &locks.settings[url],
                &locks.requests[url],
                locks.start,
            );
        })?;
        self.releases.push(release);
        Ok(())
    }

    fn next_event(&mut self) -> (usize, Event) {
        // There is a sender in this value, so there is no end.
        let (lock, event) = self.events.recv().unwrap_or((0, Event::Exited));
        self.exited += usize::from(matches!(event, Event::Exited));
        (lock, event)
    }

    fn handle_before_grant(&mut self) -> Result<(), Stop> {
        let (lock, event) = self.next_event();
        match event {
            Event::Waits(text) => self.front.send(&Answer::Waits(&text)),
            Event::Warning(text) => self.warn(&text),
            Event::Granted { token, until } => self.grants.push(Grant { token, until }),
            Event::Until(until) => self.grants[lock].until = until,
            Event::Refused => return Err(Stop::Refused),
            Event::Failed(status, text) => {
                return Err(Stop::Failed(status, self.about(lock, &text)));
            }
            Event::Lost(why) => return Err(Stop::Lost(self.about(lock, &why))),
            Event::Exited => return Err(Stop::Released),
        }
        Ok(())
    }

    /// Passes on how long all locks last, until all threads have exited.
    fn hold(&mut self, mut told: Duration) {
        let mut is_lost = false;
        while self.exited < self.releases.len() {
            match self.next_event() {
                (lock, Event::Until(until)) => {
                    self.grants[lock].until = until;
                    let until = self.until();
                    if until != told && !is_lost {
                        told = until;
                        self.front.send(&Answer::Until(until));
                    }
                }
                (lock, Event::Lost(why)) => {
                    is_lost = true;
                    self.front.send(&Answer::Lost(&self.about(lock, &why)));
                }
                _ => {}
            }
        }
    }

    /// Returns the earliest end of all leases.
    fn until(&self) -> Duration {
        let times = self.grants.iter().map(|grant| grant.until);
        times.min().unwrap_or_default()
    }

    /// Releases all locks, and reports why they are not held. Returns whether they are to be
    /// acquired again.
    fn end(&mut self, stop: Stop) -> bool {
        for release in &self.releases {
            // It cannot fail: nothing was written to it before.
            let _ = rustix::io::write(release, &1_u64.to_ne_bytes());
        }
        if let Stop::Lost(why) = stop {
            self.warn(&format!("lost, trying again: {why}"));
            return true;
        }
        self.wait_for_exits(Instant::now() + self.locks.withdrawal_limit);
        match stop {
            // If `flock` is still there, a thread has failed; otherwise, nothing is sent.
            Stop::Released => self.fail(69, "the helper has failed"),
            Stop::Refused => self.front.send(&Answer::Refused),
            Stop::Failed(status, text) => self.fail(status, &text),
            Stop::Lost(_) => {}
        }
        false
    }

    /// Waits until all threads have exited, at most until then.
    fn wait_for_exits(&mut self, deadline: Instant) {
        while self.exited < self.releases.len() {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok((_, Event::Exited)) => self.exited += 1,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn fail(&self, status: u8, text: &str) {
        self.front.send(&Answer::Error { status, text });
    }

    /// Passes on a warning, which may concern all locks alike.
    fn warn(&mut self, text: &str) {
        if text != self.last_warning {
            self.front.send(&Answer::Warning(text));
            text.clone_into(self.last_warning);
        }
    }

    /// Returns a text with the URL of the lock that it is about.
    fn about(&self, lock: usize, text: &str) -> String {
        let request = &self.locks.requests[self.plan.order[lock]];
        format!("{}: {text}", String::from_utf8_lossy(&request.url))
    }
}

/// Reports the exit of a thread, also if it panics.
struct Exit(usize, Sender<(usize, Event)>);

impl Drop for Exit {
    fn drop(&mut self) {
        let _ = self.1.send((self.0, Event::Exited));
    }
}

#[cfg(test)]
mod tests;
