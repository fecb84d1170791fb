//! `flock`: locks in shell scripts.

#![no_main]
#![allow(unsafe_code)]

use fdlock::{cli, exit, perform, program::Program};

fdlock::c_main!(Program {
    page: &cli::flock::PAGE,
    statuses: &exit::FLOCK,
    parse: cli::flock::parse,
    perform: perform::flock::perform,
});
