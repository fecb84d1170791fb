#!/usr/bin/env bash
# Tests the Debian package in a new Debian system, which mmdebstrap creates over the network and
# removes afterwards: deb-in-root.sh runs there.
. "$(dirname "$0")/../common.sh"
skip_without mmdebstrap mmdebstrap
skip_without dh debhelper
make --silent deb
suite=${DEBIAN_SUITE:-bookworm}
package=$(echo "$out/fdlock_${version}"-*.deb)

mmdebstrap --variant=essential --include=apt --format=null \
    --customize-hook="upload '$package' /root/fdlock.deb" \
    --customize-hook="upload packaging/tests/deb-in-root.sh /root/test" \
    --customize-hook='chroot "$1" bash /root/test' \
    "$suite" - http://deb.debian.org/debian >"$out/deb-test.log" 2>&1 || {
    tail -n 20 "$out/deb-test.log" >&2
    exit 1
}
grep '^ok: ' "$out/deb-test.log"
