//! `flock`: locks for shell scripts.

#![no_main]
#![allow(unsafe_code)]

use fdlock::exit;
use fdlock::flock::{args, run};
use fdlock::program::Program;
use fdlock::sys::arena::Arena;

#[global_allocator]
static ALLOCATOR: Arena = Arena::new();

fdlock::c_main!(Program {
    spec: &args::SPEC,
    statuses: &exit::FLOCK,
    parse: args::parse,
    run: run::run,
});
