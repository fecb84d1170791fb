//! Models of the lock protocols, of which the tests visit all reachable states.
//!
//! A step is a system call; between any two steps, any process may be killed, a timer may fire, and
//! further processes may arrive. [`graph`] visits the states, [`kernel`] is what the protocols use of
//! one, and [`trace`] compares a model with real system calls and draws it. Each of the other
//! modules is the model of one protocol, and begins with what it leaves out.

pub mod etcd;
pub mod graph;
pub mod handle;
pub mod hard_link;
pub mod kernel;
pub mod lease;
pub mod lock_file;
pub mod pid_file;
pub mod postgres;
pub mod queue;
pub mod several;
pub mod slots;
pub mod ssh;
mod states;
pub mod supervisor;
pub mod trace;
