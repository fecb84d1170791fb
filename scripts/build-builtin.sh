#!/bin/sh
# build-builtin.sh FILE [TARGET]
#
# Builds the bash builtin and copies it to FILE. Unlike the programs, which are linked statically
# with musl, it is built for the C library of bash, because bash has to load it: for that of this
# machine or, if TARGET is given, for the GNU C library on the architecture of TARGET.
set -eu

file=$1
if [ -n "${2:-}" ]; then
    target=$(scripts/build-target.sh "$(printf '%s\n' "$2" | sed 's/-musl/-gnu/')")
    tools=$(scripts/cross-tools.sh "$target")
    eval "$tools"
    set -- --target "$target"
    output=target/$target
else
    if rustc -vV | grep -q '^host: .*musl'; then
        # Overrides .cargo/config.toml, which is for static programs.
        export RUSTFLAGS='-C target-feature=-crt-static'
    fi
    set --
    output=target
fi
${CARGO:-cargo} build --locked --release --package fdlock-builtin --target-dir target "$@"
cp "$output/release/libflock_builtin.so" "$file.new"
mv "$file.new" "$file"
