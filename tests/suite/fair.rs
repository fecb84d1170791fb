//! What is peculiar to `--fair`: descriptors, shared locks, and files that cannot have a queue.

mod combinations;
mod files;
mod namespaces;
mod options;
mod plain_locks;
mod reacquire;
mod readers;
mod resources;

pub use crate::queue::{
    assert_clean, assert_queue_len, last_ticket, spawn_waiting_holder, waiter_pool,
};
