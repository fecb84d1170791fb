//! Compiles the C part: a call of setjmp(3), which Rust cannot express.

#![allow(clippy::disallowed_macros)]

fn main() {
    println!("cargo::rerun-if-changed=src/catch.c");
    cc::Build::new()
        .file("src/catch.c")
        .warnings_into_errors(true)
        .compile("catch");
}
