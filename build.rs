//! Puts what frequent calls use side by side in the static programs: see `scripts/order.ld`.

#![allow(clippy::disallowed_macros)]

fn main() {
    // When this runs, not when it is compiled: the directory may have been moved since.
    let directory = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let order = format!("{directory}/scripts/order.ld");
    println!("cargo::rerun-if-changed={order}");
    if std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "musl") {
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{order}");
        // `docs/design/startup.md` says why a static program needs neither.
        println!("cargo::rustc-link-arg-bins=-Wl,-z,noseparate-code,-z,norelro");
    }
}
