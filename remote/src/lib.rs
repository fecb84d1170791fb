//! The helpers of `flock` for locks in other systems: see `docs/design/remote.md`.
//!
//! * [`front`] – the connection to `flock`: its request, and the answers.
//! * [`clock`] – the clock of leases.
//! * [`net`] – connections over TCP and TLS, given up as soon as `flock` has gone.
//! * [`http`] – requests by HTTP/1.1.
//! * [`etcd`] – locks in etcd.

pub mod clock;
pub mod etcd;
pub mod front;
pub mod http;
pub mod net;
