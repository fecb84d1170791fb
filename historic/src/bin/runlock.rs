//! `runlock`: run a command unless it runs already.

#![no_main]
#![allow(unsafe_code)]

use fdlock::program::Program;
use historic::exit;
use historic::runlock::{args, run};

fdlock::c_main!(Program {
    spec: &args::SPEC,
    statuses: &exit::RUNLOCK,
    parse: args::parse,
    perform: run::perform,
});
