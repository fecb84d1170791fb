//! `me-only`: a script, unless it runs already.

#![no_main]
#![allow(unsafe_code)]

use fdlock::{cli, exit, perform, program::Program};

fdlock::c_main!(Program {
    page: &cli::me_only::PAGE,
    statuses: &exit::ME_ONLY,
    parse: cli::me_only::parse,
    perform: perform::me_only::perform,
});
