#!/usr/bin/env bash
# Builds the tarball in two directories of different depth, from the last commit, and compares the
# results; then checks its checksums and runs its programs. For another architecture, only the name is
# checked.
. "$(dirname "$0")/../common.sh"

work=$(mktemp -d "$out/dist-test.XXXXXX")
trap 'rm -rf "$work"' EXIT
# Both at once, so that a commit meanwhile does not matter.
git clone --quiet . "$work/a"
git clone --quiet "$work/a" "$work/another directory/b"
for clone in "$work/a" "$work/another directory/b"; do
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

# another_architecture: prints a target for which programs can be built here, and its ELF machine.
another_architecture() {
    local target machine
    while read -r target machine; do
        if scripts/build-target.sh "$target" >/dev/null && scripts/cross-tools.sh "$target" | grep -q .; then
            echo "$target $machine"
            return
        fi
    done 2>/dev/null <<'TARGETS'
aarch64-unknown-linux-musl AArch64
x86_64-unknown-linux-musl X86-64
i686-unknown-linux-musl 80386
TARGETS
}

cd "$out/../.."
read -r target machine < <(another_architecture) || {
    echo 'SKIPPED: dist-test needs a cross compiler for the name of the tarball: see TARGET in the Makefile' >&2
    exit
}
make --silent dist TARGET="$target" >/dev/null
tar --extract --file="$out/fdlock-$version-${target%%-*}-linux.tar.gz" --directory="$work" \
    --strip-components=1 --one-top-level=foreign
readelf --file-header "$work/foreign/bin/flock" | grep -q "Machine:.*$machine"
echo "ok: the name of the tarball for $target says its architecture"
