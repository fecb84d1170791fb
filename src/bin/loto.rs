//! `loto`: lock-out, tag-out for files and resources of the machine.

#![no_main]
#![allow(unsafe_code)]

use fdlock::{cli, exit, perform, program::Program};

fdlock::c_main!(Program {
    page: &cli::loto::PAGE,
    statuses: &exit::LOTO,
    parse: cli::loto::parse,
    perform: perform::loto::perform,
});
