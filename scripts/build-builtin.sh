#!/bin/sh
# Builds the bash builtin and puts it at the path given. It is for the C library of this machine, as bash is; the
# programs' static musl could not be loaded.
set -eu

if rustc -vV | grep -q '^host: .*musl'; then
    # Takes the place of what .cargo/config.toml says for static programs.
    export RUSTFLAGS='-C target-feature=-crt-static'
fi
${CARGO:-cargo} build --locked --release --package fdlock-builtin --target-dir target
cp target/release/libflock_builtin.so "$1.new"
mv "$1.new" "$1"
