//! `me-only`: run a script unless it is already running.

#![no_main]
#![allow(unsafe_code)]

use fdlock::program::Program;
use historic::exit;
use historic::me_only::{args, run};

fdlock::c_main!(Program {
    spec: &args::SPEC,
    statuses: &exit::ME_ONLY,
    parse: args::parse,
    run: run::run,
});
