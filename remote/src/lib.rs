//! The helpers of `flock` for locks in other systems: see `docs/design/remote.md`.
//!
//! * [`front`] – the connection to `flock`: its request, and the answers.
//! * [`helper`] – what every helper does.
//! * [`clock`] – the clock of leases.
//! * [`random`] – random numbers.
//! * [`queue`] – who holds a lock, given the entries of all that ask for it.
//! * [`record`] – what others can read about a process.
//! * [`several`] – several locks, held as one.
//! * [`stop`] – why a helper does not hold the lock.
//! * [`url`] – what all URLs have in common.
//! * [`net`] – connections over TCP and TLS, given up as soon as `flock` has gone.
//! * [`http`] – requests by HTTP/1.1.
//! * [`etcd`] – locks in etcd.
//! * [`postgres`] – locks in PostgreSQL.
//! * [`ssh`] – locks on files of other machines.

pub mod clock;
pub mod etcd;
pub mod front;
pub mod helper;
pub mod http;
pub mod net;
pub mod postgres;
pub mod queue;
pub mod random;
pub mod record;
pub mod several;
pub mod ssh;
pub mod stop;
pub mod url;
