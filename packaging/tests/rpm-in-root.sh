#!/bin/bash
# Installs, switches, upgrades and removes the package /root/fdlock.rpm on the machine on which it
# runs: for tests/rpm.sh, in a system that is thrown away.
set -euo pipefail
cd /root
# As on a machine without dpkg.
rm /usr/bin/dpkg-divert

fail() {
    echo "FAILED: $*" >&2
    exit 1
}
ok() { echo "ok: $*"; }
version() { tail -c 2 "$1"; }
assert_theirs() {
    [ "$(version /usr/bin/flock)" = "$2" ] || fail "$1: /usr/bin/flock is not that of util-linux"
    [ ! -e /usr/bin/flock.util-linux ] || fail "$1: flock.util-linux was left behind"
    rpm --verify --nodeps util-linux || fail "$1: util-linux is damaged"
}
assert_ours() {
    cmp /usr/bin/flock /usr/lib/fdlock/bin/flock || fail "$1: /usr/bin/flock is not fdlock's"
    [ "$(version /usr/bin/flock.util-linux)" = "$2" ] || fail "$1: util-linux's program was not kept"
}
install() { rpm --upgrade --nodeps --force "$@"; }
files() { find /etc /usr /var/lib -path /var/lib/rpm -prune -o -print | sort; }

install util-linux-1.rpm
# It belongs to the package filesystem.
mkdir -p /usr/share/licenses
files >files
install fdlock.rpm
assert_theirs install 1
fdlock --version | grep -q fdlock
ok 'is installed beside util-linux'

fdlock-switch on
assert_ours on 1
install util-linux-2.rpm
assert_ours 'upgraded util-linux' 2
install fdlock.rpm
assert_ours 'reinstalled fdlock' 2
ok 'stays on when util-linux or fdlock is upgraded'

fdlock-switch off
assert_theirs off 2
install util-linux-2.rpm
assert_theirs 'upgraded when off' 2
ok 'is switched off'

fdlock-switch on
rpm --erase fdlock
assert_theirs 'removed while switched on' 2
diff files <(files) || fail 'files were left behind'
ok 'leaves nothing behind when it is removed'
