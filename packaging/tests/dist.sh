#!/usr/bin/env bash
# Builds the tarball in two directories of different depth, from the last commit, and compares the
# results; then checks its checksums and runs its programs.
. "$(dirname "$0")/../common.sh"

work=$(mktemp -d "$out/dist-test.XXXXXX")
trap 'rm -rf "$work"' EXIT
for clone in "$work/a" "$work/another directory/b"; do
    git clone --quiet . "$clone"
    make --silent -C "$clone" dist >/dev/null
done
archives=("$work"/*/target/packaging/*.tar.gz "$work"/*/*/target/packaging/*.tar.gz)
cmp "${archives[@]}"
echo 'ok: two builds in two directories are equal'

tar --extract --file="${archives[0]}" --directory="$work" --strip-components=1 --one-top-level=unpacked
cd "$work/unpacked"
sha256sum --check --quiet share/doc/fdlock/SHA256SUMS
[ "$(find . -type f | wc -l)" = $(($(wc -l <share/doc/fdlock/SHA256SUMS) + 1)) ]
for program in bin/*; do
    "$program" --version >/dev/null
    [ -f "share/man/man1/${program#bin/}.1" ]
done
if grep -rlF -e "$work" -e "$HOME/" .; then
    echo 'dist-test: these files contain paths of this machine' >&2
    exit 1
fi
echo 'ok: the tarball is complete'
