//! Connections over TCP and TLS. Every wait ends at a deadline, and as soon as `flock` has gone.
//!
//! * [`address`] – from the name of a host to its addresses.
//! * [`stream`] – a connection.
//! * [`tls`] – what TLS needs, in builds that have it.
//! * [`error`] – why a connection fails.

pub mod address;
pub mod error;
pub mod stream;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(not(feature = "tls"))]
#[path = "no_tls.rs"]
pub mod tls;
