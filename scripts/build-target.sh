#!/bin/sh
# build-target.sh [TARGET]
#
# Prints the Rust target for the programs: this machine's architecture with musl, for static
# linking, to which a program that makes a single system call owes most of its speed. Installs the
# target if it is missing. If that is not possible, prints a message to standard error and uses the
# host's target.
#
# A target that is given is printed as it is, and must be available.
set -eu

host=$(rustc -vV | sed -n 's/^host: //p')
target=${1:-$(printf '%s\n' "$host" | sed 's/-gnu/-musl/')}

has_target() { [ -d "$(rustc --print target-libdir --target "$1" 2>/dev/null)" ]; }

reason="no rustup to install it"
if ! has_target "$target"; then
    if command -v rustup >/dev/null 2>&1; then
        reason=$(rustup target add "$target" 2>&1 >/dev/null | sed -n 's/^error: //p' | head -n 1)
    fi
fi
if ! has_target "$target"; then
    if [ -n "${1:-}" ]; then
        echo "TARGET=$target needs Rust's standard library for it (rustup target add): $reason" >&2
        exit 1
    fi
    echo "Rust target $target is not available ($reason);" \
        "building a dynamically linked, slower-starting binary for $host" >&2
    target=$host
fi
printf '%s\n' "$target"
