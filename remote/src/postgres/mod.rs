//! Locks in PostgreSQL 14 and newer, by its own protocol.
//!
//! * [`settings`] and [`passfile`] – the servers and the secrets, from the URL and the environment.
//! * [`server`] – where a server is.
//! * [`connection`] and `login` – a connection to a server.
//! * [`client`] – the connection to one of the servers, the next one if one does not answer.
//! * [`error`] – why a statement fails.
//! * [`row`] – the entries of the queue, and what is done about those of processes that have
//!   disappeared.
//! * `statements` – the statements in SQL.
//! * [`session`] – the place of one process in the queue, from its row to its release.
//! * `acquire` – from a request to the lock.
//! * `stopped` – waiters that are stopped, and let others pass.
//! * `hold` – what happens while the lock is held.
//! * [`list`] – the list of all holders and waiters.

mod acquire;
pub mod client;
pub mod connection;
pub mod error;
mod hold;
pub mod list;
mod login;
pub mod passfile;
pub mod row;
pub mod server;
pub mod session;
pub mod settings;
mod statements;
mod stopped;
