#!/usr/bin/env bash
# Builds the RPM packages of the programs in target/install: see docs/packages.md.
. "$(dirname "$0")/common.sh"
need rpmbuild rpm
only_for_this_machine "$@"
check_copyright

rm -rf "$out/rpm"
mkdir -p "$out/rpm"
source_tree "$out/rpm/fdlock-$version"
reproducible_tar "$out/rpm/fdlock-$version.tar.gz" "$out/rpm/fdlock-$version"
rpmbuild -bb packaging/rpm/fdlock.spec --define "fdlock_version $version" \
    --define "fdlock_homepage $homepage" \
    --define "_topdir $out/rpm" --define "_sourcedir $out/rpm" --define "_rpmdir $out/rpm" \
    --define '_buildhost localhost' --define 'use_source_date_epoch_as_buildtime 1' \
    --define 'clamp_mtime_to_source_date_epoch 1'
cp "$out"/rpm/*/*.rpm "$out"
if command -v rpmlint >/dev/null; then
    rpmlint --config packaging/rpm/rpmlint.toml "$out"/rpm/*/*.rpm
else
    echo "rpm.sh: the packages were not checked, because rpmlint is not available" >&2
fi
ls "$out"/*.rpm
