//! What is peculiar to `--fair`: descriptors, shared locks, and files that cannot have a queue.

mod combinations;
mod files;
mod namespaces;
mod options;
mod plain_locks;
mod reacquire;
mod readers;
mod resources;
