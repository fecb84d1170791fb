//! `loto`: lock-out, tag-out for files and for resources of the machine.

#![no_main]
#![allow(unsafe_code)]

use fdlock::program::Program;
use historic::exit;
use historic::loto::{args, run};

fdlock::c_main!(Program {
    spec: &args::SPEC,
    statuses: &exit::LOTO,
    parse: args::parse,
    run: run::run,
});
