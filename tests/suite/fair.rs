//! What is peculiar to `--fair`: descriptors, shared locks, and files without a queue.

mod combinations;
mod files;
mod namespaces;
mod options;
mod plain_locks;
mod reacquire;
mod readers;
mod resources;
mod shared;

use crate::queue::{WHY, spawn_waiter, spawn_waiter_command};
pub use crate::queue::{
    assert_clean, assert_queue_len, last_ticket, spawn_waiting_holder, waiter_pool,
};
