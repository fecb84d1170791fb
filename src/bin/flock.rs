//! `flock`: locks in shell scripts.

#![no_main]
#![allow(unsafe_code)]

use fdlock::exit;
use fdlock::flock::{args, run};
use fdlock::program::Program;

fdlock::c_main!(Program {
    page: &args::PAGE,
    statuses: &exit::FLOCK,
    parse: args::parse,
    perform: run::perform,
});
