#!/usr/bin/env bash
# Creates the package for crates.io, and uses it as its users do: installs the program from it, and
# builds a program that locks a file through the library.
. "$(dirname "$0")/../common.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# All builds share the compiled dependencies.
export CARGO_TARGET_DIR=$PWD/target/packaging/crate
cargo package --locked --allow-dirty --quiet
crate=$CARGO_TARGET_DIR/package/fdlock-$version.crate
[ "$(stat --format=%s "$crate")" -lt 500000 ] || {
    echo "crate-test: $crate is too large" >&2
    exit 1
}
# All files of a crate have the same old timestamp: cargo would take the programs that the last run of
# this test has built for up to date.
tar --extract --touch --file="$crate" --directory="$work"
mv "$work/fdlock-$version" "$work/fdlock"
for file in LICENSE-APACHE LICENSE-MIT README.md man/flock.1 completions/flock.bash; do
    [ -s "$work/fdlock/$file" ]
done
echo 'ok: the crate is complete'

# Elsewhere, so that the configuration of this directory is not used. For musl, it is linked with
# scripts/order.ld, but as a position-independent program.
cd "$work"
host=$(rustc -vV | sed -n 's/^host: //p')
for target in "$host" "${host/-gnu/-musl}"; do
    [ -d "$(rustc --print target-libdir --target "$target")" ] || continue
    cargo install --locked --quiet --path fdlock --root "$target" --target "$target"
    "$target/bin/flock" -n lock echo "ok: cargo install installs a working program for $target"
done

mkdir -p dependent/src
cat >dependent/Cargo.toml <<'END'
[package]
name = "dependent"
version = "0.0.0"
edition = "2024"
[dependencies]
fdlock = { path = "../fdlock" }
END
cat >dependent/src/main.rs <<'END'
use std::ffi::OsStr;

use fdlock::lock::acquire::LockKind;
use fdlock::lock::advisory::LockApi;
use fdlock::lock::{Acquired, Mode, Refusal, Timeout, file};

fn main() {
    let lock = || {
        let kind = LockKind::Advisory(LockApi::Flock);
        let deadline = Timeout::NonBlocking.start();
        file::acquire(OsStr::new("lock"), kind, Mode::Exclusive, &deadline, &mut || ())
            .unwrap_or_else(|error| panic!("{}", error.message().display()))
    };
    let guard = lock();
    assert!(matches!(guard, Acquired::Held(_)));
    assert!(matches!(lock(), Acquired::NotHeld(Refusal::WouldBlock)));
    drop(guard);
    assert!(matches!(lock(), Acquired::Held(_)));
}
END
cargo run --quiet --manifest-path dependent/Cargo.toml
echo 'ok: a program can lock through the library'
