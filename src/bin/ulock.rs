//! `ulock`: locks made of hard links, for shell scripts.

#![no_main]
#![allow(unsafe_code)]

use fdlock::{cli, exit, perform, program::Program};

fdlock::c_main!(Program {
    page: &cli::ulock::PAGE,
    statuses: &exit::ULOCK,
    parse: cli::ulock::parse,
    perform: perform::ulock::perform,
});
