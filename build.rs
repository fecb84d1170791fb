//! Puts what frequent calls use side by side in the static programs: see `scripts/order.ld`.

#![allow(clippy::disallowed_macros)]

fn main() {
    let order = format!("{}/scripts/order.ld", env!("CARGO_MANIFEST_DIR"));
    println!("cargo::rerun-if-changed={order}");
    if std::env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "musl") {
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{order}");
        // `docs/design/startup.md` says why a static program needs neither.
        println!("cargo::rustc-link-arg-bins=-Wl,-z,noseparate-code,-z,norelro");
    }
}
