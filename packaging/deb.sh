#!/usr/bin/env bash
# Builds the Debian packages of the programs in target/install: see docs/packages.md.
. "$(dirname "$0")/common.sh"
need dpkg-buildpackage dpkg-dev
need dh debhelper
only_for_this_machine "$@"
check_copyright

tree=$out/deb/fdlock-$version
rm -rf "$out/deb"
source_tree "$tree"
cp -a packaging/debian packaging/copyright "$tree"
mv "$tree/copyright" "$tree/debian"
sed -i -e "s|@maintainer@|$maintainer|" -e "s|@homepage@|$homepage|" "$tree/debian/control"
cat >"$tree/debian/changelog" <<END
fdlock ($version-1) unstable; urgency=medium

  * fdlock $version; its changes are in changelog.gz.

 -- $maintainer  $(date -R --date="@$SOURCE_DATE_EPOCH")
END

# Not from a clean tree, because the programs are there already; and without checking whether
# Debian's Rust is installed, for which rustup may stand in.
(cd "$tree" && dpkg-buildpackage --build=binary --no-sign --no-pre-clean)
cp "$out"/deb/*.deb "$out"
if command -v lintian >/dev/null; then
    lintian --fail-on error --allow-root "$out/deb/"*.changes
else
    echo "deb.sh: the packages were not checked, because lintian is not available" >&2
fi
ls "$out"/*.deb
