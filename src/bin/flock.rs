//! A stand-in until the layers are there.
fn main() {}
