#!/bin/sh
# Prints the Rust target for the programs: this machine's architecture with musl, for static
# linking, to which a program that makes a single system call owes most of its speed. Installs the
# target if it is missing. If that is not possible, prints a message to standard error and uses the
# host's target.
set -eu

host=$(rustc -vV | sed -n 's/^host: //p')
target=$(printf '%s\n' "$host" | sed 's/-gnu/-musl/')

has_target() { [ -d "$(rustc --print target-libdir --target "$1" 2>/dev/null)" ]; }

if ! has_target "$target"; then
    if command -v rustup >/dev/null 2>&1; then
        rustup target add "$target" >&2 || :
    fi
fi
if ! has_target "$target"; then
    echo "Rust target $target is not available;" \
        "building a dynamically linked, slower-starting binary for $host" >&2
    target=$host
fi
printf '%s\n' "$target"
