//! A state, and what changes it.

/// The greatest number of clients.
pub const MAX: usize = 2;

/// How far a helper is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Place {
    /// It has not started, or has exited.
    #[default]
    Idle,
    /// Waits for the lock.
    Wait,
    /// The lock is granted, and too little is left of the lease.
    Confirm,
    /// Connects again when nothing is left of the last connection.
    Retry,
    /// Holds the lock.
    Hold,
    /// The connection has ended, or the helper was killed, and the command goes on.
    Alone,
    /// Has reported that the lock is lost.
    Lost,
    /// Has asked for the release.
    Release,
}

/// How far a holder is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Holder {
    /// It has not started, or has exited.
    #[default]
    Idle,
    /// Waits for the guard to get the lock.
    Queue,
    /// Has the lock, and waits until the machine has run for the time to live.
    Early,
    /// Tells the guard that the lock is granted.
    Confirm,
    /// Tells the client.
    Grant,
    /// Keeps the lock.
    Keep,
    /// Releases the lock or leaves the queue, and reports that or not.
    Free(Option<Down>),
    /// Reports that the lock is free.
    Report(Down),
    /// Exits.
    Exit,
}

/// How far a guard is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Guard {
    /// It has not started, or has exited.
    #[default]
    None,
    /// It is `flock`, and waits.
    Wait,
    /// It has the lock.
    Locked,
    /// It has sent a descriptor to the holder.
    Offered,
    /// The holder has told it that the lock is granted.
    Confirmed,
    /// It keeps the lock, because the holder was killed.
    Alone,
}

/// What a client sends. The number is what is left of the lease if that is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Up {
    Request(i8),
    Renew(i8),
    /// The client is stopped.
    Stop,
    /// It is continued.
    Continue,
    Release,
}

/// What is sent to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Down {
    Renewed(i8),
    Granted,
    Released,
    Lost,
    /// By the shell that has started the holder.
    Gone,
}

/// Messages in the order in which they were sent.
pub(super) type Pipe<T, const N: usize> = [Option<T>; N];

/// Adds a message, if there is room.
pub(super) fn push<T, const N: usize>(pipe: &mut Pipe<T, N>, message: T) {
    if let Some(place) = pipe.iter_mut().find(|place| place.is_none()) {
        *place = Some(message);
    }
}

/// Takes the first message.
pub(super) fn take<T, const N: usize>(pipe: &mut Pipe<T, N>) -> Option<T> {
    let first = pipe[0].take();
    pipe.rotate_left(1);
    first
}

/// A client, and what serves it on the other machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Client {
    pub(super) place: Place,
    /// What is left of the lease, as `flock` knows.
    pub(super) left: i8,
    /// `flock` is stopped.
    pub(super) is_stopped: bool,
    /// It has said so.
    pub(super) has_reported: bool,
    pub(super) is_connected: bool,
    pub(super) to_holder: Pipe<Up, 4>,
    pub(super) to_client: Pipe<Down, 5>,
    pub(super) holder: Holder,
    /// How long the holder keeps the lock.
    pub(super) keep: i8,
    /// The holder has a descriptor of the lock.
    pub(super) has_descriptor: bool,
    /// The guard has sent it one that it has not received.
    pub(super) is_offered: bool,
    pub(super) guard: Guard,
    /// It is stopped.
    pub(super) is_guard_stopped: bool,
    /// How long the guard keeps the lock.
    pub(super) guard_keeps: i8,
}

/// A state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    pub(super) clients: [Client; MAX],
    /// How long the other machine has run, at most the time to live.
    pub(super) uptime: i8,
    /// The uptime is less than the time to live.
    pub(super) was_restarted: bool,
    pub(super) faults: u8,
    pub(super) stops: u8,
}

impl Client {
    /// The connection ends.
    pub(super) fn cut(&mut self) {
        self.is_connected = false;
        self.to_holder = Pipe::default();
        self.to_client = Pipe::default();
    }

    /// The holder has exited or was killed; the shell reports that.
    pub(super) fn end_holder(&mut self) {
        if self.holder != Holder::Idle && self.is_connected {
            push(&mut self.to_client, Down::Gone);
        }
        self.holder = Holder::Idle;
        self.to_holder = Pipe::default();
        (self.has_descriptor, self.is_offered) = (false, false);
    }

    /// The guard exits, or is killed.
    pub(super) fn end_guard(&mut self) {
        (self.guard, self.is_guard_stopped) = (Guard::None, false);
    }

    /// How many renewals were not answered.
    pub(super) fn unanswered(&self) -> usize {
        let answers = self.to_client.iter().flatten();
        let answers = answers.filter(|message| matches!(message, Down::Renewed(_)));
        let renewals = self.to_holder.iter().flatten();
        let renewals = renewals.filter(|message| matches!(message, Up::Request(_) | Up::Renew(_)));
        renewals.count() + answers.count()
    }

    fn has_lock(&self) -> bool {
        let by_guard = !matches!(self.guard, Guard::None | Guard::Wait);
        by_guard || self.has_descriptor || self.is_offered
    }
}

