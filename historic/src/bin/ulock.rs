//! `ulock`: locks made of hard links, for shell scripts.

#![no_main]
#![allow(unsafe_code)]

use fdlock::program::Program;
use historic::exit;
use historic::ulock::{args, run};

fdlock::c_main!(Program {
    spec: &args::SPEC,
    statuses: &exit::ULOCK,
    parse: args::parse,
    run: run::run,
});
