#!/usr/bin/env bash
# dist.sh [TARGET]: packs the static programs that `make` has built, with their manuals, completions,
# licences and checksums. The bash builtin is not included, because it is built for one C library.
# The same commit, Rust and strip result in the same bytes: see docs/packages.md.
. "$(dirname "$0")/common.sh"
check_copyright

# The architecture of the programs, which need not be that of the kernel.
target=$(scripts/build-target.sh "$@")
arch=${target%%-*}
name=fdlock-$version-${arch/riscv64gc/riscv64}-linux
built=target/install${1:+-$1}
tree=$out/dist/$name
doc=share/doc/fdlock
rm -rf "$out/dist"
mkdir -p "$tree/$doc"

if readelf --program-headers "$built/flock" | grep -q INTERP; then
    echo 'dist.sh: the programs are not static; see the message of scripts/build-target.sh' >&2
    exit 1
fi
make --silent install install-historic DESTDIR="${tree#"$PWD"/}" PREFIX= TARGET="${1-}"
rm -r "$tree/lib"
install -m 644 packaging/copyright LICENSE-APACHE LICENSE-MIT README.md CHANGELOG.md "$tree/$doc"
install -m 644 docs/*.md "$tree/$doc"
install -D -m 644 -t "$tree/$doc/pictures" docs/pictures/*
(
    cd "$tree"
    find . -type f ! -name SHA256SUMS -printf '%P\0' | sort -z | xargs -0 sha256sum >"$doc/SHA256SUMS"
)
reproducible_tar "$out/$name.tar.gz" "$tree"
(cd "$out" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
echo "$out/$name.tar.gz"
