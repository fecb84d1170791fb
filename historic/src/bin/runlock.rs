//! `runlock`: run a command unless it is already running.

#![no_main]
#![allow(unsafe_code)]

use fdlock::program::Program;
use historic::exit;
use historic::runlock::{args, run};

fdlock::c_main!(Program {
    spec: &args::SPEC,
    statuses: &exit::RUNLOCK,
    parse: args::parse,
    run: run::run,
});
