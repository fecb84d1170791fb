#!/bin/sh
# Prints the target to build the programs for: this machine's processor with musl, so that they are static, which a
# program of one system call has most of its speed from. Sets the target up if need be. Where that cannot be done it
# says so and prints the host's own target.
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
    echo "no Rust target '$target' can be had here: building for '$host', dynamically linked and slower to start" >&2
    target=$host
fi
printf '%s\n' "$target"
