#!/usr/bin/env bash
# Tests the switch of the RPM package, in a new system that mmdebstrap creates over the network:
# rpm-in-root.sh runs there. Debian's rpm installs the package and two versions of a util-linux that
# contains nothing but flock.
. "$(dirname "$0")/../common.sh"
skip_without mmdebstrap mmdebstrap
skip_without rpmbuild rpm
make --silent rpm

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$out/fdlock-$version"-*.rpm "$work/fdlock.rpm"
cat >"$work/util-linux.spec" <<'END'
Name: util-linux
Version: %{number}
Release: 1
Summary: flock for a test
License: MIT
%description
%global debug_package %{nil}
%global __strip /bin/true
%install
install -D -m 755 /usr/bin/flock %{buildroot}/usr/bin/flock
echo %{version} >>%{buildroot}/usr/bin/flock
%files
/usr/bin/flock
END
for number in 1 2; do
    rpmbuild -bb --quiet --define "number $number" --define "_topdir $work/rpm" "$work/util-linux.spec"
    cp "$work"/rpm/RPMS/*/util-linux-$number-*.rpm "$work/util-linux-$number.rpm"
done

mmdebstrap --variant=essential --include=rpm --format=null \
    --customize-hook="copy-in $work/fdlock.rpm $work/util-linux-1.rpm $work/util-linux-2.rpm /root" \
    --customize-hook="upload packaging/tests/rpm-in-root.sh /root/test" \
    --customize-hook='chroot "$1" bash /root/test' \
    "${DEBIAN_SUITE:-bookworm}" - http://deb.debian.org/debian >"$out/rpm-test.log" 2>&1 || {
    tail -n 20 "$out/rpm-test.log" >&2
    exit 1
}
grep '^ok: ' "$out/rpm-test.log"
