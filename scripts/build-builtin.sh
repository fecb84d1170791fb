#!/bin/sh
# Builds the bash builtin and copies it to the given path. Unlike the programs, which are linked
# statically with musl, it is built for the C library of this machine, because bash has to load it.
set -eu

if rustc -vV | grep -q '^host: .*musl'; then
    # Overrides .cargo/config.toml, which is for static programs.
    export RUSTFLAGS='-C target-feature=-crt-static'
fi
${CARGO:-cargo} build --locked --release --package fdlock-builtin --target-dir target
cp target/release/libflock_builtin.so "$1.new"
mv "$1.new" "$1"