impl State {
    /// Returns how far the holder of a client is.
    pub(super) fn holder(&self, client: usize) -> Holder {
        self.clients[client].holder
    }

    /// Whether the command of a client may run.
    pub fn is_inside(&self, client: usize) -> bool {
        let own = &self.clients[client];
        matches!(own.place, Place::Hold | Place::Alone) && own.left > 0
    }

    /// Whether a client that is not stopped waits for the lock.
    pub fn is_waiter(&self, client: usize) -> bool {
        let own = &self.clients[client];
        let is_waiter = matches!(own.place, Place::Wait | Place::Confirm | Place::Retry);
        is_waiter && !own.is_stopped
    }

    /// Whether a client was stopped at the very moment at which it has got the lock.
    pub fn is_stopped_with_lock(&self, client: usize) -> bool {
        let own = &self.clients[client];
        (own.is_stopped || own.is_guard_stopped) && own.has_lock()
    }

    /// Whether the guard is stopped as its client is, or will be.
    pub(super) fn is_in_step(&self, client: usize) -> bool {
        let own = &self.clients[client];
        let mut sent = own.to_holder.iter().flatten();
        let is_sent = sent.any(|message| !matches!(message, Up::Renew(_)));
        let waits = own.place == Place::Wait
            && own.holder == Holder::Queue
            && own.guard == Guard::Wait
            && own.is_connected;
        !waits
            || is_sent
            || own.has_reported != own.is_stopped
            || own.is_guard_stopped == own.is_stopped
    }

    /// Whether a holder waits for a client whose connection has ended.
    pub fn is_abandoned(&self, client: usize) -> bool {
        let own = &self.clients[client];
        own.holder == Holder::Queue && !own.is_connected
    }

    /// Whether a holder does not exist.
    pub fn has_no_holder(&self, client: usize) -> bool {
        self.clients[client].holder == Holder::Idle
    }

    /// Whether the lock is held for a client.
    pub fn has_lock(&self, client: usize) -> bool {
        self.clients[client].has_lock()
    }

    /// Whether no other process gets the lock of a client. Soon after a restart, none does.
    pub(super) fn is_excluding(&self, client: usize) -> bool {
        self.has_lock(client) || self.was_restarted
    }

    /// Whether a client has learnt that its lock was released.
    pub(super) fn is_released(&self, client: usize) -> bool {
        let mut messages = self.clients[client].to_client.iter().flatten();
        messages.any(|message| matches!(message, Down::Released | Down::Lost))
    }

    /// Whether `flock` would get the lock.
    pub(super) fn is_free(&self) -> bool {
        !self.clients.iter().any(Client::has_lock)
    }

    /// Whether no helper and no command runs.
    pub fn is_over(&self) -> bool {
        let mut clients = self.clients.iter();
        clients.all(|client| client.place == Place::Idle)
    }

    /// Whether nothing is left on the other machine.
    pub fn is_clean(&self) -> bool {
        let is_clean = |client: &Client| {
            client.holder == Holder::Idle && client.guard == Guard::None && !client.has_lock()
        };
        self.clients.iter().all(is_clean)
    }

    /// Returns the state in which the first two clients have exchanged their numbers.
    pub(super) fn exchange(&self) -> Self {
        let mut other = *self;
        other.clients.swap(0, 1);
        other
    }

    /// A tick of all clocks.
    pub(super) fn tick(&mut self, ttl: i8) {
        let tick = |left: &mut i8| *left = (*left - 1).max(0);
        self.uptime = (self.uptime + 1).min(ttl);
        self.was_restarted &= self.uptime < ttl;
        for client in &mut self.clients {
            tick(&mut client.left);
            tick(&mut client.keep);
            tick(&mut client.guard_keeps);
            for message in client.to_holder.iter_mut().flatten() {
                if let Up::Request(left) | Up::Renew(left) = message {
                    tick(left);
                }
            }
            for message in client.to_client.iter_mut().flatten() {
                if let Down::Renewed(left) = message {
                    tick(left);
                }
            }
        }
    }

    /// Forgets what no process will look at any more.
    pub(super) fn normalize(&mut self) {
        for client in &mut self.clients {
            if matches!(
                client.place,
                Place::Idle | Place::Lost | Place::Release | Place::Retry
            ) {
                client.left = 0;
            }
            if matches!(client.place, Place::Idle | Place::Lost | Place::Release) {
                client.is_stopped = false;
            }
            if !matches!(client.place, Place::Wait | Place::Confirm) {
                client.has_reported = false;
            }
            match client.place {
                Place::Idle | Place::Retry => client.cut(),
                Place::Alone | Place::Lost => client.to_client = Pipe::default(),
                Place::Release => {
                    let last = client.to_client.iter().flatten();
                    let last =
                        last.filter(|message| !matches!(message, Down::Renewed(_) | Down::Granted));
                    let last = last.copied().next();
                    client.to_client = Pipe::default();
                    client.to_client[0] = last;
                }
                _ => {}
            }
            let is_kept = matches!(
                client.holder,
                Holder::Queue | Holder::Early | Holder::Confirm | Holder::Grant | Holder::Keep
            );
            if !is_kept {
                client.keep = 0;
            }
        }
    }
}
