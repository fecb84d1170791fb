//! Compiles what cannot be said in Rust.

#![allow(clippy::disallowed_macros)]

fn main() {
    println!("cargo::rerun-if-changed=src/catch.c");
    cc::Build::new()
        .file("src/catch.c")
        .warnings_into_errors(true)
        .compile("catch");
}
