//! `runlock`: run a command unless it runs already.

#![no_main]
#![allow(unsafe_code)]

use fdlock::{cli, exit, perform, program::Program};

fdlock::c_main!(Program {
    page: &cli::runlock::PAGE,
    statuses: &exit::RUNLOCK,
    parse: cli::runlock::parse,
    perform: perform::runlock::perform,
});
